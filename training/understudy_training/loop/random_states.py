"""The states of the global random generators, as tensors: a checkpoint holds those of every process, and no code."""

from __future__ import annotations

import random

import numpy as np
import torch
from torch import Tensor

_NONE = float("nan")


def random_states() -> dict[str, Tensor]:
    """States of Python's, NumPy's, torch's generator and that of the current GPU; equal shapes in all processes."""
    version, words, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002
    assert version == 3
    assert name == "MT19937"
    states = {
        "python": torch.tensor(words, dtype=torch.int64),
        "python_gauss": torch.tensor(_NONE if gauss is None else gauss, dtype=torch.float64),
        "numpy": torch.from_numpy(np.append(keys, [position, has_gauss]).astype(np.int64)),
        "numpy_gauss": torch.tensor(cached, dtype=torch.float64),
        "torch": torch.get_rng_state(),
    }
    return states | ({"cuda": torch.cuda.get_rng_state()} if torch.cuda.is_available() else {})


def restore_random_states(states: dict[str, Tensor]) -> None:
    """Sets every generator to what `random_states` found."""
    gauss = float(states["python_gauss"])
    random.setstate((3, tuple(states["python"].tolist()), None if gauss != gauss else gauss))
    *keys, position, has_gauss = states["numpy"].tolist()
    state = ("MT19937", np.array(keys, np.uint32), position, has_gauss, float(states["numpy_gauss"]))
    np.random.set_state(state)  # noqa: NPY002
    # copies, because torch reads a view's storage from its very beginning
    torch.set_rng_state(states["torch"].cpu().clone())
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"].cpu().clone())
