"""The terms of a recipe together: what they add to the student's loss, with a warm-up and their shares."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from understudy.configuration import Config
from understudy_training.distillation.answers import Answers, Asked
from understudy_training.distillation.terms import TermConfig, Widths
from understudy_training.losses import wide


class DistillationConfig(Config):
    """How the teacher is listened to."""

    terms: tuple[TermConfig, ...] = Field(min_length=1)
    """Each with its weight and, if it is not to count alike all along, its `schedule`."""
    warmup: float = Field(0.1, ge=0, le=1)
    """Part of the training over which the terms' weight grows from 0 to 1, besides their own schedules."""

    @model_validator(mode="after")
    def _are_different(self) -> DistillationConfig:
        labels = [term.label for term in self.terms]
        twice = sorted({label for label in labels if labels.count(label) > 1})
        if twice:
            raise ValueError(f"terms: {', '.join(twice)} is there twice; one term of a kind and level can be recorded")
        return self

    @property
    def asked(self) -> tuple[Asked, ...]:
        """What any term looks at."""
        return tuple(sorted({asked for term in self.terms for asked in term.asks}))


@dataclass(frozen=True, eq=False)
class DistillationLoss:
    """What the terms say.

    Attributes:
        total: the sum, with warm-up and schedules, to be added to the detection loss.
        by_term: each part as it counts in full, before warm-up and schedule, detached.
    """

    total: Tensor
    by_term: dict[str, Tensor]


class Distiller(nn.Module):
    """Holds the terms and their adapters: trained beside the student, never part of it."""

    def __init__(self, config: DistillationConfig, teacher: Widths, student: Widths, epochs: int = 1) -> None:
        """`epochs` of the whole training, which the terms' schedules are counted in."""
        super().__init__()
        self.warmup, self.asked, self.epochs = config.warmup, config.asked, epochs
        self.schedules = tuple(term.schedule for term in config.terms)
        self.terms = nn.ModuleList(term.build(teacher, student) for term in config.terms)

    def counts(self, teacher: Answers, valid: Tensor, centres: Tensor) -> Tensor:
        """`(T,)` float32: what each term is divided by; needs no answer of the student's.

        Args:
            teacher: the teacher's answers.
            valid: `(B, N)` bool, the student's labeled boxes.
            centres: `(B, K, h, w)` target heat-map.
        """
        teacher = _widened(teacher)
        with torch.autocast(centres.device.type, enabled=False):
            return torch.stack([wide(term.count(teacher, valid, centres)) for term in self.terms])  # type: ignore[operator]

    def forward(
        self, student: Answers, teacher: Answers, centres: Tensor, progress: float, divisors: Tensor | None = None
    ) -> DistillationLoss:
        """Compares the answers.

        Args:
            student: the student's, with gradients.
            teacher: the teacher's, without.
            centres: `(B, K, h, w)` target heat-map.
            progress: how much of the training is done, 0 to 1.
            divisors: `(T,)` instead of `counts`, for a batch that is a part of a larger one.
        """
        assert not teacher.heatmap.requires_grad
        student, teacher = _widened(student), _widened(teacher)
        warmed = min(progress / self.warmup, 1.0) if self.warmup > 0 else 1.0
        total, by_term = wide(student.heatmap).new_zeros(()), {}
        with torch.autocast(centres.device.type, enabled=False):
            for number, (term, schedule) in enumerate(zip(self.terms, self.schedules, strict=True)):
                parts = term(student, teacher, centres, None if divisors is None else divisors[number])
                total = total + warmed * schedule.share(progress, self.epochs) * torch.stack([*parts.values()]).sum()
                by_term.update({name: part.detach() for name, part in parts.items()})
        return DistillationLoss(total, by_term)


def _widened(answers: Answers) -> Answers:
    """The same in float32; what counts or numbers something stays."""
    named = answers.named().items()
    return Answers(**{name: wide(part) if part.is_floating_point() else part for name, part in named})
