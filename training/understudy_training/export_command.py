"""`understudy export`."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from understudy.cli import needs
from understudy.errors import InputError

if TYPE_CHECKING:
    from understudy_training.export import Parity


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
    fp16: Annotated[
        bool, typer.Option("--fp16", help="Write model.fp16.onnx too: convolutions in float16, coordinates in float32.")
    ] = False,
) -> None:
    """Export a run as one ONNX file from points to boxes, checked against PyTorch and every runtime's rules."""
    from understudy_training.export import export_run

    record = export_run(run, out, half=fp16)
    takes = ", ".join(f"{tensor.name} ({', '.join(map(str, tensor.shape))})" for tensor in record.inputs)
    typer.echo(f"{out / 'model.onnx'}: opset {record.opset}, IR {record.ir_version}")
    typer.echo(textwrap.fill(f"takes {takes}", 100, initial_indent="  ", subsequent_indent="        "))
    typer.echo(f"  {record.gmacs:.2f} GMAC, {record.parameters:,} parameters; {_agreement(record.parity)}")
    if record.fp16_parity is not None:
        typer.echo(f"{out / 'model.fp16.onnx'}: {_agreement(record.fp16_parity)}")


def _agreement(parity: Parity) -> str:
    share, rows = f"{parity.matched_share:.1%}", parity.rows
    return f"{share} of {rows} boxes as in PyTorch, largest difference {parity.largest_departure:.1e}"
