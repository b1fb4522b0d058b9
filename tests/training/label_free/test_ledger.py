"""Scores of several seeds joined: shares with intervals, the page, and what does not belong together."""

import json

import pytest
from typer.testing import CliRunner

from understudy.cli import build_app
from understudy.configuration import write_json
from understudy.errors import InputError
from understudy_training.label_free.ledger import describe_label_free, label_free_ledger, shares
from understudy_training.label_free.scoring import LabelFreeScore, ScoreRow, ScoreSettings
from understudy_training.studies.listing import describe_any
from understudy_training.studies.page import read_for_page, write_page


def score_of(near: float, strict: float | None, with_labels: float | None = 50.0, **changes: object) -> LabelFreeScore:
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
    return LabelFreeScore(data="d" * 64, num_frames=12, settings=ScoreSettings(), rows=rows).model_copy(update=changes)


def files_of(folder, *scores):
    for number, score in enumerate(scores):
        write_json(folder / f"score{number}.json", score)
    return [folder / f"score{number}.json" for number in range(len(scores))]


def test_the_share_is_of_each_seed_and_its_verdict_is_that_of_the_interval(tmp_path):
    files = files_of(tmp_path, score_of(30, 10), score_of(31, 26, 52.0), score_of(29, 30))
    loose, strict = shares(label_free_ledger("lise", "LiSe", files))
    assert loose.ap_percent == pytest.approx(30.0)
    assert loose.supervised_ap_percent == pytest.approx(152 / 3)
    assert loose.share == pytest.approx((30 / 50 + 31 / 52 + 29 / 50) / 3)
    assert loose.verdict == "half reached"
    assert strict.share == pytest.approx((0.2 + 0.5 + 0.6) / 3)
    assert strict.verdict == "not decided"
    low = files_of(tmp_path, score_of(10, 10), score_of(11, 11), score_of(9, 9.5))
    assert [found.verdict for found in shares(label_free_ledger("lise", "", low))] == ["half not reached"] * 2
    [one, _] = shares(label_free_ledger("lise", "", low[:1]))
    assert (one.interval, one.verdict) == (None, "one seed says nothing")


def test_what_a_seed_has_no_share_of_is_left_out(tmp_path):
    files = files_of(tmp_path, score_of(30, 10), score_of(31, None))
    assert [found.row.iou for found in shares(label_free_ledger("lise", "", files))] == [0.25]


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (score_of(31, 11, data="e" * 64), "other frames or settings, wanted those of"),
        (score_of(31, 11, settings=ScoreSettings(min_points=1)), "other frames or settings"),
        (score_of(31, 11, with_labels=None), "no supervised score.*--against"),
        (score_of(30, 10), "the same score twice"),
    ],
)
def test_scores_that_cannot_be_joined_are_refused(tmp_path, second, message):
    with pytest.raises(InputError, match=message):
        label_free_ledger("lise", "", files_of(tmp_path, score_of(30, 10), second))


def test_the_command_writes_what_show_and_report_take(tmp_path):
    files = files_of(tmp_path, score_of(30, 10), score_of(31, 11), score_of(29, 9))
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
    assert "| object | 0.25 | 0-50 m | 120 | 30.0 | 50.0 | 60% | 55 to 65 % | half reached |" in page


def test_a_damaged_ledger_is_refused(tmp_path):
    (tmp_path / "lise.json").write_text(json.dumps({"kind": "label_free", "name": "lise"}))
    with pytest.raises(InputError, match=r"lise\.json: scores"):
        read_for_page(tmp_path / "lise.json")
