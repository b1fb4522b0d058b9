"""Scores of several seeds joined: shares with intervals, the page, and what does not belong together."""

import json

import pytest
from typer.testing import CliRunner

from understudy.cli import build_app
from understudy.configuration import write_json
from understudy.errors import InputError
from understudy_training.label_free.ledger import describe_label_free, label_free_ledger, shares
from understudy_training.label_free.scoring import LabelFreeScore, ScoredRun, ScoreRow, ScoreSettings
from understudy_training.studies.listing import describe_any
from understudy_training.studies.page import read_for_page, write_page


def run_of(seed: int, name: str, **changes: object) -> ScoredRun:
    values = {"seed": seed, "recipe": "r" * 64, "weights": f"{name}{seed}", "frames": 40, "steps": 120}
    return ScoredRun.model_validate(values | changes)


def score_of(
    near: float, strict: float | None, with_labels: float | None = 50.0, *, seed: int = 0, **changes: object
) -> LabelFreeScore:
    rows = tuple(
        ScoreRow(
            class_name="object",
            iou=iou,
            range_m=(0.0, 50.0),
            num_truths=120,
            ap_percent=ap_percent,
            supervised_ap_percent=with_labels,
        )
        for iou, ap_percent in ((0.25, near), (0.5, strict))
    )
    runs = {"run": run_of(seed, "without"), "supervised": run_of(seed, "with")}
    base = LabelFreeScore(data="d" * 64, num_frames=12, settings=ScoreSettings(), rows=rows, **runs)
    return base.model_copy(update=changes)


def files_of(folder, *scores):
    for number, score in enumerate(scores):
        write_json(folder / f"score{number}.json", score)
    return [folder / f"score{number}.json" for number in range(len(scores))]


def test_the_share_is_of_each_seed_and_its_verdict_is_that_of_the_interval(tmp_path):
    files = files_of(tmp_path, score_of(30, 10), score_of(31, 26, 52.0, seed=1), score_of(29, 30, seed=2))
    loose, strict = shares(label_free_ledger("lise", "LiSe", files))
    assert loose.ap_percent == pytest.approx(30.0)
    assert loose.supervised_ap_percent == pytest.approx(152 / 3)
    assert loose.share == pytest.approx((30 / 50 + 31 / 52 + 29 / 50) / 3)
    assert loose.verdict == "half reached"
    assert strict.share == pytest.approx((0.2 + 0.5 + 0.6) / 3)
    assert strict.verdict == "not decided"
    low = files_of(tmp_path, score_of(10, 10), score_of(11, 11, seed=1), score_of(9, 9.5, seed=2))
    assert [found.verdict for found in shares(label_free_ledger("lise", "", low))] == ["half not reached"] * 2
    [one, _] = shares(label_free_ledger("lise", "", low[:1]))
    assert (one.interval, one.verdict) == (None, "one seed says nothing")


def test_no_share_of_nothing_and_no_line_without_truths(tmp_path):
    files = files_of(tmp_path, score_of(30, None), score_of(31, None, 0.0, seed=1))
    ledger = label_free_ledger("lise", "", files)
    [found] = shares(ledger)
    assert (found.row.iou, found.share, found.verdict) == (0.25, None, "no share of nothing")
    assert "-" in list(describe_label_free(ledger))[2]


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (score_of(31, 11, seed=1, data="e" * 64), "counted on other frames or in another way"),
        (score_of(31, 11, seed=1, settings=ScoreSettings(min_points=1)), "counted on other frames or in another way"),
        (score_of(31, 11, seed=1, rows=score_of(31, 11).rows[:1]), "counted on other frames or in another way"),
        (score_of(31, 11, seed=1, supervised=None), "does not say which runs .*--against"),
        (score_of(31, 11, seed=1, supervised=run_of(2, "with")), "is of two seeds, 1 and 2 with labels"),
        (score_of(31, 11, seed=1, run=run_of(1, "without", steps=60)), "another recipe or number of steps"),
        (score_of(31, 11, seed=1, run=run_of(1, "without", weights="without0")), "is there already"),
        (score_of(31, 11), "is there already"),
    ],
)
def test_scores_that_cannot_be_joined_are_refused(tmp_path, second, message):
    files = files_of(tmp_path, score_of(30, 10), second)
    with pytest.raises(InputError, match=rf"score1\.json: found a score that .*{message}"):
        label_free_ledger("lise", "", files)
    scores = [score.model_dump(mode="json") for score in (score_of(30, 10), second)]
    (tmp_path / "made.json").write_text(json.dumps({"kind": "label_free", "name": "lise", "scores": scores}))
    with pytest.raises(InputError, match=r"made\.json: .*place 2"):
        read_for_page(tmp_path / "made.json")


@pytest.mark.parametrize(("name", "source"), [("Bad | Name", ""), ("lise", "a\n| b")])
def test_what_would_break_the_page_is_refused(tmp_path, name, source):
    with pytest.raises(InputError, match=r"label-free ledger: (name|source)"):
        label_free_ledger(name, source, files_of(tmp_path, score_of(30, 10)))


def test_a_score_is_not_written_over(tmp_path):
    [file] = files_of(tmp_path, score_of(30, 10))
    before = file.read_bytes()
    done = CliRunner().invoke(build_app(), ["label-free", "ledger", str(file), "--out", str(file)])
    assert isinstance(done.exception, InputError)
    assert "one of the scores" in str(done.exception)
    assert file.read_bytes() == before


def test_the_command_writes_what_show_and_report_take(tmp_path):
    files = files_of(tmp_path, score_of(30, 10), score_of(31, 11, seed=1), score_of(29, 9, seed=2))
    options = ["--name", "lise", "--source", "LiSe, arXiv 2407.08569", "--out", str(tmp_path / "lise.json")]
    done = CliRunner().invoke(build_app(), ["label-free", "ledger", *map(str, files), *options])
    assert done.exit_code == 0, done.output
    lines = list(describe_any(tmp_path / "lise.json"))
    assert done.output.strip().splitlines() == [line.rstrip() for line in lines]
    assert all(len(line) <= 100 for line in lines)
    assert lines[0].startswith("lise: 3 seeds")
    ledger = read_for_page(tmp_path / "lise.json")
    assert list(describe_label_free(ledger)) == lines
    write_page([ledger], tmp_path / "ledger.md", tmp_path / "images", "make ledger")
    page = (tmp_path / "ledger.md").read_text()
    assert "## lise" in page
    assert "| object | 0.25 | 0-50 m | 120 | 30.0 | 50.0 | 60 % | 55 to 65 % | half reached |" in page


def test_a_damaged_ledger_is_refused(tmp_path):
    (tmp_path / "lise.json").write_text(json.dumps({"kind": "label_free", "name": "lise"}))
    with pytest.raises(InputError, match=r"lise\.json: scores"):
        read_for_page(tmp_path / "lise.json")
