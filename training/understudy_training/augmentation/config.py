"""How a recipe says what is varied, and the one way from (seed, epoch, index) to a changed scene."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

import numpy as np
from pydantic import Field, field_validator, model_serializer, model_validator
from pydantic.functional_serializers import SerializerFunctionWrapHandler

from understudy.configuration import Config
from understudy_training.augmentation.camera_geometric import CameraGeometric, DrawnCameraGeometric
from understudy_training.augmentation.frame_steps import (
    DrawnFlip,
    DrawnScale,
    DrawnTranslate,
    DrawnTurn,
    Flip,
    Scale,
    Translate,
    Turn,
)
from understudy_training.augmentation.object_database import open_database
from understudy_training.augmentation.object_jitter import DrawnObjectJitter, ObjectJitter
from understudy_training.augmentation.object_paste import DrawnObjectPaste, ObjectPaste
from understudy_training.augmentation.photometric import DrawnPhotometric, Photometric
from understudy_training.augmentation.rings import ring_of
from understudy_training.augmentation.scene import Scene
from understudy_training.augmentation.step import Range, positive
from understudy_training.augmentation.thinning import BeamDrop, DrawnBeamDrop, DrawnPointDropout, PointDropout
from understudy_training.augmentation.weather import DrawnFog, DrawnRain, DrawnSnow, Fog, Rain, Snow
from understudy_training.augmentation.whole_frame import Draw

AnyStep = Annotated[
    Flip
    | Turn
    | Scale
    | Translate
    | ObjectJitter
    | ObjectPaste
    | BeamDrop
    | PointDropout
    | Rain
    | Fog
    | Snow
    | Photometric
    | CameraGeometric,
    Field(discriminator="kind"),
]
AnyDrawn = Annotated[
    DrawnFlip
    | DrawnTurn
    | DrawnScale
    | DrawnTranslate
    | DrawnObjectJitter
    | DrawnObjectPaste
    | DrawnBeamDrop
    | DrawnPointDropout
    | DrawnRain
    | DrawnFog
    | DrawnSnow
    | DrawnPhotometric
    | DrawnCameraGeometric,
    Field(discriminator="kind"),
]

_OF_OBJECTS = (ObjectJitter, ObjectPaste)
_OF_PICTURES = (Photometric, CameraGeometric)
_SHORT = ("flip_y", "max_turn_rad", "scale_range")


class Augmentation(Config):
    """How much frames are varied: the short form (mirror, turn, scale) or a list of steps, not both."""

    flip_y: bool = True
    """Mirror left and right in half of the draws."""
    max_turn_rad: float = Field(0.78, ge=0, le=3.1416)
    """Turn about z by at most this much either way."""
    scale_range: Range = (0.95, 1.05)
    variants: int | None = Field(None, gt=0)
    """How many versions of a frame there are. With a number, version `epoch % variants` is shown, the same for every
    seed of the run, so that a teacher's answers can be kept on disk; without, each epoch of each seed draws anew.
    Version 0 of a number of versions is the frame as it is."""
    steps: tuple[AnyStep, ...] | None = None
    """What is done, in this order, in place of the short form."""

    @field_validator("scale_range")
    @classmethod
    def _positive(cls, value: Range) -> Range:
        return positive(value, "scale_range")

    @model_validator(mode="before")
    @classmethod
    def _one_form(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("steps") is not None:
            both = [name for name in _SHORT if name in values]
            if both:
                raise ValueError(f"steps or {', '.join(both)}, not both: write them as steps (flip, turn, scale)")
        return values

    @model_validator(mode="after")
    def _pictures_can_follow(self) -> Augmentation:
        kinds = {
            group: [s.kind for s in self.steps or () if isinstance(s, group)] for group in (_OF_OBJECTS, _OF_PICTURES)
        }
        if all(kinds.values()):
            found = ", ".join(kinds[_OF_OBJECTS])
            raise ValueError(
                f"no {found} beside {', '.join(kinds[_OF_PICTURES])}: pictures would not show the objects move"
            )
        return self

    @model_serializer(mode="wrap")
    def _form_in_use(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Only the form that counts: a short form reads as it always did, and keeps its hash."""
        values: dict[str, Any] = handler(self)
        left_out = ("steps",) if self.steps is None else _SHORT
        return {name: value for name, value in values.items() if name not in left_out}

    def reach_m(self, radius_m: float) -> float:
        """How far from ego a point may be that a change brings within `radius_m`."""
        if self.steps is None:
            return float(radius_m / self.scale_range[0])
        for step in reversed(self.steps):
            if isinstance(step, Scale):
                radius_m /= step.scale_range[0]
            elif isinstance(step, Translate):
                radius_m += float(3 * np.hypot(*step.sigma_m[:2]))
        return float(radius_m)

    def refuse_unless_ready(self, class_names: tuple[str, ...]) -> None:
        """Looks before a training begins, where an error is one line and not a worker's death.

        Raises:
            InputError: when a database is missing, or it or the data lack a class that is asked for.
        """
        for step in self.steps or ():
            if isinstance(step, ObjectPaste):
                step.refuse_unless_ready(class_names)

    def sources(self) -> dict[str, str]:
        """Fingerprints of the databases that steps draw from, by path: they decide what is seen as well.

        Raises:
            InputError: when one is missing.
        """
        paths = [step.database for step in self.steps or () if isinstance(step, ObjectPaste)]
        return {f"{path}": open_database(path).fingerprint for path in paths}


class Change(Config):
    """A drawn list of steps: as JSON it can be stored, and applied again it gives the same bytes."""

    steps: tuple[AnyDrawn, ...] = ()

    def apply(self, scene: Scene) -> Scene:
        """The changed scene."""
        scene = _with_rings(scene, any(isinstance(step, DrawnBeamDrop) for step in self.steps))
        for step in self.steps:
            scene = step.apply(scene)
        return scene


def draw(augmentation: Augmentation | None, *, seed: int, epoch: int, index: int) -> Draw:
    """The change of sample `index` in `epoch` of the run with `seed` in the short form: same arguments, same change."""
    if augmentation is None:
        return Draw()
    assert augmentation.steps is None, "steps are drawn with the scene: see()"
    place = _place(augmentation, seed, epoch, index)
    if place is None:
        return Draw()
    flip, turn, scale = np.random.default_rng(place).random(3)
    low, high = augmentation.scale_range
    return Draw(
        flip_y=bool(augmentation.flip_y and flip < 0.5),
        turn_rad=float((2 * turn - 1) * augmentation.max_turn_rad),
        scale=float(low + (high - low) * scale),
    )


def see(
    augmentation: Augmentation | None, scene: Scene, *, seed: int, epoch: int, index: int
) -> tuple[Draw | Change, Scene]:
    """Sample `index` as `epoch` of the run with `seed` sees it, with what was drawn for it.

    Each step draws from a generator of its own, decided by seed, version, index and its number in the list: what one
    step draws does not depend on how much another drew, nor on who asks or in which order.

    Raises:
        InputError: when a step needs what the scene or the disk does not hold.
    """
    if augmentation is None or augmentation.steps is None:
        change = draw(augmentation, seed=seed, epoch=epoch, index=index)
        return change, change.apply(scene)
    place, drawn = _place(augmentation, seed, epoch, index), []
    if place is None:
        return Change(), scene
    scene = _with_rings(scene, any(isinstance(step, BeamDrop) for step in augmentation.steps))
    for number, step in enumerate(augmentation.steps):
        generator = np.random.default_rng([*place, 1 + number])
        if generator.random() < step.probability:
            drawn.append(step.draw(generator, scene))
            scene = drawn[-1].apply(scene)
    return Change(steps=tuple(drawn)), scene


def variant_of(augmentation: Augmentation | None, epoch: int) -> int:
    """Which version of a frame is shown in `epoch`."""
    if augmentation is None:
        return 0
    return epoch % augmentation.variants if augmentation.variants is not None else epoch


def _place(augmentation: Augmentation, seed: int, epoch: int, index: int) -> list[int] | None:
    """What decides the draws of a view; None for a view that shows the frame as it is."""
    fixed, version = augmentation.variants is not None, variant_of(augmentation, epoch)
    return None if fixed and version == 0 else [0 if fixed else 1 + seed, version, index]


def _with_rings(scene: Scene, wanted: bool) -> Scene:
    """The scene with its beams read off the firing order, which later steps disturb."""
    if not wanted or scene.ring is not None:
        return scene
    return replace(scene, ring=ring_of(scene.points, scene.ego_from_lidar))
