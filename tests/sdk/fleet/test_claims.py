"""A unit is one worker's at a time: contention, leases, dead holders, holders that slept."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from understudy.fleet.claims import Claims

LEASE_S = 60.0


def claims(folder: Path, lease_s: float = LEASE_S) -> Claims:
    return Claims(folder, lease_s)


def of_another_machine(folder: Path, age_s: float, name: str = "unit.1") -> Path:
    path = folder / name
    path.write_text(json.dumps({"machine": "elsewhere", "host": "elsewhere", "pid": 1, "started": "1"}))
    touched_s = path.stat().st_mtime - age_s
    os.utime(path, (touched_s, touched_s))
    return path


def holder(folder: Path) -> subprocess.Popen[str]:
    """A process that took the claim and waits."""
    code = (
        "import sys, time; from pathlib import Path; from understudy.fleet.claims import Claims\n"
        "claim = Claims(Path(sys.argv[1]), 60.0).take('unit'); print(claim.attempt, flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "1\n"
    return process


def test_one_of_many_contenders_gets_it(tmp_path: Path) -> None:
    for number in range(20):
        with ThreadPoolExecutor(8) as pool:
            taken = list(pool.map(lambda _: claims(tmp_path).take(f"unit{number}"), range(8)))  # noqa: B023
        assert sum(claim is not None for claim in taken) == 1


def test_a_claim_is_let_go_at_the_end(tmp_path: Path) -> None:
    first = claims(tmp_path).take("unit")
    assert first is not None
    with first:
        assert claims(tmp_path).take("unit") is None
    again = claims(tmp_path).take("unit")
    assert again is not None
    assert again.attempt == 1


def test_units_do_not_stand_in_each_others_way(tmp_path: Path) -> None:
    assert claims(tmp_path).take("unit") is not None
    assert claims(tmp_path).take("unit2") is not None


def test_a_process_that_was_killed_loses_its_claim_at_once(tmp_path: Path) -> None:
    process = holder(tmp_path)
    try:
        assert claims(tmp_path).take("unit") is None
    finally:
        process.kill()
    # Not yet reaped: it still has a number, and is dead all the same.
    deadline_s = time.monotonic() + 20
    taken = None
    while taken is None and time.monotonic() < deadline_s:
        taken = claims(tmp_path).take("unit")
    process.wait()
    assert taken is not None
    assert taken.attempt == 2
    with taken:
        pass
    assert not [entry for entry in tmp_path.iterdir() if entry.name.startswith("unit")]


def test_a_machine_that_is_silent_for_a_lease_loses_its_claim(tmp_path: Path) -> None:
    of_another_machine(tmp_path, age_s=LEASE_S / 2)
    assert claims(tmp_path).take("unit") is None
    of_another_machine(tmp_path, age_s=LEASE_S + 5)
    taken = claims(tmp_path).take("unit")
    assert taken is not None
    assert taken.attempt == 2


def test_a_claim_cut_short_while_it_was_written_holds_for_its_lease(tmp_path: Path) -> None:
    (tmp_path / "unit.1").touch()
    assert claims(tmp_path).take("unit") is None
    os.utime(tmp_path / "unit.1", (1, 1))
    assert claims(tmp_path).take("unit") is not None


def test_who_slept_too_long_knows_that_it_lost(tmp_path: Path) -> None:
    slept = claims(tmp_path, lease_s=1e6).take("unit")
    assert slept is not None
    of_another_machine(tmp_path, age_s=0, name="unit.2")
    with slept:
        assert not slept.is_mine
    assert (tmp_path / "unit.2").exists()
    assert claims(tmp_path).take("unit") is None


def test_a_worker_that_lives_keeps_its_claim_beyond_a_lease(tmp_path: Path) -> None:
    taken = claims(tmp_path, lease_s=0.4).take("unit")
    assert taken is not None
    born_s = taken.path.stat().st_mtime
    with taken:
        deadline_s = time.monotonic() + 20
        while taken.path.stat().st_mtime <= born_s + 0.4 and time.monotonic() < deadline_s:
            time.sleep(0.05)
        assert taken.path.stat().st_mtime > born_s + 0.4
        assert taken.is_mine


def test_the_clock_file_goes_with_its_worker(tmp_path: Path) -> None:
    of_another_machine(tmp_path, age_s=0)
    mine = claims(tmp_path)
    assert mine.take("unit") is None
    mine.close()
    assert [entry.name for entry in tmp_path.iterdir()] == ["unit.1"]


def test_sweeping_takes_only_what_is_dead_and_ended(tmp_path: Path) -> None:
    for name, age_s in (("old.1", 2 * LEASE_S), ("ended.2", 2 * LEASE_S), ("fresh.1", 0)):
        of_another_machine(tmp_path, age_s, name)
    (tmp_path / ".clock-gone").touch()
    os.utime(tmp_path / ".clock-gone", (1, 1))
    mine = claims(tmp_path)
    mine.sweep({"ended", "fresh"})
    mine.close()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["fresh.1", "old.1"]
