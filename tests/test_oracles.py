from __future__ import annotations

from tests.oracles import Oracle


def test_devkits_are_complete(oracle: Oracle) -> None:
    said = oracle.run("versions")
    assert "nuscenes-devkit 1.2.0" in said
    assert "av2 0.3.6" in said
