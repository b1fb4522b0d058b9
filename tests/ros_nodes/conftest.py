"""Real nodes over real DDS on the loopback interface; run by the Python of `make ros`, skipped by any other."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ros_nodes.environment import remove_shared_memory_of_the_dead, ros_environment


@pytest.fixture(scope="session", autouse=True)
def _only_this_machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Before anything of ROS starts: unset, discovery multicasts on the network."""
    os.environ.update(ros_environment(tmp_path_factory.mktemp("ros_log")))
    yield
    remove_shared_memory_of_the_dead()


@pytest.fixture(scope="module")
def observer() -> Iterator[object]:
    """This process as a ROS node of its own, beside the nodes under test."""
    from tests.ros_nodes.observer import Observer

    with Observer() as made:
        yield made


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[object]:
    """Starts node processes, and sees that none is left."""
    from tests.ros_nodes.processes import Nodes

    with Nodes(tmp_path) as made:
        yield made
