"""The verb `understudy scenes`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from understudy import progress
from understudy.cli import needs
from understudy.configuration import check_config
from understudy.errors import InputError

if TYPE_CHECKING:
    from understudy_training.scenes.writer import Made

_OF_ANY_SET = {"ctx", "out", "benchmark", "workers", "overwrite"}
"""Parameters that may stand beside --benchmark: they do not change what is made."""
_CAMERAS = {"front": ("camera",), "surround": ("surround",), "none": ()}
"""Parts of the configuration that each choice of --cameras switches on."""


@needs("numba", "PIL", extra="training")
def scenes(
    ctx: typer.Context,
    out: Path = typer.Argument(..., help="Folder to make the data set in."),
    drives: int = typer.Option(8, help="Number of drives, each on a street of its own."),
    frames: int = typer.Option(20, help="Frames per drive."),
    turns_per_frame: int = typer.Option(1, help="Turns of the LiDAR (10 Hz) from one frame to the next."),
    val_drives: int = typer.Option(2, help="How many of the drives are held out for validation."),
    seed: int = typer.Option(0, help="The same seed gives the same bytes."),
    val_seed: int | None = typer.Option(
        None, help="Validation drives of a seed of their own, the same for any number of drives."
    ),
    beams: int = typer.Option(32, help="LiDAR: 16 (VLP-16), 32 (VLP-32C) or 64 (HDL-64E)."),
    range_m: float = typer.Option(70.0, help="Range of the LiDAR and of the labels, in meters."),
    cameras: str = typer.Option("front", help="front (one), surround (six, all around) or none."),
    camera: bool | None = typer.Option(None, "--camera/--no-camera", help="Short for --cameras front and none."),
    depth: bool = typer.Option(False, "--depth", help="Also write depth and class of each pixel."),
    benchmark: str | None = typer.Option(
        None, help="A data set of the fixed benchmark instead: scenes-64, scenes-32 or scenes-surround-32."
    ),
    workers: int = typer.Option(2, min=1, help="Drives made at a time."),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace the scenes that OUT holds."),
) -> None:
    """Make a seeded data set of driving scenes: LiDAR, cameras, boxes with tracks, a class per point."""
    from understudy_training.scenes.benchmark import find_benchmark, make_benchmark
    from understudy_training.scenes.config import SceneConfig
    from understudy_training.scenes.writer import make_scenes

    if benchmark is not None:
        _refuse_beside_benchmark(ctx)
        made = make_benchmark(benchmark, out, workers=workers, overwrite=overwrite, track=progress.bar)
        typer.echo(_summary(out, made, find_benchmark(benchmark).config.num_val_drives))
        return
    values = {
        **{"seed": seed, "num_drives": drives, "num_val_drives": val_drives, "val_seed": val_seed},
        **{"num_frames": frames, "turns_per_frame": turns_per_frame},
        "lidar": {"beams": beams, "range_m": range_m},
        **_camera_values(_chosen_cameras(ctx, cameras, camera), depth),
    }
    config = check_config(values, SceneConfig, "understudy scenes")
    made = make_scenes(config, out, workers=workers, overwrite=overwrite, track=progress.bar)
    typer.echo(_summary(out, made, val_drives))


def _refuse_beside_benchmark(ctx: typer.Context) -> None:
    given = [name for name in ctx.params if name not in _OF_ANY_SET and _is_given(ctx, name)]
    if given:
        option = f"--{given[0].replace('_', '-')}"
        raise InputError("--benchmark", found=f"{option} beside it", remedy="leave one out: a benchmark is fixed")


def _chosen_cameras(ctx: typer.Context, cameras: str, camera: bool | None) -> str:
    if cameras not in _CAMERAS:
        raise InputError("--cameras", found=cameras, wanted=f"one of: {', '.join(_CAMERAS)}")
    if camera is None:
        return cameras
    if _is_given(ctx, "cameras"):
        raise InputError("--cameras", found=f"--{'' if camera else 'no-'}camera beside it", remedy="leave one out")
    return "front" if camera else "none"


def _is_given(ctx: typer.Context, name: str) -> bool:
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _camera_values(choice: str, depth: bool) -> dict[str, Any]:
    if depth and choice == "none":
        raise InputError("--depth", found="no cameras", wanted="--cameras front or surround", remedy="leave one out")
    values: dict[str, Any] = {"camera": None, "surround": None}
    return {**values, **{part: {"ground_truth": depth} for part in _CAMERAS[choice]}}


def _summary(out: Path, made: Made, val_drives: int) -> str:
    return (
        f"{out}: {made.num_frames} frames in {made.num_drives} drives ({val_drives} for validation), "
        f"{made.num_points / made.num_frames:,.0f} points and {made.num_seen / made.num_frames:.1f} visible actors "
        f"a frame, {made.frames_per_s:.1f} frames/s"
    )
