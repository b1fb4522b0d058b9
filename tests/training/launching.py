"""Starting `tests.training.processes` as a user would start a training: alone, or by torchrun."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from understudy_training.tracking.metrics import read_metrics

ROOT = Path(__file__).resolve().parents[2]


def run_cases(folder: Path, cases: list[dict[str, Any]], processes: int = 1) -> subprocess.CompletedProcess[str]:
    """Runs cases in one process, or in several that torchrun starts."""
    specification = folder / f"specification-{len(list(folder.glob('specification-*')))}.json"
    specification.write_text(json.dumps([case | {"out": str(case["out"])} for case in cases]))
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = [sys.executable, *(torchrun if processes > 1 else []), "-m", "tests.training.processes"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "TORCHELASTIC"))}
    environment |= {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*command, str(specification)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def rows_of(run: Path) -> list[dict[str, Any]]:
    """A run's metrics without times."""
    return [{name: value for name, value in row.items() if name != "seconds"} for row in read_metrics(run)]


def assert_alike(first: Path, second: Path, rtol: float) -> None:
    """Losses of every step and final weights agree, each tensor of weights as a whole."""
    rows = list(zip(rows_of(first), rows_of(second), strict=True))
    for one, other in rows:
        assert one.keys() == other.keys()
        for name in one.keys() - {"kind"}:
            np.testing.assert_allclose(one[name], other[name], rtol=rtol, atol=1e-300, err_msg=f"{name} of {one}")
    weights, others = load_file(first / "weights.safetensors"), load_file(second / "weights.safetensors")
    assert weights.keys() == others.keys()
    for name, values in weights.items():
        apart = np.linalg.norm((values - others[name]).ravel().astype(np.float64))
        assert apart <= rtol * np.linalg.norm(values.ravel().astype(np.float64)), name
