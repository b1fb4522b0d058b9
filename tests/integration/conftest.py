from __future__ import annotations

import pytest

from tests.integration.chain import Chain, make_chain


@pytest.fixture(scope="session")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """The whole chain in miniature; nothing may change it."""
    return make_chain(tmp_path_factory.mktemp("chain"))
