"""Faults on the topics of real nodes over real DDS, judged from outside by the invariants of the suite in process."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not in this environment; run `make test-ros` or `make test-jazzy`")

from tests.ros_nodes.breakable_detector import ORDERS
from tests.ros_nodes.observer import Observer
from tests.ros_nodes.processes import NodeProcess, Nodes
from understudy.configuration import write_yaml
from understudy.faults.catalog import FAULTS
from understudy.faults.contents import Contents, suite_rig
from understudy.faults.drafts import Sent
from understudy.faults.report import describe, report_of
from understudy.faults.scenario import SHORT, numbers
from understudy.faults.script import Script
from understudy.testing import simple_rig, tiny_bundle
from understudy_ros.faults.command import contents_for, main, try_node
from understudy_ros.faults.injection import Injector, Trial

BREAKABLE, NODE = "tests.ros_nodes.breakable_detector", "/fusion_detector"
DEADLINE_MS = 400


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("student") / "bundle").folder


@pytest.fixture(scope="module")
def contents() -> Contents:
    rig = suite_rig()
    return contents_for(rig, None, list(rig.cameras))


@pytest.fixture
def rig_file(tmp_path: Path) -> Path:
    write_yaml(tmp_path / "rig.yaml", suite_rig())
    return tmp_path / "rig.yaml"


class Started:
    """An active detector that fails on command, and how to try it."""

    def __init__(self, observer: Observer, nodes: Nodes, bundle: Path, rig_file: Path) -> None:
        self._observer, self._nodes = observer, nodes
        self._given = {"bundle": bundle, "rig": rig_file, "deadline_ms": DEADLINE_MS}
        self._given |= {"reliable": True, "cameras_reliable": True}

    def trial(self, contents: Contents, *, sim_time: bool) -> Trial:
        node = self._nodes.start(BREAKABLE, name=NODE.lstrip("/"), use_sim_time=sim_time, **self._given)
        self._observer.bring_up(NODE)
        topics = {"lidar": "/points", **{name: f"/{name}/image/compressed" for name in contents.cameras}}
        output = f"{NODE}/detections"
        return Trial(NODE, topics, output, pid=node.pid, orders=ORDERS, sim_time=sim_time)


@pytest.fixture
def started(observer: Observer, nodes: Nodes, bundle: Path, rig_file: Path) -> Started:
    return Started(observer, nodes, bundle, rig_file)


def test_the_node_survives_a_camera_a_publisher_and_a_student_that_fail(started: Started, contents: Contents) -> None:
    chosen = [numbers(0, 1, kind)[0] for kind in ("corrupt_jpeg", "qos_mismatch", "engine_hang")]
    patient = replace(SHORT, afterwards_ms=4000)  # long enough for diagnostics to be quiet again
    with Injector(replace(started.trial(contents, sim_time=False), setting=patient), contents) as injector:
        injector.connect()
        assert not any(injector.why_not(number) for number in chosen)
        assert "--sim-time" in injector.why_not(numbers(0, 1, "sim_time_pause")[0])
        judged = [injector.judged(number) for number in chosen]
    report = report_of(judged, seed=0, only="", student=NODE)
    assert report.holds, "\n".join(describe(report))
    assert [bool(one.named_ns) for one in judged] == [True, True, True]


class HeldUp(Injector):
    """One that gets no core for a while when a camera has begun to fail, as on a machine that has too much to do."""

    _left_s = 1.1

    def _send(self, script: Script, sent: Sent) -> None:
        super()._send(script, sent)
        if sent.taken_ns > script.start_ns + 200_000_000:
            time.sleep(self._left_s)
            self._left_s = 0.0


@pytest.mark.any_distribution
def test_a_scenario_that_the_machine_held_up_is_played_again(started: Started, contents: Contents) -> None:
    (number,) = numbers(0, 1, "corrupt_jpeg")
    lines: list[str] = []
    with HeldUp(started.trial(contents, sim_time=False), contents) as injector:
        injector.connect()
        judged = injector.judged(number, say=lines.append)
    assert "played again (2 of 3)" in lines[0]
    assert {"fresh", "LiDAR rate"} <= judged.dropped[0].violations.keys()
    assert not judged.violations, lines


@pytest.mark.slow
def test_the_node_survives_thirty_scenarios_of_all_faults(started: Started, contents: Contents) -> None:
    lines: list[str] = []
    report = try_node(started.trial(contents, sim_time=True), contents, 30, say=lines.append)
    assert report.holds, "\n".join(describe(report))
    assert {row.fault for row in report.rows} == {*FAULTS, "all"}
    assert len([line for line in lines if "played again" not in line]) == 30, lines


def where(name: str, rig_file: Path) -> list[str]:
    return ["--node", f"/{name}", "--rig", str(rig_file), "--output", f"/{name}/detections"]


def inject(node: NodeProcess, rig_file: Path, name: str, *given: str) -> subprocess.CompletedProcess[str]:
    """The command as users run it."""
    words = [*where(name, rig_file), "--pid", str(node.pid), *given]
    command = [sys.executable, "-m", "understudy_ros.faults.command", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=180, env={**os.environ})


@pytest.mark.any_distribution
def test_a_node_that_breaks_is_told(observer: Observer, nodes: Nodes, tmp_path: Path) -> None:
    write_yaml(tmp_path / "rig.yaml", simple_rig())
    node = nodes.start("tests.ros_nodes.fragile_node", name="fragile")
    out = tmp_path / "report.json"
    given = ["--only", "empty_cloud", "--scenarios", "1", "--out", str(out)]
    done = inject(node, tmp_path / "rig.yaml", "fragile", *given)
    assert done.returncode == 1, done.stderr
    assert "VIOLATED no crash: process" in done.stdout
    assert "VIOLATED named: lidar never named" in done.stdout
    assert '"no crash"' in out.read_text()


@pytest.mark.slow
def test_a_lidar_node_survives_what_it_can_be_given(
    observer: Observer, nodes: Nodes, bundle: Path, tmp_path: Path
) -> None:
    write_yaml(tmp_path / "rig.yaml", simple_rig())
    given = {"bundle": bundle, "rig": tmp_path / "rig.yaml", "deadline_ms": DEADLINE_MS}
    node = nodes.start("understudy_ros.lidar_detector", name="lidar_detector", **given)
    observer.bring_up("/lidar_detector")
    done = inject(node, tmp_path / "rig.yaml", "lidar_detector", "--scenarios", "3", "--seed", "13")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "left out corrupt_jpeg: there is no camera" in done.stdout
    assert "left out qos_mismatch: it listens with best effort" in done.stdout
    assert "left out sim_time_pause: it does not follow /clock" in done.stdout
    assert "all 9 invariants held in 3 scenarios" in done.stdout


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--wait", "0.5"], "topics without a partner: found /points"),
        (["--only", "earthquake"], "wanted one of drop"),
        (["--image", "front"], "wanted CAMERA=TOPIC"),
        (["--image", "front=/a", "--image", "front=/b"], "--image: found front more than once"),
        (["--image", "front=/points"], "topics: found /points more than once"),
        (["--output", "points"], "wanted one type of message on it"),
        (["--image", "rear=/rear"], "rear, wanted front, left, right"),
        (["--output-type", "std_msgs/msg/UInt32"], "which has no header"),
        (["--output-type", "made_up_msgs/msg/Thing"], "made_up_msgs"),
        (["--output-type", "Thing"], "Thing"),
        (["--output-type", "std_msgs/msg/Thing"], "Thing"),
        (["--scenarios", "0"], "--scenarios"),
        (["--output", "no topic"], "no topic"),
    ],
)
def test_wrong_arguments_are_told_in_one_line(
    rig_file: Path,
    given: list[str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["fault_injector", *where("nobody", rig_file), *given, "--ros-args"])
    with pytest.raises(SystemExit) as ended:
        main()
    told = capsys.readouterr().err
    assert ended.value.code == 2
    assert said in told
    assert len(told.strip().splitlines()) == 1
