"""Wrong input is one clear line and exit code 2, and harms nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.cases import Case, attempt
from tests.integration.chain import Chain
from tests.integration.wrong_inputs import WRONG_INPUTS


@pytest.mark.parametrize("case", WRONG_INPUTS, ids=lambda case: case.name)
def test_is_one_line_and_harms_nothing(
    case: Case, chain: Chain, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    outcome = attempt(case, chain, tmp_path)
    said = outcome.err + "".join(capfd.readouterr())
    assert outcome.status == 2, said
    assert len(outcome.messages) == 1, said
    assert "Traceback" not in said + outcome.out
    for words in case.says:
        assert words in outcome.messages[0]
    assert not outcome.changed


def test_names_are_unique_and_there_are_enough() -> None:
    assert len({case.name for case in WRONG_INPUTS}) == len(WRONG_INPUTS) >= 36
