from __future__ import annotations

from collections.abc import Iterator

import pytest

from understudy.bags.types import make_message
from understudy.faults.contents import Contents, road_contents
from understudy.faults.suite import Bench
from understudy.pipeline import Pipeline, open_pipeline
from understudy.testing import tiny_bundle


@pytest.fixture(scope="session")
def contents() -> Contents:
    return road_contents()


@pytest.fixture(scope="session")
def student(contents: Contents, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    bundle = tiny_bundle(tmp_path_factory.mktemp("student") / "bundle")
    with open_pipeline(bundle.folder, contents.rig) as opened:
        yield opened


@pytest.fixture(scope="session")
def bench(contents: Contents, student: Pipeline) -> Bench:
    return Bench(contents, student, make_message)
