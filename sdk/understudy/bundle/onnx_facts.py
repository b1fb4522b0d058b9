"""What an ONNX file says about itself, read without running it. Needs the package onnx, as packing does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from understudy.bundle.manifest import Tensor
from understudy.errors import BundleError


@dataclass(frozen=True)
class OnnxFacts:
    """Opset, IR version and the graph's inputs and outputs."""

    opset: int
    ir_version: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


def read_onnx_facts(path: Path) -> OnnxFacts:
    """Reads an ONNX file that must be whole in itself.

    Raises:
        BundleError: when it is missing, is not ONNX, or keeps weights in other files.
    """
    model = load_onnx(path)
    external = [tensor.name for tensor in model.graph.initializer if tensor.data_location]
    if external:
        raise BundleError(
            f"{path}",
            found=f"{len(external)} tensors stored in other files",
            wanted="one file",
            remedy="export it again",
        )
    constants = {tensor.name for tensor in model.graph.initializer}
    return OnnxFacts(
        opset=next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0),
        ir_version=model.ir_version,
        inputs=tuple(_tensor(value) for value in model.graph.input if value.name not in constants),
        outputs=tuple(_tensor(value) for value in model.graph.output),
    )


def load_onnx(path: Path) -> Any:
    """The file as a `ModelProto`, external weights left where they are.

    Raises:
        BundleError: when onnx is not installed, or the file is missing or not ONNX.
    """
    try:
        import onnx
    except ImportError as error:
        remedy = "pip install 'understudy[calibration]'"
        raise BundleError("package onnx", found=str(error), wanted="installed", remedy=remedy) from error
    try:
        model = onnx.load(path, load_external_data=False)
    except FileNotFoundError:
        raise BundleError(f"{path}", found="no such file", wanted="an ONNX model") from None
    except Exception as error:  # protobuf's decoding errors share no base with onnx's
        raise BundleError(f"{path}", found=str(error).splitlines()[0], wanted="an ONNX model") from error
    if not model.graph.node:
        raise BundleError(f"{path}", found="no graph", wanted="an ONNX model", remedy="export it again")
    return model


def _tensor(value: Any) -> Tensor:
    import onnx

    kind = value.type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).name
    shape = tuple(
        size.dim_param or "?" if not size.HasField("dim_value") else size.dim_value for size in kind.shape.dim
    )
    return Tensor(name=value.name, dtype=dtype, shape=shape)
