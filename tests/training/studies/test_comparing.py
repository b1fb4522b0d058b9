import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.training.studies.made_up_ledger import ledger_of, of_many_methods, row
from understudy_training.ledger import t_interval
from understudy_training.studies.comparing import compare, difference, holm, outside_t, paired_p

TABLE = [(12.706, 1), (4.303, 2), (3.182, 3), (2.776, 4), (2.571, 5), (2.365, 7), (2.228, 10), (2.086, 20), (2.042, 30)]
"""Two-sided 95 % points of Student's t, from any table."""


@pytest.mark.parametrize(("t", "freedom"), TABLE)
def test_students_t_by_the_table(t, freedom):
    assert outside_t(t, freedom) == pytest.approx(0.05, abs=2e-4)


def test_students_t_at_its_ends():
    assert outside_t(0.0, 4) == 1
    assert outside_t(1e9, 2) == pytest.approx(0, abs=1e-9)
    assert outside_t(1.0, 1) == pytest.approx(0.5)


@given(st.lists(st.floats(-20, 20), min_size=2, max_size=12))
def test_the_p_value_is_below_five_percent_when_the_interval_leaves_zero_out(values):
    low, high = t_interval(values)
    p_value = paired_p(values)
    if min(abs(low), abs(high)) > 1e-3 * (high - low) + 1e-9:
        assert (p_value < 0.05) == (low > 0 or high < 0)


def test_holm_by_hand():
    """0.01 x 4, then 0.03 x 3, then 0.04 x 2 which may not fall, then 0.5."""
    assert holm([0.04, 0.01, 0.5, 0.03]) == pytest.approx([0.09, 0.04, 0.5, 0.09])
    assert holm([]) == []


def test_differences_are_paired_by_seed():
    found = difference({0: 50.0, 1: 60.0, 2: None, 4: 9.0}, {0: 47.0, 1: 58.0, 2: 1.0, 3: 5.0})
    assert found.by_seed == {0: 3.0, 1: 2.0}
    assert found.mean == 2.5
    assert difference({0: 1.0}, {1: 1.0}) is None
    assert difference({0: 3.0}, {0: 1.0}).interval is None


def test_a_gain_of_every_seed_is_shown_and_counted_with_all_that_were_tried():
    few = ledger_of({"a": [74, 77, 75]}, [70, 71, 72])
    (student,) = compare(few)
    assert student.results[0].verdict == "gain shown"
    assert student.results[0].holm_p == pytest.approx(student.results[0].overall.p_value)
    assert student.results[0].holds_for_all
    nothing = {f"n{number}": [70.5, 70.4, 72.3] for number in range(19)}
    many = compare(ledger_of({"a": [74, 77, 75], **nothing}, [70, 71, 72]))[0].results[0]
    assert many.verdict == "gain shown"
    assert many.holm_p == pytest.approx(20 * many.overall.p_value)
    assert not many.holds_for_all


def test_what_must_not_help_stands_last_and_is_not_counted():
    (student,) = compare(of_many_methods())
    assert [result.part for result in student.results[-2:]] == ["random", "shuffled"]
    assert all(result.holm_p is None for result in student.results[-2:])
    means = [result.overall.mean for result in student.results[:-2]]
    assert means == sorted(means, reverse=True)
    assert student.results[0].label == "dense_response"


def test_classes_and_ranges_are_compared_too():
    ledger = ledger_of({"a": [75, 76, 77]}, [70, 71, 72])
    rows = tuple(
        each
        if each.label != "a"
        else each.model_copy(update={"ap_percent": {"3d": {**each.ap_percent["3d"], "20-40": {"mean": 90.0}}}})
        for each in ledger.rows
    )
    rows = tuple(
        each.model_copy(update={"ap_percent": {**each.ap_percent, "bev": ledger.rows[1].ap_percent["bev"]}})
        for each in rows
    )
    result = compare(ledger.model_copy(update={"rows": rows}))[0].results[0]
    assert result.by_class["car"].mean == pytest.approx(5)
    assert result.by_range["0-20"].mean == pytest.approx(5)
    assert result.by_range["20-40"].by_seed == pytest.approx({0: 23.0, 1: 22.0, 2: 21.0})


def test_costs_are_over_the_control_of_the_same_seed_where_both_are_known():
    ledger = ledger_of({"a": [70, 71]}, [70, 71])
    unknown = tuple(
        each.model_copy(update={"cpu_s": None}) if each.label == "a" and each.seed == 1 else each
        for each in ledger.rows
    )
    assert compare(ledger.model_copy(update={"rows": unknown}))[0].results[0].cpu_ratio == pytest.approx(1.1)


def test_pairs_that_were_computed_differently_are_marked():
    ledger = ledger_of({"a": [70, 71]}, [70, 71])
    other = row("a", 0, 70, precision="bf16-mixed")
    rows = tuple(other if (each.label, each.seed) == ("a", 0) else each for each in ledger.rows)
    assert compare(ledger.model_copy(update={"rows": rows}))[0].results[0].mixed
    assert not compare(ledger)[0].results[0].mixed
