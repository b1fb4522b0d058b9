"""A student trained on generated scenes, run on real labeled frames; then tuned with the few real frames there are.

    python benchmarks/reality.py ../shared/data --out reality [--seeds 0,1] [--step students]

Steps, each done once and taken up again where it was interrupted: scenes, students, tuned, results, statistics,
pictures. Without --step all of them, in this order. What comes out: results.json, statistics.json, pictures/ and the
two Markdown tables of docs/reality.md, printed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import reality_report
import reality_statistics
from reality_data import FOLDS, joined, make_rigs, mixture, open_real
from reality_training import train, tune

from understudy.datasets.dataset import Dataset
from understudy.errors import UnderstudyError
from understudy_training.fitting import use_threads
from understudy_training.recipe import read_recipe

RECIPE = "reality-student"
SCENES, CONTROL, WITH_REAL = "scenes alone", "tuned on scenes", "tuned with real frames"
_REPEATS = 15
"""How often each real frame is shown in the tuning, augmented anew each time."""
_BESIDE = 30
"""Frames of each rig that are shown beside them; the control is shown twice as many and no real ones."""


@dataclass(frozen=True)
class Benchmark:
    """One benchmark in its folder.

    Attributes:
        data: folder of the real recordings.
        out: folder of everything that is made.
        seeds: of the students.
        drives: streets of each rig.
        epochs: of the students; None takes the recipe's.
    """

    data: Path
    out: Path
    seeds: tuple[int, ...]
    drives: int
    epochs: int | None

    def scenes(self) -> list[Dataset]:
        """The generated frames of each rig."""
        return make_rigs(self.out / "scenes", self.drives)

    def run(self, name: str, seed: int) -> Path:
        """Folder of a student."""
        return self.out / "runs" / f"{name}-seed{seed}"

    def students(self) -> None:
        """A student of each seed on scenes alone."""
        recipe = read_recipe(RECIPE).with_epochs(self.epochs)
        for seed in self.seeds:
            train(recipe, mixture(self.scenes()), self.run("scenes", seed), seed, say)

    def tuned(self) -> None:
        """Each student further, with the real frames of one half of the data sets or the other, and with none."""
        recipe, real = read_recipe(RECIPE), open_real(self.data)
        beside, only = mixture(self.scenes(), most=_BESIDE), mixture(self.scenes(), most=2 * _BESIDE)
        for seed in self.seeds:
            start = self.run("scenes", seed)
            tune(start, recipe, only, self.run("control", seed), seed, say)
            for fold, names in FOLDS.items():
                both = joined(beside, mixture([real[name] for name in names], repeats=_REPEATS))
                tune(start, recipe, both, self.run(fold, seed), seed, say)

    def results(self) -> None:
        """Every student on the frames that it, and no frame of their drives, was trained on."""
        rows = []
        for name, dataset in open_real(self.data).items():
            other = next(fold for fold, names in FOLDS.items() if name not in names)
            for seed in self.seeds:
                for student, run in ((SCENES, "scenes"), (CONTROL, "control"), (WITH_REAL, other)):
                    rows.append(reality_report.evaluate_student(self.run(run, seed), student, seed, name, dataset))
        self.write("results.json", [row.model_dump() for row in rows])
        say(reality_report.markdown(rows))

    def statistics(self) -> None:
        """Real and generated frames side by side."""
        generated = dict(zip(["HDL-64E", "HDL-32E", "Pandar64", "VLP-32C pair"], self.scenes(), strict=True))
        every = open_real(self.data) | {f"scenes, {name}": dataset for name, dataset in generated.items()}
        rows = [reality_statistics.figures(name, dataset) for name, dataset in every.items()]
        self.write("statistics.json", [row.model_dump() for row in rows])
        say(reality_statistics.markdown(rows))

    def pictures(self) -> None:
        """One frame of each data set with labels and boxes."""
        reality_report.draw([(SCENES, self.run("scenes", self.seeds[0]))], open_real(self.data), self.out / "pictures")
        say(f"{self.out / 'pictures'}: one picture of each data set")

    def write(self, name: str, values: Sequence[object]) -> None:
        """A JSON file in the folder."""
        (self.out / name).write_text(json.dumps(values, indent=1) + "\n")


def say(line: str) -> None:
    """Prints at once: a step takes minutes."""
    print(line, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of the real recordings")
    parser.add_argument("--out", type=Path, default=Path("reality"))
    parser.add_argument("--seeds", default="0", help="numbers separated by commas")
    parser.add_argument("--drives", type=int, default=75, help="streets of each of the four rigs, two frames each")
    parser.add_argument("--epochs", type=int, help="of the students, instead of the recipe's")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--step", choices=["scenes", "students", "tuned", "results", "statistics", "pictures"])
    options = parser.parse_args()
    use_threads(options.threads)
    seeds = tuple(int(seed) for seed in options.seeds.split(","))
    benchmark = Benchmark(options.data, options.out, seeds, options.drives, options.epochs)
    options.out.mkdir(parents=True, exist_ok=True)
    steps: dict[str, Callable[[], object]] = {
        **{"scenes": benchmark.scenes, "students": benchmark.students, "tuned": benchmark.tuned},
        **{"results": benchmark.results, "statistics": benchmark.statistics, "pictures": benchmark.pictures},
    }
    try:
        for name in [options.step] if options.step else list(steps):
            say(f"== {name}")
            steps[name]()
    except UnderstudyError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
