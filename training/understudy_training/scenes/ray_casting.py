"""Rays against a street: boxes, ellipsoids, upright cylinders, leaves and the ground, nearest hit of each ray.

A primitive is tested only against the rays in its window of the sensor's ray grid, so no acceleration structure is
needed: the cost is the angle that the primitives cover. Only this module and `relief` import numba.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from understudy_training.scenes.relief import height_at, meets_relief, sampled
from understudy_training.scenes.roads import SIDEWALK_HEIGHT_M

BOX, ELLIPSOID, CYLINDER, LEAVES = 0, 1, 2, 3
"""Kinds of primitives. LEAVES is an ellipsoid that a ray enters some way before it is stopped, or passes through."""
NOTHING, ON_ROAD, ON_MARKING, ON_SIDEWALK, ON_TERRAIN, ON_CURB = -1, -2, -3, -4, -5, -6
"""Values of `Hits.surface` below zero: no hit, or a kind of ground."""

_MARKING_HALF_M = 0.07
_LEAF_DEPTH_M = 0.35
"""Mean way of a pulse into leaves."""
_compiled = numba.njit(cache=True, nogil=True, error_model="numpy")


@dataclass(frozen=True, eq=False)
class Hits:
    """Nearest hit of each ray of an `(I, J)` grid.

    Attributes:
        distance_m: `(I, J)` float32, infinite where nothing was hit.
        surface: `(I, J)` int32, primitive's row or one of the ground codes.
        normal: `(I, J, 3)` float32, unit normal towards the sensor, in the rays' frame.
    """

    distance_m: NDArray[np.float32]
    surface: NDArray[np.int32]
    normal: NDArray[np.float32]


def cast(
    origin: NDArray[np.float64],
    directions: NDArray[np.float32],
    windows: NDArray[np.int64],
    kinds: NDArray[np.int64],
    placed: NDArray[np.float64],
    pieces: NDArray[np.float64],
    max_range_m: float,
) -> Hits:
    """Nearest hits of rays from one origin.

    Args:
        origin: `(3,)` of all rays, in ego.
        directions: `(I, J, 3)` unit rays, in ego.
        windows: `(P, 4)` first and past-last index of the grid's two axes; the first axis wraps around.
        kinds: `(P,)` BOX, ELLIPSOID, CYLINDER or LEAVES.
        placed: `(P, 7)` center, half sizes and yaw, in ego.
        pieces: `(K, 10)` rows of `Road.pieces`, in ego; more columns hold a relief (`relief.relief_columns`).
        max_range_m: farthest hit.
    """
    shape = directions.shape[:2]
    hits = Hits(
        np.full(shape, np.inf, np.float32), np.full(shape, NOTHING, np.int32), np.zeros((*shape, 3), np.float32)
    )
    relief = sampled(pieces, max_range_m)
    _cast_ground(origin, directions, pieces, relief, max_range_m, hits.distance_m, hits.surface, hits.normal)
    _cast_primitives(
        origin, directions, windows, kinds, placed, max_range_m, hits.distance_m, hits.surface, hits.normal
    )
    return hits


@_compiled
def ground_code(pieces, x, y):  # type: ignore[no-untyped-def]
    """What kind of ground lies at a point: one of the ON_ codes (never ON_CURB)."""
    return _code_at(pieces, _headings(pieces), x, y)


@_compiled
def _headings(pieces):  # type: ignore[no-untyped-def]
    """`(K, 2)` cosine and sine of the pieces' headings."""
    headings = np.empty((len(pieces), 2))
    for k in range(len(pieces)):
        headings[k, 0], headings[k, 1] = math.cos(pieces[k, 2]), math.sin(pieces[k, 2])
    return headings


@_compiled
def _code_at(pieces, headings, x, y):  # type: ignore[no-untyped-def]
    code, roads = ON_TERRAIN, 0
    for k in range(len(pieces)):
        length, bend, half, walk = pieces[k, 3], pieces[k, 4], pieces[k, 5], pieces[k, 6]
        cos, sin = headings[k, 0], headings[k, 1]
        dx, dy = x - pieces[k, 0], y - pieces[k, 1]
        along, left = cos * dx + sin * dy, cos * dy - sin * dx
        if bend != 0.0:
            radius = 1.0 / bend
            turn = 1.0 if bend > 0 else -1.0
            along_raw = along
            left_raw = left
            left = radius - turn * math.sqrt(along_raw * along_raw + (left_raw - radius) * (left_raw - radius))
            if abs(left) > half + walk:
                continue
            along = math.atan2(along_raw, turn * (radius - left_raw)) * turn * radius
        if along < -1e-6 or along > length + 1e-6 or abs(left) > half + walk:
            continue
        if abs(left) > half:
            if roads == 0:
                code = ON_SIDEWALK
            continue
        roads += 1
        code = ON_ROAD
        if roads == 1 and _is_marking(along, abs(left), pieces[k, 7], pieces[k, 8], pieces[k, 9], half):
            code = ON_MARKING
    return code


@_compiled
def _is_marking(along, left, lanes, lane, zebra, half):  # type: ignore[no-untyped-def]
    if abs(along - zebra) < 1.5:
        return left < half - 0.3 and left % 1.0 < 0.5
    if abs(left - lanes * lane) < _MARKING_HALF_M:
        return True
    dashed = along % 6.0 < 3.0
    if left < _MARKING_HALF_M:
        return dashed
    return dashed and lanes > 1 and abs(left - lane) < _MARKING_HALF_M


@_compiled
def ground_heights(pieces, xy):  # type: ignore[no-untyped-def]
    """`(N,)` height of the ground at `(N, 2)` points."""
    heights, headings = np.zeros(len(xy)), _headings(pieces)
    for n in range(len(xy)):
        code = _code_at(pieces, headings, xy[n, 0], xy[n, 1])
        level = SIDEWALK_HEIGHT_M if code in (ON_SIDEWALK, ON_TERRAIN) else 0.0
        heights[n] = level + height_at(pieces, xy[n, 0], xy[n, 1])
    return heights


@_compiled
def count_inside(geometry, cosines, sines, points):  # type: ignore[no-untyped-def]
    """`(N,)` points inside each `(N, 7)` box, by the arithmetic of `Boxes.contains`."""
    counts = np.zeros(len(geometry), np.int32)
    for n in range(len(geometry)):
        x, y, z, cos, sin = geometry[n, 0], geometry[n, 1], geometry[n, 2], cosines[n], sines[n]
        length, width, height = geometry[n, 3] / 2, geometry[n, 4] / 2, geometry[n, 5] / 2
        reach = length + width
        for m in range(len(points)):
            dx, dy = points[m, 0] - x, points[m, 1] - y
            if abs(dx) > reach or abs(dy) > reach or abs(points[m, 2] - z) > height:
                continue
            if abs(cos * dx + sin * dy) <= length and abs(cos * dy - sin * dx) <= width:
                counts[n] += 1
    return counts


@_compiled
def _cast_ground(origin, directions, pieces, relief, max_range_m, distance, surface, normal):  # type: ignore[no-untyped-def]
    ox, oy, oz = origin[0], origin[1], origin[2]
    headings = _headings(pieces)
    for i in range(directions.shape[0]):
        for j in range(directions.shape[1]):
            dx, dy, dz = directions[i, j, 0], directions[i, j, 1], directions[i, j, 2]
            high = meets_relief(relief, ox, oy, oz, dx, dy, dz, SIDEWALK_HEIGHT_M, 0.0, max_range_m)
            if high >= max_range_m:
                continue
            code, t = _code_at(pieces, headings, ox + high * dx, oy + high * dy), high
            up = 1.0
            if code in (ON_ROAD, ON_MARKING):
                low = meets_relief(relief, ox, oy, oz, dx, dy, dz, 0.0, high, max_range_m + 20.0)
                code, t = _code_at(pieces, headings, ox + low * dx, oy + low * dy), low
                if code in (ON_SIDEWALK, ON_TERRAIN):
                    code, t, up = ON_CURB, _curb(pieces, headings, ox, oy, dx, dy, high, low), 0.0
            if t < max_range_m:
                distance[i, j], surface[i, j] = t, code
                _set_ground_normal(normal, i, j, dx, dy, up)


@_compiled
def _curb(pieces, headings, ox, oy, dx, dy, on_road, behind):  # type: ignore[no-untyped-def]
    for _ in range(6):
        middle = 0.5 * (on_road + behind)
        code = _code_at(pieces, headings, ox + middle * dx, oy + middle * dy)
        if code in (ON_SIDEWALK, ON_TERRAIN):
            behind = middle
        else:
            on_road = middle
    return behind


@_compiled
def _set_ground_normal(normal, i, j, dx, dy, up):  # type: ignore[no-untyped-def]
    if up > 0:
        normal[i, j, 2] = 1.0
    else:
        flat = math.sqrt(dx * dx + dy * dy) + 1e-9
        normal[i, j, 0], normal[i, j, 1] = -dx / flat, -dy / flat


@_compiled
def _cast_primitives(origin, directions, windows, kinds, placed, max_range_m, distance, surface, normal):  # type: ignore[no-untyped-def]
    size = directions.shape[0]
    for p in range(len(kinds)):
        cos, sin = math.cos(placed[p, 6]), math.sin(placed[p, 6])
        x, y, oz = origin[0] - placed[p, 0], origin[1] - placed[p, 1], origin[2] - placed[p, 2]
        ox, oy = cos * x + sin * y, cos * y - sin * x
        hx, hy, hz = placed[p, 3], placed[p, 4], placed[p, 5]
        for index in range(windows[p, 0], windows[p, 1]):
            i = index % size
            for j in range(windows[p, 2], windows[p, 3]):
                x, y, dz = directions[i, j, 0], directions[i, j, 1], directions[i, j, 2]
                dx, dy = cos * x + sin * y, cos * y - sin * x
                if kinds[p] == BOX:
                    t, nx, ny, nz = _hit_box(ox, oy, oz, dx, dy, dz, hx, hy, hz)
                elif kinds[p] == ELLIPSOID:
                    t, nx, ny, nz = _hit_ellipsoid(ox, oy, oz, dx, dy, dz, hx, hy, hz)
                elif kinds[p] == LEAVES:
                    t, nx, ny, nz = _hit_ellipsoid(ox, oy, oz, dx, dy, dz, hx, hy, hz)
                    t = _among_leaves(t, ox, oy, oz, dx, dy, dz, hx, hy, hz, _chance(i, j, p))
                else:
                    t, nx, ny, nz = _hit_cylinder(ox, oy, oz, dx, dy, dz, hx, hy, hz)
                if 0.0 < t < distance[i, j] and t < max_range_m:
                    distance[i, j], surface[i, j] = t, p
                    normal[i, j, 0], normal[i, j, 1], normal[i, j, 2] = cos * nx - sin * ny, sin * nx + cos * ny, nz


@_compiled
def _slab(o, d, h):  # type: ignore[no-untyped-def]
    if abs(d) < 1e-9:
        d = 1e-9
    near, far = (-h - o) / d, (h - o) / d
    return (near, far) if near < far else (far, near)


@_compiled
def _hit_box(ox, oy, oz, dx, dy, dz, hx, hy, hz):  # type: ignore[no-untyped-def]
    near_x, far_x = _slab(ox, dx, hx)
    near_y, far_y = _slab(oy, dy, hy)
    near_z, far_z = _slab(oz, dz, hz)
    near, far = max(near_x, near_y, near_z), min(far_x, far_y, far_z)
    if near > far or near <= 0.0:
        return math.inf, 0.0, 0.0, 0.0
    if near == near_x:
        return near, -math.copysign(1.0, dx), 0.0, 0.0
    if near == near_y:
        return near, 0.0, -math.copysign(1.0, dy), 0.0
    return near, 0.0, 0.0, -math.copysign(1.0, dz)


@_compiled
def _hit_ellipsoid(ox, oy, oz, dx, dy, dz, hx, hy, hz):  # type: ignore[no-untyped-def]
    px, py, pz, qx, qy, qz = ox / hx, oy / hy, oz / hz, dx / hx, dy / hy, dz / hz
    a, b = qx * qx + qy * qy + qz * qz, px * qx + py * qy + pz * qz
    inside = b * b - a * (px * px + py * py + pz * pz - 1.0)
    if inside <= 0.0:
        return math.inf, 0.0, 0.0, 0.0
    t = (-b - math.sqrt(inside)) / a
    nx, ny, nz = (px + t * qx) / hx, (py + t * qy) / hy, (pz + t * qz) / hz
    norm = math.sqrt(nx * nx + ny * ny + nz * nz)
    return t, nx / norm, ny / norm, nz / norm


@_compiled
def _among_leaves(t, ox, oy, oz, dx, dy, dz, hx, hy, hz, chance):  # type: ignore[no-untyped-def]
    """Where a ray that enters leaves at `t` is stopped: exponentially deep, nowhere when that is behind them."""
    if t <= 0.0 or t == math.inf:
        return t
    deep = t - _LEAF_DEPTH_M * math.log(chance)
    x, y, z = (ox + deep * dx) / hx, (oy + deep * dy) / hy, (oz + deep * dz) / hz
    return deep if x * x + y * y + z * z < 1.0 else math.inf


@_compiled
def _chance(i, j, p):  # type: ignore[no-untyped-def]
    """A number in (0, 1) that looks random and depends on ray and primitive alone (an integer hash)."""
    bits = (i * 73856093 ^ j * 19349663 ^ p * 83492791) & 0xFFFFFFFF
    bits = ((bits ^ (bits >> 16)) * 73244475) & 0xFFFFFFFF
    bits = ((bits ^ (bits >> 16)) * 73244475) & 0xFFFFFFFF
    return ((bits ^ (bits >> 16)) + 0.5) / 4294967296.0


@_compiled
def _hit_cylinder(ox, oy, oz, dx, dy, dz, hx, hy, hz):  # type: ignore[no-untyped-def]
    px, py, qx, qy = ox / hx, oy / hy, dx / hx, dy / hy
    if dz != 0.0:
        cap = -math.copysign(hz, dz)
        t = (cap - oz) / dz
        if t > 0.0 and (px + t * qx) ** 2 + (py + t * qy) ** 2 < 1.0:
            return t, 0.0, 0.0, math.copysign(1.0, cap)
    a, b = qx * qx + qy * qy, px * qx + py * qy
    inside = b * b - a * (px * px + py * py - 1.0)
    if inside <= 0.0 or a == 0.0:
        return math.inf, 0.0, 0.0, 0.0
    t = (-b - math.sqrt(inside)) / a
    if abs(oz + t * dz) > hz:
        return math.inf, 0.0, 0.0, 0.0
    nx, ny = (px + t * qx) / hx, (py + t * qy) / hy
    norm = math.sqrt(nx * nx + ny * ny)
    return t, nx / norm, ny / norm, 0.0
