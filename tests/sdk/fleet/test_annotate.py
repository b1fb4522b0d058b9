"""A fleet's bags through a network: killed and resumed, damaged and mended, and always the same bytes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.sdk.fleet.drives import run_files, write_bag, write_recorded
from understudy.bags.types import make_message
from understudy.bags.writer import BagWriter
from understudy.boxes import Boxes
from understudy.cli import build_app
from understudy.datasets.opening import open_dataset
from understudy.datasets.pandaset import PandasetSequence
from understudy.datasets.shard_writer import write_shards
from understudy.datasets.sweeps import MultiSweep
from understudy.engines.model import open_model
from understudy.errors import GeometryError, InputError, UnderstudyError
from understudy.fleet.annotate import AnnotateOptions, annotate
from understudy.fleet.detections import Detections, SweepDetections, decode_detections, encode_detections
from understudy.fleet.merge import detections_of, read_index
from understudy.fleet.plan import FleetSettings, identify_model
from understudy.fleet.sources import bag_identity, make_plan
from understudy.fleet.store import Store
from understudy.fleet.summary import AnnotationSummary
from understudy.messages.cloud_layouts import LAYOUTS, cloud_message
from understudy.pipeline import Pipeline, open_pipeline
from understudy.recording import record_bag
from understudy.replay.player import replay_bag
from understudy.replay.summary import detections_digest
from understudy.rig import read_rig
from understudy.testing import CLASS_NAMES, road_cloud, simple_rig, tiny_bundle

ONE_EACH = FleetSettings(sweeps_per_unit=1)


def run(paths: Path, bundle: Path, out: Path, **options: object) -> AnnotationSummary:
    return annotate([paths], bundle, out, settings=ONE_EACH, options=AnnotateOptions(**options))  # type: ignore[arg-type]


def start(fleet: Path, bundle: Path, out: Path, workers: int) -> subprocess.Popen[bytes]:
    """The same run in a process group of its own."""
    code = (
        "import sys; from pathlib import Path; from understudy.fleet.annotate import AnnotateOptions, annotate\n"
        "from understudy.fleet.plan import FleetSettings\n"
        "fleet, bundle, out, workers = sys.argv[1:]\n"
        "if __name__ == '__main__':\n"
        "    annotate([Path(fleet)], Path(bundle), Path(out), settings=FleetSettings(sweeps_per_unit=1),\n"
        "             options=AnnotateOptions(workers=int(workers), bags=True))\n"
    )
    script = out.parent / f"{out.name}.py"
    script.write_text(code)
    arguments = [sys.executable, str(script), str(fleet), str(bundle), str(out), str(workers)]
    return subprocess.Popen(arguments, start_new_session=True)


def finishes(out: Path) -> Counter[str]:
    """How often each unit was finished, from the workers' journals."""
    lines = [line for file in (out / "journal").glob("*.jsonl") for line in file.read_text().splitlines()]
    return Counter(entry["finished"] for entry in map(json.loads, lines) if "finished" in entry)


@pytest.fixture(scope="module")
def uninterrupted(fleet: Path, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("uninterrupted") / "out"
    summary = run(fleet, bundle, out, bags=True)
    assert [row.problem for row in summary.sources] == [None, None]
    return out


class TestResuming:
    def test_two_workers_killed_in_the_middle_and_resumed(
        self, fleet: Path, bundle: Path, uninterrupted: Path, tmp_path: Path
    ) -> None:
        out = tmp_path / "out"
        process = start(fleet, bundle, out, workers=2)
        deadline_s = time.monotonic() + 60
        while len(list((out / "units").glob("*.json"))) < 5 and time.monotonic() < deadline_s:
            time.sleep(0.002)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        before = {file.name: file.read_bytes() for file in (out / "units").glob("[0-9a-f]*")}
        done = len(Store(out).finished())
        assert 5 <= done < 30
        assert not (out / "detections" / "index.json").exists()

        summary = run(fleet, bundle, out, workers=2, bags=True)
        assert summary.num_before == done
        assert sum(worker.units for worker in summary.workers) == 30 - done
        assert run_files(out) == run_files(uninterrupted)
        finished = before.keys() & {f"{key}.json" for key in Store(out).finished()}
        assert all((out / "units" / name).read_bytes() == before[name] for name in finished)
        # A worker may have been killed between a unit's record and its line in the journal.
        assert set(finishes(out).values()) == {1}
        assert len(Store(out).plan().keys - finishes(out).keys()) <= 2
        assert not [entry for entry in (out / "claims").iterdir() if not entry.name.startswith(".clock")]

    def test_a_second_run_computes_nothing(self, fleet: Path, bundle: Path, uninterrupted: Path) -> None:
        files = run_files(uninterrupted)
        summary = run(fleet, bundle, uninterrupted, bags=True)
        assert (summary.num_before, summary.workers) == (30, ())
        assert run_files(uninterrupted) == files
        assert set(finishes(uninterrupted).values()) == {1}

    def test_two_runs_at_once_share_the_work(
        self, fleet: Path, bundle: Path, uninterrupted: Path, tmp_path: Path
    ) -> None:
        out = tmp_path / "out"
        first, second = (start(fleet, bundle, out, workers=1), start(fleet, bundle, out, workers=1))
        assert (first.wait(60), second.wait(60)) == (0, 0)
        assert run_files(out) == run_files(uninterrupted)
        assert set(finishes(out).values()) == {1}
        assert len(finishes(out)) == 30

    def test_damaged_results_are_computed_again(
        self, fleet: Path, bundle: Path, uninterrupted: Path, tmp_path: Path
    ) -> None:
        out = tmp_path / "out"
        shutil.copytree(uninterrupted, out)
        first, second, third = sorted(Store(out).finished())[:3]
        flipped = bytearray((out / "units" / f"{first}.npz").read_bytes())
        flipped[len(flipped) // 2] ^= 1
        (out / "units" / f"{first}.npz").write_bytes(flipped)
        (out / "units" / f"{second}.npz").unlink()
        (out / "units" / f"{third}.json").write_text("{")
        summary = run(fleet, bundle, out, bags=True)
        assert (summary.num_damaged, summary.num_before) == (3, 27)
        assert run_files(out) == run_files(uninterrupted)
        again = {key for key, count in finishes(out).items() if count == 2}
        assert again == {first, second, third}

    def test_a_unit_that_kills_its_workers_fails_in_the_end(self, fleet: Path, bundle: Path, tmp_path: Path) -> None:
        out = tmp_path / "out"
        planned = make_plan([fleet / "tuesday"], identify_model(bundle, None), ONE_EACH)
        store = Store(out)
        store.prepare()
        store.write_plan(planned.plan, planned.rigs)
        deadly = planned.plan.units[0].key
        (out / "claims" / f"{deadly}.5").write_text("")
        os.utime(out / "claims" / f"{deadly}.5", (1, 1))
        summary = run(fleet / "tuesday", bundle, out)
        assert summary.sources[0].failed == 1
        assert "5 workers died on it" in str(summary.sources[0].problem)
        assert run(fleet / "tuesday", bundle, out, retry_failed=True).num_failed == 0


class TestResults:
    def test_the_same_as_a_replay(self, fleet: Path, bundle: Path, uninterrupted: Path, tmp_path: Path) -> None:
        bag = fleet / "monday"
        with open_pipeline(bundle, read_rig(bag / "rig.yaml")) as pipeline:
            replayed = replay_bag(bag, pipeline, tmp_path / "replay")
        source = read_index(uninterrupted).source_of(bag)
        assert source is not None
        assert source.num_boxes == replayed.num_detections > 0
        assert detections_digest(uninterrupted / "bags" / source.name) == replayed.digest
        detections = detections_of(uninterrupted, source)
        assert len(detections) == source.read == source.used == 18
        assert [sweep.stamp_ns for sweep in detections.sweeps] == [(1000 + 100 * n) * 10**6 for n in range(18)]

    @pytest.mark.parametrize("sweeps_per_unit", [7, 200])
    def test_the_same_however_it_is_cut(
        self, fleet: Path, bundle: Path, uninterrupted: Path, tmp_path: Path, sweeps_per_unit: int
    ) -> None:
        settings = FleetSettings(sweeps_per_unit=sweeps_per_unit)
        annotate([fleet], bundle, tmp_path / "out", settings=settings)
        for source in read_index(tmp_path / "out").sources:
            twin = read_index(uninterrupted).source_of(Path(source.path))
            assert twin is not None
            assert twin.sha256 == source.sha256

    def test_a_score_below_the_networks_own_keeps_more(
        self, fleet: Path, bundle: Path, uninterrupted: Path, tmp_path: Path
    ) -> None:
        annotate([fleet / "monday"], bundle, tmp_path / "out", settings=FleetSettings(score=0.01))
        low, usual = read_index(tmp_path / "out").sources[0], read_index(uninterrupted).source_of(fleet / "monday")
        assert usual is not None
        assert low.num_boxes > usual.num_boxes

    @pytest.mark.data
    def test_pandaset_as_a_bag_and_as_a_data_set(self, data_root: Path, bundle: Path, tmp_path: Path) -> None:
        folder = data_root / "pandaset" / "002"
        bag = record_bag(PandasetSequence(folder), tmp_path / "bag", images=False).bag
        settings = FleetSettings(sweeps_per_unit=3)
        summary = annotate([bag, folder], bundle, tmp_path / "out", settings=settings)
        assert [(row.units, row.used, row.problem) for row in summary.sources] == [(2, 4, None)] * 2
        from_bag, from_folder = (detections_of(tmp_path / "out", row) for row in read_index(tmp_path / "out").sources)
        assert from_bag.num_boxes == from_folder.num_boxes > 0
        for one, other in zip(from_bag.sweeps, from_folder.sweeps, strict=True):
            assert one.stamp_ns == other.stamp_ns
            np.testing.assert_array_equal(one.boxes.geometry, other.boxes.geometry)
        assert [sweep.key for sweep in from_folder.sweeps] == ["40", "41", "42", "43"]

    def test_a_network_of_several_sweeps_sees_as_many(self, tmp_path: Path) -> None:
        """Data sets accumulate, or hold as many already; a bag cannot yet, and is refused before anything is made."""
        write_recorded(tmp_path / "single", num=4)
        single, student = open_dataset(tmp_path / "single"), tiny_bundle(tmp_path / "bundle", sweeps=2).folder
        write_shards(MultiSweep(single, 2), tmp_path / "shards", source="single")
        annotate([tmp_path / "single", tmp_path / "shards"], student, tmp_path / "out")
        seen = MultiSweep(single, 2)[3]
        assert len(seen.frame.clouds["lidar"]) == 2 * len(single[3].frame.clouds["lidar"])
        opened = open_model(student)
        with opened.engine:
            wanted = Pipeline(opened.contract, opened.engine, seen.rig, sweeps=2)(seen.frame)
        assert len(wanted)
        for row in read_index(tmp_path / "out").sources:
            last = detections_of(tmp_path / "out", row).sweeps[-1]
            np.testing.assert_array_equal(last.boxes.geometry, wanted.geometry)
        write_bag(tmp_path / "bag")
        with pytest.raises(GeometryError, match=r"found 1, wanted 2.*as many sweeps as it was trained with"):
            annotate([tmp_path / "bag"], student, tmp_path / "from-bag")

    def test_detections_to_bytes_and_back(self) -> None:
        rng = np.random.default_rng(0)
        sweeps = []
        for number, count in enumerate((3, 0, 2)):
            geometry = rng.uniform(0, 5, (count, 7)).astype(np.float32)
            labels, scores = rng.integers(0, 4, count).astype(np.int32), rng.uniform(0, 1, count).astype(np.float32)
            boxes = Boxes(geometry, labels, CLASS_NAMES, scores=scores)
            sweeps.append(SweepDetections(str(number), 100 - number, number, boxes))
        detections = Detections(CLASS_NAMES, tuple(sweeps))
        data = encode_detections(detections)
        back = decode_detections(data, "test")
        assert encode_detections(back) == data
        np.testing.assert_array_equal(back.sweeps[2].boxes.geometry, sweeps[2].boxes.geometry)
        parts = [Detections(CLASS_NAMES, (sweep,)) for sweep in sweeps]
        assert [sweep.key for sweep in Detections.in_order(parts).sweeps] == ["2", "1", "0"]
        assert len(decode_detections(encode_detections(Detections(CLASS_NAMES, ())), "test")) == 0
        for cut in (0, 10, len(data) // 2, len(data) - 5):
            with pytest.raises(InputError, match="test"):
                decode_detections(data[:cut], "test")


class TestRefusals:
    def test_another_network_is_another_plan(
        self, fleet: Path, bundle: Path, uninterrupted: Path, tmp_path: Path
    ) -> None:
        other = tiny_bundle(tmp_path / "other", score_threshold=0.5).folder
        for extend in (False, True):
            with pytest.raises(InputError, match=r"plan\.json: found a plan with another network.*--out"):
                run(fleet, other, uninterrupted, extend=extend)
        plans = [make_plan([fleet], identify_model(model, None), ONE_EACH).plan for model in (bundle, other)]
        assert not plans[0].keys & plans[1].keys

    def test_other_settings_or_another_rig_give_other_keys(self, fleet: Path, bundle: Path) -> None:
        model = identify_model(bundle, None)
        changed = [
            make_plan([fleet], model, settings, rig).plan.keys
            for settings, rig in (
                (ONE_EACH, None),
                (ONE_EACH, simple_rig(height_m=1.9)),
                (FleetSettings(sweeps_per_unit=1, score=0.1), None),
                (FleetSettings(sweeps_per_unit=1, check_transforms=False), None),
            )
        ]
        assert len(frozenset.union(*changed)) == sum(map(len, changed))

    def test_a_folder_that_moved_is_the_same_plan(
        self, fleet: Path, bundle: Path, uninterrupted: Path, tmp_path: Path
    ) -> None:
        out, moved = tmp_path / "out", tmp_path / "moved"
        shutil.copytree(uninterrupted, out)
        shutil.copytree(fleet, moved)
        summary = run(moved, bundle, out)
        assert summary.num_before == 30
        assert {Path(row.path).parent for row in read_index(out).sources} == {moved}

    def test_a_new_bag_extends_the_plan_only_on_request(self, bundle: Path, tmp_path: Path) -> None:
        bags, out = tmp_path / "bags", tmp_path / "out"
        write_bag(bags / "one", seed=1, num=4)
        run(bags, bundle, out)
        write_bag(bags / "two", seed=2, num=3)
        with pytest.raises(InputError, match=r"a plan of 4 units, 4 of them among the 7 asked for.*--extend"):
            run(bags, bundle, out)
        summary = run(bags, bundle, out, extend=True)
        assert (summary.num_before, [row.finished for row in summary.sources]) == (4, [4, 3])

    def test_a_damaged_bag_fails_and_the_others_go_on(self, bundle: Path, tmp_path: Path) -> None:
        bags, out = tmp_path / "bags", tmp_path / "out"
        write_bag(bags / "good", seed=1, num=4)
        broken = next(write_bag(bags / "broken", seed=2, num=4).glob("*.mcap"))
        whole = broken.read_bytes()
        broken.write_bytes(whole[: len(whole) // 2])
        summary = run(bags, bundle, out)
        assert [row.problem is None for row in summary.sources] == [False, True]
        assert "broken" in str(summary.sources[0].problem)
        assert [row.name for row in read_index(out).sources] == [summary.sources[1].name]
        result = CliRunner().invoke(
            build_app(),
            ["annotate", str(bags), "--model", str(bundle), "--out", str(out), "--sweeps-per-unit", "1"],
        )
        assert result.exit_code == 1
        assert "not merged: broken" in result.output
        assert "5 units = 4 finished (4 before, 0 now) + 1 failed" in result.output
        broken.write_bytes(whole)
        assert run(bags, bundle, out, extend=True).num_failed == 0

    def test_bad_sweeps_are_counted(self, bundle: Path, tmp_path: Path) -> None:
        rng, bag = np.random.default_rng(0), tmp_path / "bag"
        with BagWriter(bag) as writer:
            simple_rig().write(writer.folder / "rig.yaml")
            for number in range(6):
                cloud = road_cloud(rng, 500, stamp_ns=number * 10**8)
                message = cloud_message(make_message, cloud, LAYOUTS["plain"], 1.0)
                if number in {2, 3}:
                    message.data = message.data[:7]
                writer.write("/sensors/lidar/points", message, number * 10**8)
        summary = annotate([bag], bundle, tmp_path / "out", settings=FleetSettings(sweeps_per_unit=4))
        row = summary.sources[0]
        assert (row.read, row.used, row.rejected, row.problem) == (6, 4, 2, None)
        assert sum(read_index(tmp_path / "out").sources[0].reasons.values()) == 2

    def test_a_bag_changed_after_it_was_planned(self, bundle: Path, tmp_path: Path) -> None:
        bag, out = write_bag(tmp_path / "bag", seed=1, num=3), tmp_path / "out"
        before = bag_identity(bag)
        with next(bag.glob("*.mcap")).open("r+b") as stream:
            stream.seek(100)
            stream.write(b"\xff")
        assert bag_identity(bag) != before
        shutil.rmtree(bag)
        bag = write_bag(tmp_path / "bag", seed=1, num=3)
        assert bag_identity(bag) == before
        run(bag, bundle, out)
        shutil.rmtree(bag)
        write_bag(tmp_path / "bag", seed=2, num=3)
        with pytest.raises(InputError, match="0 of them among"):
            run(bag, bundle, out)

    def test_wrong_inputs_say_what_to_do(self, fleet: Path, bundle: Path, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        (tmp_path / "full").mkdir()
        (tmp_path / "full" / "thesis.txt").write_text("mine")
        with pytest.raises(InputError, match="empty: found no bag and no data set"):
            run(tmp_path / "empty", bundle, tmp_path / "out")
        with pytest.raises(InputError, match=r"full: found no plan\.json but thesis\.txt"):
            run(fleet, bundle, tmp_path / "full")
        with pytest.raises(InputError, match=r"none of 2 sources can be opened.*LiDAR roof"):
            annotate([fleet], bundle, tmp_path / "out", settings=FleetSettings(lidar="roof"))
        with pytest.raises(InputError, match="neither"):
            run(fleet, tmp_path / "empty", tmp_path / "out")
        shutil.copytree(fleet / "monday", tmp_path / "copies" / "a" / "monday")
        shutil.copytree(fleet / "monday", tmp_path / "copies" / "b" / "monday")
        with pytest.raises(InputError, match="same contents as"):
            run(tmp_path / "copies", bundle, tmp_path / "out")
        with pytest.raises(InputError, match="--workers"):
            run(fleet, bundle, tmp_path / "out", workers=0)
        assert (tmp_path / "full" / "thesis.txt").read_text() == "mine"
        assert not (tmp_path / "out" / "plan.json").exists()

    def test_a_rig_that_is_not_the_bags(self, fleet: Path, bundle: Path, tmp_path: Path) -> None:
        summary = annotate(
            [fleet / "tuesday"], bundle, tmp_path / "out", rig=simple_rig(height_m=2.4), settings=FleetSettings()
        )
        assert "/tf_static" in str(summary.sources[0].problem)
        with pytest.raises(UnderstudyError, match="height above the road"):
            annotate([fleet], bundle, tmp_path / "other", rig=simple_rig(height_m=-1.0))
        with pytest.raises(UnderstudyError, match="precision int8"):
            annotate([fleet], bundle, tmp_path / "other", precision="int8")
        assert not (tmp_path / "other").exists()


class TestRay:
    def test_without_ray_it_says_what_to_install(self, fleet: Path, bundle: Path, tmp_path: Path) -> None:
        if find_spec("ray") is not None:
            pytest.skip("Ray is installed")
        with pytest.raises(UnderstudyError, match=r"understudy\[ray\]"):
            run(fleet, bundle, tmp_path / "out", executor="ray")
        assert not (tmp_path / "out").exists()

    def test_the_same_bytes_through_ray(self, fleet: Path, bundle: Path, uninterrupted: Path, tmp_path: Path) -> None:
        pytest.importorskip("ray", reason="Ray is not installed: pip install 'understudy[ray]'")
        run(fleet, bundle, tmp_path / "out", workers=2, executor="ray", bags=True)
        assert run_files(tmp_path / "out") == run_files(uninterrupted)
        assert set(finishes(tmp_path / "out").values()) == {1}
