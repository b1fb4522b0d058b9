from pathlib import Path

import pytest

from understudy_training.augmentation.object_cutting import cut_objects
from understudy_training.testing import MadeUpDataset


@pytest.fixture(scope="session")
def database(tmp_path_factory) -> Path:
    """Objects of made-up frames, in several shards."""
    out = tmp_path_factory.mktemp("objects") / "db"
    cut_objects(MadeUpDataset(20, seed=5), out, points_per_shard=700)
    return out
