"""The terms of a recipe together: what they add to the student's loss, with a warm-up and their shares."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from understudy.configuration import Config
from understudy_training.distillation.answers import WHOLE_MAPS, Answers, Asked
from understudy_training.distillation.terms import TermConfig, Widths
from understudy_training.distillation.terms.term import TEACHER
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

    @property
    def teachers(self) -> tuple[str, ...]:
        """Names of those that any term listens to, in the terms' order."""
        return tuple(dict.fromkeys(name for term in self.terms for name in (term.teacher, *term.others)))

    @property
    def past_frames(self) -> int:
        """Earlier samples whose boxes any term looks at."""
        return max(getattr(term, "past_frames", 0) for term in self.terms)

    def asked_of(self, teacher: str) -> tuple[Asked, ...]:
        """What the terms look at that listen to a teacher."""
        of = [term for term in self.terms if teacher in (term.teacher, *term.others)]
        return tuple(sorted({asked for term in of for asked in term.asks_of(teacher)}))


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

    def __init__(
        self, config: DistillationConfig, teacher: Widths | Mapping[str, Widths], student: Widths, epochs: int = 1
    ) -> None:
        """`teacher` of the only one, or of each by name; `epochs` of the whole training, for the terms' schedules."""
        super().__init__()
        self.warmup, self.asked, self.epochs = config.warmup, config.asked, epochs
        self.schedules = tuple(term.schedule for term in config.terms)
        self.listens_to = tuple((term.teacher, *term.others) for term in config.terms)
        widths = by_name(teacher)
        self.terms = nn.ModuleList(
            term.build(widths[term.teacher], student, *(widths[name] for name in term.others)) for term in config.terms
        )

    def counts(self, teacher: Answers | Mapping[str, Answers], valid: Tensor, centres: Tensor) -> Tensor:
        """`(T,)` float32: what each term is divided by; needs no answer of the student's.

        Args:
            teacher: the answers of the only teacher, or of each by name.
            valid: `(B, N)` bool, the student's labeled boxes.
            centres: `(B, K, h, w)` target heat-map.
        """
        answers = by_name(teacher)
        with torch.autocast(centres.device.type, enabled=False):
            counts = [
                term.count(answers[names[0]], valid, centres)  # type: ignore[operator]
                for term, names in zip(self.terms, self.listens_to, strict=True)
            ]
            return torch.stack([wide(count) for count in counts])

    def forward(
        self,
        student: Answers,
        teacher: Answers | Mapping[str, Answers],
        centres: Tensor,
        progress: float,
        divisors: Tensor | None = None,
    ) -> DistillationLoss:
        """Compares the answers.

        Args:
            student: the student's, with gradients.
            teacher: those of the only teacher, or of each by name, without.
            centres: `(B, K, h, w)` target heat-map.
            progress: how much of the training is done, 0 to 1.
            divisors: `(T,)` instead of `counts`, for a batch that is a part of a larger one.
        """
        everyone = {**by_name(teacher), _STUDENT: student}
        assert not any(said.heatmap.requires_grad for name, said in everyone.items() if name != _STUDENT)
        narrow = {name: _widened(said, but=WHOLE_MAPS) for name, said in everyone.items()}
        all_wide = all(getattr(term, "widens_maps", False) for term in self.terms)
        widened = narrow if all_wide else {name: _widened(said) for name, said in narrow.items()}
        warmed = min(progress / self.warmup, 1.0) if self.warmup > 0 else 1.0
        total, by_term = wide(student.heatmap).new_zeros(()), {}
        with torch.autocast(centres.device.type, enabled=False):
            for number, (term, schedule) in enumerate(zip(self.terms, self.schedules, strict=True)):
                answers = narrow if getattr(term, "widens_maps", False) else widened
                said, *others = (answers[name] for name in self.listens_to[number])
                parts = term(answers[_STUDENT], said, centres, None if divisors is None else divisors[number], *others)
                total = total + warmed * schedule.share(progress, self.epochs) * torch.stack([*parts.values()]).sum()
                by_term.update({self._recorded(number, name): part.detach() for name, part in parts.items()})
        return DistillationLoss(total, by_term)

    def _recorded(self, number: int, loss: str) -> str:
        """A loss of a term behind its teacher's name, unless that is `teacher`, so that two of a kind stay apart."""
        teacher = self.listens_to[number][0]
        named = teacher == TEACHER or loss.startswith(f"{teacher}.")  # a term's label has it already
        return loss if named else f"{teacher}.{loss}"


Named = TypeVar("Named")
_STUDENT = ""
"""Not a teacher's name."""


def by_name(teachers: Named | Mapping[str, Named]) -> Mapping[str, Named]:
    """What belongs to each teacher by its name, of a single one too."""
    return teachers if isinstance(teachers, Mapping) else {TEACHER: teachers}


def _widened(answers: Answers, but: Collection[str] = ()) -> Answers:
    """The same in float32; what counts or numbers something stays, and what is named."""
    named = answers.named().items()
    return Answers(
        **{name: wide(part) if part.is_floating_point() and name not in but else part for name, part in named}
    )
