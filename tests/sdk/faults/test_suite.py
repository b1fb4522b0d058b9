"""The core under every fault: 60 scenarios here, a thousand in CI's second step."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from understudy.cli import build_app
from understudy.errors import UnderstudyError
from understudy.faults.catalog import FAULTS
from understudy.faults.invariants import INVARIANTS
from understudy.faults.report import FaultReport, describe, report_of
from understudy.faults.scenario import numbers
from understudy.faults.suite import Bench, Judged, run_suite


def report_from(bench: Bench, seed: int, count: int, only: str = "") -> FaultReport:
    judged = list(run_suite(numbers(seed, count, only), bench))
    return report_of(judged, seed=seed, only=only, student="tiny")


def test_sixty_scenarios_hold_every_invariant(bench: Bench) -> None:
    report = report_from(bench, 0, 60)
    assert report.holds, "\n".join(describe(report))
    assert {row.fault for row in report.rows} == {*FAULTS, "all"}


@pytest.mark.parametrize("number", [458, 830, 5154, 5298])
def test_scenarios_that_have_found_something_hold(bench: Bench, number: int) -> None:
    """Two sets that closed at once; sweeps that waited while the clock was set back by less than a second."""
    [judged] = run_suite([number], bench)
    assert not judged.violations


@pytest.mark.slow
def test_a_thousand_scenarios_hold_every_invariant(bench: Bench) -> None:
    report = report_from(bench, 0, 1000)
    assert report.holds, "\n".join(describe(report))
    total = report.rows[-1]
    assert total.recovered.num == 1000
    assert total.stock_recovered.num < total.recovered.num
    assert total.stock_published.num < total.published.num


def test_a_scenario_gives_the_same_every_time(bench: Bench) -> None:
    first, second = (list(run_suite([5, 104, 215], bench)) for _ in range(2))
    assert first == second


def test_the_tables_fit_a_terminal_and_name_what_to_run_again() -> None:
    bad = [
        Judged(number, kind, f"{number}: {kind}", {"fresh": "too old"} if number < 30 else {}, (1_500_000_000,), None)
        for number, kind in enumerate([*FAULTS, *FAULTS])
    ]
    report = report_of(bad, seed=0, only="", student="tiny")
    lines = describe(report)
    assert not report.holds
    assert max(len(line) for line in lines) <= 100
    assert "and 10 more" in lines
    assert any("--seed N, N being one of 0, 1, 2, 3" in line for line in lines)
    assert [row.violated["fresh"] for row in report.rows][-1] == 30


def test_the_verb_prints_the_tables_and_writes_the_report(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "report.json"
    given = ["faults", "--scenarios", "3", "--only", "corrupt_jpeg", "--out", str(out)]
    result = CliRunner().invoke(build_app(), given)
    assert result.exit_code == 0, result.output
    assert f"all {len(INVARIANTS)} invariants held in 3 scenarios" in result.output
    written = json.loads(out.read_text())
    assert [row["fault"] for row in written["rows"]] == ["corrupt_jpeg"]
    assert written["violations"] == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--only", "earthquake"], "wanted one of drop"),
        (["--scenarios", "0"], "wanted at least 1"),
        (["--rig", "nowhere.yaml"], "nowhere.yaml"),
        (["--data", "nowhere"], "nowhere"),
        (["--bundle", "nowhere"], "nowhere"),
        (["--rig", "a.yaml", "--data", "b"], "one of them"),
        (["--seed", "-1"], "--seed"),
    ],
)
def test_wrong_arguments_are_told_in_one_line(given: list[str], said: str) -> None:
    result = CliRunner().invoke(build_app(), ["faults", *given])
    assert result.exit_code != 0
    assert isinstance(result.exception, (UnderstudyError, SystemExit))
    assert said in (str(result.exception) if isinstance(result.exception, UnderstudyError) else result.output)
