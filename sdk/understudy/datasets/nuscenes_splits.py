"""Which scenes of nuScenes are for training and which for judging: the official splits, by scene name.

Source: the split lists of the nuScenes development kit (1.2.0). The releases hold exactly the scenes of their splits,
so the 150 numbers of `val` decide `train` too, and `test` is everything that the test release holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from understudy.datasets.files import read_json
from understudy.errors import InputError, MissingSplit

MINI, TRAINVAL, TEST = "v1.0-mini", "v1.0-trainval", "v1.0-test"
CUSTOM_SPLITS = "splits.json"
"""Where the development kit (and this reader) looks for splits of one's own: split name to a list of scene names."""

VERSION_OF_SPLIT: Mapping[str, str] = {
    **{"mini_train": MINI, "mini_val": MINI},
    **{"train": TRAINVAL, "val": TRAINVAL, "test": TEST},
}

_MINI_VAL = ("scene-0103", "scene-0916")
_VAL_RANGES = (
    *((3, 3), (12, 18), (35, 39), (92, 110), (221, 221), (268, 278), (329, 332), (344, 346), (519, 524), (552, 565)),
    *((625, 638), (770, 784), (794, 802), (904, 931), (962, 972), (1059, 1073)),
)
"""First and last number of val's scenes; numbers in between that no release holds are covered too."""


def scenes_of_split(folder: Path, split: str, scene_names: Sequence[str]) -> set[str]:
    """Names of a split's scenes among those of the tables in `folder` (such as `v1.0-mini`).

    Raises:
        InputError: when there is no such split of that version, or none of its scenes is there.
    """
    custom = _custom_splits(folder)
    known = [*custom, *(name for name, version in VERSION_OF_SPLIT.items() if version == folder.name)]
    if split not in known:
        wanted = " or ".join([*known, "all"])
        remedy = f"splits of your own go into {folder / CUSTOM_SPLITS}: split name to a list of scene names"
        raise MissingSplit(f"{folder}: split {split}", found="no such split", wanted=wanted, remedy=remedy)
    if split in custom:
        chosen = set(custom[split]) & set(scene_names)
    else:
        chosen = {name for name in scene_names if _official_split(folder.name, name) == split}
    if not chosen:
        found = f"none of its scenes among {len(scene_names)}"
        raise MissingSplit(f"{folder}: split {split}", found=found, wanted=f"scenes of {split} in scene.json")
    return chosen


def _official_split(version: str, scene: str) -> str:
    if version == TEST:
        return "test"
    if version == MINI:
        return "mini_val" if scene in _MINI_VAL else "mini_train"
    number = int(scene.rpartition("-")[2]) if scene.rpartition("-")[2].isdecimal() else -1
    return "val" if any(first <= number <= last for first, last in _VAL_RANGES) else "train"


def _custom_splits(folder: Path) -> dict[str, list[str]]:
    path = folder / CUSTOM_SPLITS
    if not path.is_file():
        return {}
    content = read_json(path)
    if not isinstance(content, dict) or not all(isinstance(names, list) for names in content.values()):
        raise InputError(f"{path}", found="something else", wanted="split name to a list of scene names")
    return content
