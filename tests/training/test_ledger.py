import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.evaluation import EvaluatedClass, Evaluation, EvaluationSettings
from understudy_training.ledger import Facts, Ledger, read_ledger, t_interval
from understudy_training.ledger_table import describe_ledger


def evaluation(**ap_percent: float | None) -> Evaluation:
    settings = EvaluationSettings()
    entries = [
        EvaluatedClass(
            class_name=name,
            overlap=overlap,
            range_m=settings.metric.ranges_m[0],
            iou_threshold=0.5,
            num_truths=10,
            num_detections=10,
            num_correct=5,
            ap_percent=value,
            scores=(),
            precisions=(),
            recalls=(),
        )
        for name, value in ap_percent.items()
        for overlap in ("bev", "3d")
    ]
    return Evaluation(
        subject="x", data="d", num_frames=1, class_names=tuple(ap_percent), settings=settings, entries=tuple(entries)
    )


def ledger_of(students: list[float], controls: list[float], **facts: object) -> Ledger:
    ledger = Ledger().add("teacher", "teacher", evaluation(car=70, truck=50))
    for seed, (student, control) in enumerate(zip(students, controls, strict=True)):
        ledger = ledger.add(
            f"student, seed {seed}", "student", evaluation(car=student, truck=student), Facts(**facts), seed
        )
        ledger = ledger.add(f"control, seed {seed}", "control", evaluation(car=control, truck=control), seed=seed)
    return ledger


def test_interval_by_hand():
    low, high = t_interval([1.0, 2.0, 3.0])
    assert low == pytest.approx(2 - 4.303 / 3**0.5, abs=1e-3)
    assert high == pytest.approx(2 + 4.303 / 3**0.5, abs=1e-3)
    assert t_interval([1.0]) is None


def test_gain_is_paired_over_the_seeds():
    gain = ledger_of([50, 62, 41], [47, 60, 38]).gain()
    assert gain.by_seed == {0: 3.0, 1: 2.0, 2: 3.0}
    assert gain.interval[0] > 0
    assert gain.verdict == "gain shown"


@pytest.mark.parametrize(
    ("students", "controls"), [([50], [40]), ([50, 40], [45, 44]), ([40, 41, 42], [50, 50, 50]), ([40, 40], [40, 40])]
)
def test_no_gain_is_claimed_without_an_interval_above_zero(students, controls):
    assert ledger_of(students, controls).gain().verdict == "no gain shown"


@given(st.lists(st.floats(-20, 20), min_size=2, max_size=20))
def test_an_interval_holds_its_mean(values):
    low, high = t_interval(values)
    assert low - 1e-9 <= sum(values) / len(values) <= high + 1e-9


def test_without_a_control_there_is_no_gain():
    ledger = Ledger().add("student, seed 0", "student", evaluation(car=50), seed=0)
    assert ledger.gain() is None
    assert not any("gain" in line for line in describe_ledger(ledger))


def test_a_class_without_truths_does_not_enter_the_mean():
    ledger = Ledger().add("teacher", "teacher", evaluation(car=60, truck=None))
    assert ledger.entries[0].mean_ap_percent["3d"] == 60


def test_a_row_of_the_same_name_is_replaced_and_quantized_rows_can_follow():
    ledger = ledger_of([50, 51], [40, 41])
    longer = ledger.add("student INT8", "quantized", evaluation(car=49), Facts(file_bytes=300_000, latency_ms=1.5))
    assert len(longer.entries) == len(ledger.entries) + 1
    again = longer.add("student INT8", "quantized", evaluation(car=48))
    assert len(again.entries) == len(longer.entries)
    assert again.entries[-1].mean_ap_percent["3d"] == 48


def test_it_is_read_back_as_written(tmp_path):
    ledger = ledger_of([50, 51], [40, 41], parameters=190_700, gmacs=0.17)
    ledger.write(tmp_path / "ledger.json")
    assert read_ledger(tmp_path / "ledger.json") == ledger


def test_the_table_fits_a_hundred_columns_and_says_the_verdict():
    lines = list(
        describe_ledger(ledger_of([50, 51], [40, 41], parameters=4_563_000, gmacs=3.67, teacher_shuffled=True))
    )
    assert all(len(line) <= 100 for line in lines)
    text = "\n".join(lines)
    assert "4.56 M" in text
    assert text.count("gain shown") == 2
    assert "shuffled" in text
