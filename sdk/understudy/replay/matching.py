"""The words of `understudy replay` that say which pictures belong to a sweep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from understudy.errors import InputError
from understudy.live.options import Rule
from understudy.synchronization.matcher import SyncPolicy

_RULES: dict[str, Rule] = {"nearest": "nearest", "approximate-time": "approximate_time"}
_LONGEST_S = 10.0
"""A longer slop or wait is a mistake in the unit: milliseconds were written."""


@dataclass(frozen=True)
class Matching:
    """How camera frames are matched to sweeps."""

    rule: Rule
    policy: SyncPolicy


def matching_from(
    cameras: bool, rule: str = "", require: str = "", max_wait_s: float | None = None, slop_s: float | None = None
) -> Matching:
    """What the command line asks for; what is left out is `SyncPolicy`'s.

    Args:
        cameras: whether there is anything to match.
        rule: `nearest` or `approximate-time`; empty is `nearest`.
        require: `all`, `any` or a number of cameras.
        max_wait_s: longest that a sweep waits, for its cameras or to know where the ego was.
        slop_s: farthest that a camera frame may be from the sweep's reference time.

    Raises:
        InputError: when a word is wrong, or says something that nobody would look at.
    """
    given = {"--rule": rule, "--require": require, "--slop": slop_s, "--max-wait": max_wait_s}
    said = [name for name, value in given.items() if value not in {"", None}]
    if not cameras and set(said) - {"--max-wait"}:
        raise InputError(" and ".join(said), found="no --cameras", wanted="cameras to match")
    if (rule or "nearest") not in _RULES:
        raise InputError("--rule", found=rule, wanted=" or ".join(_RULES))
    chosen = _RULES[rule or "nearest"]
    said = [name for name in said if name != "--rule"]
    if chosen == "approximate_time" and said:
        wanted = "none of them: this rule gives whole sets only and knows no time-out"
        raise InputError("--rule approximate-time", found=" and ".join(said), wanted=wanted)
    numbers = {"max_wait_ns": _time_ns("--max-wait", max_wait_s), "tolerance_ns": _time_ns("--slop", slop_s)}
    asked = {name: value for name, value in numbers.items() if value is not None}
    return Matching(chosen, SyncPolicy().model_copy(update={**asked, **_required(require)}))


def camera_topics_from(words: Sequence[str]) -> dict[str, str]:
    """Topics by camera, each written as `front=/front/image_raw`.

    Raises:
        InputError: when a word is not written so, or a camera is named twice.
    """
    pairs = [word.partition("=")[::2] for word in words]
    if not all(name and topic.startswith("/") for name, topic in pairs) or len(dict(pairs)) < len(pairs):
        raise InputError("--camera", found=" and ".join(words), wanted="each camera once, as front=/front/image_raw")
    return dict(pairs)


def _required(text: str) -> dict[str, object]:
    if text in {"all", "any"}:
        return {"require": text}
    if text.isdecimal() and len(text) < 4:
        return {"require": "min_n", "min_cameras": int(text)}
    if text:
        raise InputError("--require", found=text, wanted="all, any or a number of cameras")
    return {}


def _time_ns(option: str, value_s: float | None) -> int | None:
    if value_s is None:
        return None
    if not 0 <= value_s <= _LONGEST_S:
        raise InputError(option, found=f"{value_s:g} s", wanted=f"0 to {_LONGEST_S:g} s")
    return round(value_s * 1e9)
