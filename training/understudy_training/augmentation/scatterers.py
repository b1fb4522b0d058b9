"""What a LiDAR pulse meets in rain, snow and fog before it meets the scene.

Powers are told in one unit throughout: what a white diffuse target (reflectivity 1) at 1 m would return in clear air
is 1, so a target of reflectivity r at range R returns r / R^2. Intensities in [0, 1] are read as reflectivities, which
is what calibrated sensors give. A pulse loses exp(-2 alpha R) on its way to R and back (Beer-Lambert), alpha being the
extinction coefficient per meter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MOR_CONTRAST = 0.05
"""The meteorological optical range is where contrast falls to this (WMO Guide to Instruments, chapter 9)."""
_SPEED_OF_LIGHT_MPS = 299_792_458.0
NEAR_FIELD_OF_FOG = 2e6 / _SPEED_OF_LIGHT_MPS
"""How much less a sensor receives from fog just before it than 1 / R^2 says, 1/150: lenses focused far away blur what
is near. The fog paper has it as a hard target of 1e-6 / pi against an integral over seconds, which is this factor."""
NEAR_FIELD_OF_PARTICLES = 1 / 20
"""The same for single drops and flakes. Chosen, not measured: it gives moderate rain a few false returns in a thousand
and moderate snow some in a hundred."""


@dataclass(frozen=True)
class Particles:
    """Drops or flakes with exponentially distributed diameters: `density exp(-slope D)`.

    Attributes:
        density_per_m3_mm: number per cubic meter and millimeter of diameter, at diameter 0.
        slope_per_mm: the larger, the fewer large ones.
        reflectivity: share of the light that falls on one which it sends back as a diffuse target would.
    """

    density_per_m3_mm: float
    slope_per_mm: float
    reflectivity: float

    def extinction_per_m(self) -> float:
        """Twice the shadow of all particles (the limit of large particles): 2 integral N(D) pi/4 D^2 dD."""
        return float(np.pi * self.density_per_m3_mm / self.slope_per_mm**3 * 1e-6)


def rain(rain_mm_per_h: float) -> Particles:
    """Drops after J. S. Marshall and W. M. Palmer, "The distribution of raindrops with size" (J. Meteor. 1948).

    A drop's front sends back what a water surface reflects at right angles, 2 percent.
    """
    return Particles(8000.0, 4.1 * rain_mm_per_h**-0.21, 0.02)


def snow(snow_mm_per_h: float) -> Particles:
    """Flakes after R. S. Sekhon and R. C. Srivastava, "Snow size spectra and radar reflectivity" (J. Atmos. Sci. 1970).

    Their diameters are those of the melted flakes, and the rate is that of the melted water; a flake of a tenth of
    water's density is 10^(1/3) times as wide, which only changes the two numbers here.
    """
    swelling = 10 ** (1 / 3)
    density, slope = 2500.0 * snow_mm_per_h**-0.94, 2.29 * snow_mm_per_h**-0.45
    return Particles(density / swelling, slope / swelling, 0.4)


@dataclass(frozen=True)
class Beam:
    """What decides which particle is seen.

    Attributes:
        aperture_m: width of the beam where it leaves.
        divergence_rad: by how much it widens.
        range_m: where a target of 10 percent reflectivity is just seen in clear air: the figure of data sheets.
    """

    aperture_m: float = 0.01
    divergence_rad: float = 0.003
    range_m: float = 120.0

    @property
    def least_power(self) -> float:
        """What is just seen."""
        return 0.1 / self.range_m**2

    def width_m(self, range_m: NDArray[np.float64]) -> NDArray[np.float64]:
        """How wide the beam is at a range."""
        return self.aperture_m + self.divergence_rad * range_m


@dataclass(frozen=True, eq=False)
class FalseReturns:
    """How often, and where, a pulse is sent back by a single particle strong enough to be seen.

    Attributes:
        range_m: `(G,)` ascending ranges.
        expected: `(G,)` number of such particles met up to each range.
        least_mm: `(G,)` smallest diameter that is seen there.
    """

    range_m: NDArray[np.float64]
    expected: NDArray[np.float64]
    least_mm: NDArray[np.float64]


def false_returns(particles: Particles, beam: Beam, nearest_m: float = 1.5, farthest_m: float = 60.0) -> FalseReturns:
    """Counts the particles in the beam that return more than the least power, range by range.

    A particle as wide as D in a beam as wide as w catches (D / w)^2 of the pulse.
    """
    seen = particles.reflectivity * NEAR_FIELD_OF_PARTICLES
    range_m = np.linspace(nearest_m, farthest_m, 400)
    width_m = beam.width_m(range_m)
    loss = np.exp(-2 * particles.extinction_per_m() * range_m)
    least_mm = 1e3 * width_m * range_m * np.sqrt(beam.least_power / (seen * loss))
    larger_per_m3 = particles.density_per_m3_mm / particles.slope_per_mm * np.exp(-particles.slope_per_mm * least_mm)
    per_m = larger_per_m3 * np.pi / 4 * width_m**2
    steps = (per_m[1:] + per_m[:-1]) / 2 * np.diff(range_m)
    return FalseReturns(range_m, np.concatenate([[0.0], np.cumsum(steps)]), least_mm)


@dataclass(frozen=True, eq=False)
class SoftReturn:
    """What the fog before a target sends back.

    Attributes:
        range_m: `(G,)` ascending ranges.
        power: `(G,)` power that arrives as if from each range.
        strongest: `(G,)` the most of it up to each range.
        share: `(G,)` rising from 0: the sum of power up to each range, for drawing where a return lies.
    """

    range_m: NDArray[np.float64]
    power: NDArray[np.float64]
    strongest: NDArray[np.float64]
    share: NDArray[np.float64]


def fog_extinction_per_m(visibility_m: float) -> float:
    """Koschmieder's relation: contrast falls to 5 percent at the meteorological optical range."""
    return float(-np.log(MOR_CONTRAST) / visibility_m)


def fog_return(visibility_m: float, pulse_ns: float, farthest_m: float = 60.0) -> SoftReturn:
    """The soft target of M. Hahner et al., "Fog simulation on real LiDAR point clouds" (ICCV 2021).

    The pulse (sin^2, half-power width `pulse_ns`) is convolved with the fog's answer, backscatter 0.046 / MOR times
    exp(-2 alpha R) / R^2, behind a lens whose fields of view cross between 0.9 and 1 m, as there (after R. H.
    Rasshofer et al., "Influences of weather phenomena on automotive laser radar systems", 2011). The factor pi brings
    it to our unit, a diffuse white target. `NEAR_FIELD_OF_FOG` stands for the constants of that paper.
    """
    step_m = 0.1
    range_m = np.arange(step_m, farthest_m, step_m)
    crossing = np.clip((range_m - 0.9) / 0.1, 0.0, 1.0)
    alpha, backscatter = fog_extinction_per_m(visibility_m), 0.046 / visibility_m
    answer = crossing * np.pi * backscatter * np.exp(-2 * alpha * range_m) / range_m**2
    half_m = _SPEED_OF_LIGHT_MPS * pulse_ns * 1e-9 / 2
    pulse = np.sin(np.pi * np.arange(0.0, 2 * half_m, step_m) / (2 * half_m)) ** 2
    power = NEAR_FIELD_OF_FOG * np.convolve(answer, pulse)[: len(range_m)] * step_m
    return SoftReturn(range_m, power, np.maximum.accumulate(power), np.cumsum(power))
