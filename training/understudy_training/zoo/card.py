"""A model card: what a network is, what it was trained on, what it was measured to be worth, what it is not for.

The fields follow "Model Cards for Model Reporting" (Mitchell et al. 2019): details, intended use, metrics, evaluation
data, training data, caveats.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from textwrap import wrap
from typing import Literal

from pydantic import Field

from understudy.bundle.manifest import Sha256
from understudy.configuration import Config, file_sha256
from understudy.errors import InputError
from understudy.evaluation import Evaluation
from understudy.metrics.matching import OVERLAPS, Overlap
from understudy_training.checkpoint import RECIPE, WEIGHTS, load_detector, read_record
from understudy_training.models.detector import BevDetector
from understudy_training.recipe import read_recipe

CARD = "card.yaml"
LARGEST_BYTES = 4_000_000
"""What a repository carries without harm; larger networks are trained from their recipes."""
_COLUMNS = 100
_NAME = r"^[a-z0-9][a-z0-9-]*$"


class Score(Config):
    """Average precision of a class, in percent; None where the data hold no such object."""

    class_name: str
    overlap: Overlap
    iou_threshold: float
    range_m: tuple[float, float]
    ap_percent: float | None = None


class ModelCard(Config):
    """`card.yaml` beside the weights."""

    schema_version: Literal[1] = 1
    name: str = Field(pattern=_NAME)
    summary: str
    sensors: Literal["lidar", "camera", "fusion"]
    classes: tuple[str, ...]
    license: str = "Apache-2.0"
    """Of the weights."""
    gmacs: float
    parameters: int
    weights_sha256: Sha256
    weights_bytes: int
    recipe: str
    """Name of the recipe that made it; it stands beside the weights, resolved."""
    trained_on: str
    """The data, in words; its fingerprint stands in `run.json`."""
    taught_by: str = "nobody"
    evaluated_on: str
    evaluation_data: str
    """Fingerprint of the data it was evaluated on."""
    num_frames: int
    scores: tuple[Score, ...]
    not_for: str
    """What it must not be taken for."""

    @property
    def mean_ap_percent(self) -> dict[Overlap, float | None]:
        """Mean over the classes, over the whole range."""
        return {overlap: _mean(self._whole_range(overlap)) for overlap in OVERLAPS}

    def _whole_range(self, overlap: Overlap) -> list[float]:
        ranges = [score.range_m for score in self.scores]
        whole = max(ranges, key=lambda span: span[1] - span[0], default=(0.0, 0.0))
        chosen = [score for score in self.scores if score.overlap == overlap and score.range_m == whole]
        return [score.ap_percent for score in chosen if score.ap_percent is not None]


class CardText(Config):
    """What nobody but its maker can say about a network."""

    name: str = Field(pattern=_NAME)
    summary: str
    trained_on: str
    evaluated_on: str
    taught_by: str = "nobody"
    not_for: str


def make_card(run: Path, evaluation: Evaluation, text: CardText) -> ModelCard:
    """The card of a finished run.

    Raises:
        InputError: when the run is not finished, its weights are too large to be carried along, or the evaluation is of
            something else.
    """
    detector, _ = load_detector(run)
    record, size = read_record(run), (run / WEIGHTS).stat().st_size
    if size >= LARGEST_BYTES:
        found, wanted = f"{size / 1e6:.1f} MB", f"below {LARGEST_BYTES / 1e6:.0f} MB"
        raise InputError(f"{run / WEIGHTS}", found=found, wanted=wanted, remedy="ship its recipe instead")
    _refuse_another(detector, evaluation)
    return ModelCard(
        **text.model_dump(),
        sensors=_sensors(detector),
        classes=detector.config.class_names,
        gmacs=round(record.gmacs, 4),
        parameters=record.parameters,
        weights_sha256=file_sha256(run / WEIGHTS),
        weights_bytes=size,
        recipe=read_recipe(run / RECIPE).name,
        evaluation_data=evaluation.data,
        num_frames=evaluation.num_frames,
        scores=tuple(_scores(evaluation)),
    )


def _refuse_another(detector: BevDetector, evaluation: Evaluation) -> None:
    """Raises InputError when an evaluation cannot be this network's: the record holds no hash of the weights."""
    remedy = "understudy evaluate RUN, so that it is these weights that are judged"
    if "torch" not in evaluation.engine or "without" in evaluation.engine:
        raise InputError("evaluation", found=evaluation.engine, wanted="of the run itself, with all", remedy=remedy)
    config, settings = detector.config, evaluation.settings
    looks = None if config.lidar_encoder is not None else config.pictures
    strangers = set(evaluation.class_names) - set(config.class_names)
    if settings.grid != config.grid or strangers or (settings.pictures is None) != (looks is None):
        found = f"{evaluation.subject}, over another region or other classes"
        raise InputError("evaluation", found=found, wanted="of the run itself", remedy=remedy)
    if settings.num_frames is not None:
        raise InputError("evaluation", found=f"{settings.num_frames} frames", wanted="the whole split", remedy=remedy)


def describe_card(card: ModelCard) -> Iterator[str]:
    """The card as text of at most 100 columns."""
    yield from wrap(f"{card.name}: {card.summary}", _COLUMNS, subsequent_indent="  ")
    facts = {
        "sensors": f"{card.sensors}; classes {', '.join(card.classes)}",
        "cost": f"{card.gmacs:.2f} GMAC, {card.parameters / 1e6:.2f} M parameters, {card.weights_bytes / 1e6:.2f} MB",
        "weights": f"sha256 {card.weights_sha256[:12]}, {card.license}",
        "trained": f"recipe {card.recipe}, on {card.trained_on}, taught by {card.taught_by}",
        "measured": f"on {card.evaluated_on}: {card.num_frames} frames, data {card.evaluation_data[:12]}",
        "not for": card.not_for,
    }
    for name, value in facts.items():
        lines = wrap(value, _COLUMNS - 12) or [""]
        yield f"  {name:10s}{lines[0]}"
        yield from (f"{'':12s}{line}" for line in lines[1:])
    yield from _table(card)


def describe_list(cards: list[ModelCard]) -> Iterator[str]:
    """One line per network."""
    yield f"{'name':26s}{'sensors':9s}{'GMAC':>7s}{'params':>9s}{'mean AP, BEV':>14s}{'3D':>7s}  measured on"
    for card in cards:
        means = card.mean_ap_percent
        cost = f"{card.gmacs:7.2f}{card.parameters / 1e6:7.2f} M"
        worth = f"{_number(means['bev']):>14s}{_number(means['3d']):>7s}"
        yield f"{card.name:26s}{card.sensors:9s}{cost}{worth}  {card.evaluated_on}"[:_COLUMNS]


def _table(card: ModelCard) -> Iterator[str]:
    ranges = list(dict.fromkeys(score.range_m for score in card.scores))
    by_key = {(score.class_name, score.overlap, score.range_m): score.ap_percent for score in card.scores}
    header = "".join(f"{f'{low:g}-{high:g} m':>10s}" for low, high in ranges)
    for overlap in OVERLAPS:
        yield f"  {f'AP in %, {overlap}':18s}{header}"[:_COLUMNS]
        for name in card.classes:
            if (name, overlap, ranges[0]) in by_key:
                values = "".join(f"{_number(by_key.get((name, overlap, span))):>10s}" for span in ranges)
                yield f"    {name:16s}{values}"[:_COLUMNS]


def _scores(evaluation: Evaluation) -> Iterator[Score]:
    for entry in evaluation.entries:
        ap = None if entry.ap_percent is None else round(entry.ap_percent, 2)
        yield Score(
            class_name=entry.class_name,
            overlap=entry.overlap,
            iou_threshold=entry.iou_threshold,
            range_m=entry.range_m,
            ap_percent=ap,
        )


def _sensors(detector: BevDetector) -> Literal["lidar", "camera", "fusion"]:
    if detector.config.camera_encoder is None:
        return "lidar"
    return "camera" if detector.config.lidar_encoder is None else "fusion"


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
