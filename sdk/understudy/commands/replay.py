"""`understudy record`, `replay`: a data set as a bag, and a bag through a student."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import typer

from understudy.cli import needs
from understudy.commands.trust import REQUIRE_SIGNATURE
from understudy.errors import BagError, InputError


@needs("rosbags", extra="bags")
def record(
    dataset: Path = typer.Argument(..., help="Folder of a data set: scenes, KITTI, KITTI raw, PandaSet, nuScenes."),
    out: Path = typer.Argument(..., help="Bag folder to write, with rig.yaml in it."),
    split: str | None = typer.Option(None, "--split", help="Split to take frames from, as val."),
    drive: int | None = typer.Option(None, "--drive", help="Number of the drive within it, from 0."),
    frames: str = typer.Option("", "--frames", help="Part of them, as 10:20, 10: or :20."),
    layout: str = typer.Option(
        "plain", "--layout", help="Fields of the clouds: plain, or shuffled (odd order, padding, uint8 intensity)."
    ),
    images: bool = typer.Option(True, "--images/--no-images", help="Write the cameras too."),
    labels: bool = typer.Option(False, "--labels", help="Write the boxes too, as vision_msgs/Detection3DArray."),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace a bag that is there."),
) -> None:
    """Write a data set as a rosbag2 (MCAP) with point clouds, images, camera info, transforms and odometry."""
    from understudy.messages.cloud_layouts import layout_named
    from understudy.progress import bar
    from understudy.recording import chosen_frames, open_for_recording, record_bag

    source = open_for_recording(dataset, split, images=images)
    numbers = chosen_frames(source, drive, frames)
    chosen = layout_named(layout)
    made = record_bag(
        source, out, frames=numbers, layout=chosen, images=images, labels=labels, overwrite=overwrite, track=bar
    )
    for topic, num_messages in made.messages.items():
        typer.echo(f"{num_messages:>7}  {topic}")
    typer.echo(f"recorded {made.num_frames} frames, {made.span_s:.1f} s, into {made.bag} with {made.rig.name}")


@needs("rosbags", "onnxruntime", extra="cpu,bags")
def replay(
    bag: Path = typer.Argument(..., help="Bag folder, or a *.mcap or *.db3 file."),
    bundle: Path = typer.Argument(..., help="Bundle folder or its zip."),
    out: Path = typer.Option(..., "--out", help="Bag folder to write detections, markers and replay.json into."),
    rig: Path | None = typer.Option(None, "--rig", help="Rig file; rig.yaml in the bag when left out."),
    topic: str | None = typer.Option(None, "--topic", help="Point clouds to use."),
    lidar: str | None = typer.Option(None, "--lidar", help="LiDAR of the rig they come from."),
    cameras: bool = typer.Option(False, "--cameras", help="Also synchronize and decode the rig's cameras."),
    camera: list[str] = typer.Option(
        [], "--camera", help="Topic of a camera as front=/front/image_raw; implies --cameras."
    ),
    rule: str = typer.Option("", "--rule", help="How cameras are matched: nearest, or approximate-time as in C++."),
    require: str = typer.Option("", "--require", help="Cameras that a sweep needs: any, all, or how many."),
    max_wait: float | None = typer.Option(None, "--max-wait", help="Longest wait for cameras or odometry; else 0.1 s."),
    slop: float | None = typer.Option(None, "--slop", help="Farthest camera frame from the sweep; else 0.05 s."),
    odometry: str | None = typer.Option(None, "--odometry", help="Odometry or transforms, for several sweeps a cloud."),
    frozen_after: int = typer.Option(3, "--frozen-after", help="Repeats that tell a frozen sensor; 0: take them all."),
    rate: float = typer.Option(0.0, "--rate", help="0: as fast as possible; 1: as it was recorded; up to 1000."),
    start: float = typer.Option(0.0, "--start", help="Where to start: seconds from the first message, or since 1970."),
    end: float | None = typer.Option(None, "--end", help="Where to stop, counted likewise."),
    precision: str = typer.Option("", "--precision", help="fp32, fp16, int8 or uint8; the best when left out."),
    runtime: str = typer.Option("onnxruntime", "--runtime", help="What runs it, as openvino or tensorrt."),
    threads: int = typer.Option(1, "--threads", help="Threads of the engine."),
    ignore_tf: bool = typer.Option(False, "--ignore-tf", help="Trust the rig where the bag's /tf_static differs."),
    salvage: bool = typer.Option(False, "--salvage", help="Replay what a damaged bag still gives; ends with 1."),
    with_input: bool = typer.Option(
        False, "--with-input", help="Copy what was read, and /tf_static, into the results."
    ),
    against: Path | None = typer.Option(None, "--against", help="Another bundle to compare with, frame by frame."),
    tolerance: str = typer.Option("", "--tolerance", help="For --against: min_matched=0.95,position_m=0.2; else 1."),
    evaluate: bool = typer.Option(False, "--evaluate", help="Average precision, where the bag holds labels."),
    labels_topic: str = typer.Option("/labels/boxes", "--labels-topic", help="Detection3DArray to evaluate with."),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace a bag of results that is there."),
    require_signature: Path | None = REQUIRE_SIGNATURE,
) -> None:
    """Replay a bag through a student, by the same code as on the vehicle, into a bag of detections and markers."""
    from understudy.bundle.manifest import precision_named
    from understudy.replay.command import Extras, run_replay
    from understudy.replay.matching import camera_topics_from, matching_from
    from understudy.replay.options import ReplayOptions
    from understudy.rig import read_rig

    cameras = cameras or bool(camera)
    matching = matching_from(cameras, rule, require, max_wait, slop)
    options = ReplayOptions(topic=topic, rate=rate, start_s=start, end_s=end, cameras=cameras, odometry=odometry)
    options = replace(options, rule=matching.rule, policy=matching.policy, refuse_frozen_after=frozen_after)
    options = replace(options, salvage=salvage, with_input=with_input, check_transforms=not ignore_tf)
    options = replace(options, overwrite=overwrite, camera_topics=camera_topics_from(camera))
    extras = Extras(
        precision=precision_named(precision) if precision else None,
        runtime=runtime,
        threads=threads,
        lidar=lidar,
        against=against,
        tolerance=tolerance,
        labels_topic=labels_topic if evaluate else "",
    )
    failed = run_replay(bag, bundle, read_rig(_rig_path(bag, rig)), out, options, extras, say=typer.echo)
    raise typer.Exit(1 if failed else 0)


def _rig_path(bag: Path, rig: Path | None) -> Path:
    beside = (bag if bag.is_dir() else bag.parent) / "rig.yaml"
    if rig is None and not beside.is_file():
        if not bag.exists():
            raise BagError(f"bag {bag}", found="nothing there", remedy="check the path")
        raise InputError("--rig", found=f"nothing, and no {beside}", wanted="a rig file", remedy="say --rig RIG.yaml")
    return rig or beside
