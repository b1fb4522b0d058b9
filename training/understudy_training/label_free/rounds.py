"""Rounds of self-training: a student is trained on boxes that nobody labeled, and finds those of the next one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from understudy.boxes import Boxes
from understudy.configuration import Config, content_hash, write_json, write_yaml
from understudy.datasets.files import read_json
from understudy.errors import InputError, UnderstudyError
from understudy.evaluation import at_score_threshold
from understudy.pipeline import Pipeline
from understudy.progress import Track, silent
from understudy_training.augmentation.membership import members
from understudy_training.augmentation.object_cutting import cut_objects
from understudy_training.batches import TrainingFrames
from understudy_training.checkpoint import WEIGHTS, load_detector, read_record, save_run
from understudy_training.distillation.frames import load_frames
from understudy_training.fitting import FitOptions, fit
from understudy_training.label_free.averaging import WeightAverager, reestimate
from understudy_training.label_free.cues import PictureCues
from understudy_training.label_free.labels import PseudoLabeled, Resampling, Unlabeled
from understudy_training.label_free.lidar_boxes import is_persistent
from understudy_training.label_free.merging import suppressed
from understudy_training.label_free.passes import OtherPasses
from understudy_training.label_free.pseudo_boxes import PseudoBoxes, boxes_of, read_pseudo_boxes
from understudy_training.label_free.recipe import LabelFreeRecipe
from understudy_training.label_free.sampling import GROUPS, group_shares, rates
from understudy_training.label_free.seeds import Look, Looks, find_seeds
from understudy_training.resuming import was_begun
from understudy_training.torch_engine import open_torch_engine

BEGUN, RECIPE, BOXES, ROUND, RUN, OBJECTS, AVERAGE = (
    *("begun-with.json", "recipe.yaml", "boxes.npz", "round.json", "run", "objects"),
    "average.safetensors",
)
AVERAGED = "averaged"


@dataclass(frozen=True, eq=False)
class Material:
    """What is trained on: frames without labels, other passes of their streets, and 2D boxes or None."""

    dataset: Unlabeled
    passes: OtherPasses
    cues: PictureCues | None = None

    @property
    def fingerprints(self) -> dict[str, str]:
        """Of each part."""
        cues = "" if self.cues is None else self.cues.fingerprint
        return {"data": self.dataset.fingerprint, "passes": self.passes.fingerprint, "cues": cues}


@dataclass(frozen=True)
class RoundOptions:
    """What differs between trainings of the same recipe.

    Attributes:
        seed: decides the search for the ground, the students' initial weights, the order of the frames, the sampling.
        threads: of the student when it finds boxes.
        resume: go on where an interrupted training stopped.
    """

    seed: int = 0
    threads: int = 1
    resume: bool = False


class RoundRecord(Config):
    """What a round was trained on."""

    schema_version: int = 1
    round: int
    boxes: int
    frames: int
    shares: dict[str, float]
    """Of the boxes, by group."""
    rates: dict[str, float]
    """How often a box of a group was shown."""


def train_label_free(
    recipe: LabelFreeRecipe,
    material: Material,
    out: Path,
    options: RoundOptions | None = None,
    *,
    track: Track = silent,
    say: Callable[[str], None] = lambda line: None,
) -> Path:
    """Finds seeds and carries out the rounds; what is finished in `out` is not done again.

    Args:
        recipe: what to do.
        material: what to do it on.
        out: folder of the rounds, each with a run folder as `fit` writes it.
        options: seed, threads, resumption.
        track: progress.
        say: takes lines.

    Returns:
        The run folder of the resulting student: the average where the recipe asks for one, else the last round's.

    Raises:
        InputError: when `out` holds something else, or was begun with another recipe, data or seed.
        UnderstudyError: when a round's student finds nothing.
    """
    options = options or RoundOptions()
    refuse_unnamed_classes(recipe, material)
    _begin(recipe, material, out, options)
    looks = Looks(material.dataset, material.passes, recipe, out / "frames", options.seed)
    boxes = _seeds(looks, material, recipe, out / "round-0", track)
    initial = group_shares(boxes.together)
    averaging = recipe.self_training.averaging
    averager = None if averaging is None else WeightAverager(averaging.start_round, averaging.decay)
    frames = None
    for number in range(recipe.self_training.rounds):
        folder = out / f"round-{number}"
        if number:
            boxes = _found(out / f"round-{number - 1}" / RUN, looks, recipe, folder, options, track)
        shown = _rates(recipe, initial, boxes, number)
        _record(folder, number, boxes, shown)
        say(_told(number, boxes, shown))
        frames = _frames(recipe, looks, boxes, shown, folder, options.seed, number)
        _train(recipe, frames, folder, averager, options, number, say)
    last = out / f"round-{recipe.self_training.rounds - 1}" / RUN
    return last if averager is None or frames is None else _averaged(recipe, averager, frames, last, out / AVERAGED)


def refuse_unnamed_classes(recipe: LabelFreeRecipe, material: Material) -> None:
    """Raises InputError when the student is to find a class that no 2D box can carry."""
    known = () if material.cues is None else material.cues.class_names
    wanted = [] if recipe.is_class_agnostic else list(recipe.student.detector.class_names)
    strangers = [name for name in wanted if name not in known]
    if strangers:
        found = ", ".join(known) or "no 2D boxes"
        remedy = "bring 2D boxes of these classes, or train for class_names: [object]"
        raise InputError(f"2D boxes of {', '.join(strangers)}", found=found, wanted="one of each class", remedy=remedy)


def _begin(recipe: LabelFreeRecipe, material: Material, out: Path, options: RoundOptions) -> None:
    identity = {"recipe": content_hash(recipe), "seed": str(options.seed), **material.fingerprints}
    path = out / BEGUN
    if options.resume and path.is_file():
        begun = read_json(path)
        other = [name for name, value in identity.items() if not isinstance(begun, dict) or begun.get(name) != value]
        if other:
            found, remedy = f"begun with another {' and '.join(other)}", "resume with the same, or take another folder"
            raise InputError(f"{out}", found=found, wanted="the same as at its start", remedy=remedy)
        return
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        remedy = "choose another folder, or go on with an interrupted training by --resume"
        raise InputError(f"{out}", found="something there", wanted="a new or empty folder", remedy=remedy)
    out.mkdir(parents=True, exist_ok=True)
    write_yaml(out / RECIPE, recipe)
    unfinished = out / f"{BEGUN}.part"
    unfinished.write_text(json.dumps(identity, indent=2) + "\n", encoding="utf-8")
    unfinished.replace(path)


def _seeds(looks: Looks, material: Material, recipe: LabelFreeRecipe, folder: Path, track: Track) -> PseudoBoxes:
    if (folder / BOXES).is_file():
        return read_pseudo_boxes(folder / BOXES)
    seeds = find_seeds(looks, material.cues, recipe, track)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "seeds.json").write_text(json.dumps(seeds.counts, indent=2) + "\n", encoding="utf-8")
    seeds.boxes.write(folder / BOXES)
    return seeds.boxes


def _found(
    run: Path, looks: Looks, recipe: LabelFreeRecipe, folder: Path, options: RoundOptions, track: Track
) -> PseudoBoxes:
    """The boxes that a round's student finds in the frames, for the next one."""
    if (folder / BOXES).is_file():
        return read_pseudo_boxes(folder / BOXES)
    boxes = find_boxes(run, looks, recipe, options.threads, track)
    if not sum(len(frame) for frame in boxes.frames):
        remedy = "lower self_training.min_score, or train the rounds for longer"
        raise UnderstudyError(f"{run}", found="no box in any frame", wanted="some for the next round", remedy=remedy)
    boxes.write(folder / BOXES)
    return boxes


def find_boxes(
    run: Path, looks: Looks, recipe: LabelFreeRecipe, threads: int = 1, track: Track = silent
) -> PseudoBoxes:
    """What a trained student finds in the frames, filtered as MODEST does: what is persistent is no object that moves.

    Args:
        run: its run folder.
        looks: the frames.
        recipe: the rules.
        threads: of the student.
        track: progress.
    """
    model = open_torch_engine(run, threads=threads)
    contract = at_score_threshold(model.contract, recipe.self_training.min_score)
    pipeline, frames = None, []
    for index in track(range(len(looks)), "boxes for the next round", len(looks)):
        sample = looks.dataset[index]
        if pipeline is None or pipeline.rig != sample.rig:
            pipeline = Pipeline(contract, model.engine, sample.rig, lidar=recipe.student.data.lidar)
        frames.append(filtered(pipeline(sample.frame), looks.look(index, sample), recipe))
    return PseudoBoxes(tuple(frames), contract.class_names)


def filtered(boxes: Boxes, seen: Look, recipe: LabelFreeRecipe) -> Boxes:
    """A frame's detections that may be trained on: enough returns, not persistent, one of each object."""
    assert boxes.scores is not None
    inside = members(boxes, seen.points)
    num_points = np.array([len(rows) for rows in inside], np.int32)
    moves = [not is_persistent(seen.persistency[rows[seen.stands[rows]]], recipe.cluster_rules) for rows in inside]
    kept = np.array(moves, bool) & (num_points >= recipe.self_training.min_points)
    counted = boxes_of(boxes.geometry, boxes.labels, boxes.class_names, num_points, boxes.scores)
    return suppressed(counted[kept], recipe.self_training.same_iou)


def _rates(
    recipe: LabelFreeRecipe, initial: NDArray[np.float64], boxes: PseudoBoxes, number: int
) -> NDArray[np.float64]:
    if not recipe.self_training.resample or number == 0:
        return np.ones(len(GROUPS))
    return rates(initial, group_shares(boxes.together))


def _record(folder: Path, number: int, boxes: PseudoBoxes, shown: NDArray[np.float64]) -> None:
    every = boxes.together
    shares = group_shares(every)
    record = RoundRecord(
        round=number,
        boxes=len(every),
        frames=len(boxes),
        shares={name: round(float(share), 4) for name, share in zip(GROUPS, shares, strict=True)},
        rates={name: round(float(rate), 4) for name, rate in zip(GROUPS, shown, strict=True)},
    )
    write_json(folder / ROUND, record)


def _told(number: int, boxes: PseudoBoxes, shown: NDArray[np.float64]) -> str:
    shares = group_shares(boxes.together)
    parts = (f"{name} {share:.0%} x{rate:.2f}" for name, share, rate in zip(GROUPS, shares, shown, strict=True))
    return f"round {number}: {len(boxes.together)} boxes in {len(boxes)} frames; {', '.join(parts)}"


def _frames(
    recipe: LabelFreeRecipe,
    looks: Looks,
    boxes: PseudoBoxes,
    shown: NDArray[np.float64],
    folder: Path,
    seed: int,
    number: int,
) -> TrainingFrames:
    """The round's frames, with objects of a bank cut from its own boxes where there are to be more of a group."""
    labeled, lidar = PseudoLabeled(looks.dataset, boxes), recipe.student.data.lidar
    if (shown == 1.0).all():
        return load_frames(recipe.student, labeled)
    bank = folder / OBJECTS
    cut_objects(labeled, bank, lidar=lidar, min_points=recipe.self_training.min_points, overwrite=True)
    sampled = Resampling(labeled, shown, bank, looks.grounds(), (seed, number), lidar)
    return load_frames(recipe.student, sampled)


def _train(
    recipe: LabelFreeRecipe,
    frames: TrainingFrames,
    folder: Path,
    averager: WeightAverager | None,
    options: RoundOptions,
    number: int,
    say: Callable[[str], None],
) -> None:
    run, kept = folder / RUN, folder / AVERAGE
    averages = averager is not None and number >= averager.start_round
    if (run / WEIGHTS).is_file() and (kept.is_file() or not averages):
        if averages and averager is not None:
            averager.read(kept)
        return
    if not averages or averager is None:
        fit(recipe.student, frames, run, FitOptions(seed=options.seed, resume=was_begun(run)), say=say)
        return
    # the average lives beside the training, so an interrupted round is done again from its start
    shutil.rmtree(run, ignore_errors=True)
    with averager.following(number):
        fit(recipe.student, frames, run, FitOptions(seed=options.seed), say=say)
    averager.write(kept)


def _averaged(recipe: LabelFreeRecipe, averager: WeightAverager, frames: TrainingFrames, last: Path, out: Path) -> Path:
    """A run folder with the averaged weights; its record is the last round's."""
    if not (out / WEIGHTS).is_file():
        detector, _ = load_detector(last)
        averager.put_into(detector)
        reestimate(detector, frames, recipe.student.data.batch_size)
        save_run(out, detector, recipe.student, read_record(last))
    return out
