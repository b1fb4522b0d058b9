"""Every attribute of TensorRT that our modules use is there in each version's genuine bindings.

What is used is read off our source: an attribute of a variable with the name of a TensorRT object. What only some
versions have must be asked for with `getattr`, which this does not see.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from understudy.engines import attestation, tensorrt_bridge, tensorrt_engine

SURFACES = Path(sys.prefix) / "tensorrt"
VERSIONS = ("10.3", "10.16", "11.4")
CLASSES = {
    "trt": "",
    "builder": "Builder",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "config": "IBuilderConfig",
    "profile": "IOptimizationProfile",
    "layer": "ILayer",
    "tensor": "ITensor",
    "runtime": "Runtime",
    "engine": "ICudaEngine",
    "context": "IExecutionContext",
    "_context": "IExecutionContext",
    "inspector": "EngineInspector",
}
ONLY_RTX = {"IBuilderConfig.num_compute_capabilities"}
"""Used right after `getattr` has found `set_compute_capability`."""

LOOK = """
import importlib, json, sys
trt = importlib.import_module(sys.argv[1])
def has(path):
    found = trt
    for name in path.split('.'):
        if not hasattr(found, name):
            return False
        found = getattr(found, name)
    return True
print(json.dumps([trt.__version__, [path for path in json.load(sys.stdin) if not has(path)]]))
"""


def used() -> set[str]:
    """Dotted paths from the module, such as `ICudaEngine.get_tensor_name`."""
    found = set()
    for module in (attestation, tensorrt_bridge, tensorrt_engine):
        for node in ast.walk(ast.parse(Path(str(module.__file__)).read_text())):
            if isinstance(node, ast.Attribute) and (path := path_of(node)):
                found.add(path)
    return found - ONLY_RTX


def path_of(node: ast.Attribute) -> str:
    names = [node.attr]
    inner: ast.expr = node.value
    while isinstance(inner, ast.Attribute) and inner.attr not in CLASSES:
        names.append(inner.attr)
        inner = inner.value
    owner = inner.id if isinstance(inner, ast.Name) else inner.attr if isinstance(inner, ast.Attribute) else ""
    if owner not in CLASSES:
        return ""
    kept = names[::-1] if owner == "trt" else [CLASSES[owner], names[-1]]
    return ".".join(kept)


def missing_in(module: str, environment: dict[str, str]) -> tuple[str, list[str]]:
    """Version, and what it lacks; in a process of its own, for two versions cannot be loaded in one."""
    asked = json.dumps(sorted(used()))
    done = subprocess.run(
        [sys.executable, "-c", LOOK, module], input=asked, env=environment, capture_output=True, text=True, check=True
    )
    version, missing = json.loads(done.stdout.splitlines()[-1])
    return version, missing


def test_our_modules_use_what_this_test_believes() -> None:
    paths = used()
    assert {"Runtime.deserialize_cuda_engine", "IExecutionContext.execute_async_v3", "TensorIOMode.INPUT"} <= paths
    assert {"Builder.build_serialized_network", "OnnxParser.parse", "ICudaEngine.get_tensor_profile_shape"} <= paths


@pytest.mark.parametrize("version", VERSIONS)
def test_genuine_bindings_have_all_of_it(version: str) -> None:
    folder = SURFACES / version
    if not (folder / "ready").is_file():
        if os.environ.get("UNDERSTUDY_SURFACES_REQUIRED"):
            pytest.fail(f"no bindings in {folder}: run `make surfaces`")
        pytest.skip("the bindings are not here; run `make surfaces`")
    places = {"PYTHONPATH": str(folder), "LD_LIBRARY_PATH": str(folder)}
    found, missing = missing_in("tensorrt_bindings", {**os.environ, **places})
    assert found.startswith(f"{version}.")
    assert missing == []


def test_tensorrt_rtx_has_all_of_it() -> None:
    if not tensorrt_bridge.available("tensorrt_rtx"):
        pytest.skip("tensorrt-rtx is not installed")
    _, missing = missing_in("tensorrt_rtx", dict(os.environ))
    assert missing == []


def test_an_attribute_that_a_version_lacks_is_named() -> None:
    folder = SURFACES / "11.4"
    if not (folder / "ready").is_file():
        pytest.skip("the bindings are not here; run `make surfaces`")
    environment = {**os.environ, "PYTHONPATH": str(folder), "LD_LIBRARY_PATH": str(folder)}
    command = [sys.executable, "-c", LOOK, "tensorrt_bindings"]
    asked = json.dumps(["Builder.platform_has_fast_int8", "BuilderFlag.FP16", "Builder.create_network"])
    done = subprocess.run(command, input=asked, env=environment, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1])[1] == ["Builder.platform_has_fast_int8", "BuilderFlag.FP16"]
