"""What `understudy faults` does: a student, what its sensors see, scenarios, a report."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from understudy.bags.types import make_message
from understudy.datasets.opening import open_dataset
from understudy.errors import InputError
from understudy.faults.bag_contents import contents_of_bag, is_bag
from understudy.faults.catalog import fault_named
from understudy.faults.contents import Contents, contents_of_dataset, road_contents
from understudy.faults.report import FaultReport, report_of
from understudy.faults.scenario import numbers
from understudy.faults.suite import Bench, run_suite
from understudy.pipeline import Pipeline, open_pipeline
from understudy.progress import Track, silent
from understudy.rig import read_rig
from understudy.testing import tiny_bundle


def run_faults(
    scenarios: int,
    *,
    seed: int = 0,
    only: str = "",
    bundle: Path | None = None,
    rig: Path | None = None,
    data: Path | None = None,
    lidar: str | None = None,
    track: Track = silent,
) -> FaultReport:
    """Plays scenarios through the stream of the live node, in process.

    Args:
        scenarios: how many.
        seed: number of the first one.
        only: a fault's name, for those about it alone.
        bundle: the student; a tiny one that is made here when left out.
        rig: the sensors; those of the data set, or a LiDAR and three small cameras when left out.
        data: data set, or bag with `rig.yaml` in it, whose first samples the sensors see; a generated road when left
            out.
        lidar: name of the LiDAR in the rig.
        track: shows progress.

    Raises:
        UnderstudyError: when there is no such fault, or student, rig and data do not fit together.
    """
    if scenarios < 1:
        raise InputError("--scenarios", found=scenarios, wanted="at least 1")
    contents = _contents(rig, data, lidar)
    chosen = numbers(seed, scenarios, fault_named(only) if only else "", with_cameras=bool(contents.cameras))
    with _student(bundle, contents) as student:
        bench = Bench(contents, student, make_message)
        judged = list(track(run_suite(chosen, bench), "scenarios", scenarios))
        return report_of(judged, seed=seed, only=only, student=student.contract.name)


def _contents(rig: Path | None, data: Path | None, lidar: str | None) -> Contents:
    if data is not None and is_bag(data):
        return contents_of_bag(data, rig, lidar)
    if data is not None and rig is not None:
        raise InputError("--rig and --data", found="both", wanted="one of them", remedy="a data set has its own rig")
    if data is not None:
        return contents_of_dataset(open_dataset(data), lidar)
    return road_contents(rig=None if rig is None else read_rig(rig), lidar=lidar)


@contextmanager
def _student(bundle: Path | None, contents: Contents) -> Iterator[Pipeline]:
    with tempfile.TemporaryDirectory() as folder:
        path = bundle or _tiny(Path(folder))
        with open_pipeline(path, contents.rig, lidar=contents.lidar) as student:
            _refuse_no_lidar(student)
            yield student


def _refuse_no_lidar(student: Pipeline) -> None:
    if not student.lidar:
        found, wanted = "a student that looks at pictures alone", "one with a LiDAR, which makes the scenarios' sets"
        raise InputError(f"--bundle: {student.contract.name}", found=found, wanted=wanted)


def _tiny(folder: Path) -> Path:
    if importlib.util.find_spec("onnx") is None:
        remedy = "say --bundle, or pip install 'understudy[calibration]'"
        raise InputError("--bundle", found="nothing, and no package onnx to make one with", remedy=remedy)
    return tiny_bundle(folder / "tiny").folder
