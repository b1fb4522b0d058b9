"""What must never reach a TensorRT build, looked for by name before building.

A refusal by the builder names an internal layer, and one mistake, uint8 activations, it accepts with a mere warning.
"""

from __future__ import annotations

from pathlib import Path

from understudy.bundle.onnx_facts import load_onnx
from understudy.errors import EngineError
from understudy.onnx_rules import check_graph, uint8_tensors


def refuse_forbidden_graph(model: Path) -> None:
    """Raises EngineError when the graph holds UINT8 or an operator that no TensorRT builds."""
    found = sorted(set(uint8_tensors(load_onnx(model).graph)))
    if found:
        raise EngineError(
            f"{model}: tensor {found[0]} and {len(found) - 1} more",
            found="UINT8, which TensorRT silently clips at 127",
            wanted="symmetric INT8",
            remedy="compile with --precision int8",
        )
    check_graph(model)


def refuse_uint8_in_tensorrt(precision: str, runtime: str) -> None:
    """Raises EngineError for the CPU twin: TensorRT takes it with a mere warning and clips it at 127."""
    if precision == "uint8" and "tensorrt" in runtime:
        raise EngineError(
            f"precision uint8 in runtime {runtime}",
            found="the CPU twin, which TensorRT silently clips",
            wanted="int8",
            remedy="use --precision int8",
        )
