"""The doctor beside real publishers over DDS: each fault is named, with what to do."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not in this environment; run `make test-ros`")

from rclpy.serialization import serialize_message

from tests.ros_nodes.doctor_cases import SIMPLE, Drivers, about, patient_look, says, started_drivers
from understudy.configuration import write_yaml
from understudy.diagnosis.dds import NEW_VARIABLE, OLD_VARIABLE, PROFILE_NAME
from understudy.diagnosis.findings import Finding
from understudy.diagnosis.vehicle import Vehicle
from understudy.messages.cloud_layouts import LAYOUTS, cloud_message
from understudy.messages.headers import header_message
from understudy.rig import Rig
from understudy.testing import road_cloud, simple_rig, surround_rig
from understudy_ros.doctor.heard import Heard, header_of
from understudy_ros.doctor.looking import KNOWN
from understudy_ros.doctor.topics import expected_topics, name_findings, parameter_findings
from understudy_ros.make import make_message


@pytest.fixture
def drivers(tmp_path: Path) -> Iterator[Drivers]:
    with started_drivers(tmp_path) as start:
        yield start


def camera_rig(*names: str) -> Rig:
    rig = simple_rig(camera=True)
    camera = rig.sensors["front"]
    cameras = {name: camera.model_copy(update={"frame_id": name}) for name in names}
    return Rig(name="many", sensors={"lidar": rig.sensors["lidar"], **cameras})


class TestATopic:
    FAULTS: ClassVar = {
        "frame": ("--frame lens", ("frame id lens", "rig's frame has frame")),
        "slow": ("--hz 2", ("sent at", "wanted 4 to 125")),
        "early": ("--from-power-on", ("stamps begin in 1970",)),
        "behind": ("--offset-s -5", ("behind",)),
        "ahead": ("--offset-s 5", ("ahead",)),
        "small": ("--width 80", ("80 x 96 pixels, the rig has 160 x 96",)),
        "twice": ("", ("2 publishers: /twice_driver, /twice_other",)),
        "known": ("--hz 5", ("wanted 10",)),
    }

    def test_each_fault_is_named_with_a_remedy(self, drivers: Drivers) -> None:
        rig = camera_rig(*self.FAULTS)
        common = "--kind jpeg --topic /{0}/image/compressed --node {0}_driver --frame {0}"
        given = [f"{common.format(name)} {words}" for name, (words, _) in self.FAULTS.items()]
        second = common.format("twice").replace("twice_driver", "twice_other")
        drivers(*given, second, "--points 500")
        vehicle = Vehicle(
            rig=rig, seconds=2.0, rates_hz={"known": 10.0, "lidar": 10.0}, parameters={"camera_info": "ignore"}
        )
        topics = {name: f"/{name}/image/compressed" for name in self.FAULTS}

        def all_named(found: list[Finding]) -> bool:
            named = (says(found, topics[name], *parts) for name, (_, parts) in self.FAULTS.items())
            return all(named) and not about(found, "/points")

        found = patient_look(vehicle, all_named)
        for name, (_, parts) in self.FAULTS.items():
            assert says(found, topics[name], *parts), (name, about(found, topics[name]))
        assert about(found, "/points") == []
        [facts] = [finding.seen for finding in found if finding.what == "/points"]
        assert "none lost, frame lidar" in facts
        assert "from /driver" in facts

    def test_a_publisher_that_the_node_cannot_hear(self, drivers: Drivers) -> None:
        drivers("--best-effort")
        vehicle = SIMPLE.model_copy(update={"parameters": {"reliable": True}})
        found = patient_look(vehicle, lambda found: [each.state for each in about(found, "/points")] == ["missing"])
        [finding] = about(found, "/points")
        assert finding.state == "missing"
        assert "Best effort publisher and reliable subscription" in finding.seen
        assert "set reliable: false" in finding.remedy

    @pytest.mark.any_distribution
    def test_large_clouds_are_lost_for_want_of_the_profile(
        self, drivers: Drivers, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in (NEW_VARIABLE, OLD_VARIABLE):
            monkeypatch.delenv(name, raising=False)
        drivers("--points 150000")
        found = patient_look(SIMPLE, lambda found: says(found, "/points", "best effort"))
        remedies = [finding.remedy for finding in about(found, "/points") if "best effort" in finding.seen]
        assert PROFILE_NAME in remedies[0]
        assert "set reliable: true" in remedies[0]

    @pytest.mark.any_distribution
    @pytest.mark.parametrize(
        ("words", "parts"),
        [
            ("--field q", ("x is missing",)),
            ("--kind jpeg", ("/driver publishes sensor_msgs/msg/CompressedImage",)),
        ],
    )
    def test_what_is_no_cloud(self, drivers: Drivers, words: str, parts: tuple[str, ...]) -> None:
        drivers(words)
        found = patient_look(SIMPLE, lambda found: says(found, "/points", *parts) and len(about(found, "/points")) == 1)
        [finding] = about(found, "/points")
        assert finding.state == "missing"
        assert "rig" in finding.needed_for

    @pytest.mark.any_distribution
    def test_clouds_on_another_topic(self, drivers: Drivers) -> None:
        drivers("--topic /roof/points")
        wanted = "-r points:=TOPIC (doctor: --remap): this type is on /roof/points"
        found = patient_look(SIMPLE, lambda found: wanted in " ".join(each.remedy for each in found))
        [finding] = about(found, "/points")
        assert "nobody publishes it" in finding.seen
        assert wanted in finding.remedy

    @pytest.mark.any_distribution
    def test_old_clouds_are_missing_where_there_is_a_deadline(self, drivers: Drivers) -> None:
        drivers("--offset-s -5")
        vehicle = SIMPLE.model_copy(update={"parameters": {"deadline_ms": 200}})
        found = patient_look(vehicle, lambda found: [each.state for each in about(found, "/points")] == ["missing"])
        assert says(found, "/points", "deadline_ms is 200")


class TestClock:
    def test_nodes_on_two_clocks(self, drivers: Drivers) -> None:
        drivers("--kind clock --topic /clock --node player --hz 50", "--from-power-on --offset-s 1000")
        wanted = "on system time: /driver"
        found = patient_look(SIMPLE, lambda found: says(found, "clock mode", wanted) and not about(found, "/points"))
        assert [finding.state for finding in about(found, "clock mode")] == ["warn"]
        # The stamps fit the simulated clock: no word about 1970.
        assert about(found, "/points") == []

    def test_simulated_time_without_a_clock(self, drivers: Drivers) -> None:
        drivers("--sim-time")
        found = patient_look(SIMPLE, lambda found: says(found, "clock mode", "no /clock", "/driver"))
        assert [finding.state for finding in about(found, "clock mode")] == ["missing"]


def doctor(*words: object, **environment: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [Path(sys.executable).with_name("understudy"), "doctor", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, **environment},
    )
    return done.returncode, done.stdout, done.stderr


class TestCommand:
    @pytest.mark.any_distribution
    def test_an_empty_domain(self, tmp_path: Path) -> None:
        write_yaml(tmp_path / "rig.yaml", simple_rig())
        status, out, err = doctor("--rig", tmp_path / "rig.yaml", "--seconds", "0.5")
        assert (status, err) == (1, "")
        text = " ".join(out.split())
        assert "no other node is seen" in text
        assert "nobody publishes it (sensor_msgs/msg/PointCloud2)" in text
        assert "missing for rig: middleware, /points" in text
        assert max(map(len, out.splitlines())) <= 100

    @pytest.mark.any_distribution
    def test_a_middleware_that_is_not_installed_is_a_finding(self) -> None:
        status, out, err = doctor("--ros", "--seconds", "0.5", RMW_IMPLEMENTATION="rmw_nobody_cpp")
        assert status == 0
        assert "unknown ros graph" in " ".join(out.split())
        assert "Traceback" not in out + err

    def test_a_vehicle_that_is_well(self, drivers: Drivers, tmp_path: Path) -> None:
        write_yaml(tmp_path / "rig.yaml", simple_rig())
        (tmp_path / "params.yaml").write_text("/**:\n  ros__parameters:\n    points_topic: top\n    reliable: true\n")
        drivers("--topic /car/top")
        for _ in range(3):
            given = ("--rig", tmp_path / "rig.yaml", "--params", tmp_path / "params.yaml", "--namespace", "car")
            status, out, _ = doctor(*given, "--seconds", "1.5")
            if not status:
                break
        assert status == 0, out
        assert "2 parameters, all known" in out
        assert "none lost, frame lidar" in " ".join(out.split())


def params(**values: object) -> Vehicle:
    return SIMPLE.model_copy(update={"parameters": values, "seconds": 0.5})


@pytest.mark.any_distribution
class TestParameters:
    @pytest.mark.parametrize(
        ("vehicle", "state", "part"),
        [
            (params(points_tpic="/x"), "warn", "did you mean points_topic?"),
            (params(reliable="yes"), "missing", "reliable is 'yes', not true or false"),
            (params(threads=0), "missing", "threads is 0, not 1 to 64"),
            (params(output="boxes"), "missing", "wanted both or detection3d or markers"),
            (params(lidar="roof"), "missing", "LiDAR roof"),
            (params(cameras="rear"), "missing", "found rear"),
        ],
    )
    def test_what_the_node_would_refuse(self, vehicle: Vehicle, state: str, part: str) -> None:
        found = list(parameter_findings(vehicle, KNOWN))
        assert [finding.state for finding in found] == [state]
        assert part in found[0].seen

    def test_names_that_are_none(self) -> None:
        vehicle = SIMPLE.model_copy(update={"parameters": {"points_topic": "a b"}, "remaps": {"clouds": "/x"}})
        found = list(name_findings(vehicle, expected_topics(vehicle)))
        assert [finding.seen for finding in found] == ["the node has no topic clouds", "/a b is no name of a topic"]
        assert [finding.state for finding in found] == ["warn", "missing"]

    def test_names_become_topics(self) -> None:
        rig = camera_rig("front")
        vehicle = Vehicle(
            rig=rig,
            namespace="/car",
            remaps={"points": "/roof/points", "front/image": "left"},
            parameters={"image_transport": "raw", "camera_info": "ignore", "cameras": "front"},
        )
        points, image = expected_topics(vehicle)
        assert (points.topic, image.topic) == ("/roof/points", "/car/left")
        assert image.type_name == "sensor_msgs/msg/Image"
        assert image.needed_for == ("rig", "fusion", "camera")
        without = expected_topics(vehicle.model_copy(update={"purpose": "lidar"}))
        assert [each.name for each in without] == ["points"]
        alone = expected_topics(vehicle.model_copy(update={"purpose": "camera"}))
        assert [each.topic for each in alone] == ["/car/left"]

    def test_a_rig_without_a_lidar_is_that_of_a_student_of_pictures(self) -> None:
        vehicle = Vehicle(rig=surround_rig(lidar=False), parameters={"camera_info": "ignore"})
        assert [each.name for each in expected_topics(vehicle)] == ["front/image/compressed", "rear/image/compressed"]
        assert [found.state for found in parameter_findings(vehicle, KNOWN)] == ["ok"]


class TestHeard:
    def test_the_header_of_a_message_as_it_is_sent(self) -> None:
        cloud = road_cloud(np.random.default_rng(0), stamp_ns=1_700_000_000_123_456_789)
        raw = serialize_message(cloud_message(make_message, cloud, LAYOUTS["plain"], 1.0))
        assert header_of(raw).stamp_ns == cloud.stamp_ns
        assert header_of(raw).frame_id == cloud.frame_id

    @pytest.mark.parametrize("raw", [b"", b"\0\1\0\0", b"\0\1\0\0" + b"\xff" * 12])
    def test_what_has_no_header(self, raw: bytes) -> None:
        with pytest.raises(ValueError, match="no header"):
            header_of(raw)
        heard = Heard()
        heard.add(raw, {}, 0.0, 0)
        assert (heard.num_messages, heard.unreadable, heard.rate_hz, heard.age_s) == (1, 1, None, None)

    def test_numbers_tell_what_is_lost_of_each_publisher(self) -> None:
        heard = Heard()
        message = serialize_message(make_message("std_msgs/msg/Header", **header_fields()))
        for arrival_s, (publisher, number) in enumerate([("a", 3), ("b", 90), ("a", 4), ("a", 7), ("b", 91)]):
            info: dict[str, Any] = {
                "publication_sequence_number": number,
                "publisher_gid": {"data": publisher.encode()},
            }
            heard.add(message, info, float(arrival_s), 10**9)
        assert (heard.num_messages, heard.num_lost, heard.rate_hz) == (5, 2, 1.0)
        assert heard.num_backward == 4
        assert heard.age_s == pytest.approx(0.5)


def header_fields() -> dict[str, Any]:
    header = header_message(make_message, 500_000_000, "lidar")
    return {"stamp": header.stamp, "frame_id": header.frame_id}
