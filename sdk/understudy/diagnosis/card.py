"""What this machine has for each part of the work, and the pip line for what is missing."""

from __future__ import annotations

import importlib.util
import os
import platform
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from understudy.cards import card
from understudy.engines.onnxruntime_engine import available_providers

Row = tuple[str, str]

_EXTRAS: dict[str, tuple[str, ...]] = {
    "cpu": ("onnxruntime",),
    "bags": ("rosbags", "simplejpeg", "pillow"),
    "calibration": ("onnx", "onnxruntime", "sympy"),
    "tensorrt": ("cuda-bindings",),
    "rtx": ("tensorrt-rtx",),
    "training": ("torch", "lightning", "tensorboard", "onnxscript", "safetensors", "numba", "matplotlib", "jinja2"),
}
_ALTERNATIVES = {"onnxruntime": ("onnxruntime", "onnxruntime-gpu"), "tensorrt-rtx": ("tensorrt-rtx", "tensorrt_rtx")}
_CPU_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "asimddp")


def diagnose() -> str:
    """The whole card; never raises, a probe that fails says so."""
    rows = [
        ("understudy", version_of("understudy") or "not installed as a package"),
        ("python", f"{platform.python_version()}, {sys.executable}"),
        ("system", f"{platform.system()} {platform.release()}, {platform.machine()}"),
        ("cpu", _cpu()),
        ("memory", _memory()),
        ("gpu", _gpu()),
        ("onnxruntime", _providers()),
        ("base", ", ".join(f"{name} {version_of(name)}" for name in ("numpy", "pydantic", "PyYAML", "typer", "rich"))),
        *_extras(),
    ]
    return card("understudy doctor", rows)


def version_of(package: str) -> str | None:
    """Installed version of a distribution, or of the one that takes its place; None when there is neither."""
    for name in _ALTERNATIVES.get(package, (package,)):
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return None


def _extras() -> Iterator[Row]:
    for extra, packages in _EXTRAS.items():
        versions = {package: version_of(package) for package in packages}
        missing = [package for package, found in versions.items() if found is None]
        have = ", ".join(f"{package} {found}" for package, found in versions.items() if found)
        need = f"missing {', '.join(missing)}: pip install 'understudy[{extra}]'" if missing else ""
        yield f"[{extra}]", "; ".join(part for part in (have, need) if part)


def _providers() -> str:
    providers = available_providers()
    if not providers:
        return "missing: pip install 'understudy[cpu]'"
    return f"{version_of('onnxruntime')}: {', '.join(providers)} (listed is not yet usable: a session decides)"


def _cpu() -> str:
    info = _read(Path("/proc/cpuinfo"))
    model = next((line.split(":", 1)[1].strip() for line in info.splitlines() if line.startswith("model name")), "")
    words = set(info.split())
    flags = [flag for flag in _CPU_FLAGS if flag in words]
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{model or platform.processor() or 'unknown'}; {usable} usable cores; {', '.join(flags) or 'flags unknown'}"


def _memory() -> str:
    fields = dict(line.split(":", 1) for line in _read(Path("/proc/meminfo")).splitlines() if ":" in line)
    try:
        total_kb, free_kb = (int(fields[name].split()[0]) for name in ("MemTotal", "MemAvailable"))
    except (KeyError, ValueError, IndexError):
        return "unknown"
    return f"{total_kb / 2**20:.1f} GiB, {free_kb / 2**20:.1f} GiB available"


def _gpu() -> str:
    driver = next((line for line in _read(Path("/proc/driver/nvidia/version")).splitlines() if line.strip()), "")
    jetson = _read(Path("/etc/nv_tegra_release")).strip().split("\n")[0]
    seen = "; ".join(part for part in (driver, jetson) if part) or "no NVIDIA driver"
    return f"{seen}; {_cuda_devices()}"


def _cuda_devices() -> str:
    if importlib.util.find_spec("cuda") is None or importlib.util.find_spec("cuda.bindings") is None:
        return "devices not probed: pip install 'understudy[tensorrt]'"
    from cuda.bindings import runtime

    status, count = runtime.cudaGetDeviceCount()
    return f"{count} CUDA devices" if int(status) == 0 else f"CUDA says {status.name}"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
