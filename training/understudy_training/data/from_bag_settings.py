"""What is asked of `understudy dataset from-bag`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from understudy.configuration import Config
from understudy.messages.headers import BASE_FRAME
from understudy.synchronization.matcher import SyncPolicy

NONE = "none"
"""Named instead of a topic: take none, even where there is one."""


class FromBagSettings(Config):
    """Which topics are which sensors, which sweeps become frames, and what is put into them."""

    lidar_topics: tuple[str, ...] = ()
    """`topic` or `name=topic`, the pivot first; found by name, frame id and type where empty."""
    camera_topics: tuple[str, ...] = ()
    """`name=topic`; found by name, frame id and type where empty; `none` for no cameras."""
    labels_topic: str = ""
    """Boxes as Detection3DArray; found by name and type where empty; `none` for no labels."""
    odometry_topic: str = ""
    """Where the ego was; found by name and type where empty; else TF; `none` for no poses."""
    base_frame: str = BASE_FRAME
    """Ego in the bag's frames: on the road, x forward."""
    ignore_tf: bool = False
    """Trust the rig file where the bag's /tf_static says otherwise."""
    intensity_scale: float | None = Field(None, gt=0)
    """Raw intensity that means 1; needed where no rig file says it."""
    key_frame_hz: float = Field(2.0, ge=0)
    """Frames for each second; 0 takes every sweep."""
    min_motion_m: float = Field(0.0, ge=0)
    """A frame is kept only so far from the last one."""
    sweeps: int = Field(1, ge=1)
    """Sweeps accumulated in each frame, its own among them."""
    tolerance_ms: float = Field(50.0, gt=0)
    """Farthest that a picture may be from its sweep."""
    require: Literal["all", "any"] = "any"
    """Whether a sweep without all cameras is kept."""

    @field_validator("base_frame")
    @classmethod
    def _without_slash(cls, value: str) -> str:
        """Frame ids are compared without the slash that old drivers put before them."""
        return value.lstrip("/")

    def policy(self) -> SyncPolicy:
        """How pictures are matched; nothing is live here, so sweeps can wait and queues be long."""
        tolerance_ns = round(self.tolerance_ms * 1e6)
        return SyncPolicy(
            tolerance_ns=tolerance_ns,
            max_wait_ns=500_000_000 + tolerance_ns,
            silent_after_ns=None,
            require=self.require,
            queue_size=128,
            jump_back_ns=None,  # a drive goes forward: stamps that go back are left out
        )
