"""The verb `understudy scenes`."""

from __future__ import annotations

from pathlib import Path

import typer

from understudy import progress
from understudy.cli import needs
from understudy.configuration import check_config


@needs("numba", "PIL", extra="training")
def scenes(
    out: Path = typer.Argument(..., help="Folder to make the data set in."),
    drives: int = typer.Option(8, help="Number of drives, each on a street of its own."),
    frames: int = typer.Option(20, help="Frames per drive, at 10 Hz."),
    val_drives: int = typer.Option(2, help="How many of the drives are held out for validation."),
    seed: int = typer.Option(0, help="The same seed gives the same bytes."),
    beams: int = typer.Option(32, help="LiDAR: 16 (VLP-16), 32 (VLP-32C) or 64 (HDL-64E)."),
    range_m: float = typer.Option(70.0, help="Range of the LiDAR and of the labels, in meters."),
    camera: bool = typer.Option(True, "--camera/--no-camera", help="With a front camera."),
    depth: bool = typer.Option(False, "--depth", help="Also write depth and class of each pixel."),
    workers: int = typer.Option(2, min=1, help="Drives made at a time."),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace the scenes that OUT holds."),
) -> None:
    """Make a seeded data set of driving scenes: LiDAR, camera, boxes with tracks, a class per point."""
    from understudy_training.scenes.config import SceneConfig
    from understudy_training.scenes.writer import make_scenes

    values = {
        **{"seed": seed, "num_drives": drives, "num_val_drives": val_drives, "num_frames": frames},
        "lidar": {"beams": beams, "range_m": range_m},
        "camera": {"ground_truth": depth} if camera else None,
    }
    config = check_config(values, SceneConfig, "understudy scenes")
    made = make_scenes(config, out, workers=workers, overwrite=overwrite, track=progress.bar)
    typer.echo(
        f"{out}: {made.num_frames} frames in {made.num_drives} drives ({val_drives} for validation), "
        f"{made.num_points / made.num_frames:,.0f} points and {made.num_seen / made.num_frames:.1f} visible actors "
        f"a frame, {made.frames_per_s:.1f} frames/s"
    )
