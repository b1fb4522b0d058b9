import struct

import pytest

from tests.training.studies.made_up_ledger import ledger_of, of_many_methods
from understudy.errors import InputError
from understudy_training.studies.listing import describe_any
from understudy_training.studies.page import write_page
from understudy_training.studies.records import read_study_ledger
from understudy_training.studies.table import describe_study


def test_the_table_fits_a_hundred_columns_and_says_what_was_tried():
    lines = list(describe_study(of_many_methods()))
    assert all(len(line) <= 100 for line in lines), max(lines, key=len)
    text = "\n".join(lines)
    first = next(line for line in lines if line.startswith("dense_response "))
    assert first.endswith("  gain shown")
    assert "dense_response-shuffled: no gain shown, as it must be" in text
    assert "14 comparisons with an interval: 1 show a gain by themselves" in text
    assert "0.4 would show one by luck" in text


def test_a_shuffled_teacher_that_helps_is_cried_out():
    ledger = ledger_of({"a": [75, 76, 77.1], "a-shuffled": [75, 76, 77.1]}, [70, 71, 72])
    assert any("a-shuffled: gain shown: DO NOT BELIEVE THE OTHERS" in line for line in describe_study(ledger))


def test_unfinished_studies_and_failures_can_be_shown():
    empty = ledger_of({}, [], rows=(), class_names=(), ranges_m=(), planned=20)
    assert "0 of 20 networks" in next(iter(describe_study(empty)))
    one = ledger_of({"a": [75]}, [70], failures={"small b, seed 0": "the loss is no number"}, planned=40)
    lines = list(describe_study(one))
    assert lines[-1] == "failed: small b, seed 0: the loss is no number"
    assert any(line.startswith("a ") and line.endswith("no gain shown") for line in lines)


def test_the_page_has_tables_and_a_legible_picture(tmp_path):
    ledger = of_many_methods()
    written = write_page([ledger], tmp_path / "docs" / "ledger.md", tmp_path / "docs" / "images", "make ledger")
    picture = tmp_path / "docs" / "images" / "ledger-made-up-small.png"
    assert written == [tmp_path / "docs" / "ledger.md", picture]
    width, height = struct.unpack(">II", picture.read_bytes()[16:24])
    assert width > 1000
    assert height > 16 * 25, "a row of text for each method"
    page = written[0].read_text()
    assert "(images/ledger-made-up-small.png)" in page
    assert page.index("| dense_response (paper of dense_response)") < page.index("| attention_transfer (")
    assert "Made by `make ledger`" in page
    again = picture.read_bytes()
    write_page([ledger], written[0], picture.parent, "make ledger")
    assert picture.read_bytes() == again


def test_two_studies_of_one_name_make_no_page(tmp_path):
    with pytest.raises(InputError, match="same name"):
        write_page([of_many_methods(), of_many_methods(1)], tmp_path / "a.md", tmp_path, "x")


def test_ledgers_are_read_back_and_of_either_kind(tmp_path):
    ledger = of_many_methods()
    ledger.write(tmp_path / "ledger.json")
    assert read_study_ledger(tmp_path) == ledger
    assert "study made-up" in next(iter(describe_any(tmp_path / "ledger.json")))
    (tmp_path / "other.json").write_text('{"schema_version": 1, "entries": []}')
    assert "AP in %, in 3D" in next(iter(describe_any(tmp_path / "other.json")))
    with pytest.raises(InputError, match="no ledger of a study over methods"):
        read_study_ledger(tmp_path / "other.json")
