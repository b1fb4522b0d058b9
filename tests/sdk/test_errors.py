from __future__ import annotations

import pytest

from understudy import errors
from understudy.errors import UnderstudyError


def test_a_message_says_what_found_wanted_and_remedy_in_one_line():
    error = UnderstudyError("rig.yaml: scale", found=0, wanted="above 0", remedy="set\n  it")
    assert str(error) == "rig.yaml: scale: found 0, wanted above 0; set it"
    assert (error.what, error.found, error.wanted) == ("rig.yaml: scale", 0, "above 0")
    assert str(UnderstudyError("broken")) == "broken"
    assert str(UnderstudyError("broken", remedy="mend it")) == "broken; mend it"


@pytest.mark.parametrize("name", [name for name in vars(errors) if name.endswith("Error")])
def test_all_errors_are_of_one_family(name):
    assert issubclass(getattr(errors, name), UnderstudyError)
