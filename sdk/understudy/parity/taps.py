"""Named taps: tensors inside an ONNX graph as further outputs, so that two files of one export can be held together.

Needs the package onnx, which a machine that makes students has and a vehicle has not. Quantizing and halving keep the
names of the export's tensors, so the same name is the same place in every file of a student.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from understudy.bundle.onnx_facts import load_onnx
from understudy.engines.engine import Engine
from understudy.engines.onnxruntime_engine import OnnxRuntimeEngine
from understudy.engines.openvino_engine import OpenVinoEngine

_SELECTION = "TopK"


@dataclass(frozen=True)
class Tap:
    """A tensor inside a graph.

    Attributes:
        name: of the tensor.
        operator: kind of the node that makes it.
        node: name of that node.
        inputs: tensors that the node takes, constants included.
    """

    name: str
    operator: str
    node: str
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class Graph:
    """What taps need to know of an ONNX file.

    Attributes:
        path: of the file.
        taps: every tensor that a node makes, in topological order.
        outputs: the graph's own.
        selection: the tensor that holds which candidates the last TopK took; empty when there is none.
    """

    path: Path
    taps: tuple[Tap, ...]
    outputs: tuple[str, ...]
    selection: str

    def downstream(self, name: str) -> set[str]:
        """The tensors that depend on one, itself included."""
        reached = {name}
        for tap in self.taps:
            if reached.intersection(tap.inputs):
                reached.add(tap.name)
        return reached

    def heads_of(self, name: str) -> tuple[str, ...]:
        """The graph's outputs that depend on a tensor."""
        reached = self.downstream(name)
        return tuple(output for output in self.outputs if output in reached)


def read_graph(path: Path) -> Graph:
    """The taps of an ONNX file.

    Raises:
        BundleError: when onnx is not installed, or the file is missing or not ONNX.
    """
    graph = load_onnx(path).graph
    taps = [
        Tap(output, node.op_type, node.name, tuple(node.input))
        for node in graph.node
        for output in node.output
        if output and node.op_type != "Constant"
    ]
    picks = [node.output[1] for node in graph.node if node.op_type == _SELECTION]
    return Graph(path, tuple(taps), tuple(output.name for output in graph.output), picks[-1] if picks else "")


@contextmanager
def tapped_engine(path: Path, names: Iterable[str], runtime: str) -> Iterator[Engine]:
    """An engine whose outputs are the graph's and these tensors; OpenVINO or ONNX Runtime on the CPU.

    Raises:
        UnderstudyError: when the file cannot be read or the runtime refuses it.
    """
    model = load_onnx(path)
    known = {output.name for output in model.graph.output}
    for name in names:
        if name not in known:
            model.graph.output.add().name = name
    with tempfile.TemporaryDirectory(prefix="understudy-taps-") as folder:
        tapped = Path(folder) / path.name
        tapped.write_bytes(model.SerializeToString())
        engine: Engine = OpenVinoEngine(tapped) if runtime == "openvino" else OnnxRuntimeEngine(tapped)
        with engine:
            yield engine


def taps_in_both(reference: Graph, candidate: Graph) -> list[Tap]:
    """The reference's taps that the candidate has by the same name."""
    names = {tap.name for tap in candidate.taps}
    return [tap for tap in reference.taps if tap.name in names]
