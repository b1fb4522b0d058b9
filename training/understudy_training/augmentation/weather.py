"""Rain, snow and fog as a LiDAR sees them: weaker returns, lost returns, and returns from what is in the air."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from understudy.configuration import Config
from understudy_training.augmentation.haze import hazed_pictures
from understudy_training.augmentation.scatterers import (
    NEAR_FIELD_OF_PARTICLES,
    Beam,
    Particles,
    false_returns,
    fog_extinction_per_m,
    fog_return,
    rain,
    snow,
)
from understudy_training.augmentation.scene import Scene
from understudy_training.augmentation.step import Range, Step, new_seed, positive, uniform

_LEAST_REFLECTIVITY = 0.01
"""What returned at all reflected something, also where the sensor wrote 0."""


@dataclass(frozen=True, eq=False)
class _Pulses:
    """What came back in clear air, and what of it comes back now.

    Attributes:
        direction: `(N, 3)` from the LiDAR, of length 1.
        range_m: `(N,)` distances.
        power: `(N,)` power that arrives now, in the unit of `scatterers`.
        loss: `(N,)` share of the clear air's power that it is.
        lost: `(N,)` whether it is too weak now.
    """

    direction: NDArray[np.float32]
    range_m: NDArray[np.float32]
    power: NDArray[np.float32]
    loss: NDArray[np.float32]
    lost: NDArray[np.bool_]


class DrawnRain(Config):
    """Rain of one rate."""

    kind: Literal["rain"] = "rain"
    rain_mm_per_h: float
    extinction_per_m: float
    range_error: float
    range_m: float
    pictures: bool
    seed: int

    def apply(self, scene: Scene) -> Scene:
        """See `Drawn`."""
        generator = np.random.default_rng(self.seed)
        wet = _precipitation(scene, rain(self.rain_mm_per_h), self.extinction_per_m, self.range_m, generator)
        share = self.range_error * (1 - np.exp(-self.rain_mm_per_h)) ** 2
        blurred = _blurred(wet, share, generator)
        return hazed_pictures(blurred, scene, self.extinction_per_m) if self.pictures else blurred


class Rain(Step):
    """Rain after C. Goodin et al., "Predicting the influence of rain on LIDAR in ADAS" (Electronics 8(1), 89, 2019).

    Extinction 0.01 R^0.6 per meter, R the rate in mm/h, and a range error of 2 percent (1 - e^-R)^2; drops that send a
    pulse back themselves are ours (see `scatterers`).
    """

    kind: Literal["rain"] = "rain"
    rain_mm_per_h: Range = (1.0, 25.0)
    """Rates, from and to: light up to 2.5, moderate up to 10, violent from 50 on."""
    extinction: Literal["goodin", "marshall_palmer"] = "goodin"
    """`marshall_palmer` counts the drops' shadows instead, about a twenty-fifth of Goodin's number."""
    range_error: float = Field(0.02, ge=0, le=0.1)
    """Standard deviation of the range in heavy rain, as a share of it."""
    range_m: float = Field(120.0, gt=0)
    """Range of the sensor for 10 percent reflectivity in clear air, from its data sheet."""
    pictures: bool = True
    """Veil the pictures too."""

    @field_validator("rain_mm_per_h")
    @classmethod
    def _rates(cls, value: Range) -> Range:
        return positive(value, "rain_mm_per_h")

    def draw(self, generator: np.random.Generator, scene: Scene) -> DrawnRain:
        """A rate."""
        rate = uniform(generator, self.rain_mm_per_h)
        goodin_per_m = 0.01 * rate**0.6
        per_m = goodin_per_m if self.extinction == "goodin" else rain(rate).extinction_per_m()
        settings = {"range_error": self.range_error, "range_m": self.range_m, "pictures": self.pictures}
        return DrawnRain(rain_mm_per_h=rate, extinction_per_m=per_m, seed=new_seed(generator), **settings)


class DrawnSnow(Config):
    """Snow of one rate."""

    kind: Literal["snow"] = "snow"
    snow_mm_per_h: float
    range_m: float
    pictures: bool
    seed: int

    def apply(self, scene: Scene) -> Scene:
        """See `Drawn`."""
        flakes = snow(self.snow_mm_per_h)
        per_m = flakes.extinction_per_m()
        snowy = _precipitation(scene, flakes, per_m, self.range_m, np.random.default_rng(self.seed))
        return hazed_pictures(snowy, scene, per_m) if self.pictures else snowy


class Snow(Step):
    """Falling snow, after M. Hahner et al., "LiDAR snowfall simulation for robust 3D object detection" (CVPR 2022).

    Simplified: flakes are met by chance along each beam and not kept between beams, each is smaller than the beam, and
    the road stays dry.
    """

    kind: Literal["snow"] = "snow"
    snow_mm_per_h: Range = (0.5, 2.5)
    """Rates as melted water, from and to: 1 is moderate, 2.5 heavy."""
    range_m: float = Field(120.0, gt=0)
    """Range of the sensor for 10 percent reflectivity in clear air, from its data sheet."""
    pictures: bool = True
    """Veil the pictures too."""

    @field_validator("snow_mm_per_h")
    @classmethod
    def _rates(cls, value: Range) -> Range:
        return positive(value, "snow_mm_per_h")

    def draw(self, generator: np.random.Generator, scene: Scene) -> DrawnSnow:
        """A rate."""
        rate = uniform(generator, self.snow_mm_per_h)
        return DrawnSnow(snow_mm_per_h=rate, range_m=self.range_m, pictures=self.pictures, seed=new_seed(generator))


class DrawnFog(Config):
    """Fog of one density."""

    kind: Literal["fog"] = "fog"
    visibility_m: float
    pulse_ns: float
    range_m: float
    pictures: bool
    seed: int

    def apply(self, scene: Scene) -> Scene:
        """See `Drawn`. A return gives way to the fog's where that is stronger; it is lost where both are too weak."""
        generator, per_m = np.random.default_rng(self.seed), fog_extinction_per_m(self.visibility_m)
        pulses = _pulses(scene, per_m, self.range_m, generator)
        soft = fog_return(self.visibility_m, self.pulse_ns)
        speckle = -np.log1p(-generator.random(len(scene.points), np.float32))
        power = np.interp(pulses.range_m, soft.range_m, soft.strongest).astype(np.float32) * speckle
        wins = (power > pulses.power * ~pulses.lost) & (power > Beam(range_m=self.range_m).least_power)
        place = generator.random(len(scene.points), np.float32)[wins]
        share = place * np.interp(pulses.range_m[wins], soft.range_m, soft.share)
        range_m = np.minimum(np.interp(share, soft.share, soft.range_m), pulses.range_m[wins]).astype(np.float32)
        foggy = _with_returns(scene, pulses, np.flatnonzero(wins), range_m, power[wins] * range_m**2)
        return hazed_pictures(foggy, scene, per_m) if self.pictures else foggy


class Fog(Step):
    """Fog after M. Hahner et al., "Fog simulation on real LiDAR point clouds" (ICCV 2021); see `scatterers.fog_return`.

    Simplified: the fog is the same everywhere, and a return of it lies where its power says, not at the one strongest
    place.
    """

    kind: Literal["fog"] = "fog"
    visibility_m: Range = (50.0, 500.0)
    """Meteorological optical range, from and to: fog is below 1000, dense fog below 50."""
    pulse_ns: float = Field(20.0, gt=0, le=100)
    """Half-power width of the laser's pulse."""
    range_m: float = Field(120.0, gt=0)
    """Range of the sensor for 10 percent reflectivity in clear air, from its data sheet."""
    pictures: bool = True
    """Veil the pictures too."""

    @field_validator("visibility_m")
    @classmethod
    def _ranges(cls, value: Range) -> Range:
        return positive(value, "visibility_m")

    def draw(self, generator: np.random.Generator, scene: Scene) -> DrawnFog:
        """A visibility, every density (its inverse) alike."""
        low, high = self.visibility_m
        visibility_m = 1 / uniform(generator, (1 / high, 1 / low))
        settings = {"pulse_ns": self.pulse_ns, "range_m": self.range_m, "pictures": self.pictures}
        return DrawnFog(visibility_m=visibility_m, seed=new_seed(generator), **settings)


def _pulses(scene: Scene, extinction_per_m: float, sensor_range_m: float, generator: np.random.Generator) -> _Pulses:
    """What is left of each pulse; one that was just seen in clear air is lost with the share of its power that is."""
    offsets_m = scene.from_lidar()
    range_m = np.maximum(np.sqrt(np.einsum("ij,ij->i", offsets_m, offsets_m)), np.float32(1e-3))
    reflectivity = np.maximum(scene.points[:, 3], np.float32(_LEAST_REFLECTIVITY))
    loss = np.exp(np.float32(-2 * extinction_per_m) * range_m)
    power = reflectivity / (range_m * range_m)
    in_hand = np.maximum(power / np.float32(Beam(range_m=sensor_range_m).least_power), np.float32(1.0))
    lost = generator.random(len(range_m), np.float32) >= in_hand * loss
    return _Pulses(offsets_m / range_m[:, None], range_m, power * loss, loss, lost)


def _precipitation(
    scene: Scene, particles: Particles, extinction_per_m: float, sensor_range_m: float, generator: np.random.Generator
) -> Scene:
    """The scene through falling particles: the strongest return of each pulse is what the sensor tells."""
    pulses = _pulses(scene, extinction_per_m, sensor_range_m, generator)
    beam = Beam(range_m=sensor_range_m)
    false = false_returns(particles, beam)
    expected = np.interp(pulses.range_m, false.range_m, false.expected).astype(np.float32)
    met = np.flatnonzero(generator.random(len(expected), np.float32) < -np.expm1(-expected))
    chances = generator.random((2, len(expected)))[:, met]
    range_m = np.interp(chances[0] * expected[met], false.expected, false.range_m)
    diameter_mm = np.interp(range_m, false.range_m, false.least_mm) - np.log1p(-chances[1]) / particles.slope_per_mm
    caught = np.minimum(1e-3 * diameter_mm / beam.width_m(range_m), 1.0) ** 2
    reflectivity = particles.reflectivity * caught * np.exp(-2 * extinction_per_m * range_m)
    power = NEAR_FIELD_OF_PARTICLES * reflectivity / range_m**2
    wins = power > pulses.power[met] * ~pulses.lost[met]
    return _with_returns(scene, pulses, met[wins], range_m[wins].astype(np.float32), reflectivity[wins])


def _with_returns(
    scene: Scene, pulses: _Pulses, rows: NDArray[np.intp], range_m: NDArray[np.float32], intensity: NDArray[np.floating]
) -> Scene:
    """The scene with weaker intensities, without what is lost, and with some rows' returns from the air instead."""
    points = scene.points.copy()
    points[:, 3] *= pulses.loss
    from_air = np.empty((len(rows), 4), np.float32)
    origin_m = scene.ego_from_lidar.translation_m.astype(np.float32)
    from_air[:, :3] = origin_m + pulses.direction[rows] * range_m[:, None]
    from_air[:, 3] = np.clip(intensity, 0.0, 1.0)
    keep = ~pulses.lost
    keep[rows] = True
    return replace(scene, points=points).moved(rows, from_air).kept(keep)


def _blurred(scene: Scene, share: float, generator: np.random.Generator) -> Scene:
    """With a normally distributed error of the range, as a share of it, cut at three deviations."""
    if share == 0:
        return scene
    errors = np.clip(generator.standard_normal(len(scene.points), np.float32), -3, 3) * np.float32(share)
    points = scene.points.copy()
    points[:, :3] += scene.from_lidar() * errors[:, None]
    return scene.moved(np.arange(len(points)), points)
