"""Twenty faults that are planted in a copy of a student, one at a time, and the rung that has to name each.

Each plant also has a harmless form, the same operation with a value that changes nothing: it proves that the fault is
found, and not that something was touched.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from understudy.bundle.bundle import Bundle
from understudy.configuration import file_sha256
from understudy.engines.engine_key import key_of, record_of, write_record
from understudy.errors import InputError
from understudy.frame import PointCloud
from understudy.parity.graph_edit import GraphEdit, node, onnx_type
from understudy.parity.replayed import Vehicle
from understudy.parity.rungs import REPLAY
from understudy.parity.stage import Stage
from understudy.rig import Lidar, Rig

FP32, FP16, INT8, UINT8 = "onnx-fp32", "onnx-fp16", "onnx-int8", "onnx-uint8"
TENSORRT = "tensorrt-fp32"
_LARGEST_HALF = 65504.0


@dataclass(frozen=True)
class Fault:
    """One of the twenty.

    Attributes:
        name: what is wrong.
        place: where it is planted.
        rung: the lowest rung that must not pass.
        refusal: words of the message by which the rung refuses to run; empty where it runs and its boxes depart.
        plant: plants it in a stage; harmless where its second argument is False.
    """

    name: str
    place: str
    rung: str
    plant: Callable[[Stage, bool], None]
    refusal: str = ""


def _scale_boxes(stage: Stage, harm: bool, column: int, factor: float) -> None:
    factors = np.ones(7, np.float32)
    factors[column] = factor if harm else 1.0
    edit = stage.graph("fp32")
    constant = edit.add_constant("planted_factors", factors)
    edit.reroute("boxes", lambda before, after: [node("Mul", [before, constant], after)])


def _swap_box_axes(stage: Stage, harm: bool) -> None:
    order = [1, 0, 2, 3, 4, 5, 6] if harm else [*range(7)]
    edit = stage.graph("fp32")
    constant = edit.add_constant("planted_order", np.array(order, np.int64))
    edit.reroute("boxes", lambda before, after: [node("Gather", [before, constant], after, axis=1)])


def _wrong_yaw_sign(stage: Stage, harm: bool) -> None:
    _scale_boxes(stage, harm, column=6, factor=-1.0)


def _half_a_cell(stage: Stage, harm: bool) -> None:
    offset = np.zeros(7, np.float32)
    offset[:2] = stage.contract.grid.cell_m / 2 if harm else 0.0
    edit = stage.graph("fp32")
    constant = edit.add_constant("planted_offset", offset)
    edit.reroute("boxes", lambda before, after: [node("Add", [before, constant], after)])


def _transposed_grid(stage: Stage, harm: bool) -> None:
    grid = stage.contract.grid
    if grid.height != grid.width:
        raise InputError("grid", found=f"{grid.height} x {grid.width} cells", wanted="a square one to transpose")
    edit = stage.graph("fp32")
    order = [0, 1, 3, 2] if harm else [0, 1, 2, 3]
    seen = edit.first("Conv").input[0]
    edit.reroute(seen, lambda before, after: [node("Transpose", [before], after, perm=order)])


def _index_of_grid(edit: GraphEdit) -> str:
    """The float tensor of cell numbers, before they become integers."""
    indices = edit.first("ScatterND").input[1]
    cast = next((entry for entry in edit.upstream(indices) if entry.op_type == "Cast"), None)
    if cast is None:
        raise edit.lacks("cell numbers that were never floating-point numbers")
    return str(cast.input[0])


def _half_coordinates(stage: Stage, harm: bool) -> None:
    edit = stage.graph("fp16")
    index = _index_of_grid(edit)
    largest = edit.add_constant("planted_largest", np.array(_LARGEST_HALF if harm else np.finfo("f4").max, np.float32))

    def rounded(before: str, after: str) -> list[Any]:
        kind = onnx_type("float16" if harm else "float32")
        return [
            node("Min", [before, largest], f"{after}__finite"),
            node("Cast", [f"{after}__finite"], f"{after}__half", to=kind),
            node("Cast", [f"{after}__half"], after, to=onnx_type("float32")),
        ]

    edit.reroute(index, rounded)


def _wrong_range(stage: Stage, harm: bool) -> None:
    """The encoder takes x from two cells farther on; the decoder does not."""
    edit = stage.graph("fp32")
    subtractions = [entry for entry in edit.upstream(_index_of_grid(edit)) if entry.op_type == "Sub"]
    for entry in reversed(subtractions):
        low = edit.constant(entry.input[1])
        if low is not None:
            shifted = low.copy()
            shifted.reshape(-1)[0] += 2 * stage.contract.grid.cell_m if harm else 0.0
            edit.give_own_constant(entry, 1, shifted)
            return
    raise edit.lacks("no lower corner of the grid")


def _dropped_threshold(stage: Stage, harm: bool) -> None:
    classes = tuple(
        entry.model_copy(update={"score_threshold": 0.0 if harm else entry.score_threshold})
        for entry in stage.contract.classes
    )
    stage.contract = stage.contract.model_copy(update={"classes": classes})


def _wrong_class_order(stage: Stage, harm: bool) -> None:
    count = len(stage.contract.classes)
    if count < 2:
        raise InputError("classes", found="one", wanted="two or more to mix up")
    order = np.arange(count)[::-1] if harm else np.arange(count)
    edit = stage.graph("fp32")
    constant = edit.add_constant("planted_classes", order.astype(np.int32))
    edit.reroute("labels", lambda before, after: [node("Gather", [constant, before], after)])


def _saturated_scale(stage: Stage, harm: bool) -> None:
    """The scale of the last convolution's input is a sixteenth: what is larger is cut off."""
    edit = stage.graph("int8")
    scale = edit.nodes("QuantizeLinear")[-1].input[1] if edit.nodes("QuantizeLinear") else ""
    value = edit.constant(scale)
    if value is None:
        raise edit.lacks("no scale of an activation")
    edit.set_constant(scale, (value / 16 if harm else value).astype(np.float32))


def _wrong_zero_point(stage: Stage, harm: bool) -> None:
    """An activation is written with a zero point and read with another one."""
    edit = stage.graph("uint8")
    convolutions = [edit.producer(entry.input[0]) for entry in edit.nodes("Conv")]
    readers = [entry for entry in convolutions if entry is not None and entry.op_type == "DequantizeLinear"]
    if not readers:
        raise edit.lacks("no activation in uint8")
    reader = readers[len(readers) // 2]
    zero = edit.constant(reader.input[2])
    assert zero is not None
    edit.give_own_constant(reader, 2, np.array(zero ^ 128 if harm else zero, np.uint8).reshape(zero.shape))


def _largest_weights(edit: GraphEdit) -> tuple[str, NDArray[Any]]:
    weights = {entry.input[1]: edit.constant(entry.input[1]) for entry in edit.nodes("Conv")}
    known = {name: value for name, value in weights.items() if value is not None}
    if not known:
        raise edit.lacks("no weights of a convolution")
    name = max(known, key=lambda entry: known[entry].size)
    return name, known[name]


def _truncated_weights(stage: Stage, harm: bool) -> None:
    """Behind the first half of the largest tensor of weights there is nothing."""
    edit = stage.graph("fp32")
    name, value = _largest_weights(edit)
    cut = value.reshape(-1).copy()
    cut[cut.size // 2 if harm else cut.size :] = 0.0
    edit.set_constant(name, cut.reshape(value.shape))


def _swapped_channels(stage: Stage, harm: bool) -> None:
    """The first convolution that sees several channels sees them in reverse."""
    edit = stage.graph("fp32")
    for entry in edit.nodes("Conv"):
        value = edit.constant(entry.input[1])
        if value is not None and value.shape[1] > 1:
            edit.set_constant(entry.input[1], value[:, ::-1] if harm else value)
            return
    raise edit.lacks("no convolution of several channels")


def _missing_sigmoid(stage: Stage, harm: bool) -> None:
    edit = stage.graph("fp32")
    sigmoid = edit.first("Sigmoid")
    if harm:
        sigmoid.op_type = "Identity"
    else:
        edit.reroute(sigmoid.output[0], lambda before, after: [node("Identity", [before], after)])


def _wrong_suppression(stage: Stage, harm: bool) -> None:
    """Any two boxes of a class count as one object, however far apart."""
    edit = stage.graph("fp32")
    for entry in reversed(edit.nodes("Greater")):
        limit = edit.constant(entry.input[1])
        is_behind_selection = any(before.op_type == "TopK" for before in edit.upstream(entry.input[0]))
        if limit is not None and is_behind_selection:
            edit.give_own_constant(entry, 1, np.full_like(limit, -1.0) if harm else limit)
            return
    raise edit.lacks("no suppression by overlap")


def _wrong_profile(stage: Stage, harm: bool) -> None:
    """The graph was exported for a fixed number of points, fewer than a sweep has."""
    edit, name = stage.graph("fp32"), _points_input(stage)
    if harm:
        edit.fix_rows(name, max(1, stage.num_points // 2))


def _points_input(stage: Stage) -> str:
    """The name of the input that takes raw points."""
    name = stage.bundle.manifest.inputs[0].name
    if name != "points":
        raise InputError("inputs", found=name, wanted="raw points")
    return name


def _padding_counted(stage: Stage, harm: bool) -> None:
    """Behind the sweep the input still holds the remains of a larger one, and they are taken for points."""
    edit, name = stage.graph("fp32"), _points_input(stage)
    grid = stage.contract.grid
    rng = np.random.default_rng(0)
    count = 40 * grid.height if harm else 0
    lows, highs = zip(grid.x_range_m, grid.y_range_m, grid.z_range_m, strict=True)
    remains = np.column_stack([rng.uniform(lows, highs, (count, 3)) - (0, 0, 1.5), np.zeros(count)])
    constant = edit.add_constant("planted_remains", remains.astype(np.float32))
    edit.reroute_input(name, lambda before, after: [node("Concat", [before, constant], after, axis=0)])


def _wrong_intensity_scale(stage: Stage, harm: bool) -> None:
    """The vehicle's rig says that ten times the raw value means 1."""
    if not stage.contract.input.uses_intensity:
        raise InputError("student", found="it does not look at intensity", wanted="one that does")

    def changed(rig: Rig) -> Rig:
        sensors = {
            name: sensor.model_copy(update={"intensity_scale": sensor.intensity_scale * (10.0 if harm else 1.0)})
            if isinstance(sensor, Lidar)
            else sensor
            for name, sensor in rig.sensors.items()
        }
        return rig.model_copy(update={"sensors": sensors})

    stage.vehicle = replace(stage.vehicle, rig=changed)


def _driven(stage: Stage, sweep: Callable[[PointCloud], PointCloud]) -> None:
    if not stage.contract.sees_points:
        raise InputError("student", found="it looks at no cloud", wanted="one that does")
    stage.vehicle = Vehicle(stage.vehicle.rig, sweep)


def _wrong_time_offset(stage: Stage, harm: bool) -> None:
    """The driver stamps sweeps half a turn early."""
    offset_ns = -50_000_000 if harm else 0
    _driven(stage, lambda cloud: replace(cloud, stamp_ns=cloud.stamp_ns + offset_ns))


def _wrong_unit(stage: Stage, harm: bool) -> None:
    """The driver publishes millimeters."""
    factor = np.array([1000.0, 1000.0, 1000.0, 1.0] if harm else [1.0] * 4, np.float32)
    _driven(stage, lambda cloud: replace(cloud, points=np.ascontiguousarray(cloud.points * factor)))


def _stale_engine(stage: Stage, harm: bool) -> None:
    """Beside the model lies an engine that was built from an older one of the same shape."""

    def compiled(bundle: Bundle) -> None:
        key = key_of(bundle, "fp32", "this", "tensorrt 10.3.0")
        key = replace(key, onnx_sha256="0" * 64) if harm else key
        bundle.engines_folder.mkdir(exist_ok=True)
        file = bundle.engines_folder / f"{key.stem}.engine"
        file.write_bytes(b"built from another model")
        record = record_of(key, bundle.manifest.inputs, bundle.manifest.outputs, build_s=1.0)
        write_record(bundle, key, record.model_copy(update={"file": file.name, "sha256": file_sha256(file)}))

    stage.engines = compiled


FAULTS: tuple[Fault, ...] = (
    Fault("swapped box axes", "fp32 graph", FP32, _swap_box_axes),
    Fault("wrong intensity scale", "vehicle's rig", REPLAY, _wrong_intensity_scale),
    Fault("transposed grid", "fp32 graph", FP32, _transposed_grid),
    Fault("stale engine", "engines/", TENSORRT, _stale_engine, refusal="built from another model"),
    Fault("wrong yaw sign", "fp32 graph", FP32, _wrong_yaw_sign),
    Fault("off by half a cell", "fp32 graph", FP32, _half_a_cell),
    Fault("float16 coordinates", "fp16 graph", FP16, _half_coordinates),
    Fault("dropped threshold", "manifest", FP32, _dropped_threshold),
    Fault("wrong class order", "fp32 graph", FP32, _wrong_class_order),
    Fault("saturated Q/DQ scale", "int8 graph", INT8, _saturated_scale),
    Fault("uint8 zero point", "uint8 graph", UINT8, _wrong_zero_point),
    Fault("truncated weights", "fp32 weights", FP32, _truncated_weights),
    Fault("swapped channels", "fp32 weights", FP32, _swapped_channels),
    Fault("wrong range", "fp32 graph", FP32, _wrong_range),
    Fault("wrong time offset", "bag's stamps", REPLAY, _wrong_time_offset, refusal="ms away"),
    Fault("missing sigmoid", "fp32 graph", FP32, _missing_sigmoid),
    Fault("wrong NMS threshold", "fp32 graph", FP32, _wrong_suppression),
    Fault("wrong profile", "fp32 inputs", FP32, _wrong_profile, refusal="input points"),
    Fault("padded points counted", "fp32 feeds", FP32, _padding_counted),
    Fault("wrong unit", "bag's points", REPLAY, _wrong_unit, refusal="millimeters"),
)
