"""What hardware promises: the longer of multiplying at the peak rate and moving all bytes once.

These are ESTIMATES from published peaks. Real kernels reach a part of a peak, and a launch takes microseconds that no
peak knows of; a runtime that fuses small layers, or a cache that holds their data, saves bytes. They tell where a
precision can pay, not how long a student takes.
"""

from __future__ import annotations

from understudy.configuration import Config
from understudy.errors import InputError
from understudy.layers.costs import Cost

THIS = "this"


class Peak(Config):
    """What a processor does at most.

    Sources, and how each figure was found, are in `source`; all rates are dense, without structured sparsity.
    """

    name: str
    tera_ops: dict[str, float]
    """10^12 operations a second by type of the factors; a multiplication with addition is two."""
    gigabytes_per_s: float
    source: str

    def rate(self, dtype: str) -> float | None:
        """10^12 operations a second; None for a type it does not compute in."""
        return self.tera_ops.get(dtype)


PEAKS: dict[str, Peak] = {
    "orin": Peak(
        name="Jetson AGX Orin 64GB, GPU alone",
        tera_ops={"float32": 5.3, "float16": 42.5, "int8": 85.0},
        gigabytes_per_s=204.8,
        source=(
            "NVIDIA, Jetson AGX Orin Series Technical Brief v1.2: GPU 170 sparse INT8 TOPS, 5.3 FP32 TFLOPS, LPDDR5"
            " 204.8 GB/s; derived: dense half of sparse, FP16 half of INT8. Its DLAs, 105 of the advertised 275 TOPS,"
            " are not counted: students run on the GPU. No TF32, which our engines switch off."
        ),
    ),
    "thor": Peak(
        name="Jetson T5000 (AGX Thor)",
        tera_ops={"float32": 8.0, "float16": 258.75, "int8": 517.5},
        gigabytes_per_s=273.0,
        source=(
            "NVIDIA, Jetson Thor series: 2070 sparse FP4 TFLOPS, LPDDR5X 273 GB/s; derived: FP8 dense a quarter, FP16"
            " dense an eighth of that, FP32 of 2560 CUDA cores at 1.57 GHz; INT8 as FP8, for no INT8 figure was found."
        ),
    ),
    "rtx4060": Peak(
        name="GeForce RTX 4060",
        tera_ops={"float32": 15.1, "float16": 60.5, "int8": 120.9},
        gigabytes_per_s=272.0,
        source=(
            "NVIDIA: 242 sparse AI TOPS, 15.11 FP32 TFLOPS at boost clock, 272 GB/s; derived: INT8 dense half of the AI"
            " TOPS, FP16 dense with FP16 accumulation a quarter."
        ),
    ),
}
"""By the name that `--target` takes; figures looked up in November 2026, never measured by us."""


def peak_named(target: str) -> Peak:
    """A published peak.

    Raises:
        InputError: when there is none of that name.
    """
    if target not in PEAKS:
        raise InputError("target", found=target, wanted=" or ".join((THIS, *PEAKS)))
    return PEAKS[target]


def estimate_ms(cost: Cost, peak: Peak) -> float | None:
    """The longer of computing and moving; None where the processor does not compute in that type."""
    moving_ms = cost.megabytes / peak.gigabytes_per_s
    if not cost.giga_macs:
        return moving_ms
    rate = peak.rate(cost.dtype)
    return None if not rate else max(moving_ms, 2 * cost.giga_macs / rate)


def bound_by(cost: Cost, peak: Peak) -> str:
    """`compute` or `memory`; empty where there is nothing to tell."""
    estimate = estimate_ms(cost, peak)
    if not estimate:
        return ""
    return "memory" if estimate <= cost.megabytes / peak.gigabytes_per_s else "compute"
