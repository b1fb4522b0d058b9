"""`understudy export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from understudy.cli import needs
from understudy.errors import InputError


def _named_folder(text: str) -> Path:
    """A folder that was said; an empty variable of a script would else mean the current folder."""
    if not text.strip():
        raise InputError("--out", found="an empty name", wanted="a folder to write to")
    return Path(text)


@needs("torch", "onnx", "onnxscript", "onnxruntime", "safetensors", extra="training")
def export(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run: `understudy train` or `distill`.")],
    out: Annotated[
        Path,
        typer.Option(
            parser=_named_folder, metavar="PATH", help="Folder to write model.onnx, contract.yaml and export.yaml to."
        ),
    ],
) -> None:
    """Export a run as one ONNX file from points to boxes, checked against PyTorch and every runtime's rules."""
    from understudy_training.export import export_run

    record = export_run(run, out)
    takes = ", ".join(f"{tensor.name} {list(tensor.shape)}" for tensor in record.inputs)
    typer.echo(f"{out / 'model.onnx'}: opset {record.opset}, IR {record.ir_version}, takes {takes}")
    typer.echo(
        f"  {record.gmacs:.2f} GMAC, {record.parameters:,} parameters; {record.parity.matched_share:.1%} of "
        f"{record.parity.rows} boxes as in PyTorch, largest difference {record.parity.largest_departure:.1e}"
    )
