"""The demo in miniature: every verb on the real command line, each working on what the one before it left."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.integration.cases import run
from tests.integration.chain import CLASS_NAMES, Chain
from understudy.replay.summary import detections_digest
from understudy_training.ledger import read_ledger
from understudy_training.testing import recipe_values


class Terminal:
    """Types verbs in one folder and keeps what they printed."""

    def __init__(self, folder: Path, scenes: Path) -> None:
        self.folder, self.scenes = folder, scenes

    def __call__(self, words: str, status: int | None = 0) -> str:
        line = words.format(at=self.folder, scenes=self.scenes).split()
        found, out, err = run(line, self.folder / "cache")
        assert found in ({0, 1} if status is None else {status}), f"understudy {' '.join(line)}\n{out}\n{err}"
        wide = [row for row in out.splitlines() if len(row) > 100 and str(self.folder) not in row]
        assert not wide
        return out


def write_recipes(folder: Path) -> None:
    detector = {**recipe_values()["detector"], "class_names": list(CLASS_NAMES)}
    common = {"detector": detector, "schedule": {"epochs": 4}, "score_threshold": 0.01}
    terms = [{"kind": "response"}, {"kind": "feature", "level": "high"}]
    recipes = {"teacher": common, "student": {**common, "distillation": {"terms": terms}}}
    for name, changes in recipes.items():
        values = recipe_values(**changes) | {"name": name}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(values))


@pytest.fixture(scope="module")
def terminal(chain: Chain, tmp_path_factory: pytest.TempPathFactory) -> Terminal:
    folder = tmp_path_factory.mktemp("whole-chain")
    write_recipes(folder)
    terminal = Terminal(folder, chain.scenes)
    terminal("train {at}/teacher.yaml --data {scenes} --out {at}/runs/teacher --threads 1")
    distill = "distill {at}/student.yaml --teacher {at}/runs/teacher --data {scenes} --out {at}/runs"
    terminal(f"{distill} --seeds 0,1 --threads 1")
    terminal("export {at}/runs/student-seed0 --out {at}/export")
    terminal("quantize {at}/export --data {scenes} --frames 2 --threads 1")
    terminal("pack {at}/export --out {at}/bundle --ledger {at}/runs/ledger.json")
    return terminal


def test_student_and_control_differ_in_nothing_but_the_teacher(terminal: Terminal) -> None:
    runs = {name: terminal.folder / "runs" / name for name in ("student-seed0", "control-seed0")}
    records = {name: json.loads((folder / "run.json").read_text()) for name, folder in runs.items()}
    student, control = records["student-seed0"], records["control-seed0"]
    for same in ("seed", "epochs", "steps", "frames", "data", "precision", "parameters", "gmacs"):
        assert student[same] == control[same], same
    assert student["weights"] != control["weights"]
    assert student["teacher"]
    assert not control["teacher"]


@pytest.mark.parametrize("other", ["--seed 5", "--epochs 9"])
def test_a_run_goes_on_only_with_what_it_was_begun_with(terminal: Terminal, other: str) -> None:
    run_folder = terminal.folder / "runs" / "teacher"
    before = (run_folder / "run.json").read_bytes()
    line = "train {at}/teacher.yaml --data {scenes} --out {at}/runs/teacher --threads 1 --resume " + other
    terminal(line, status=2)
    assert (run_folder / "run.json").read_bytes() == before


def test_bundle_runs_and_its_forms_agree(terminal: Terminal) -> None:
    assert "session ready" in terminal("compile {at}/bundle --target cpu")
    assert "every hash verified" in terminal("inspect {at}/bundle")
    report = terminal.folder / "parity.json"
    compare = "compare {at}/bundle --data {scenes} --reference {at}/runs/student-seed0 --json {at}/parity.json"
    printed = terminal(compare, status=None)
    rungs = {rung["name"]: rung for rung in json.loads(report.read_text())["rungs"]}
    assert set(rungs) == {"onnx-fp32", "onnx-int8", "onnx-uint8"}
    assert all(rung["total"]["num_pairs"] > 0 for rung in rungs.values())
    assert rungs["onnx-fp32"]["passes"], "the export is the network"
    departing = [name for name in ("onnx-int8", "onnx-uint8") if not rungs[name]["passes"]]
    assert ("every rung agrees" in printed) == (not departing), "eight steps of training may leave scores that tie"


def test_replays_are_equal_at_any_speed_and_add_up(terminal: Terminal) -> None:
    terminal("record {scenes} {at}/bag --split val")
    replay = "replay {at}/bag {at}/bundle --out {at}/replayed"
    printed = [terminal(f"{replay}-{name} {pace}") for name, pace in (("a", ""), ("b", ""), ("paced", "--rate 2"))]
    digests = {detections_digest(terminal.folder / f"replayed-{name}") for name in ("a", "b", "paced")}
    assert len(digests) == 1
    assert all(digests.copy().pop() in text for text in printed)
    for name in ("a", "b", "paced"):
        summary = json.loads((terminal.folder / f"replayed-{name}" / "replay.json").read_text())
        for counts in summary["topics"].values():
            ended = ("used", "stale", "duplicate", "out_of_order", "unmatched", "rejected")
            assert counts["read"] == sum(counts[outcome] for outcome in ended)
        assert summary["num_frames"] == 3


def test_ledger_and_report_come_from_the_records(terminal: Terminal) -> None:
    terminal("latency {at}/bundle --data {scenes} --precision int8 --frames 10 --warmup 1 --json {at}/latency.json")
    terminal("evaluate {at}/bundle --data {scenes} --precision int8 --out {at}/int8.json")
    rows = [entry.name for entry in read_ledger(terminal.folder / "runs" / "ledger.json").entries]
    student = next(row for row in rows if row.startswith("student"))
    line = ["ledger", "add", str(terminal.folder / "runs" / "ledger.json"), "--bundle", str(terminal.folder / "bundle")]
    line += ["--quantized", f"int8={terminal.folder / 'int8.json'}"]
    line += ["--latency", f"{student} int8={terminal.folder / 'latency.json'}"]
    status, printed, err = run(line, terminal.folder / "cache")
    assert status == 0, err
    assert "gain shown" in printed
    quantized = next(entry for entry in read_ledger(Path(line[2])).entries if entry.role == "quantized")
    assert quantized.facts.latency_ms > 0
    assert quantized.facts.file_bytes == (terminal.folder / "bundle" / "model.int8.onnx").stat().st_size
    check_report(terminal)


def check_report(terminal: Terminal) -> None:
    terminal("record {scenes} {at}/other-bag --split val")
    terminal("replay {at}/other-bag {at}/bundle --out {at}/replayed")
    terminal("compare {at}/bundle --data {scenes} --json {at}/ladder.json", status=None)
    terminal(
        "report --ledger {at}/runs/ledger.json --data {scenes} --network teacher={at}/runs/teacher"
        " --network INT8={at}/bundle --evaluation INT8={at}/int8.json --parity {at}/ladder.json"
        " --latency {at}/latency.json --replay {at}/replayed --frames 1 --out {at}/report.html"
    )
    page = (terminal.folder / "report.html").read_text()
    for heading in ("Ledger", "Seen from above", "Precision and recall", "Parity ladder", "Latency", "Replays"):
        assert f"<h2>{heading}" in page
    assert page.count("data:image/png;base64,") == 3
    assert "http" not in page, "one file that loads nothing"


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("--quantized int8=nothing.json", "--bundle"),
        ("--latency nobody=latency.json", "nobody"),
        ("--latency nobody", "NAME=FILE"),
        ("--latency teacher={at}/uint8-latency.json", "wanted fp32"),
        ("--bundle {at}/bundle --quantized uint8={at}/fp32.json", "an evaluation of"),
    ],
)
def test_ledger_refuses_what_it_cannot_place(terminal: Terminal, option: str, says: str) -> None:
    if not (terminal.folder / "fp32.json").exists():
        terminal("latency {at}/bundle --data {scenes} --frames 10 --warmup 0 --json {at}/uint8-latency.json")
        terminal("evaluate {at}/bundle --data {scenes} --precision fp32 --out {at}/fp32.json")
    ledger = terminal.folder / "runs" / "ledger.json"
    option = option.format(at=terminal.folder)
    before = ledger.read_bytes()
    status, _, err = run(["ledger", "add", str(ledger), *option.split()], terminal.folder / "cache")
    assert (status, ledger.read_bytes()) == (2, before)
    assert says in err
