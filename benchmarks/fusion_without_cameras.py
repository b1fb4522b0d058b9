"""What a fusion student is worth when its cameras fail, against the same LiDAR student that never had any.

    python benchmarks/fusion_without_cameras.py DATA --fusion RUN... --lidar RUN... --out FILE

Runs are paired in the order given (the same seeds). Each fusion run is evaluated with all cameras, without each of them
in turn, and without any; the LiDAR runs once. The table holds means over the runs, and the paired difference to the
LiDAR student with its 95 % interval (Student's t).
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

from understudy.datasets.dataset import Dataset
from understudy.datasets.opening import open_dataset
from understudy.evaluation import evaluate_model
from understudy_training.ledger import t_interval
from understudy_training.torch_engine import open_torch_engine

ALL, NONE, LIDAR = "all cameras", "no camera", "LiDAR student"


def main() -> None:
    """Measures, writes JSON and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--split", default="val")
    parser.add_argument("--fusion", type=Path, nargs="+", required=True)
    parser.add_argument("--lidar", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    if len(arguments.fusion) != len(arguments.lidar):
        parser.error(f"{len(arguments.fusion)} fusion runs and {len(arguments.lidar)} LiDAR runs: give as many of both")
    dataset = open_dataset(arguments.data, arguments.split)
    measured = measure(dataset, arguments.fusion, arguments.lidar)
    arguments.out.write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")
    print("\n".join(table(measured)))


def measure(dataset: Dataset, fusion: Sequence[Path], lidar: Sequence[Path]) -> dict[str, dict[str, list[float]]]:
    """By row, then by overlap: the mean average precision of each run, in percent."""
    measured: dict[str, dict[str, list[float]]] = {}
    for run in fusion:
        for name, without in _failures(run):
            _add(measured, name, run, dataset, without)
    for run in lidar:
        _add(measured, LIDAR, run, dataset, ())
    return measured


def table(measured: dict[str, dict[str, list[float]]]) -> Iterator[str]:
    """Markdown."""
    yield "| fusion student with | BEV | 3D | 3D, less the LiDAR student | 95 % interval |"
    yield "|---|---|---|---|---|"
    for name, found in measured.items():
        bev, in_3d = (statistics.fmean(found[overlap]) for overlap in ("bev", "3d"))
        if name == LIDAR:
            yield f"| ({LIDAR}) | {bev:.1f} | {in_3d:.1f} | | |"
            continue
        gains = [own - other for own, other in zip(found["3d"], measured[LIDAR]["3d"], strict=True)]
        interval = t_interval(gains)
        spread = "" if interval is None else f"{interval[0]:+.1f} to {interval[1]:+.1f}"
        yield f"| {name} | {bev:.1f} | {in_3d:.1f} | {statistics.fmean(gains):+.1f} | {spread} |"


def _failures(run: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    contract = open_torch_engine(run).contract
    cameras = () if contract.pictures is None else contract.pictures.cameras
    yield ALL, ()
    yield from ((f"all but {name}", (name,)) for name in cameras)
    yield NONE, tuple(cameras)


def _add(
    measured: dict[str, dict[str, list[float]]], name: str, run: Path, dataset: Dataset, without: tuple[str, ...]
) -> None:
    opened = open_torch_engine(run)
    with opened.engine:
        evaluation = evaluate_model(opened, dataset, subject=name, without=without)
    row = measured.setdefault(name, {"bev": [], "3d": []})
    row["bev"].append(round(evaluation.mean_ap_percent("bev") or 0.0, 3))
    row["3d"].append(round(evaluation.mean_ap_percent("3d") or 0.0, 3))


if __name__ == "__main__":
    main()
