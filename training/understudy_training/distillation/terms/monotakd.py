"""MonoTAKD (arXiv 2404.04910): a camera assistant with true depth stands between a LiDAR teacher and a camera student.

`imd`: the student's F_vis like the assistant's map F^A. `cmrd`: its F_spa like what the teacher's map F^T has beyond
F^A. `logit`: its head like the teacher's. Both map errors are in the assistant's units: divided by each channel's
spread, so that no channel counts for its scale. The release scales to [0, 1] over the whole batch with a helper that
detaches, so its `imd` teaches nothing; here the student's map keeps its gradient, and the targets never have one.
"""

from __future__ import annotations

from torch import Tensor

from understudy_training.distillation.residuals import TOP_CELLS, ResidualMode, Scale, residual_target
from understudy_training.distillation.terms.quality_focal import HeadMaps, box_errors, class_error

CLASS_WEIGHT, BOX_WEIGHT, DIRECTION_WEIGHT = 2.0, 2.0, 0.4
"""Of the release."""


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
    seen_from: float = 0.1,
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
