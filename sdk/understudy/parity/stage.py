"""A copy of a student in which a fault is planted: its files, its contract, its compiled engines and its vehicle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from understudy.bundle.bundle import Bundle, PackedModel, write_bundle
from understudy.bundle.manifest import Contract, Precision
from understudy.errors import InputError
from understudy.parity.graph_edit import GraphEdit
from understudy.parity.replayed import Vehicle
from understudy.parity.rungs import tolerance_of


@dataclass(eq=False)
class Stage:
    """What a plant may change.

    Attributes:
        bundle: the student as it was given; nothing of it is changed.
        num_points: in the sparsest cloud that will be shown.
        contract: of the copy.
        vehicle: of the copy.
        edits: graphs that were changed, by precision.
        engines: writes what is wrong with compiled engines into the copy.
    """

    bundle: Bundle
    num_points: int
    contract: Contract
    vehicle: Vehicle = field(default_factory=Vehicle)
    edits: dict[Precision, GraphEdit] = field(default_factory=dict)
    engines: Callable[[Bundle], None] | None = None

    def graph(self, precision: Precision) -> GraphEdit:
        """The graph of a precision, to be changed. Without a float16 file the float32 one stands for it.

        Raises:
            InputError: when the student has no such file.
        """
        models = self.bundle.manifest.models
        source: Precision = "fp32" if precision == "fp16" and "fp16" not in models else precision
        if source not in models:
            raise InputError("student", found=f"no {precision} model", wanted="one to plant it in")
        if precision not in self.edits:
            self.edits[precision] = GraphEdit(self.bundle.model(source))
        return self.edits[precision]

    def write(self, folder: Path) -> Bundle:
        """Packs the copy as every bundle is packed, with hashes of its own."""
        manifest = self.bundle.manifest
        models = {
            name: PackedModel(self.bundle.model(name), m.opset, m.ir_version) for name, m in manifest.models.items()
        }
        folder.mkdir(parents=True)
        for precision, edit in self.edits.items():
            like = models.get(precision, models["fp32"])
            path = edit.write(folder / f"{precision}.onnx")
            models[precision] = PackedModel(path, like.opset, like.ir_version)
        tolerances = {
            name: tolerance_of(self.bundle, name if name in manifest.tolerances else "fp32") for name in models
        }
        copy = write_bundle(
            folder / "bundle",
            self.contract,
            models,
            inputs=manifest.inputs,
            outputs=manifest.outputs,
            tolerances=tolerances,
            fingerprints=manifest.fingerprints,
        )
        if self.engines is not None:
            self.engines(copy)
        return copy


def stage_of(bundle: Bundle, num_points: int) -> Stage:
    """A copy in which nothing is changed yet."""
    fields = {name: getattr(bundle.manifest, name) for name in Contract.model_fields}
    return Stage(bundle, num_points, Contract(**fields))
