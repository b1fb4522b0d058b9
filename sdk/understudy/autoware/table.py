"""What maps and what does not, for the terminal and for the README of a model package."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from understudy.autoware.parameters import Entry
from understudy.bundle.manifest import Manifest
from understudy.cards import card

_README = """# {name}: an Autoware model package

Made by understudy in the layout of Autoware's model packages. **It does not run in `autoware_lidar_centerpoint`**: that
node computes voxel features, runs a voxel encoder and a head as two networks and decodes boxes itself; this student is
one graph from raw points to boxes. The node refuses this package by its version, before it opens anything.

It runs in understudy's node, from the bundle in this folder:

```
ros2 launch understudy_ros lidar.launch.py bundle:=$PWD/bundle.zip rig:=RIG.yaml points:=/sensing/lidar/pointcloud
```

which publishes `vision_msgs/Detection3DArray` in `base_link` with the sweep's own stamp. For
`autoware_perception_msgs/DetectedObjects`, a node of your own of ten lines: understudy's page on Autoware has it.

## Classes

| class of the student | label of Autoware |
|---|---|
{classes}

## Parameters of `ml_package.param.yaml`

| parameter | value | means the same there | |
|---|---|---|---|
{rows}
"""


def readme(manifest: Manifest, entries: Sequence[Entry], labels: Sequence[str], onnx_name: str) -> str:
    """The README of a package."""
    classes = "\n".join(f"| {name} | {label} |" for name, label in zip(manifest.class_names, labels, strict=True))
    rows = "\n".join(
        f"| `{entry.name}` | {_value(entry, onnx_name)} | {'yes' if entry.maps else 'no'} | {entry.meaning} |"
        for entry in entries
    )
    return _README.format(name=manifest.name, classes=classes, rows=rows)


def describe(manifest: Manifest, entries: Sequence[Entry], labels: Sequence[str]) -> Iterator[str]:
    """The same for a terminal: classes, what maps, what does not and why."""
    pairs = [f"{name} -> {label}" for name, label in zip(manifest.class_names, labels, strict=True)]
    yield card("classes", [("", ", ".join(pairs))])
    yield card("means the same in Autoware", [("", ", ".join(_short(entry) for entry in entries if entry.maps))])
    reasons: dict[str, list[str]] = {}
    for entry in entries:
        if not entry.maps:
            reasons.setdefault(entry.meaning, []).append(_short(entry))
    yield card("does not", [("", f"{', '.join(names)}: {reason}") for reason, names in reasons.items()])
    unknown = [name for name, label in zip(manifest.class_names, labels, strict=True) if label == "UNKNOWN"]
    if unknown:
        yield card("UNKNOWN there", [("", f"{', '.join(unknown)}; --class {unknown[0]}=LABEL says what it is")])


def _short(entry: Entry) -> str:
    return entry.name.removeprefix("model_params.").removeprefix("detection_score_thresholds.")


def _value(entry: Entry, onnx_name: str) -> str:
    if entry.value is None:
        return "not written"
    text = str(entry.value)
    return f"[{onnx_name}]({onnx_name})" if text == onnx_name else f"`{text}`" if text else "empty"
