"""Statistics of a data set as text of at most 100 columns."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from understudy_training.data.measures import RING_EDGES_M
from understudy_training.data.statistics import (
    RANGE_EDGES_M,
    CameraStatistics,
    ClassStatistics,
    DataStatistics,
    LidarStatistics,
    Spread,
)


def describe(statistics: DataStatistics) -> Iterator[str]:
    """Blocks for labels, LiDARs and cameras."""
    drives = "" if statistics.num_drives is None else f", {_counted(statistics.num_drives, 'drive')}"
    yield f"{statistics.name}: {_counted(statistics.num_frames, 'frame')}{drives}; {statistics.num_read} read"
    if statistics.ego_speed_mps.p50 is not None:
        yield f"vehicle    {_spread(statistics.ego_speed_mps)} m/s (5 %, median, 95 %)"
    if statistics.num_labeled:
        yield from _labels(statistics)
    for name, lidar in statistics.lidars.items():
        yield from _lidar(name, lidar)
    if statistics.cameras:
        yield f"{'cameras':<24}{'pictures':>9}{'brightness':>12}{'contrast':>10}{'haze':>8}{'sharpness':>11}"
        for name, camera in statistics.cameras.items():
            yield _camera(name, camera)


def _labels(statistics: DataStatistics) -> Iterator[str]:
    spans = "".join(f"{_span(low, high):>8}" for low, high in pairwise(RANGE_EDGES_M))
    columns = f"{'boxes':>8}{'frames':>8}{'empty':>8}{'points':>8}"
    yield f"{'labels':<17}{columns}{spans}{'speed m/s':>11}{'moving':>8}"
    for name, of_class in statistics.classes.items():
        if of_class.num_boxes:
            yield _class(name, of_class)
    missing = [name for name, of_class in statistics.classes.items() if not of_class.num_boxes]
    if missing:
        yield f"  without a box: {', '.join(missing)}"[:100]


def _span(low: float, high: float) -> str:
    return f">{low:g} m" if high == float("inf") else f"{low:g}-{high:g}"


def _class(name: str, of_class: ClassStatistics) -> str:
    empty = f"{100 * of_class.num_empty / of_class.num_boxes:.1f} %"
    cells = f"{of_class.num_boxes:>8}{of_class.num_frames:>8}{empty:>8}{_number(of_class.points.p50, 0):>8}"
    spans = "".join(f"{count:>8}" for count in of_class.by_range)
    moving = "-" if of_class.moving_share is None else f"{100 * of_class.moving_share:.0f} %"
    return f"  {name[:14]:<15}{cells}{spans}{_number(of_class.speed_mps.p50, 1):>11}{moving:>8}"


def _lidar(name: str, lidar: LidarStatistics) -> Iterator[str]:
    beams = "" if lidar.beams.p50 is None else f", {lidar.beams.p50:.0f} beams"
    broken = f", {lidar.num_broken} not finite" if lidar.num_broken else ""
    yield f"LiDAR {name}: {_counted(lidar.num_sweeps, 'sweep')}, {_number(lidar.points.p50, 0)} points{beams}{broken}"
    spans = pairwise(RING_EDGES_M)
    yield "  ring             " + "".join(f"{_span(low, high):>9}" for low, high in spans)
    yield "  points per m2    " + "".join(f"{value:>9.3g}" for value in lidar.density_per_m2)
    scattered, far = _percent(lidar.scattered_share.p50), _percent(lidar.far_share.p50)
    reach, dark = _number(lidar.reach_m.p50, 0), _percent(lidar.dark_share.p50)
    yield f"  weather proxies  scattered near {scattered}, beyond 50 m {far}, reach {reach} m, dark {dark}"


def _camera(name: str, camera: CameraStatistics) -> str:
    light = f"{_number(camera.brightness.p50, 2):>12}{_number(camera.contrast.p50, 2):>10}"
    clear = f"{_number(camera.haze.p50, 2):>8}{_number(camera.sharpness.p50, 1):>11}"
    return f"  {name[:22]:<22}{camera.num_pictures:>9}{light}{clear}"


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def _spread(spread: Spread) -> str:
    return ", ".join(_number(value, 1) for value in (spread.p5, spread.p50, spread.p95))


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2g} %"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
