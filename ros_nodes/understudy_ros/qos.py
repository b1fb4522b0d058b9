"""Quality of service: the profiles that our topics have, and whether two ends of a topic fit."""

from __future__ import annotations

from rclpy.qos import DurabilityPolicy, QoSCompatibility, QoSProfile, ReliabilityPolicy, qos_check_compatible


def profile_of(depth: int, *, reliable: bool) -> QoSProfile:
    """For what is sent again and again; best effort takes any publisher and holds none up."""
    reliability = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
    return QoSProfile(depth=depth, reliability=reliability)


def latched_profile(depth: int) -> QoSProfile:
    """For what is said once and holds: who comes later hears it too."""
    return QoSProfile(depth=depth, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def mismatch(offered: QoSProfile, asked: QoSProfile) -> str:
    """Why nothing passes from a publisher to a subscription; empty when it does."""
    compatibility, reason = qos_check_compatible(offered, asked)
    return str(reason).replace("ERROR: ", "").strip("; ") if compatibility == QoSCompatibility.ERROR else ""
