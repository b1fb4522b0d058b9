"""Samples as a Rerun recording (`rerun FILE.rrd`); the one module that knows Rerun."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import rerun as rr

from understudy.boxes import Boxes
from understudy.datasets.dataset import Dataset, Sample
from understudy.errors import InputError
from understudy.messages.outputs import COLORS_RGB
from understudy.progress import Track, silent
from understudy.rig import Camera
from understudy_training.data.measures import points_in_ego

_TIMELINE = "stamp"
_GRAYS = 255


def write_rerun(dataset: Dataset, numbers: Sequence[int], out: Path, track: Track = silent) -> None:
    """Writes clouds, boxes and pictures in ego, on the timeline of their stamps.

    Raises:
        InputError: when something is at `out`, or a sample cannot be read.
    """
    if out.exists():
        raise InputError(f"{out}", found="something there already", wanted="a new .rrd file", remedy="choose another")
    out.parent.mkdir(parents=True, exist_ok=True)
    recording = rr.RecordingStream("understudy")
    recording.save(out)
    recording.log("ego", rr.ViewCoordinates.FLU, static=True)
    for number in track(numbers, "writing", len(numbers)):
        _log(recording, dataset[number])
    recording.flush()
    recording.disconnect()


def _log(recording: rr.RecordingStream, sample: Sample) -> None:
    recording.set_time(_TIMELINE, timestamp=np.datetime64(sample.frame.stamp_ns, "ns"))
    for lidar in sample.frame.clouds:
        points = points_in_ego(sample, lidar)
        heights = np.interp(points[:, 2], (-0.5, 4.0), (60, _GRAYS)).astype(np.uint8)
        colors = np.repeat(heights[:, None], 3, axis=1)
        recording.log(f"ego/{lidar}", rr.Points3D(points, colors=colors, radii=0.03))
    if sample.boxes is not None:
        recording.log("ego/labels", _boxes(sample.boxes))
    for name, image in sample.frame.images.items():
        camera = sample.rig.cameras[name]
        recording.log(f"ego/{name}", _pose(camera), rr.Pinhole(**_lens(camera)))
        recording.log(f"ego/{name}", rr.Image(image.pixels).compress(jpeg_quality=85))


def _boxes(boxes: Boxes) -> rr.Boxes3D:
    half_yaw = boxes.geometry[:, 6] / 2
    zeros = np.zeros_like(half_yaw)
    return rr.Boxes3D(
        centers=boxes.geometry[:, :3],
        half_sizes=boxes.geometry[:, 3:6] / 2,
        quaternions=np.stack([zeros, zeros, np.sin(half_yaw), np.cos(half_yaw)], axis=1),
        colors=[[round(_GRAYS * part) for part in COLORS_RGB[label % len(COLORS_RGB)]] for label in boxes.labels],
        labels=[boxes.class_names[label] for label in boxes.labels],
    )


def _pose(camera: Camera) -> rr.Transform3D:
    pose = camera.ego_from_sensor.pose()
    return rr.Transform3D(translation=pose.translation_m, mat3x3=pose.rotation)


def _lens(camera: Camera) -> dict[str, object]:
    size_px = (camera.width_px, camera.height_px)
    return {"image_from_camera": camera.intrinsic_matrix(), "resolution": size_px, "camera_xyz": rr.ViewCoordinates.RDF}
