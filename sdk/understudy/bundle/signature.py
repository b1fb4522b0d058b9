"""What every graph of a task must take and say: names, dtypes and shapes, in one table."""

from __future__ import annotations

from collections.abc import Sequence

from understudy.bundle.manifest import Contract, ImagesInput, Pictures, PointsInput, Tensor
from understudy.errors import BundleError

POINT_FIELDS = ("x", "y", "z", "intensity")

_POINTS = (
    Tensor(name="points", dtype="float32", shape=("N", 4)),
    Tensor(name="ego_from_sensor", dtype="float32", shape=(3, 4)),
    Tensor(name="intensity_factor", dtype="float32", shape=(1,)),
)
_DETECTIONS = (
    Tensor(name="boxes", dtype="float32", shape=("K", 7)),
    Tensor(name="scores", dtype="float32", shape=("K",)),
    Tensor(name="labels", dtype="int32", shape=("K",)),
)


def expected_inputs(contract: Contract) -> tuple[Tensor, ...]:
    """Inputs of a graph that keeps the contract; a string is a dimension that may vary or is the graph's choice."""
    pictures = () if contract.pictures is None else _pictures(contract.pictures)
    return (*_of_points(contract), *pictures)


def _of_points(contract: Contract) -> tuple[Tensor, ...]:
    if isinstance(contract.input, ImagesInput):
        return ()
    if isinstance(contract.input, PointsInput):
        return _POINTS
    return (
        Tensor(name="pillars", dtype="float32", shape=("V", contract.input.max_points_per_pillar, 4)),
        Tensor(name="num_points", dtype="int32", shape=("V",)),
        Tensor(name="cells", dtype="int32", shape=("V",)),
    )


def _pictures(pictures: Pictures) -> tuple[Tensor, ...]:
    number, slots = pictures.num_cameras, len(pictures.heights_m) * pictures.hits
    return (
        Tensor(name="images", dtype="uint8", shape=(number, pictures.height_px, pictures.width_px, 3)),
        Tensor(name="camera_mask", dtype="float32", shape=(number,)),
        Tensor(name="lift_pixels", dtype="int32", shape=(slots, "cells")),
        Tensor(name="lift_depths", dtype="int32", shape=(slots, "cells")),
    )


def expected_outputs(contract: Contract) -> tuple[Tensor, ...]:
    """Outputs of a graph that keeps the contract."""
    return _DETECTIONS


def refuse_unless_signature(
    contract: Contract, inputs: Sequence[Tensor], outputs: Sequence[Tensor], source: str
) -> None:
    """Raises BundleError when a tensor is missing, unknown, or of another dtype or shape than the contract's kind."""
    if contract.sees_points and contract.input.point_fields != POINT_FIELDS:
        raise BundleError(
            f"{source}: point_fields",
            found=", ".join(contract.input.point_fields),
            wanted=", ".join(POINT_FIELDS),
            remedy="train a student on these fields",
        )
    for role, wanted, found in (
        ("inputs", expected_inputs(contract), inputs),
        ("outputs", expected_outputs(contract), outputs),
    ):
        if not _all_fit(wanted, found):
            raise BundleError(
                f"{source}: {role}",
                found=_list(found),
                wanted=_list(wanted),
                remedy="export it again with this version of understudy",
            )


def _all_fit(wanted: Sequence[Tensor], found: Sequence[Tensor]) -> bool:
    by_name = {tensor.name: tensor for tensor in found}
    return len(by_name) == len(wanted) and all(
        tensor.name in by_name and _fits(tensor, by_name[tensor.name]) for tensor in wanted
    )


def _fits(wanted: Tensor, found: Tensor) -> bool:
    """Whether dtype and rank agree and no fixed dimension differs."""
    return (
        wanted.dtype == found.dtype
        and len(wanted.shape) == len(found.shape)
        and all(
            isinstance(a, str) or isinstance(b, str) or a == b for a, b in zip(wanted.shape, found.shape, strict=True)
        )
    )


def _list(tensors: Sequence[Tensor]) -> str:
    return ", ".join(
        f"{tensor.name} {tensor.dtype}({', '.join(str(size) for size in tensor.shape)})" for tensor in tensors
    )
