import pytest

from tests.training.label_free.streets import Street, make_street


@pytest.fixture(scope="session")
def street(tmp_path_factory) -> Street:
    return make_street(tmp_path_factory.mktemp("street"))
