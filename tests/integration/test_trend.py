"""The soak tests' verdict: a leak is seen, noise is none."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.trend import trend_of

ELAPSED_S = np.arange(0.0, 540.0, 5.0)


def noise(seed: int, wander: float) -> np.ndarray:
    """Neighbors are alike: each keeps that share of the one before."""
    rng, values = np.random.default_rng(seed), np.zeros(len(ELAPSED_S))
    for place in range(1, len(values)):
        values[place] = wander * values[place - 1] + rng.normal(0, 0.3)
    return values


def test_a_line_is_found_with_no_doubt() -> None:
    trend = trend_of(ELAPSED_S, 100 + 12 * ELAPSED_S / 3600)

    assert trend.per_hour == pytest.approx(12)
    assert trend.low == pytest.approx(12, abs=1e-6)
    assert trend.high == pytest.approx(12, abs=1e-6)
    assert not trend.is_flat(10)


def test_what_never_changes_is_flat() -> None:
    trend = trend_of(ELAPSED_S, np.full(len(ELAPSED_S), 26.0))

    assert (trend.per_hour, trend.low, trend.high) == pytest.approx((0, 0, 0), abs=1e-9)
    assert trend.is_flat(1)


@pytest.mark.parametrize("wander", [0.0, 0.5])
def test_the_interval_holds_the_true_slope_about_as_often_as_it_says(wander: float) -> None:
    held = 0
    for seed in range(200):
        trend = trend_of(ELAPSED_S, 100 + 6 * ELAPSED_S / 3600 + noise(seed, wander))
        held += trend.low <= 6 <= trend.high

    assert held >= 180


def test_a_megabyte_a_minute_is_not_flat_and_noise_is() -> None:
    leaking = [trend_of(ELAPSED_S, 140 + ELAPSED_S / 60 + noise(seed, 0.5)) for seed in range(20)]
    steady = [trend_of(ELAPSED_S, 140 + noise(seed, 0.5)) for seed in range(20)]

    assert not any(trend.is_flat(30) for trend in leaking)
    assert all(trend.is_flat(30) for trend in steady)
