"""The vehicle's computer as the nodes will find it: GPU, runtimes, power, memory, disk, clock.

Each check takes the root of the file system, so that one of another machine can be looked at.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from understudy.diagnosis.findings import Finding, Purpose, missing, ok, unknown, warn
from understudy.diagnosis.probe import ask, file_text, first_line

ROOT = Path("/")
_TEGRA_DEVICES = ("dev/nvhost-gpu", "dev/nvhost-ctrl-gpu", "dev/nvgpu/igpu0/ctrl", "dev/nvmap")
_FREE_MEMORY_GIB, _FREE_DISK_GIB = 1.0, 1.0
_GOVERNORS = "sys/devices/system/cpu"
_ADJTIMEX_BYTES, _STATUS_OFFSET, _MAX_ERROR_OFFSET = 256, 40, 24
"""`struct timex` of Linux with 64-bit long (adjtimex(2)): microseconds of possible error and the status bits."""
_UNSYNCHRONIZED = 0x40
_COMPILE: tuple[Purpose, ...] = ("compile",)


def machine_findings(root: Path = ROOT) -> Iterator[Finding]:
    """All of them, in the order in which they are told."""
    yield gpu(root)
    yield tensorrt()
    yield onnxruntime()
    yield governor(root)
    yield from power_mode()
    yield memory(root)
    yield disk(Path.cwd())
    yield clock()


def gpu(root: Path = ROOT) -> Finding:
    """An NVIDIA GPU whose driver answers, on a Jetson or elsewhere."""
    release = first_line(file_text(root / "etc/nv_tegra_release"))
    if release:
        return _tegra(root, release)
    fields = "name,driver_version,memory.total,memory.used"
    answer = ask("nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader")
    if answer.text.strip():
        return ok("gpu", "; ".join(answer.text.strip().splitlines()), _COMPILE)
    has_device = (root / "dev/nvidia0").exists() or (root / "dev/dxg").exists()
    if answer.installed or has_device:
        remedy = "install the driver that fits the kernel and restart; in Docker, run with --gpus all"
        return missing("gpu", answer.failure or "nvidia-smi lists no GPU", remedy, _COMPILE)
    remedy = "install the driver; in Docker, run with --gpus all. Students for the CPU need none"
    return missing("gpu", "no NVIDIA driver: neither nvidia-smi nor /dev/nvidia0", remedy, _COMPILE)


def _tegra(root: Path, release: str) -> Finding:
    devices = [root / name for name in _TEGRA_DEVICES if (root / name).exists()]
    if not devices:
        remedy = "in Docker, run with --runtime nvidia"
        return missing("gpu", f"Jetson ({release}) without its GPU devices", remedy, _COMPILE)
    closed = [device for device in devices if not os.access(device, os.R_OK | os.W_OK)]
    if closed:
        remedy = "sudo usermod -aG video,render $USER, and log in again"
        return missing("gpu", f"Jetson ({release}), {closed[0]} not allowed", remedy, _COMPILE)
    return ok("gpu", f"Jetson, {release}", _COMPILE)


def tensorrt() -> Finding:
    """Either TensorRT, found and not loaded: loading one that does not fit can end the process."""
    from understudy.diagnosis.card import version_of

    found = [name for name in ("tensorrt", "tensorrt_rtx") if importlib.util.find_spec(name) is not None]
    if not found:
        remedy = "Jetson: sudo apt install python3-libnvinfer; else pip install tensorrt or 'understudy[rtx]'"
        return missing("tensorrt", "neither tensorrt nor tensorrt_rtx in this Python", remedy, _COMPILE)
    versions = ", ".join(f"{name} {version_of(name.replace('_', '-')) or ''}".strip() for name in found)
    if importlib.util.find_spec("cuda") is None:
        remedy = "pip install 'understudy[tensorrt]'"
        return missing("tensorrt", f"{versions}, but no CUDA bindings", remedy, _COMPILE)
    return ok("tensorrt", f"{versions} (found, not loaded)", _COMPILE)


def onnxruntime() -> Finding:
    """The engine of every student that is not compiled."""
    from understudy.engines.onnxruntime_engine import available_providers
    from understudy.errors import EngineError

    needed: tuple[Purpose, ...] = ("lidar", "fusion", "camera", "compile")
    try:
        providers = available_providers()
    except EngineError as error:
        return missing("onnxruntime", str(error), "pip install --force-reinstall onnxruntime", needed)
    if not providers:
        return missing("onnxruntime", "not installed in this Python", "pip install 'understudy[cpu]'", needed)
    return ok("onnxruntime", ", ".join(providers), needed)


def governor(root: Path = ROOT) -> Finding:
    """Frequency governors of all processors: only `performance` holds the clock still."""
    paths = sorted((root / _GOVERNORS).glob("cpu[0-9]*/cpufreq/scaling_governor"))
    found = sorted({text for path in paths if (text := file_text(path))})
    if not found:
        return unknown("cpu clock", "no governor to read, as in virtual machines and containers")
    if found == ["performance"]:
        return ok("cpu clock", "governor performance")
    remedy = "sudo cpupower frequency-set -g performance (Jetson: sudo jetson_clocks)"
    return warn("cpu clock", f"governor {', '.join(found)}: the clock falls when there is little to do", remedy)


def power_mode() -> Iterator[Finding]:
    """A Jetson's power mode; nothing is said elsewhere."""
    answer = ask("nvpmodel", "-q")
    if not answer.installed:
        return
    lines = [line for line in answer.text.splitlines() if "mode" in line.lower()]
    if not lines:
        yield unknown("power mode", answer.failure or "nvpmodel names none", "sudo nvpmodel -q")
        return
    mode = lines[0].rpartition(":")[2].strip()
    if mode.upper().startswith("MAXN"):
        yield ok("power mode", mode)
    else:
        yield warn("power mode", f"{mode}: not the fastest", "sudo nvpmodel -m 0, and measure latency again")


def memory(root: Path = ROOT) -> Finding:
    """Memory that can be had without swapping."""
    for line in file_text(root / "proc/meminfo").splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable" and value.split() and value.split()[0].isdigit():
            free_gib = int(value.split()[0]) / 2**20
            if free_gib < _FREE_MEMORY_GIB:
                remedy = "stop what is not needed; a node takes some 0.5 GiB, with a GPU engine 1 to 2"
                return warn("memory", f"{free_gib:.2f} GiB available", remedy)
            return ok("memory", f"{free_gib:.1f} GiB available")
    return unknown("memory", "/proc/meminfo does not say")


def disk(folder: Path) -> Finding:
    """Space where one stands: logs, compiled engines and bags go there or near."""
    try:
        free_gib = shutil.disk_usage(folder).free / 2**30
    except OSError as error:
        return unknown("disk", f"{folder}: {error.strerror}")
    if free_gib < _FREE_DISK_GIB:
        return warn("disk", f"{free_gib:.2f} GiB free at {folder}", "remove old logs (~/.ros/log) and bags")
    return ok("disk", f"{free_gib:.0f} GiB free at {folder}")


def clock() -> Finding:
    """Whether something holds the system's clock to a reference: sensors' stamps are compared with it."""
    answer = ask("timedatectl", "show", "-p", "NTPSynchronized", "--value")
    if answer.text.strip() == "yes":
        return ok("clock", "synchronized (timedatectl)")
    kernel = _kernel_clock()
    if kernel is None:
        reason = answer.failure or f"timedatectl says {answer.text.strip() or 'nothing'}"
        return unknown("clock", f"{reason}, and the kernel does not tell", "chronyc tracking, or pmc for PTP")
    is_synchronized, error_s = kernel
    if is_synchronized:
        return ok("clock", f"synchronized, possible error {error_s * 1e3:.0f} ms (kernel)")
    remedy = "run chrony, or ptp4l and phc2sys with the sensors' PTP: stamps older than deadline_ms are refused"
    return warn("clock", "nothing synchronizes it (kernel)", remedy)


def _kernel_clock() -> tuple[bool, float] | None:
    """Whether the kernel calls its clock synchronized, and its largest error in s; adjtimex(2) that sets nothing."""
    timex = ctypes.create_string_buffer(_ADJTIMEX_BYTES)
    if ctypes.sizeof(ctypes.c_long) != 8:
        return None
    try:
        state = ctypes.CDLL(None, use_errno=True).adjtimex(timex)
    except (OSError, AttributeError):
        return None
    if state < 0:
        return None
    status = int.from_bytes(timex.raw[_STATUS_OFFSET : _STATUS_OFFSET + 4], "little")
    error_us = int.from_bytes(timex.raw[_MAX_ERROR_OFFSET : _MAX_ERROR_OFFSET + 8], "little")
    return not status & _UNSYNCHRONIZED, error_us / 1e6
