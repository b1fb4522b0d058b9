"""The closing lines of a quantization."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from understudy_calibration.activations.quantization import INT8, SOURCE, UINT8, QuantizationRecord

_USES = {SOURCE: "reference", INT8: "for TensorRT", UINT8: "for CPUs, never for TensorRT"}


def describe(folder: Path, record: QuantizationRecord) -> Iterator[str]:
    """Lines that say what was made of what, how large it is and how much it lost."""
    kept = f", {len(record.float_convolutions)} kept in float" if record.float_convolutions else ""
    yield (
        f"quantized {record.num_quantized_convolutions} convolutions{kept} with {record.method} ranges"
        f" from {record.num_frames} frames"
    )
    for name, use in _USES.items():
        yield f"  {name:18s}{(folder / name).stat().st_size / 1e6:8.2f} MB  {use}"
    yield f"signal to noise against FP32 on {len(record.held_out_frames)} other frames:"
    width = max(len(name) for name in record.sqnr_db[INT8])
    for name, int8_db in record.sqnr_db[INT8].items():
        yield f"  {name:{width}s}  int8 {int8_db:5.1f} dB  uint8 {record.sqnr_db[UINT8][name]:5.1f} dB"
