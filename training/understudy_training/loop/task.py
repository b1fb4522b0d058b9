"""One optimizer step: see, compare with the labels, compare with the teacher. Lightning calls it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import lightning
import numpy as np
import torch
from torch import Tensor

from understudy_training.batches import Batch, Collate, Views
from understudy_training.distillation.answers import Answers
from understudy_training.distillation.asking import answers_of
from understudy_training.distillation.distiller import Distiller
from understudy_training.distillation.teacher_cache import Teacher
from understudy_training.loop import ranks
from understudy_training.loop.loading import Part, StepLoader
from understudy_training.loop.order import StepSampler, divide
from understudy_training.losses import depth_count, depth_loss, detection_counts, detection_loss
from understudy_training.models.detector import BevDetector
from understudy_training.recipe import Recipe
from understudy_training.targets import Targets, make_targets


@dataclass(frozen=True, eq=False)
class Lesson:
    """What is known about a part before the student has seen it: the targets, and what the teachers say."""

    targets: Targets
    answers: Mapping[str, Answers]


class DetectionTask(lightning.LightningModule):
    """The student's losses.

    Every loss is a sum divided by a count of labels (or by a weight of the teacher's). A mean over each device's or
    each part's own count would not be the mean over the whole batch; so the counts of all parts on all devices are
    added before the first part, and each part divides by what makes the mean of the parts the loss of the whole.
    """

    def __init__(
        self,
        detector: BevDetector,
        recipe: Recipe,
        views: Views,
        distiller: Distiller | None = None,
        teachers: Mapping[str, Teacher] | None = None,
    ) -> None:
        super().__init__()
        self.detector, self.recipe, self.distiller = detector, recipe, distiller
        self.views = views
        self._teachers = dict(teachers or {})  # not submodules: they are neither trained nor saved
        self._lessons: list[Lesson] = []
        self._divisors = torch.ones(0)

    def training_step(self, part: Part, batch_idx: int) -> dict[str, Any]:
        """The loss of a part, and under "parts" what it consists of."""
        if part.number == 0:
            self._lessons = [self._lesson(batch) for batch in part.step]
            self._divisors = self._divisors_of(part)
        lesson = self._lessons[part.number]
        outputs = self.detector(part.batch.inputs)
        weight = self.recipe.loss.regression_weight
        loss = detection_loss(outputs.heatmap, outputs.regression, lesson.targets, weight, self._divisors[:2])
        parts = {"heatmap": loss.heatmap, "regression": loss.regression, "detection": loss.total}
        total = loss.total
        if self._learns_depth:
            parts["depth"] = depth_loss(outputs, part.batch.inputs, self._divisors[2])
            total = total + self.recipe.loss.depth_weight * parts["depth"]
        parts = {name: value.detach() for name, value in parts.items()}
        if self.distiller is None or not lesson.answers:
            return {"loss": total, "parts": parts}
        own = answers_of(outputs, part.batch.boxes, self.detector.config.grid, self.distiller.asked)
        divisors = None if self._is_whole(part) else self._divisors[3:]
        said = self.distiller(own, lesson.answers, lesson.targets.heatmap, self.progress, divisors)
        return {"loss": total + said.total, "parts": parts | said.by_term}

    def on_fit_start(self) -> None:
        """Lightning's hook: what training draws, as which sensors it hides, follows from the seed and the process."""
        torch.manual_seed(int(np.random.SeedSequence((self.views.seed, ranks.rank())).generate_state(1, np.uint64)[0]))

    @property
    def _learns_depth(self) -> bool:
        return self.recipe.loss.depth_weight > 0 and self.detector.config.camera_encoder is not None

    @property
    def progress(self) -> float:
        """Part of the training that is done, 0 to 1."""
        return self.global_step / max(int(self.trainer.estimated_stepping_batches), 1)

    def configure_optimizers(self) -> Any:
        """AdamW over the detector and the adapters, one cycle of the learning rate."""
        schedule = self.recipe.schedule
        optimizer = torch.optim.AdamW(
            self.parameters(), lr=schedule.peak_learning_rate, weight_decay=schedule.weight_decay
        )
        total = max(int(self.trainer.estimated_stepping_batches), 1)
        cycle = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: one_cycle(step / total, schedule.warmup))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": cycle, "interval": "step"}}

    def train_dataloader(self) -> StepLoader:
        """This process's share of each step."""
        data, config = self.recipe.data, self.detector.config
        encoders = {name: teacher.encode for name, teacher in self._teachers.items()}
        collate = Collate(
            self.detector.collate,
            config.class_names,
            config.grid,
            data.min_points,
            {name: encode for name, encode in encoders.items() if encode is not None},
            in_pictures=config.lidar_encoder is None,
        )
        num_frames, parts = len(self.views), self.recipe.schedule.accumulate
        division = divide(data.batch_size, num_frames, parts, self.trainer.world_size, self.trainer.global_rank)
        shards = self.views.frames.shards
        sampler = StepSampler(num_frames, self.views.seed, division, lambda: self.global_step, shards)
        return StepLoader(self.views, collate, sampler, workers=data.workers, prefetch=data.prefetch)

    def transfer_batch_to_device(self, batch: Part, device: torch.device, dataloader_idx: int) -> Part:
        """Lightning's hook."""
        return batch.to(device)

    def _lesson(self, batch: Batch) -> Lesson:
        config, loss = self.detector.config, self.recipe.loss
        targets = make_targets(
            batch.boxes,
            config.grid,
            config.output_stride,
            len(config.class_names),
            overlap=loss.gaussian_overlap,
            min_radius=loss.min_radius,
        )
        if self.distiller is None:
            return Lesson(targets, {})
        # What a term's sum is divided by is counted before the student answers, so the labels stand here too.
        boxes, labels = batch.boxes.geometry, batch.boxes.labels
        said = {name: teacher(batch) for name, teacher in self._teachers.items()}
        return Lesson(targets, {name: replace(of, boxes=boxes, labels=labels) for name, of in said.items()})

    def _divisors_of(self, part: Part) -> Tensor:
        """`(3,)` what the losses of each part are divided by; `(3 + T,)`, the terms too, where a step has parts."""
        count = self._counts if self._is_whole(part) else self._counts_with_terms
        by_part = [count(batch, lesson) for batch, lesson in zip(part.step, self._lessons, strict=True)]
        counts = ranks.summed(torch.stack(by_part).sum(0))
        return counts.clamp(min=1) / (len(by_part) * ranks.world_size())

    def _is_whole(self, part: Part) -> bool:
        """Whether a part is all of its step: then terms divide by what they count themselves, and count once."""
        return len(part.step) == 1 and ranks.world_size() == 1

    def _counts(self, batch: Batch, lesson: Lesson) -> Tensor:
        depths = depth_count(batch.inputs) if self._learns_depth else torch.ones(())
        return torch.cat([detection_counts(lesson.targets), depths.reshape(1).to(lesson.targets.mask.device)])

    def _counts_with_terms(self, batch: Batch, lesson: Lesson) -> Tensor:
        counts = self._counts(batch, lesson)
        if self.distiller is None or not lesson.answers:
            return counts
        return torch.cat([counts, self.distiller.counts(lesson.answers, batch.boxes.valid, lesson.targets.heatmap)])


def one_cycle(progress: float, warmup: float) -> float:
    """Part of the peak learning rate at `progress` (0 to 1): cosine up from 1/25 during `warmup`, cosine down to 0."""
    if progress < warmup:
        return 1 - 0.96 * (1 + math.cos(math.pi * progress / warmup)) / 2
    return (1 + math.cos(math.pi * min((progress - warmup) / (1 - warmup), 1.0))) / 2
