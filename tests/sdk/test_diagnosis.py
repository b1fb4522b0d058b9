"""The doctor without ROS: made-up roots of file systems, real programs, and a command line that never falls ill."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

from understudy import cli
from understudy.diagnosis.dds import (
    DEFAULT_SEGMENT_BYTES,
    NEW_VARIABLE,
    OLD_VARIABLE,
    DdsProfile,
    profile_in_use,
    profile_variable,
    read_profile,
    shipped_profile,
)
from understudy.diagnosis.findings import Finding, findings_text, lacking, missing, ok, unknown, warn
from understudy.diagnosis.machine import clock, disk, governor, gpu, machine_findings, memory, power_mode
from understudy.diagnosis.probe import ask
from understudy.diagnosis.ros_setup import (
    dds_profile,
    distribution,
    middleware,
    receive_buffers,
    ros_setup_findings,
    shared_memory,
)
from understudy.diagnosis.vehicle import Vehicle, parted, read_parameters, vehicle_findings
from understudy.errors import InputError
from understudy.testing import simple_rig

PROFILE = Path(__file__).resolve().parents[2] / "ros_nodes" / "config" / "fastdds_shm.xml"
HAS_RCLPY = importlib.util.find_spec("rclpy") is not None


def written(root: Path, name: str, text: str) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Puts a program of that name before all others on the path."""
    folder = tmp_path / "bin"
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    def make(name: str, *lines: str) -> None:
        path = written(folder, name, "\n".join(["#!/bin/sh", *lines]) + "\n")
        path.chmod(0o755)

    return make


class TestFindings:
    def test_text_keeps_to_a_hundred_columns_and_says_what_to_do(self) -> None:
        long = [missing("/roof/lidar/top/velodyne/points", "nothing " * 30, "do " * 50), ok("b", "fine")]
        text = findings_text("vehicle", long)
        assert max(map(len, text.splitlines())) <= 100
        assert text.startswith("vehicle: 1 ok, 1 missing\n")
        assert text.count("-> do do") == 1

    def test_a_path_is_not_broken_unless_no_line_can_hold_it(self) -> None:
        path = "/opt/" + "x" * 60
        assert f" {path}" in findings_text(
            "x", [warn("dds profile", "no profile", f"export A_LONG_NAME_OF_A_THING {path}")]
        )
        assert max(map(len, findings_text("x", [warn("a", "b", "y" * 300)]).splitlines())) <= 100

    def test_control_characters_of_others_do_not_reach_the_terminal(self) -> None:
        assert "\x1b" not in findings_text("x", [warn("node", "\x1b[31mred\nline", "look")])

    def test_only_what_was_asked_for_is_lacking(self) -> None:
        found = [missing("gpu", "none", "buy", ["compile"]), warn("x", "", "", ["lidar"]), unknown("y", "")]
        assert lacking(found, []) == lacking(found, ["lidar"]) == []
        assert [finding.what for finding in lacking(found, ["lidar", "compile"])] == ["gpu"]


class TestMachine:
    def test_every_check_gives_a_finding_here(self) -> None:
        found = [*machine_findings(), *ros_setup_findings()]
        assert {"gpu", "tensorrt", "onnxruntime", "memory", "disk", "clock", "ros", "/dev/shm"} <= {
            finding.what for finding in found
        }
        assert all(finding.remedy for finding in found if finding.state in ("warn", "missing"))

    def test_an_empty_root_is_no_error(self, tmp_path: Path) -> None:
        found = [*machine_findings(tmp_path), *ros_setup_findings(tmp_path, {})]
        states = {finding.what: finding.state for finding in found}
        assert (states["cpu clock"], states["memory"], states["udp buffers"]) == ("unknown",) * 3

    def test_jetson(self, tmp_path: Path) -> None:
        written(tmp_path, "etc/nv_tegra_release", "# R36 (release), REVISION: 4.3, BOARD: generic\n")
        assert "--runtime nvidia" in gpu(tmp_path).remedy
        written(tmp_path, "dev/nvhost-gpu", "")
        assert gpu(tmp_path) == ok("gpu", "Jetson, # R36 (release), REVISION: 4.3, BOARD: generic", ["compile"])

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may do everything")
    def test_jetson_without_permission(self, tmp_path: Path) -> None:
        written(tmp_path, "etc/nv_tegra_release", "# R36\n")
        written(tmp_path, "dev/nvhost-gpu", "").chmod(0)
        assert "usermod -aG video" in gpu(tmp_path).remedy

    def test_nvidia_smi(self, tmp_path: Path, program) -> None:
        program("nvidia-smi", "echo 'Orin, 570.1, 8192 MiB, 100 MiB'")
        assert gpu(tmp_path).seen == "Orin, 570.1, 8192 MiB, 100 MiB"
        program("nvidia-smi", "echo 'Driver/library version mismatch' >&2", "exit 18")
        found = gpu(tmp_path)
        assert (found.state, found.seen) == ("missing", "nvidia-smi: Driver/library version mismatch")

    def test_power_mode(self, program) -> None:
        program("nvpmodel", "echo 'NV Power Mode: 15W'", "echo 2")
        assert [(each.state, each.seen) for each in power_mode()] == [("warn", "15W: not the fastest")]
        program("nvpmodel", "echo 'NV Power Mode: MAXN_SUPER'", "echo 0")
        assert list(power_mode()) == [ok("power mode", "MAXN_SUPER")]
        program("nvpmodel", "exit 1")
        assert [each.state for each in power_mode()] == ["unknown"]

    def test_governor(self, tmp_path: Path) -> None:
        for number, name in enumerate(("performance", "schedutil")):
            written(tmp_path, f"sys/devices/system/cpu/cpu{number}/cpufreq/scaling_governor", f"{name}\n")
        assert governor(tmp_path).seen.startswith("governor performance, schedutil")
        assert "performance" in governor(tmp_path).remedy

    def test_little_memory(self, tmp_path: Path) -> None:
        written(tmp_path, "proc/meminfo", "MemTotal: 8000000 kB\nMemAvailable: 500000 kB\n")
        assert (memory(tmp_path).state, memory(tmp_path).seen) == ("warn", "0.48 GiB available")

    def test_a_folder_that_is_gone(self, tmp_path: Path) -> None:
        assert disk(tmp_path / "gone").state == "unknown"

    def test_clock(self, program) -> None:
        program("timedatectl", "echo yes")
        assert clock() == ok("clock", "synchronized (timedatectl)")
        program("timedatectl", "echo 'System has not been booted with systemd' >&2", "exit 1")
        assert clock().state in ("ok", "warn", "unknown")  # as this machine's kernel has it

    def test_a_program_that_hangs_or_is_not_there(self) -> None:
        assert ask("sleep", "30", timeout_s=0.2).failure == "sleep did not answer in 0 s"
        assert not ask("no-such-program-here").installed


class TestRosSetup:
    @pytest.mark.skipif(HAS_RCLPY, reason="this Python has ROS")
    def test_distribution(self, tmp_path: Path) -> None:
        assert "no ROS 2" in distribution(tmp_path, {}).seen
        (tmp_path / "opt/ros/jazzy/lib/python3.12").mkdir(parents=True)
        assert distribution(tmp_path, {}).remedy == "source /opt/ros/jazzy/setup.bash"
        found = distribution(tmp_path, {"ROS_DISTRO": "jazzy"})
        assert "python3.12" in found.remedy
        assert found.needed_for == ("lidar", "fusion", "camera")

    def test_middleware(self) -> None:
        assert middleware({"RMW_IMPLEMENTATION": "rmw_cyclonedds_cpp"}).state == "warn"
        assert middleware({}).state == middleware({"RMW_IMPLEMENTATION": "rmw_fastrtps_cpp"}).state == "ok"

    def test_dds_profile(self, tmp_path: Path) -> None:
        name = profile_variable()
        assert dds_profile({name: str(PROFILE)}).seen == f"{PROFILE}, segment of 128 MiB"
        assert (dds_profile({}).state, dds_profile({name: "/gone.xml"}).state) == ("warn", "missing")
        assert shipped_profile() in dds_profile({}).remedy
        assert dds_profile({"RMW_IMPLEMENTATION": "rmw_zenoh_cpp"}).state == "ok"

    def test_shared_memory(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("understudy.diagnosis.dds.SHARED_MEMORY", tmp_path / "gone")
        assert shared_memory().state == "unknown"

    def test_receive_buffers(self, tmp_path: Path) -> None:
        written(tmp_path, "proc/sys/net/core/rmem_max", "212992\n")
        written(tmp_path, "proc/sys/net/ipv4/ipfrag_high_thresh", "4194304\n")
        assert "rmem_max 0.2 MiB" in receive_buffers(tmp_path).seen
        assert "sysctl -w net.core.rmem_max=" in receive_buffers(tmp_path).remedy
        written(tmp_path, "proc/sys/net/core/rmem_max", "2147483647\n")
        written(tmp_path, "proc/sys/net/ipv4/ipfrag_high_thresh", "134217728\n")
        assert receive_buffers(tmp_path).state == "ok"


class TestProfile:
    def test_that_is_shipped(self) -> None:
        assert read_profile(PROFILE) == DdsProfile(PROFILE, 128 * 2**20)
        assert read_profile(Path(shipped_profile())).segment_bytes == 128 * 2**20

    @pytest.mark.parametrize(
        ("old", "new", "trouble"),
        [
            ('is_default_profile="true"', "", "is_default_profile"),
            ("<type>SHM</type>", "<type>UDPv4</type>", "no shared memory"),
            ("134217728", "128MB", "segment_size is no number"),
            ("</dds>", "", "cannot be read"),
            ("<transport_id>understudy_shm</transport_id>\n        <type>", "<type>", "understudy_shm is used and not"),
        ],
    )
    def test_that_does_not_count(self, tmp_path: Path, old: str, new: str, trouble: str) -> None:
        text = PROFILE.read_text()
        assert old in text
        path = written(tmp_path, "p.xml", text.replace(old, new))
        found = read_profile(path)
        assert trouble in found.trouble
        assert found.segment_bytes <= DEFAULT_SEGMENT_BYTES

    def test_without_a_size_it_is_the_default(self, tmp_path: Path) -> None:
        text = PROFILE.read_text().replace("<segment_size>134217728</segment_size>", "")
        assert read_profile(written(tmp_path, "p.xml", text)).segment_bytes == DEFAULT_SEGMENT_BYTES

    def test_of_the_environment(self) -> None:
        assert profile_in_use({}) == DdsProfile()
        assert profile_in_use({"FASTDDS_BUILTIN_TRANSPORTS": "UDPv4"}).segment_bytes == 0
        assert profile_in_use({NEW_VARIABLE: "/gone.xml"}).path == Path("/gone.xml")
        assert profile_in_use({OLD_VARIABLE: str(PROFILE)}).segment_bytes == 128 * 2**20

    @pytest.mark.skipif(HAS_RCLPY, reason="rclpy's version decides")
    def test_jazzy_reads_only_the_old_name(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ROS_DISTRO", "jazzy")
        assert profile_variable() == OLD_VARIABLE
        found = profile_in_use({NEW_VARIABLE: str(PROFILE)})
        assert found.trouble == f"this Fast DDS reads {OLD_VARIABLE}, not {NEW_VARIABLE}"
        assert found.segment_bytes == DEFAULT_SEGMENT_BYTES


class TestParametersFile:
    def test_all_nodes_names_and_nested_keys(self, tmp_path: Path) -> None:
        second = "/car:\n  node:\n    ros__parameters: {qos: {depth: 3}, rig: b.yaml}\n"
        text = f"/**:\n  ros__parameters: {{rig: a.yaml}}\n{second}"
        assert read_parameters(written(tmp_path, "p.yaml", text)) == {"rig": "b.yaml", "qos.depth": 3}

    @pytest.mark.parametrize("text", ["", "[1]", "a: [", "reliable: true\n"])
    def test_that_is_none(self, tmp_path: Path, text: str) -> None:
        with pytest.raises(InputError, match=r"p\.yaml"):
            read_parameters(written(tmp_path, "p.yaml", text))

    def test_words_in_two_parts(self) -> None:
        assert parted(["a:=/b", "c:=d"], ":=", "--remap") == {"a": "/b", "c": "d"}
        for wrong in ("a", ":=b", "a:="):
            with pytest.raises(InputError, match="NAME:=VALUE"):
                parted([wrong], ":=", "--remap")


PLUGIN = """
import os, time
from understudy.diagnosis.findings import ok
def look(vehicle):
    yield ok("heard", f"{vehicle.seconds:g} s")
    DEED
"""


class TestLook:
    """Plugins that are installed for real, in a folder on the path of the process that looks."""

    @staticmethod
    def found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deed: str) -> list[Finding]:
        written(tmp_path, "sick_plugin.py", PLUGIN.replace("DEED", deed))
        folder = "sick_plugin-1.dist-info"
        written(tmp_path, f"{folder}/METADATA", "Metadata-Version: 2.1\nName: sick-plugin\nVersion: 1\n")
        written(tmp_path, f"{folder}/entry_points.txt", "[understudy.doctor]\nsick = sick_plugin:look\n")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        monkeypatch.syspath_prepend(str(tmp_path))
        # Without this it would be a look at whatever runs on this machine's network.
        monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "OFF")
        return [each for each in vehicle_findings(Vehicle(seconds=0.5)) if "no ROS 2" not in each.seen]

    def test_that_goes_well(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert ok("heard", "0.5 s") in self.found(tmp_path, monkeypatch, "")

    def test_that_raises(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        found = self.found(tmp_path, monkeypatch, "raise RuntimeError('no\\nluck')")
        assert found[-2:] == [ok("heard", "0.5 s"), unknown("sick graph", "RuntimeError: no luck")]

    @pytest.mark.parametrize(
        ("deed", "reason"),
        [
            ("os.write(2, b'no middleware\\n'); os._exit(102)", "the look ended with status 102: no middleware"),
            ("time.sleep(30)", "did not come back within 4 s"),
        ],
    )
    def test_that_ends_or_hangs(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deed: str, reason: str) -> None:
        if "sleep" in deed:
            monkeypatch.setattr("understudy.diagnosis.vehicle._MARGIN_S", 3.0)
        [finding] = self.found(tmp_path, monkeypatch, deed)
        assert finding.state == "unknown"
        assert reason in finding.seen


class TestCommand:
    @pytest.fixture
    def shell(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
        monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")

        def run(*words: object) -> tuple[int, str, str]:
            monkeypatch.setattr("sys.argv", ["understudy", "doctor", *map(str, words)])
            with pytest.raises(SystemExit) as exit_:
                cli.main()
            captured = capsys.readouterr()
            return int(exit_.value.code or 0), captured.out, captured.err

        return run

    def test_alone_it_asks_for_nothing(self, shell) -> None:
        status, out, err = shell()
        assert (status, err) == (0, "")
        assert "\nmachine: " in out
        assert "\nros setup: " in out
        assert "\nvehicle: " not in out

    @pytest.mark.skipif(HAS_RCLPY, reason="this Python has ROS")
    def test_what_is_asked_for_and_missing_gives_one(self, shell) -> None:
        status, out, _ = shell("--for", "lidar")
        assert (status, out.splitlines()[-1]) == (1, "missing for lidar: ros")

    @pytest.mark.skipif(HAS_RCLPY, reason="this Python has ROS")
    def test_without_ros_the_vehicle_is_unknown(self, shell, tmp_path: Path) -> None:
        simple_rig().write(tmp_path / "rig.yaml")
        status, out, _ = shell("--rig", tmp_path / "rig.yaml")
        assert status == 0
        assert "no ROS 2 in this Python" in " ".join(out.split())
        assert "\nvehicle: " not in shell("--rig", tmp_path / "rig.yaml", "--no-ros")[1]

    def test_wrong_input_is_one_line(self, shell, tmp_path: Path) -> None:
        simple_rig().write(tmp_path / "rig.yaml")
        broken = written(tmp_path, "broken.yaml", "name: x\nsensors: {}\ncolor: red\n")
        params = written(tmp_path, "params.yaml", "reliable: true\n")
        lost = written(tmp_path, "lost.yaml", "/**:\n  ros__parameters:\n    rig: /gone/rig.yaml\n")
        for words, part in (
            (["--rig", tmp_path / "gone.yaml"], "no such file"),
            (["--rig", broken], "unknown key color"),
            (["--params", tmp_path / "gone.yaml"], "no such file"),
            (["--params", params], "ros__parameters"),
            (["--params", lost], "/gone/rig.yaml"),
            (["--rig", tmp_path / "rig.yaml", "--hz", "roof=10"], "a sensor of the rig: lidar"),
            (["--rig", tmp_path / "rig.yaml", "--hz", "lidar=fast"], "rates_hz.lidar"),
            (["--rig", tmp_path / "rig.yaml", "--hz", "lidar=-3"], "found lidar=-3, wanted more than 0"),
            (["--rig", tmp_path / "rig.yaml", "--hz", "lidar=nan"], "wanted a finite number"),
            (["--remap", "points"], "NAME:=VALUE"),
            (["--seconds", "0"], "seconds"),
            (["--for", "parking"], "parking"),
        ):
            status, _, err = shell(*words)
            assert status == 2, words
            assert part in err, words
            assert err.count("\n") == 1, words
