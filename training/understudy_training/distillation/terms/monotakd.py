"""MonoTAKD (arXiv 2404.04910): a camera assistant with true depth stands between a LiDAR teacher and a camera student.

`imd`: the student's F_vis like the assistant's map F^A. `cmrd`: its F_spa like what the teacher's map F^T has beyond
F^A. `logit`: its head like the teacher's. Both map errors are in the assistant's units: divided by each channel's
spread, so that no channel counts for its scale. The release scales to [0, 1] over the whole batch with a helper that
detaches, so its `imd` teaches nothing; here the student's map keeps its gradient, and the targets never have one.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from understudy.errors import RecipeError
from understudy_training.distillation.adapters import DenseAdapter
from understudy_training.distillation.answers import Answers, Asked
from understudy_training.distillation.residuals import (
    TOP_CELLS,
    FittedProjection,
    ResidualMode,
    Scale,
    Standardization,
    residual_target,
)
from understudy_training.distillation.sampling import on_grid_of
from understudy_training.distillation.terms.quality_focal import HeadMaps, box_errors, class_error
from understudy_training.distillation.terms.term import Level, Losses, TermSettings, Widths, divided

CLASS_WEIGHT, BOX_WEIGHT, DIRECTION_WEIGHT = 2.0, 2.0, 0.4
"""Of the release."""

SEEN_FROM = 0.1


class MonoTAKDConfig(TermSettings):
    """A camera assistant's map, what a LiDAR teacher's has beyond it, and the teacher's heads (MonoTAKD)."""

    kind: Literal["monotakd"] = "monotakd"
    assistant: str = "assistant"
    """Name of the camera detector with true depth; `teacher` is the LiDAR's."""
    imd_weight: float = Field(1.0, ge=0)
    cmrd_weight: float = Field(0.2, ge=0)
    logit_weight: float = Field(1.0, ge=0)
    level: Level = "low"
    """Which of the LiDAR teacher's maps; the assistant's and the student's is the one lifted from the pictures."""
    residual: ResidualMode = "top"
    top_cells: float = Field(TOP_CELLS, gt=0, le=1)
    """Share of a frame's cells whose residual counts, for `residual: top`."""
    scale: Literal["project", "standardize"] = "project"
    """How the teacher's map is brought to the assistant's: by a 1x1 fitted to it on the first maps, or channel by
    channel, which asks that channels of the same number mean the same."""

    @property
    def asks(self) -> tuple[Asked, ...]:
        """The map lifted from the pictures, and the LiDAR teacher's."""
        return ("camera_map", self._teachers_map)

    def asks_of(self, teacher: str) -> tuple[Asked, ...]:
        """Of the assistant its own map, of the LiDAR teacher its."""
        return ("camera_map",) if teacher == self.assistant else (self._teachers_map,)

    @property
    def _teachers_map(self) -> Asked:
        return "low_map" if self.level == "low" else "high_map"

    @property
    def others(self) -> tuple[str, ...]:
        """The assistant."""
        return (self.assistant,)

    def build(self, teacher: Widths, student: Widths, assistant: Widths) -> MonoTAKDTerm:
        """The term, with adapters where student and assistant differ in width.

        Raises:
            RecipeError: when student or assistant see no pictures, or channels cannot be matched one by one.
        """
        for name, widths in (("a student", student), ("an assistant", assistant)):
            if not widths.camera:
                raise RecipeError("term monotakd", found=f"{name} without cameras", wanted="one with")
        channels = getattr(teacher, self.level)
        if self.scale == "standardize" and channels != assistant.camera:
            found, wanted = f"{channels} channels of the teacher's", f"{assistant.camera} as the assistant's"
            raise RecipeError("term monotakd: scale standardize", found=found, wanted=wanted, remedy="scale: project")
        matched = assistant.camera
        scale = Standardization(matched) if self.scale == "standardize" else FittedProjection(channels, matched)
        visual, spatial = (_adapter(channels, matched) for channels in (student.camera, student.camera_residual))
        return MonoTAKDTerm(self, scale, visual, spatial)


class MonoTAKDTerm(nn.Module):
    """See `MonoTAKDConfig`."""

    def __init__(self, config: MonoTAKDConfig, scale: nn.Module, visual: nn.Module, spatial: nn.Module) -> None:
        super().__init__()
        self.config, self.scale, self.visual, self.spatial = config, scale, visual, spatial

    def count(self, teacher: Answers, valid: Tensor, centres: Tensor) -> Tensor:
        """Number of frames."""
        return centres.new_tensor(float(len(centres)))

    def forward(
        self, student: Answers, teacher: Answers, centres: Tensor, divisor: Tensor | None, assistant: Answers
    ) -> Losses:
        """`centres` is not looked at: nothing here needs a label.

        A student without a residual branch is a folded one: its only map is taught by both targets.
        """
        config, said = self.config, getattr(teacher, f"{self.config.level}_map")
        assert student.camera_map is not None and assistant.camera_map is not None  # noqa: PT018
        f_a = assistant.camera_map
        visual = self.visual(on_grid_of(student.camera_map, f_a))
        residual = student.camera_residual
        parts = by_frame(
            on_grid_of(said, f_a),
            f_a,
            visual,
            None if residual is None else self.spatial(on_grid_of(residual, f_a)),
            HeadMaps(teacher.heatmap, teacher.regression),
            HeadMaps(student.heatmap, student.regression),
            config.residual,
            self.scale,
            top=config.top_cells,
        )
        frames = self.count(teacher, student.valid, centres)
        weights = {"imd": config.imd_weight, "cmrd": config.cmrd_weight, "logit": config.logit_weight}
        return {
            f"monotakd_{name}": weights[name] * divided(part.sum(), frames, divisor) for name, part in parts.items()
        }


def _adapter(channels: int, wanted: int) -> nn.Module:
    """From a student's map to the assistant's width; nothing to learn where they agree or there is no such map.

    A layer that never gets a gradient would stop a training on several devices.
    """
    return nn.Identity() if channels in (0, wanted) else DenseAdapter(channels, wanted)


def by_frame(
    f_t: Tensor,
    f_a: Tensor,
    f_vis: Tensor,
    f_spa: Tensor | None,
    head_t: HeadMaps,
    head_s: HeadMaps,
    residual_mode: ResidualMode,
    scale: Scale,
    *,
    top: float = TOP_CELLS,
    seen_from: float = SEEN_FROM,
) -> dict[str, Tensor]:
    """`imd`, `cmrd` and `logit` of each frame, `(B,)`; arguments as for `monotakd`."""
    for target in (f_t, f_a, head_t.heatmap, head_t.regression):
        assert not target.requires_grad, "teacher and assistant are constants"
    matched = scale(f_t, f_a)
    unit = matched.unit
    wanted = residual_target(matched.teacher / unit, f_a / unit, residual_mode, top=top)
    beyond = f_vis - f_a if f_spa is None else f_spa
    located, directed = box_errors(head_s, head_t, seen_from)
    classes = class_error(head_s, head_t, seen_from)
    return {
        "imd": ((f_vis - f_a) / unit).square().mean(dim=(1, 2, 3)),
        "cmrd": (beyond / unit - wanted).square().mean(dim=(1, 2, 3)),
        "logit": CLASS_WEIGHT * classes + BOX_WEIGHT * located + DIRECTION_WEIGHT * directed,
    }


def monotakd(
    f_t: Tensor,
    f_a: Tensor,
    f_vis: Tensor,
    f_spa: Tensor | None,
    head_t: HeadMaps,
    head_s: HeadMaps,
    residual_mode: ResidualMode,
    scale: Scale,
) -> dict[str, Tensor]:
    """The loss's parts by itself, the paper's symbols for names: means over the frames.

    Args:
        f_t: `(B, C_T, H, W)` the LiDAR teacher's map, without gradient.
        f_a: `(B, C, H, W)` the assistant's, without gradient.
        f_vis: `(B, C, H, W)` the student's visual branch.
        f_spa: `(B, C, H, W)` its residual branch; None for a folded student, whose residual is `f_vis - f_a`.
        head_t: the LiDAR teacher's heads.
        head_s: the student's.
        residual_mode: which of the residual is asked for.
        scale: brings `f_t` to the channels and units of `f_a`.
    """
    parts = by_frame(f_t, f_a, f_vis, f_spa, head_t, head_s, residual_mode, scale)
    return {name: part.mean() for name, part in parts.items()}
