"""A machine that stands still for a second fails no test."""

from __future__ import annotations

from hypothesis import settings


def test_examples_of_properties_may_take_their_time() -> None:
    assert settings(max_examples=1).deadline is None
