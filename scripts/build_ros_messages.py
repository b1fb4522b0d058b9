"""Builds ROS 2 message packages from their `.msg` files into the running ROS environment, without cmake or colcon.

Usage: `<ros venv>/bin/python scripts/build_ros_messages.py`. For tests: a vehicle takes these packages from apt. The
generators, headers and libraries come with the wheels; what is needed besides is gcc. A hash of a type depends on its
fields alone, so what is built here talks to the real package.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
PREFIX = Path(sys.prefix)
FAST, SLOW = "typesupport_fastrtps_c", "typesupport_introspection_c"
FAST_LIBRARIES = ("typesupport_fastrtps_c", "typesupport_fastrtps_cpp", "dynamic_typesupport")


@dataclass(frozen=True)
class Package:
    """What to build.

    Attributes:
        name: of the message package.
        sources: folder of its `.msg` files.
        needs: message packages whose types it uses.
    """

    name: str
    sources: Path
    needs: tuple[str, ...]

    def library(self, kind: str) -> str:
        """Name of one of its libraries, which is found by that name."""
        return f"{self.name}__rosidl_{kind}"

    def needed(self, kind: str) -> list[str]:
        """The libraries of that kind of what it uses."""
        return [f"{name}__rosidl_{kind}" for name in self.needs]


@dataclass(frozen=True)
class Target:
    """A shared library: where it goes, what it is made from, what it is linked with."""

    path: Path
    sources: tuple[Path, ...]
    libraries: tuple[str, ...]


PACKAGES = (
    Package(
        "vision_msgs",
        ROOT / "sdk/understudy/bags/msg/vision_msgs",
        ("std_msgs", "geometry_msgs", "builtin_interfaces", "service_msgs"),
    ),
    Package(
        "tf2_msgs",
        ROOT / "tests/ros_nodes/msg/tf2_msgs",
        ("geometry_msgs", "std_msgs", "builtin_interfaces", "service_msgs"),
    ),
)


def build(package: Package, work: Path) -> None:
    """Generates, compiles and links a package in `work`, then installs it."""
    generated = _generate(package, work)
    _gather_headers(package, generated, work / "include")
    libraries = work / "lib"
    libraries.mkdir()
    targets = [*_libraries(package, generated, libraries), *_extensions(package, generated, libraries)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = [list(pool.map(lambda source: _compile(source, generated, work), one.sources)) for one in targets]
    for target, parts in zip(targets, objects, strict=True):
        _link(target, parts, libraries)
    _install(package, generated, libraries)


def _generate(package: Package, work: Path) -> Path:
    """All that the generators make; naming them would stop at entry points that these wheels register twice."""
    source, generated = work / "source", work / "generated"
    shutil.copytree(package.sources, source / "msg")
    generated.mkdir()
    names = sorted(f"msg/{path.name}" for path in (source / "msg").glob("*.msg"))
    command = [PREFIX / "bin/rosidl", "generate", "-o", generated, "-I", PREFIX / "share", package.name, *names]
    _run(command, cwd=source, env={**os.environ, "AMENT_PREFIX_PATH": str(PREFIX)})
    return generated


def _gather_headers(package: Package, generated: Path, include: Path) -> None:
    """One include tree out of a tree for each generator."""
    for kind in ("c", "fastrtps_c", "introspection_c", "fastrtps_cpp", "introspection_cpp", "cpp"):
        for header in (generated / kind).rglob("*.h*"):
            place = include / package.name / header.relative_to(generated / kind)
            place.parent.mkdir(parents=True, exist_ok=True)
            if not place.exists():
                place.symlink_to(header)


def _libraries(package: Package, generated: Path, folder: Path) -> list[Target]:
    """What a middleware loads; without introspection every node complains about a missing library."""
    own, needed, detail = package.library("generator_c"), package.needed, "msg/detail"
    fast = [*needed(FAST), *(f"rosidl_{kind}" for kind in FAST_LIBRARIES), "fastcdr", "rmw"]
    parts: list[tuple[str, str, str, list[str]]] = [
        ("generator_c", f"c/{detail}", "*.c", [*needed("generator_c"), "rosidl_runtime_c", "rcutils"]),
        ("typesupport_c", "c/msg", "*.cpp", [own, "rosidl_typesupport_c"]),
        (FAST, f"fastrtps_c/{detail}", "*.cpp", [own, *fast]),
        (SLOW, f"introspection_c/{detail}", "*.c", [own, *needed(SLOW), f"rosidl_{SLOW}"]),
        ("generator_py", "py/msg", "*_s.c", [own, *needed("generator_py"), *needed("generator_c")]),
    ]
    return [
        Target(folder / f"lib{package.library(kind)}.so", tuple(sorted((generated / place).glob(pattern))), tuple(libs))
        for kind, place, pattern, libs in parts
    ]


def _extensions(package: Package, generated: Path, folder: Path) -> list[Target]:
    """What Python loads, one for each type support."""
    own = [package.library("generator_py"), package.library("generator_c")]
    return [
        Target(
            generated / f"py/{package.name}_s__rosidl_{kind}.so",
            (generated / f"py/_{package.name}_s.ep.rosidl_{kind}.c",),
            (package.library(kind), *own),
        )
        for kind in ("typesupport_c", FAST, SLOW)
    ]


def _compile(source: Path, generated: Path, work: Path) -> Path:
    compiler = ["g++", "-std=c++17"] if source.suffix == ".cpp" else ["gcc", "-std=gnu11"]
    made = work / (source.relative_to(generated).as_posix().replace("/", "_") + ".o")
    installed = PREFIX / "include"
    folders = [work / "include", installed, sysconfig.get_paths()["include"], np.get_include()]
    folders += sorted(path for path in installed.iterdir() if path.is_dir())
    _run([*compiler, "-O1", "-fPIC", "-w", "-c", source, "-o", made, *(f"-I{folder}" for folder in folders)])
    return made


def _link(target: Target, objects: Sequence[Path], libraries: Path) -> None:
    places = [f"-L{libraries}", f"-L{PREFIX / 'lib'}"]
    names = [f"-l{name}" for name in target.libraries]
    _run(["g++", "-shared", "-o", target.path, *objects, *places, *names, "-Wl,--as-needed"])


def _install(package: Package, generated: Path, libraries: Path) -> None:
    """Libraries first: whoever can import the package can load it."""
    for library in libraries.iterdir():
        shutil.copy2(library, PREFIX / "lib")
    share = PREFIX / "share" / package.name / "msg"
    share.mkdir(parents=True, exist_ok=True)
    described = [*(generated / "c/msg").glob("*.json"), *(generated / "c/tmp/msg").glob("*.idl")]
    for path in [*package.sources.glob("*.msg"), *described]:
        shutil.copy2(path, share)
    place = Path(sysconfig.get_paths()["platlib"]) / package.name
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(generated / "py/msg", place / "msg", ignore=shutil.ignore_patterns("*.c"))
    for extension in (generated / "py").glob("*.so"):
        shutil.copy2(extension, place)
    (place / "__init__.py").touch()


def _run(command: Sequence[str | Path], *, cwd: Path | None = None, env: dict[str, str] | None = None) -> None:
    done = subprocess.run([*map(str, command)], cwd=cwd, env=env, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")


def main() -> None:
    """Builds what the tests of the nodes need."""
    for package in PACKAGES:
        with TemporaryDirectory() as work:
            build(package, Path(work))
        print(f"[understudy] built {package.name} into {PREFIX}")


if __name__ == "__main__":
    main()
