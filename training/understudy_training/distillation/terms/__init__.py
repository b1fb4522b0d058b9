"""Distillation terms: each compares a student's answers with a teacher's and says how far apart they are.

One module for a method. A term says by `asks` what it looks at, and by `count` what its sum is divided by, which is
known before the student has answered: a batch that is shared over devices or taken in parts is then divided by the
sum over all of it (`divisor`), as if it had been one.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from understudy_training.distillation.terms.attention_transfer import AttentionTransferConfig
from understudy_training.distillation.terms.cwd import CWDConfig
from understudy_training.distillation.terms.dense_response import DenseResponseConfig
from understudy_training.distillation.terms.fitnet import FitNetConfig
from understudy_training.distillation.terms.logit_kd import LogitKDConfig
from understudy_training.distillation.terms.masked_feature import MaskedFeatureConfig
from understudy_training.distillation.terms.monotakd import MonoTAKDConfig
from understudy_training.distillation.terms.pointdistiller import PointDistillerConfig
from understudy_training.distillation.terms.rkd import RKDConfig
from understudy_training.distillation.terms.term import Level, Losses, TermSettings, Widths
from understudy_training.distillation.terms.unidistill import FeatureConfig, RelationConfig, ResponseConfig
from understudy_training.distillation.terms.vcd import VCDConfig
from understudy_training.distillation.terms.xray import XRayBoxConfig, XRayEmbeddingConfig, XRayHeadConfig

TermConfig = Annotated[
    ResponseConfig
    | DenseResponseConfig
    | FeatureConfig
    | RelationConfig
    | LogitKDConfig
    | FitNetConfig
    | AttentionTransferConfig
    | MaskedFeatureConfig
    | RKDConfig
    | CWDConfig
    | PointDistillerConfig
    | MonoTAKDConfig
    | VCDConfig
    | XRayHeadConfig
    | XRayEmbeddingConfig
    | XRayBoxConfig,
    Field(discriminator="kind"),
]

__all__ = [
    "AttentionTransferConfig",
    "CWDConfig",
    "DenseResponseConfig",
    "FeatureConfig",
    "FitNetConfig",
    "Level",
    "LogitKDConfig",
    "Losses",
    "MaskedFeatureConfig",
    "MonoTAKDConfig",
    "PointDistillerConfig",
    "RKDConfig",
    "RelationConfig",
    "ResponseConfig",
    "TermConfig",
    "TermSettings",
    "VCDConfig",
    "Widths",
    "XRayBoxConfig",
    "XRayEmbeddingConfig",
    "XRayHeadConfig",
]
