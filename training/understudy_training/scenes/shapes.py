"""What things are made of: a few boxes, ellipsoids and cylinders each, so that classes differ in shape."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from understudy_training.scenes.ray_casting import BOX, CYLINDER, ELLIPSOID

Triple = tuple[float, float, float]


class Part(NamedTuple):
    """One primitive in its object's frame: x forward, y left, z up from the ground, origin in the middle below."""

    kind: int
    center_m: Triple
    size_m: Triple
    color: Triple
    reflectivity: float
    fuzz_m: float = 0.0
    """Extra spread of the measured range: leaves."""


Shape = tuple[Part, ...]

_GLASS: Triple = (0.16, 0.19, 0.22)
_GLASS_REFLECTIVITY = 0.012
_TIRE: Triple = (0.06, 0.06, 0.07)
_PAINTS: tuple[tuple[Triple, float], ...] = (
    ((0.05, 0.05, 0.06), 0.06),
    ((0.85, 0.85, 0.85), 0.75),
    ((0.45, 0.47, 0.50), 0.40),
    ((0.25, 0.26, 0.28), 0.22),
    ((0.55, 0.08, 0.08), 0.35),
    ((0.10, 0.18, 0.45), 0.20),
    ((0.15, 0.32, 0.20), 0.25),
)
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
    """A passenger car: body, glass cabin, roof, wheels; hatchback, saloon or estate."""
    length, width = float(rng.uniform(3.7, 4.9)), float(rng.uniform(1.68, 1.92))
    height = float(rng.uniform(1.40, 1.75))
    color, reflectivity = _paint(rng)
    floor, belt = 0.2, 0.58 * height
    cabin = {"hatch": (-0.46, 0.20), "saloon": (-0.34, 0.18), "estate": (-0.485, 0.16)}
    rear, front = cabin[str(rng.choice(list(cabin)))]
    middle, span = (rear + front) / 2 * length, (front - rear) * length
    radius = float(rng.uniform(0.30, 0.36))
    return (
        Part(BOX, (0, 0, (floor + belt) / 2), (length, width, belt - floor), color, reflectivity),
        Part(BOX, (middle, 0, (belt + height) / 2 - 0.04), (span, width - 0.22, height - belt - 0.08), _GLASS, 0.02),
        Part(BOX, (middle - 0.05, 0, height - 0.04), (span - 0.45, width - 0.26, 0.08), color, reflectivity),
        *_pillars(middle - span / 2, width - 0.2, belt, height, color, reflectivity),
        Part(BOX, (-length / 2 + 0.01, 0, 0.55), (0.02, 0.5, 0.12), (0.9, 0.9, 0.85), 1.6),
        *_wheels((-0.31 * length, 0.31 * length), width, radius),
    )


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
        Part(BOX, (length / 2 - nose + 0.15, 0, 1.55), (0.7, width - 0.1, 0.8), _GLASS, _GLASS_REFLECTIVITY),
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
        Part(BOX, (length / 2 - cab / 2, 0, 2.1), (cab - 0.1, width - 0.15, 0.8), _GLASS, _GLASS_REFLECTIVITY),
        Part(BOX, (length / 2 - cab / 2 - 0.1, 0, 2.6), (cab - 0.3, width - 0.2, 0.2), color, reflectivity),
        Part(BOX, (0, 0, 0.8), (length - 0.4, 0.8, 0.3), _TIRE, 0.05),
        *_wheels((back + 0.25 * cargo, length / 2 - 1.1), width, 0.46),
    )


def _bus(rng: np.random.Generator) -> Shape:
    length, width, height = float(rng.uniform(9.5, 12.0)), 2.55, float(rng.uniform(2.9, 3.2))
    color, reflectivity = _paint(rng)
    return (
        Part(BOX, (0, 0, 0.75), (length, width, 0.9), color, reflectivity),
        Part(BOX, (0, 0, 1.75), (length - 0.05, width - 0.06, 1.1), _GLASS, _GLASS_REFLECTIVITY),
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
    """Anything from a shrub of a person's width to a hedge of a car's size."""
    long = float(rng.choice([rng.uniform(0.5, 1.2), rng.uniform(2.5, 4.8)]))
    wide, tall = min(long, float(rng.uniform(0.5, 1.7))), float(rng.uniform(0.9, 1.8))
    return (Part(ELLIPSOID, (0, 0, tall * 0.42), (long, wide, tall * 1.16), _leaves(rng), 0.35, 0.10),)


def hedge(rng: np.random.Generator) -> Shape:
    """A trimmed hedge."""
    size = (float(rng.uniform(2.0, 7.0)), float(rng.uniform(0.5, 1.0)), float(rng.uniform(0.8, 1.8)))
    return (Part(BOX, (0, 0, size[2] / 2), size, _leaves(rng), 0.35, 0.07),)


def trunk(rng: np.random.Generator) -> Shape:
    """A tree's trunk."""
    width, height = float(rng.uniform(0.2, 0.5)), float(rng.uniform(2.2, 3.2))
    return (Part(CYLINDER, (0, 0, height / 2), (width, width, height), (0.3, 0.24, 0.18), 0.3),)


def crown(rng: np.random.Generator) -> Shape:
    """A tree's crown, above the trunk."""
    wide, tall = float(rng.uniform(2.4, 4.5)), float(rng.uniform(2.5, 5.0))
    return (Part(ELLIPSOID, (0, 0, 2.3 + tall / 2), (wide, wide, tall), _leaves(rng), 0.4, 0.2),)


def fence(rng: np.random.Generator) -> Shape:
    """A stretch of wall or fence."""
    size = (float(rng.uniform(3.0, 9.0)), 0.12, float(rng.uniform(0.8, 1.7)))
    return (Part(BOX, (0, 0, size[2] / 2), size, (0.45, 0.4, 0.34), 0.4),)


def building(length_m: float, depth_m: float, height_m: float, color: Triple) -> Shape:
    """A house: a block with a plinth and a cornice."""
    return (
        Part(BOX, (0, 0, height_m / 2), (length_m, depth_m, height_m), color, 0.45),
        Part(BOX, (0, 0, 0.4), (length_m + 0.1, depth_m + 0.1, 0.8), (0.38, 0.36, 0.34), 0.35),
    )


def extent(shape: Shape) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest corner `(3,)` of a shape in its own frame."""
    center = np.array([part.center_m for part in shape], float)
    half = np.array([part.size_m for part in shape], float) / 2
    return (center - half).min(axis=0), (center + half).max(axis=0)
