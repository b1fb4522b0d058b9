"""Builders for tests: small rigs, clouds, frames, contracts, a fake engine, and a real points-to-boxes ONNX of 20 kB.

Nothing here is random by itself: whoever wants noise passes a generator.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from understudy.bundle.bundle import Bundle, PackedModel, write_bundle
from understudy.bundle.inputs import DepthBins
from understudy.bundle.manifest import (
    Contract,
    DetectedClass,
    Grid,
    ImagesInput,
    Pictures,
    PillarsInput,
    PointsInput,
    Precision,
    Tensor,
    Tolerance,
)
from understudy.bundle.signature import expected_inputs, expected_outputs
from understudy.engines.engine import Arrays, DescribedEngine, TensorSpec, check_feeds
from understudy.errors import EngineError
from understudy.frame import Frame, Image, PointCloud
from understudy.pose import Pose
from understudy.rig import Camera, Lidar, Mounting, Rig

CLASS_NAMES = ("car", "truck", "pedestrian", "cyclist")
TINY_MAX_DETECTIONS = 16
_CAMERA_YAWS_RAD = {"front": 0.0, "left": np.pi / 2, "rear": np.pi, "right": -np.pi / 2}

_CLASS_SIZES_M = np.array([[4.2, 1.8, 1.6], [8.0, 2.5, 3.2], [0.7, 0.7, 1.7], [1.8, 0.7, 1.7]], np.float32)
_LOOSE = Tolerance(min_matched=0.9, position_m=0.3, size_m=0.3, yaw_rad=0.3, score=0.15)


def simple_rig(*, intensity_scale: float = 1.0, height_m: float = 1.8, camera: bool = False) -> Rig:
    """A vehicle with one LiDAR on the roof, level and facing forward, and perhaps a camera beside it."""
    sensors: dict[str, Lidar | Camera] = {
        "lidar": Lidar(
            frame_id="lidar",
            ego_from_sensor=Mounting(translation_m=(1.0, 0.0, height_m)),
            intensity_scale=intensity_scale,
        )
    }
    if camera:
        sensors["front"] = Camera(
            frame_id="front",
            ego_from_sensor=Mounting(translation_m=(1.5, 0.0, 1.6), rotation_wxyz=(0.5, -0.5, 0.5, -0.5)),
            width_px=160,
            height_px=96,
            fx_px=120.0,
            fy_px=120.0,
            cx_px=80.0,
            cy_px=48.0,
        )
    return Rig(name="simple", sensors=sensors)


def surround_rig(
    names: Sequence[str] = ("front", "rear"), *, lidar: bool = True, focal_px: float = 72.0, distortion: float = 0.0
) -> Rig:
    """A vehicle with level cameras of 160 x 96 px on its roof, wide enough to overlap, and the LiDAR of `simple_rig`.

    Args:
        names: of `front`, `left`, `rear` and `right`, in this order.
        lidar: whether there is one.
        focal_px: of each camera.
        distortion: first radial coefficient; barrels when negative.
    """
    sensors: dict[str, Lidar | Camera] = dict(simple_rig().lidars) if lidar else {}
    sensors |= {
        name: Camera(
            frame_id=name,
            ego_from_sensor=_mounted(_CAMERA_YAWS_RAD[name]),
            width_px=160,
            height_px=96,
            fx_px=focal_px,
            fy_px=focal_px,
            cx_px=79.5,
            cy_px=31.5,
            distortion=(distortion, 0.0, 0.0, 0.0, 0.0) if distortion else (),
        )
        for name in names
    }
    return Rig(name="surround", sensors=sensors)


def rig_for(contract: Contract) -> Rig:
    """A vehicle with the LiDAR of `simple_rig` and level cameras around, as many and as large as a student takes."""
    cameras = {} if contract.pictures is None else cameras_around(contract.pictures)
    return Rig(name="made up", sensors={**simple_rig().lidars, **cameras})


def cameras_around(pictures: Pictures) -> dict[str, Camera]:
    """Level cameras that look all around, as many and as large as a student takes."""
    names = pictures.cameras or tuple(f"camera_{number}" for number in range(pictures.num_cameras))
    return {
        name: Camera(
            ego_from_sensor=_mounted(2 * np.pi * number / len(names)),
            width_px=pictures.width_px,
            height_px=pictures.height_px,
            fx_px=pictures.focal_px,
            fy_px=pictures.focal_px,
            cx_px=(pictures.width_px - 1) / 2,
            cy_px=(pictures.height_px - 1) / 2,
        )
        for number, name in enumerate(names)
    }


def marked_pictures(
    rig: Rig, places_m: Sequence[tuple[float, float, float]], *, reach_px: int = 4, stamp_ns: int = 0
) -> dict[str, Image]:
    """A black picture of each camera, white around the pixels that show some places.

    Args:
        rig: its cameras.
        places_m: x, y, z of each in ego.
        reach_px: how far around a pixel it is white.
        stamp_ns: of each picture.
    """
    made = {}
    for name, camera in rig.cameras.items():
        pixels = np.zeros((camera.height_px, camera.width_px, 3), np.uint8)
        uv_px, depth_m = camera.project(np.array(places_m, np.float64).reshape(-1, 3))
        for u, v in np.rint(uv_px[camera.shows(uv_px, depth_m)]).astype(int):
            rows, columns = slice(max(v - reach_px, 0), v + reach_px + 1), slice(max(u - reach_px, 0), u + reach_px + 1)
            pixels[rows, columns] = 255
        made[name] = Image(pixels, stamp_ns, camera.frame_id)
    return made


def noise_pictures(rig: Rig, rng: np.random.Generator, *, stamp_ns: int = 0) -> dict[str, Image]:
    """A picture of noise for each camera."""
    return {
        name: Image(
            rng.integers(0, 256, (camera.height_px, camera.width_px, 3), dtype=np.uint8), stamp_ns, camera.frame_id
        )
        for name, camera in rig.cameras.items()
    }


def road_cloud(
    rng: np.random.Generator,
    num_points: int = 2000,
    *,
    objects_m: Sequence[tuple[float, float]] = ((8.0, 2.0), (-6.0, -4.0)),
    reach_m: float = 15.0,
    height_m: float = 1.8,
    intensity_scale: float = 1.0,
    stamp_ns: int = 0,
    frame_id: str = "lidar",
) -> PointCloud:
    """A flat road with a dense block of returns at each of `objects_m`, seen by the LiDAR of `simple_rig`.

    Args:
        rng: where the noise comes from.
        num_points: points in all; half of them on the objects.
        objects_m: x, y of each object in ego.
        reach_m: half the side of the square of road.
        height_m: height of the LiDAR above the road.
        intensity_scale: largest raw intensity.
        stamp_ns: time of the sweep.
        frame_id: name of the sensor's frame.
    """
    points = np.empty((num_points, 4), np.float32)
    points[:, :2] = rng.uniform(-reach_m, reach_m, (num_points, 2))
    points[:, 2] = rng.normal(0.0, 0.02, num_points)
    on_object = np.array_split(np.arange(num_points // 2), max(len(objects_m), 1))
    for indices, center in zip(on_object, objects_m, strict=False):
        points[indices, :2] = np.array(center) + rng.uniform(-0.9, 0.9, (len(indices), 2))
        points[indices, 2] = rng.uniform(0.3, 1.6, len(indices))
    points[:, :3] -= np.array([1.0, 0.0, height_m], np.float32)
    points[:, 3] = rng.uniform(0.05, 1.0, num_points) * intensity_scale
    return PointCloud(points, stamp_ns=stamp_ns, frame_id=frame_id)


def frame_of(cloud: PointCloud, sensor: str = "lidar") -> Frame:
    """A frame that holds this cloud and nothing else."""
    return Frame(stamp_ns=cloud.stamp_ns, clouds={sensor: cloud})


def tiny_contract(
    kind: str = "points",
    *,
    score_threshold: float = 0.3,
    uses_intensity: bool = False,
    cameras: tuple[str, ...] = ("front", "rear"),
) -> Contract:
    """A detector of four classes on a grid of 32 x 32 cells of a meter.

    Args:
        kind: "points", "pillars", "images", "points_and_images" or "pillars_and_images".
        score_threshold: the same for each class.
        uses_intensity: whether the student looks at intensity.
        cameras: whose pictures it takes, where it does.
    """
    lidar, _, other = kind.partition("_and_")
    points = PointsInput(uses_intensity=uses_intensity, max_points=150_000)
    pillars = PillarsInput(uses_intensity=uses_intensity, max_points_per_pillar=8, max_pillars=1024)
    return Contract(
        name="tiny",
        classes=tuple(DetectedClass(name=name, score_threshold=score_threshold) for name in CLASS_NAMES),
        grid=Grid(x_range_m=(-16.0, 16.0), y_range_m=(-16.0, 16.0), z_range_m=(0.1, 3.0), cell_m=1.0),
        input={"points": points, "pillars": pillars, "images": ImagesInput()}[lidar],
        pictures=tiny_pictures(cameras) if "images" in (lidar, other) else None,
    )


def tiny_pictures(cameras: tuple[str, ...] = ("front", "rear")) -> Pictures:
    """What the tiny student takes of some cameras, as those of `surround_rig`: small pictures, two heights."""
    return Pictures(
        num_cameras=len(cameras),
        cameras=cameras,
        width_px=80,
        height_px=48,
        feature_stride=2,
        focal_px=36.0,
        depth=DepthBins(near_m=1.0, far_m=30.0, count=12),
        heights_m=(0.1, 1.2),
        hits=1,
    )


class FakeEngine(DescribedEngine):
    """An engine whose answer is a function of its feeds; counts its calls and keeps the last feeds.

    Args:
        contract: whose inputs and outputs it declares.
        answer: from feeds to outputs; must return arrays of its own.
    """

    def __init__(self, contract: Contract, answer: Callable[[Arrays], Mapping[str, NDArray[Any]]]) -> None:
        self._inputs = tuple(_spec(tensor) for tensor in expected_inputs(contract))
        self._outputs = tuple(_spec(tensor) for tensor in expected_outputs(contract))
        self._answer = answer
        self.num_calls = 0
        self.last_feeds: Arrays = {}
        self.closed = False

    @classmethod
    def detecting(
        cls, contract: Contract, boxes: Sequence[Sequence[float]], scores: Sequence[float], labels: Sequence[int]
    ) -> FakeEngine:
        """An engine that says the same boxes whatever it is fed."""
        geometry = np.array(boxes, np.float32).reshape(-1, 7)

        def answer(feeds: Arrays) -> Mapping[str, NDArray[Any]]:
            return {
                "boxes": geometry.copy(),
                "scores": np.array(scores, np.float32),
                "labels": np.array(labels, np.int32),
            }

        return cls(contract, answer)

    _description = "fake engine"

    def __call__(self, feeds: Arrays) -> dict[str, NDArray[Any]]:
        """Checks the feeds as a real engine does, then answers."""
        if self.closed:
            raise EngineError("engine", found="closed", wanted="open", remedy="open it again")
        check_feeds(self._inputs, feeds)
        self.num_calls += 1
        self.last_feeds = feeds
        return dict(self._answer(feeds))

    def close(self) -> None:
        """Further calls are an error."""
        self.closed = True


def write_tiny_model(path: Path, contract: Contract | None = None) -> Path:
    """Writes a real ONNX from raw points or pictures to boxes, with the names and dtypes of an exported student.

    Occupancy by ScatterND, two convolutions, 3x3 peaks, TopK of 16; no matrix product, so every target takes it. A
    dense block of points becomes a box of its class's usual size at the cell's center. It does not look at intensity.
    Of pictures, what is bright on the ground is occupied.
    """
    import onnx

    from understudy.tiny_graph import build_tiny_graph

    model = build_tiny_graph(contract or tiny_contract(), _CLASS_SIZES_M, TINY_MAX_DETECTIONS)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path


def tiny_bundle(
    folder: Path,
    kind: str = "points",
    *,
    precisions: Sequence[Precision] = ("fp32",),
    score_threshold: float = 0.3,
    sweeps: int = 1,
    cameras: tuple[str, ...] = ("front", "rear"),
) -> Bundle:
    """A bundle around the tiny model; every precision asked for is the same FP32 file under another name.

    Args:
        folder: of the bundle.
        kind: "points", "images" or "points_and_images", as for `tiny_contract`.
        precisions: what it holds.
        score_threshold: the same for each class.
        sweeps: that a cloud must hold.
        cameras: whose pictures it takes, where it does.
    """
    contract = tiny_contract(kind, score_threshold=score_threshold, cameras=cameras)
    contract = contract.model_copy(update={"sweeps": sweeps})
    path = write_tiny_model(folder.parent / f"{folder.name}-model.onnx", contract)
    return write_bundle(
        folder,
        contract,
        {precision: PackedModel(path, opset=18, ir_version=10) for precision in precisions},
        inputs=expected_inputs(contract),
        outputs=tiny_outputs(),
        tolerances=dict.fromkeys(precisions, _LOOSE),
    )


def tiny_outputs() -> tuple[Tensor, ...]:
    """Outputs of the tiny model: the contract's, of a fixed number of rows."""
    fixed = [
        tensor.model_copy(update={"shape": (TINY_MAX_DETECTIONS, *tensor.shape[1:])})
        for tensor in expected_outputs(tiny_contract())
    ]
    return tuple(fixed)


def _mounted(yaw_rad: float) -> Mounting:
    """Of a camera above the vehicle's middle that looks that way."""
    forward = Pose.from_quaternion((0.5, -0.5, 0.5, -0.5), (0.0, 0.0, 0.0))
    return Mounting.from_pose(Pose.from_yaw(yaw_rad, (0.5 * np.cos(yaw_rad), 0.5 * np.sin(yaw_rad), 1.7)) @ forward)


def _spec(tensor: Tensor) -> TensorSpec:
    return TensorSpec(tensor.name, tensor.dtype, tensor.shape)
