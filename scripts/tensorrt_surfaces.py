"""Puts the genuine Python bindings of several TensorRT versions into folders of their own, where no TensorRT is.

usage: tensorrt_surfaces.py FOLDER

The bindings load libraries that come with a GPU's machine only; libraries of empty functions let them import, so that
every attribute our code uses can be looked up in each version. Nothing of them can run. Needs gcc, and `nm` and
`readelf` of binutils; Linux x86-64.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

BINDINGS = {
    "10.3": "tensorrt_cu12_bindings==10.3.0",
    "10.16": "tensorrt_cu12_bindings==10.16.1.11",
    "11.4": "tensorrt_cu13_bindings==11.4.0.106",
}
"""JetPack 6, the newest of the 10 line (JetPack 7 has 10.13), and the newest of all."""


def main() -> None:
    """Makes every folder that is not there yet."""
    root = Path(sys.argv[1])
    for version, requirement in BINDINGS.items():
        folder = root / version
        if not (folder / "ready").is_file():
            shutil.rmtree(folder, ignore_errors=True)
            install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder)]
            subprocess.run([*install, requirement], check=True)
            write_libraries(folder)
            (folder / "ready").touch()


def write_libraries(folder: Path) -> None:
    """Beside the bindings: each library they name, with a function of nothing for each symbol they want of it."""
    [binding] = folder.glob("tensorrt_bindings/tensorrt*.so")
    wanted = [line.split()[-1] for line in output_of("nm", "-D", "--undefined-only", str(binding)).splitlines()]
    symbols = [name for name in wanted if re.search(r"_INTERNAL$|PluginRegistry$|^initLibNv|^getNvOnnx", name)]
    source = folder / "empty.c"
    source.write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in symbols))
    for library in re.findall(r"\[(libnv\w+\.so\.\d+)\]", output_of("readelf", "-d", str(binding))):
        command = ["gcc", "-shared", "-fPIC", "-w", str(source), "-o", str(folder / library), f"-Wl,-soname,{library}"]
        subprocess.run(command, check=True)


def output_of(*command: str) -> str:
    """What a program prints."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    main()
