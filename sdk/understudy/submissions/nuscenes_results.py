"""The nuScenes detection task's result file: one JSON with `meta` and, for every sample token, a list of boxes.

Source: the submission format in the detection task's description, nuscenes-devkit 1.2.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from understudy.configuration import Config
from understudy.converters.class_maps import NUSCENES_DETECTION_NAMES
from understudy.datasets.files import read_json
from understudy.errors import InputError
from understudy.metrics.nuscenes import MAX_BOXES_PER_SAMPLE
from understudy.metrics.nuscenes_objects import ATTRIBUTE_NAMES, NO_ATTRIBUTE, UNKNOWN_POINTS, NuscenesObjects

_NUMBERS = {"translation": 3, "size": 3, "rotation": 4, "velocity": 2}
_LABEL_OF = {name: label for label, name in enumerate(NUSCENES_DETECTION_NAMES)}
_ATTRIBUTE_OF = {"": NO_ATTRIBUTE, **{name: number for number, name in enumerate(ATTRIBUTE_NAMES)}}


class Modalities(Config):
    """What a submission says that it used."""

    use_camera: bool = False
    use_lidar: bool = True
    use_radar: bool = False
    use_map: bool = False
    use_external: bool = False


def write_file(path: Path, entries: Iterable[tuple[str, NuscenesObjects]], meta: Modalities) -> None:
    """Writes the file sample by sample, so that no more than one is held; objects carry scores and velocities."""
    with path.open("w", encoding="utf-8") as stream:
        stream.write(f'{{"meta": {meta.model_dump_json()}, "results": {{')
        for number, (token, objects) in enumerate(entries):
            boxes = json.dumps(_boxes(token, objects), separators=(",", ":"))
            stream.write(f"{', ' if number else ''}\n{json.dumps(token)}: {boxes}")
        stream.write("\n}}\n")


def _boxes(token: str, objects: NuscenesObjects) -> list[dict[str, Any]]:
    return [
        {
            "sample_token": token,
            "translation": objects.centers_m[row].tolist(),
            "size": objects.sizes_m[row].tolist(),
            "rotation": objects.rotations_wxyz[row].tolist(),
            "velocity": objects.velocities_mps[row].tolist(),
            "detection_name": NUSCENES_DETECTION_NAMES[objects.labels[row]],
            "detection_score": float(objects.scores[row]),
            "attribute_name": "" if objects.attributes[row] < 0 else ATTRIBUTE_NAMES[objects.attributes[row]],
        }
        for row in range(len(objects))
    ]


def read_file(path: Path, tokens: Sequence[str]) -> NuscenesObjects:
    """All detections of a result file, in its order, for exactly these samples.

    Raises:
        InputError: naming file, sample and field, when a sample is missing or unknown or holds more than 500 boxes, or
            a field is missing or holds something else than the format says.
    """
    content = read_json(path)
    results = content.get("results") if isinstance(content, dict) else None
    if not isinstance(results, dict):
        raise InputError(f"{path}", found="no object `results`", wanted="a nuScenes detection result file")
    if not isinstance(content.get("meta"), dict):
        raise InputError(f"{path}", found="no object `meta`", wanted="use_camera, use_lidar and so on")
    _check_samples(path, results, tokens)
    number_of = {token: number for number, token in enumerate(tokens)}
    parts = [_objects(f"{path}: sample {token}", number_of[token], token, boxes) for token, boxes in results.items()]
    return NuscenesObjects.concatenate([NuscenesObjects.empty(), *parts])


def _check_samples(path: Path, results: Mapping[str, Any], tokens: Sequence[str]) -> None:
    missing = [token for token in tokens if token not in results]
    strangers = sorted(set(results) - set(tokens))
    remedy = "results must be for every sample of the split that is scored, an empty list where nothing was found"
    if missing:
        found = f"{len(missing)} of {len(tokens)} samples missing, such as {missing[0]}"
        raise InputError(f"{path}: results", found=found, wanted="every sample", remedy=remedy)
    if strangers:
        found = f"{len(strangers)} samples that the data set has not, such as {strangers[0]}"
        raise InputError(f"{path}: results", found=found, remedy=remedy)


def _objects(source: str, sample: int, token: str, boxes: Any) -> NuscenesObjects:
    if not isinstance(boxes, list):
        raise InputError(source, found=type(boxes).__name__, wanted="a list of boxes")
    if len(boxes) > MAX_BOXES_PER_SAMPLE:
        raise InputError(source, found=f"{len(boxes)} boxes", wanted=f"at most {MAX_BOXES_PER_SAMPLE}")
    count = len(boxes)
    try:
        numbers = {name: _numbers(boxes, name, width) for name, width in _NUMBERS.items()}
        if any(box["sample_token"] != token for box in boxes):
            raise ValueError("sample_token")
        return NuscenesObjects(
            samples=np.full(count, sample, np.int64),
            labels=np.array([_LABEL_OF[box["detection_name"]] for box in boxes], np.int64),
            centers_m=numbers["translation"],
            sizes_m=numbers["size"],
            rotations_wxyz=numbers["rotation"],
            velocities_mps=numbers["velocity"],
            attributes=np.array([_ATTRIBUTE_OF[box["attribute_name"]] for box in boxes], np.int64),
            scores=np.array([_number(box["detection_score"]) for box in boxes]),
            num_points=np.full(count, UNKNOWN_POINTS, np.int64),
        )
    except (KeyError, TypeError, ValueError, OverflowError, InputError):
        raise _first_mistake(source, token, boxes) from None


def _numbers(boxes: list[Any], name: str, width: int) -> NDArray[np.float64]:
    values = np.array([[_number(value) for value in box[name]] for box in boxes], np.float64)
    return values.reshape(len(boxes), width)


def _number(value: Any) -> float:
    if isinstance(value, bool | str):
        raise TypeError(value)
    return float(value)


def _first_mistake(source: str, token: str, boxes: list[Any]) -> InputError:
    """The error that names the box and the field; called when something is known to be wrong."""
    for number, box in enumerate(boxes):
        what = f"{source}: box {number}"
        if not isinstance(box, dict):
            return InputError(what, found=type(box).__name__, wanted="an object")
        for field, (usable, wanted) in _fields(token).items():
            if field not in box:
                return InputError(what, found=f"no {field}", wanted=wanted)
            if not usable(box[field]):
                return InputError(f"{what}: {field}", found=repr(box[field])[:80], wanted=wanted)
    raise AssertionError(f"{source}: refused for no reason that is known")


def _fields(token: str) -> dict[str, tuple[Callable[[Any], bool], str]]:
    names, attributes = ", ".join(_LABEL_OF), ", ".join(ATTRIBUTE_NAMES)
    return {
        "sample_token": (lambda value: bool(value == token), f"{token}, the sample it is listed under"),
        "translation": (lambda value: _is_vector(value, 3), "3 finite numbers"),
        "size": (lambda value: _is_vector(value, 3) and min(value) > 0, "3 numbers above 0: width, length, height"),
        "rotation": (lambda value: _is_vector(value, 4) and any(value), "a quaternion w, x, y, z"),
        "velocity": (lambda value: _is_vector(value, 2, finite=False), "2 numbers"),
        "detection_name": (lambda value: isinstance(value, str) and value in _LABEL_OF, f"one of {names}"),
        "detection_score": (lambda value: _is_vector([value], 1) and value >= 0, "a finite number of 0 or more"),
        "attribute_name": (
            lambda value: isinstance(value, str) and value in _ATTRIBUTE_OF,
            f"one of {attributes}, or empty",
        ),
    }


def _is_vector(value: Any, width: int, *, finite: bool = True) -> bool:
    if not isinstance(value, list) or len(value) != width:
        return False
    try:
        numbers = np.array([_number(entry) for entry in value])
    except (TypeError, ValueError, OverflowError):
        return False
    return bool(np.isfinite(numbers).all()) or not finite
