"""What things are made of: a few boxes, ellipsoids and cylinders each, so that classes differ in shape."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from understudy_training.scenes.ray_casting import BOX, CYLINDER, ELLIPSOID, LEAVES

Triple = tuple[float, float, float]


class Part(NamedTuple):
    """One primitive in its object's frame: x forward, y left, z up from the ground, origin in the middle below."""

    kind: int
    center_m: Triple
    size_m: Triple
    color: Triple
    reflectivity: float
    fuzz_m: float = 0.0
    """How far behind the surface returns come from, on average 0.8 of this: rough things."""


Shape = tuple[Part, ...]

_GLASS: Triple = (0.16, 0.19, 0.22)
_PANE = 0.0012
"""Panes let pulses pass or mirror them away: of those straight on, three in four come back from 10 m, two from 20 m."""
_TIRE: Triple = (0.06, 0.06, 0.07)
_PAINTS: tuple[tuple[Triple, float], ...] = (
    ((0.05, 0.05, 0.06), 0.03),
    ((0.85, 0.85, 0.85), 0.50),
    ((0.45, 0.47, 0.50), 0.22),
    ((0.25, 0.26, 0.28), 0.08),
    ((0.55, 0.08, 0.08), 0.14),
    ((0.10, 0.18, 0.45), 0.07),
    ((0.15, 0.32, 0.20), 0.09),
)
"""Colors with their reflectivity at a LiDAR's wavelength: most cars return little (docs/reality.md)."""
_CLOTHES: tuple[Triple, ...] = (
    *((0.12, 0.14, 0.22), (0.55, 0.12, 0.12), (0.75, 0.72, 0.65), (0.2, 0.35, 0.55), (0.1, 0.1, 0.1)),
    *((0.7, 0.55, 0.1), (0.3, 0.42, 0.25)),
)
_SKIN: Triple = (0.72, 0.53, 0.42)


def _paint(rng: np.random.Generator) -> tuple[Triple, float]:
    color, reflectivity = _PAINTS[rng.integers(len(_PAINTS))]
    return color, reflectivity * float(rng.uniform(0.8, 1.2))


def _wheels(xs: tuple[float, ...], width_m: float, radius_m: float) -> Shape:
    inset = width_m / 2 - 0.13
    size = (2 * radius_m, 0.24, 2 * radius_m)
    return tuple(Part(ELLIPSOID, (x, y, radius_m), size, _TIRE, 0.04) for x in xs for y in (-inset, inset))


def car(rng: np.random.Generator) -> Shape:
    """A passenger car: body with a lower nose, glass cabin, roof, wheels; from a small hatchback to an off-roader."""
    tall = rng.random() < 0.4
    length, width = (float(rng.uniform(*limits)) for limits in (((4.2, 5.1), (1.8, 2.05)) if tall else _LOW_CAR))
    height = float(rng.uniform(1.6, 1.9) if tall else rng.uniform(1.38, 1.6))
    color, reflectivity = _paint(rng)
    floor, belt = float(rng.uniform(0.18, 0.3)), float(rng.uniform(0.54, 0.6)) * height
    style = str(rng.choice(list(_CABINS)))
    rear, front = _CABINS[style]
    middle, span = (rear + front) / 2 * length, (front - rear) * length
    radius = float(rng.uniform(0.30, 0.38))
    return (
        *_body(length, width, floor, belt, float(rng.uniform(0.78, 0.96)) * belt, color, reflectivity),
        Part(BOX, (middle, 0, (belt + height) / 2 - 0.04), (span, width - 0.22, height - belt - 0.08), _GLASS, _PANE),
        Part(BOX, (middle - 0.05, 0, height - 0.04), (span - 0.45, width - 0.26, 0.08), color, reflectivity),
        *_pillars(middle - span / 2, width - 0.2, belt, height, color, reflectivity),
        Part(BOX, (-length / 2 + 0.01, 0, 0.55), (0.02, 0.5, 0.12), (0.9, 0.9, 0.85), 1.6),
        *_wheels((-0.31 * length, 0.31 * length), width, radius),
    )


_LOW_CAR = ((3.4, 4.9), (1.55, 1.9))
_CABINS = {"hatch": (-0.46, 0.20), "saloon": (-0.34, 0.18), "estate": (-0.485, 0.16), "van": (-0.49, 0.33)}
"""Where the cabin begins and ends, as parts of the length from the middle."""


def _body(
    length_m: float, width_m: float, floor_m: float, belt_m: float, nose_m: float, color: Triple, reflectivity: float
) -> Shape:
    """What is below the windows: narrower at bow and stern than in the middle, the bonnet lower than the belt."""
    bow, bumper = 0.24 * length_m, min(0.44, belt_m - floor_m - 0.1)
    boxes = (
        (0.15 - bow / 2, (length_m - bow - 0.3, width_m, belt_m - floor_m)),
        (length_m / 2 - bow / 2 - 0.15, (bow, width_m - 0.06, nose_m - floor_m)),
        (0.0, (length_m, width_m - 0.4, bumper)),
    )
    return tuple(Part(BOX, (x, 0, floor_m + size[2] / 2), size, color, reflectivity) for x, size in boxes)


def _pillars(
    rear_m: float, width_m: float, belt_m: float, height_m: float, color: Triple, reflectivity: float
) -> Shape:
    """The posts beside a car's rear window."""
    size, y = (0.3, 0.16, height_m - belt_m), width_m / 2 - 0.08
    middle = (belt_m + height_m) / 2
    return tuple(Part(BOX, (rear_m + 0.13, side * y, middle), size, color, reflectivity) for side in (-1, 1))


def truck(rng: np.random.Generator) -> Shape:
    """A van, a box truck or a bus."""
    return (_van, _box_truck, _bus)[rng.choice(3, p=[0.45, 0.4, 0.15])](rng)


def _van(rng: np.random.Generator) -> Shape:
    length, width, height = (float(rng.uniform(*limits)) for limits in ((5.3, 6.9), (1.95, 2.1), (2.2, 2.7)))
    color, reflectivity = _paint(rng)
    nose = 0.9
    return (
        Part(BOX, (-nose / 2, 0, (0.25 + height) / 2), (length - nose, width, height - 0.25), color, reflectivity),
        Part(BOX, (length / 2 - nose / 2, 0, 0.7), (nose, width, 0.9), color, reflectivity),
        Part(BOX, (length / 2 - nose + 0.15, 0, 1.55), (0.7, width - 0.1, 0.8), _GLASS, _PANE),
        *_wheels((-0.3 * length, 0.33 * length), width, 0.35),
    )


def _box_truck(rng: np.random.Generator) -> Shape:
    length, width, height = (float(rng.uniform(*limits)) for limits in ((6.5, 10.5), (2.3, 2.55), (2.9, 3.8)))
    color, reflectivity = _paint(rng)
    cab, gap = 1.9, 0.35
    cargo = length - cab - gap
    back = -length / 2
    return (
        Part(BOX, (back + cargo / 2, 0, (1.0 + height) / 2), (cargo, width, height - 1.0), (0.8, 0.8, 0.78), 0.65),
        Part(BOX, (length / 2 - cab / 2, 0, 1.05), (cab, width - 0.1, 1.3), color, reflectivity),
        Part(BOX, (length / 2 - cab / 2, 0, 2.1), (cab - 0.1, width - 0.15, 0.8), _GLASS, _PANE),
        Part(BOX, (length / 2 - cab / 2 - 0.1, 0, 2.6), (cab - 0.3, width - 0.2, 0.2), color, reflectivity),
        Part(BOX, (0, 0, 0.8), (length - 0.4, 0.8, 0.3), _TIRE, 0.05),
        *_wheels((back + 0.25 * cargo, length / 2 - 1.1), width, 0.46),
    )


def _bus(rng: np.random.Generator) -> Shape:
    length, width, height = float(rng.uniform(9.5, 12.0)), 2.55, float(rng.uniform(2.9, 3.2))
    color, reflectivity = _paint(rng)
    return (
        Part(BOX, (0, 0, 0.75), (length, width, 0.9), color, reflectivity),
        Part(BOX, (0, 0, 1.75), (length - 0.05, width - 0.06, 1.1), _GLASS, _PANE),
        Part(BOX, (0, 0, (2.3 + height) / 2), (length, width, height - 2.3), color, reflectivity),
        *_wheels((-0.27 * length, 0.3 * length), width, 0.48),
    )


def pedestrian(rng: np.random.Generator) -> Shape:
    """A person in mid-stride: two legs, torso, arms, head."""
    height, stride = float(rng.uniform(1.25, 1.95)), float(rng.uniform(0.0, 0.5))
    girth = float(rng.uniform(0.38, 0.56)) * height / 1.75
    coat, trousers = (_CLOTHES[i] for i in rng.choice(len(_CLOTHES), 2))
    shine = float(rng.uniform(0.12, 0.6))
    hip, neck = 0.48 * height, 0.85 * height
    return (
        Part(ELLIPSOID, (stride / 2, 0.09, hip / 2), (0.20, 0.17, hip), trousers, shine * 0.8),
        Part(ELLIPSOID, (-stride / 2, -0.09, hip / 2), (0.20, 0.17, hip), trousers, shine * 0.8),
        Part(CYLINDER, (0, 0, 0.53 * height), (0.24, 0.72 * girth, 0.2 * height), coat, shine),
        Part(ELLIPSOID, (0, 0, (hip + neck) / 2), (0.28, girth, neck - hip), coat, shine),
        Part(ELLIPSOID, (0, 0, 0.93 * height), (0.2, 0.17, 0.14 * height), _SKIN, 0.4),
    )


def cyclist(rng: np.random.Generator) -> Shape:
    """A rider bent over a bicycle."""
    coat, trousers = (_CLOTHES[i] for i in rng.choice(len(_CLOTHES), 2))
    top, shine = float(rng.uniform(1.6, 1.9)), float(rng.uniform(0.15, 0.6))
    return (
        *_bicycle(),
        Part(ELLIPSOID, (0.0, 0.11, 0.68), (0.34, 0.16, 0.72), trousers, shine * 0.8),
        Part(ELLIPSOID, (-0.05, -0.11, 0.72), (0.34, 0.16, 0.72), trousers, shine * 0.8),
        Part(ELLIPSOID, (0.02, 0, 1.22), (0.52, 0.46, 0.62), coat, shine),
        Part(ELLIPSOID, (0.22, 0, top - 0.13), (0.24, 0.18, 0.26), _SKIN, 0.4),
        Part(BOX, (0.38, 0, 1.12), (0.3, 0.5, 0.08), coat, shine),
    )


def _bicycle() -> Shape:
    metal: Triple = (0.3, 0.32, 0.35)
    return (
        Part(ELLIPSOID, (-0.53, 0, 0.34), (0.68, 0.09, 0.68), _TIRE, 0.1),
        Part(ELLIPSOID, (0.53, 0, 0.34), (0.68, 0.09, 0.68), _TIRE, 0.1),
        Part(BOX, (0, 0, 0.6), (0.9, 0.05, 0.4), metal, 0.25),
        Part(BOX, (0.45, 0, 0.98), (0.06, 0.5, 0.05), metal, 0.25),
    )


def parked_bicycle(rng: np.random.Generator) -> Shape:
    """A bicycle without a rider."""
    return _bicycle()


def lamp(rng: np.random.Generator) -> Shape:
    """A street lamp."""
    height, width = float(rng.uniform(5, 9)), float(rng.uniform(0.14, 0.3))
    return (Part(CYLINDER, (0, 0, height / 2), (width, width, height), (0.4, 0.42, 0.42), 0.35),)


def sign(rng: np.random.Generator) -> Shape:
    """A traffic sign: a retro-reflecting plate on a post."""
    plate = float(rng.uniform(0.5, 0.8))
    return (
        Part(CYLINDER, (0, 0, 1.25), (0.08, 0.08, 2.5), (0.5, 0.5, 0.5), 0.4),
        Part(BOX, (0.05, 0, 2.3), (0.03, plate, plate), (0.75, 0.1, 0.1), 2.0),
    )


def bollard(rng: np.random.Generator) -> Shape:
    """A post as wide as a leg, as tall as a child at most."""
    width, height = float(rng.uniform(0.12, 0.3)), float(rng.uniform(0.8, 1.3))
    return (Part(CYLINDER, (0, 0, height / 2), (width, width, height), (0.35, 0.3, 0.3), 0.3),)


def advertising_column(rng: np.random.Generator) -> Shape:
    """A column of a person's height or more, and somewhat wider."""
    width, height = float(rng.uniform(0.45, 1.1)), float(rng.uniform(1.6, 3.0))
    return (Part(CYLINDER, (0, 0, height / 2), (width, width, height), (0.6, 0.58, 0.5), 0.5),)


def litter_bin(rng: np.random.Generator) -> Shape:
    """A litter or household bin."""
    width, height = float(rng.uniform(0.4, 0.75)), float(rng.uniform(0.9, 1.25))
    return (
        Part(BOX, (0, 0, height / 2), (width, width, height), (0.15, 0.25, 0.18), 0.2),
        Part(BOX, (0, 0, height + 0.03), (width + 0.08, width + 0.08, 0.06), (0.1, 0.1, 0.1), 0.15),
    )


def cabinet(rng: np.random.Generator) -> Shape:
    """A switch cabinet or a letter box."""
    size = (float(rng.uniform(0.5, 1.6)), float(rng.uniform(0.35, 0.6)), float(rng.uniform(1.1, 1.7)))
    return (Part(BOX, (0, 0, size[2] / 2), size, (0.5, 0.52, 0.48), 0.4),)


def container(rng: np.random.Generator) -> Shape:
    """A skip or a stack of goods as large as a car."""
    size = (float(rng.uniform(2.5, 4.6)), float(rng.uniform(1.5, 1.9)), float(rng.uniform(1.1, 1.7)))
    return (Part(BOX, (0, 0, size[2] / 2), size, (0.5, 0.38, 0.15), 0.35),)


def bench(rng: np.random.Generator) -> Shape:
    """A bench with a back."""
    return (
        Part(BOX, (0, 0, 0.43), (1.7, 0.45, 0.06), (0.4, 0.28, 0.18), 0.3),
        Part(BOX, (0, 0.22, 0.65), (1.7, 0.05, 0.4), (0.4, 0.28, 0.18), 0.3),
        Part(BOX, (0, 0, 0.2), (1.3, 0.3, 0.4), (0.2, 0.2, 0.2), 0.2),
    )


def shelter(rng: np.random.Generator) -> Shape:
    """A bus shelter."""
    return (
        Part(BOX, (0, 0, 2.4), (3.6, 1.4, 0.12), (0.3, 0.3, 0.32), 0.3),
        Part(BOX, (0, 0.65, 1.2), (3.6, 0.05, 2.2), _GLASS, 0.05),
        Part(CYLINDER, (1.7, -0.6, 1.2), (0.1, 0.1, 2.4), (0.3, 0.3, 0.32), 0.3),
        Part(CYLINDER, (-1.7, -0.6, 1.2), (0.1, 0.1, 2.4), (0.3, 0.3, 0.32), 0.3),
    )


def _leaves(rng: np.random.Generator) -> Triple:
    return (float(rng.uniform(0.12, 0.28)), float(rng.uniform(0.3, 0.45)), float(rng.uniform(0.08, 0.18)))


def bush(rng: np.random.Generator) -> Shape:
    """Anything from a shrub of a person's width to one of a car's size, of one to three clumps."""
    long = float(rng.choice([rng.uniform(0.5, 1.2), rng.uniform(1.5, 4.8)]))
    wide, tall = min(long, float(rng.uniform(0.5, 2.0))), float(rng.uniform(0.6, 2.2))
    color = _leaves(rng)
    clumps = []
    for x, y in rng.uniform(-0.25, 0.25, (int(rng.integers(1, 4)), 2)) * [long, wide]:
        size = (float(rng.uniform(0.5, 0.9)) * long, float(rng.uniform(0.5, 0.9)) * wide, tall * rng.uniform(0.7, 1.16))
        clumps.append(Part(LEAVES, (float(x), float(y), 0.42 * size[2]), size, color, 0.35, 0.06))
    return tuple(clumps)


def hedge(rng: np.random.Generator) -> Shape:
    """A hedge: trimmed to a box, or grown out."""
    size = (float(rng.uniform(2.0, 7.0)), float(rng.uniform(0.5, 1.0)), float(rng.uniform(0.8, 1.8)))
    if rng.random() < 0.5:
        return (Part(BOX, (0, 0, size[2] / 2), size, _leaves(rng), 0.35, 0.12),)
    return (Part(LEAVES, (0, 0, 0.45 * size[2]), (size[0], 1.5 * size[1], 1.2 * size[2]), _leaves(rng), 0.35, 0.06),)


def trunk(rng: np.random.Generator) -> Shape:
    """A tree's trunk."""
    width, height = float(rng.uniform(0.2, 0.5)), float(rng.uniform(2.2, 3.2))
    return (Part(CYLINDER, (0, 0, height / 2), (width, width, height), (0.3, 0.24, 0.18), 0.3),)


def crown(rng: np.random.Generator, lowest_m: float = 2.1) -> Shape:
    """A tree's crown around the trunk, from some way above `lowest_m` up."""
    wide, tall = float(rng.uniform(1.8, 5.0)), float(rng.uniform(2.0, 6.0))
    low = lowest_m + float(rng.uniform(0.0, 1.0))
    return (Part(LEAVES, (0, 0, low + tall / 2), (wide, wide, tall), _leaves(rng), 0.4, 0.1),)


def tall_grass(rng: np.random.Generator) -> Shape:
    """A patch of high grass or of ground cover."""
    size = (float(rng.uniform(1.0, 5.0)), float(rng.uniform(0.8, 3.0)), float(rng.uniform(0.3, 0.9)))
    return (Part(LEAVES, (0, 0, 0.1), size, _leaves(rng), 0.3, 0.06),)


def bank(rng: np.random.Generator) -> Shape:
    """An earth bank, or a heap of soil or stones."""
    size = (float(rng.uniform(2.0, 12.0)), float(rng.uniform(1.5, 5.0)), float(rng.uniform(0.6, 3.0)))
    return (Part(ELLIPSOID, (0, 0, 0), size, (0.35, 0.33, 0.22), 0.25, 0.06),)


def fence(rng: np.random.Generator) -> Shape:
    """A stretch of wall or fence."""
    size = (float(rng.uniform(3.0, 9.0)), 0.12, float(rng.uniform(0.8, 1.7)))
    return (Part(BOX, (0, 0, size[2] / 2), size, (0.45, 0.4, 0.34), 0.4),)


def building(rng: np.random.Generator, size_m: Triple, color: Triple) -> Shape:
    """A house: a block with a plinth, and stairs, bays, porches or piers before its walls."""
    length, depth, height = size_m
    parts = [
        Part(BOX, (0, 0, height / 2), size_m, color, 0.45),
        Part(BOX, (0, 0, 0.4), (length + 0.1, depth + 0.1, 0.8), (0.38, 0.36, 0.34), 0.35),
    ]
    for _ in range(int(rng.integers(0, 4))):
        bay = (float(rng.uniform(0.4, 3.0)), float(rng.uniform(0.2, 1.4)), min(float(rng.uniform(0.4, 4.0)), height))
        x, side = float(rng.uniform(-0.45, 0.45)) * length, float(rng.choice([-1, 1]))
        parts.append(Part(BOX, (x, side * (depth + bay[1]) / 2, bay[2] / 2), bay, color, 0.4))
    return tuple(parts)


def roof_rack(rng: np.random.Generator) -> Shape:
    """What a LiDAR sees of the vehicle that carries it: rails, bars and boxes on the roof; none in some drives."""
    parts = []
    for _ in range(int(rng.integers(0, 4))):
        x, y = float(rng.uniform(-0.9, 2.0)), float(rng.choice([-1, 1]) * rng.uniform(0.35, 0.75))
        size = (float(rng.uniform(0.1, 0.9)), float(rng.uniform(0.04, 0.25)), float(rng.uniform(0.04, 0.12)))
        parts.append(Part(BOX, (x, y, float(rng.uniform(1.64, 1.72))), size, (0.1, 0.1, 0.1), 0.3))
    return tuple(parts)


def extent(shape: Shape) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest corner `(3,)` of a shape in its own frame."""
    center = np.array([part.center_m for part in shape], float)
    half = np.array([part.size_m for part in shape], float) / 2
    return (center - half).min(axis=0), (center + half).max(axis=0)
