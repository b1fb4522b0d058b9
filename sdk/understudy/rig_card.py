"""What `understudy rig` shows of a rig."""

from __future__ import annotations

import math

from understudy.cards import card
from understudy.rig import Lidar, Rig, Sensor


def rig_card(rig: Rig) -> str:
    """Sensors by name, with what they deliver and where they sit in ego."""
    rows = [("sensors", f"LiDARs {len(rig.lidars)}, cameras {len(rig.cameras)}"), ("hash", rig.hash)]
    rows += [(name, f"{_delivers(sensor)}; {_place(sensor)}") for name, sensor in rig.sensors.items()]
    return card(f"rig {rig.name}", rows)


def _delivers(sensor: Sensor) -> str:
    frame = f"frame {sensor.frame_id or '(any)'}"
    offset = f", clock {sensor.time_offset_ns / 1e6:+g} ms" if sensor.time_offset_ns else ""
    if isinstance(sensor, Lidar):
        return f"LiDAR, {frame}, intensity 0..{sensor.intensity_scale:g}{offset}"
    view_deg = math.degrees(2 * math.atan(sensor.width_px / (2 * sensor.fx_px)))
    return f"camera, {frame}, {sensor.width_px} x {sensor.height_px} px, {view_deg:.0f} deg wide{offset}"


def _place(sensor: Sensor) -> str:
    pose = sensor.ego_from_sensor.pose()
    x_m, y_m, z_m = pose.translation_m
    # Cameras look along z, LiDARs along x: the axis whose heading in ego a reader expects.
    ahead = pose.rotation[:, 0] if isinstance(sensor, Lidar) else pose.rotation[:, 2]
    heading_deg = math.degrees(math.atan2(ahead[1], ahead[0]))
    return f"at x {x_m:.3f}, y {y_m:.3f}, z {z_m:.3f} m, looking {heading_deg:+.1f} deg from ahead"
