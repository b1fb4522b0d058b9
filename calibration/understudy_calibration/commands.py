"""The verb of the calibration package: `quantize`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import typer

from understudy import progress
from understudy.cli import needs


@needs("onnx", "onnxruntime", extra="calibration")
def quantize(
    folder: Path = typer.Argument(..., help="Folder that `understudy export` wrote."),
    data: Path = typer.Option(..., "--data", help="Data set with the frames that set the ranges."),
    split: str = typer.Option("train", "--split", help="Never the split you evaluate on; 'all' takes every frame."),
    frames: int = typer.Option(32, "--frames", help="Frames to take, spread evenly over the split."),
    method: Literal["minmax", "percentile"] = typer.Option("minmax", "--method", help="How ranges are set."),
    keep_float: list[str] = typer.Option([], "--keep-float", help="Convolutions to leave in float, by name pattern."),
    threads: int = typer.Option(2, "--threads", help="Threads while calibrating."),
    lidar: str | None = typer.Option(None, "--lidar", help="LiDAR of the rig, when there are several."),
) -> None:
    """Quantize an export: INT8 for TensorRT, and its faster CPU twin."""
    from understudy.datasets.opening import open_dataset
    from understudy_calibration.activations.quantization import QuantizationOptions, quantize_folder
    from understudy_calibration.activations.summary import describe

    options = QuantizationOptions(frames, method, tuple(keep_float), threads, lidar)
    record = quantize_folder(folder, open_dataset(data, split=split), options, progress.bar)
    typer.echo("\n".join(describe(folder, record)))
