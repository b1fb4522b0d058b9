"""What a node has while it is active, and only then: subscriptions, the stream behind them, and who watches both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from understudy.errors import GeometryError, InputError
from understudy.frame import Frame
from understudy.live.clock import StampClock
from understudy.live.options import StreamOptions
from understudy.live.stream import SensorStream
from understudy.live.tally import Times
from understudy.synchronization.matcher import SyncPolicy
from understudy_ros.cloud_watch import CloudWatch
from understudy_ros.inputs import InputOptions, Inputs
from understudy_ros.outputs import TimingOutput
from understudy_ros.parameters import cameras_required
from understudy_ros.student import Student
from understudy_ros.transforms import RigWatch

if TYPE_CHECKING:
    from understudy_ros.student_node import StudentNode

NS_PER_MS = 1_000_000
_LONGEST_STOP_S = 2.0
_SILENT_NS = SyncPolicy().silent_after_ns or 0
"""As in a replay; a camera that may be silent for longer is waited for longer."""


class Active:
    """Made by `on_activate` of what the parameters say then.

    Attributes:
        stream: from messages to results.
        inputs: the subscriptions.
        clouds: whether the LiDAR's arrive; None without a LiDAR.
        silent_ns: time without a message after which a sensor is at fault.

    Args:
        node: whose parameters count and who publishes.
        student: what runs.
        watch: what contradicts the rig.
        timing: where times go.

    Raises:
        UnderstudyError: when the parameters do not fit together.
    """

    def __init__(self, node: StudentNode, student: Student, watch: RigWatch, timing: TimingOutput) -> None:
        self._node, self._student, self._watch, self._timing = node, student, watch, timing
        self.stream: SensorStream[Any] = SensorStream(
            node.rig,
            stream_options(node, student),
            student.run,
            self._publish,
            StampClock(self._now_ns),
            on_published=self._publish_times,
        )
        self.inputs = Inputs(
            node, input_options(node, student), self._push, self.stream.push_motion, self._watch.push_info
        )
        self.clouds = _cloud_watch(node) if student.lidar else None
        self.silent_ns: int = node.value("silent_ms") * NS_PER_MS

    def open(self) -> None:
        """Begins to infer and to hear."""
        self.stream.start()
        self.inputs.open()

    def close(self) -> bool:
        """Hears and says nothing any more; False when the student does not come back."""
        self.inputs.close()
        return self.stream.stop(_LONGEST_STOP_S)

    def _push(self, sensor: str, message: Any) -> None:
        """Hands a message on; one of a sensor that is not what the rig says, as one that nobody can use."""
        if self.clouds is not None and sensor == self._student.lidar:
            self.clouds.hear(message)
        reason = self._watch.refusal(sensor)
        self.stream.push(sensor, Refused(sensor, reason) if reason else message)

    def _publish(self, result: Any, frame: Frame) -> None:
        reason = self._watch.refusal(self._node.pivot)
        if reason:
            raise GeometryError(f"rig: {self._node.pivot}", found=reason)
        self._node.publish_frame(result, frame)

    def _publish_times(self, times: Times, frame: Frame) -> None:
        self._timing.publish(times)

    def _now_ns(self) -> int:
        now_ns: int = self._node.get_clock().now().nanoseconds
        return now_ns


class Refused:
    """Stands for a message that must not be used: whoever reads it gets the reason."""

    def __init__(self, sensor: str, reason: str) -> None:
        self._sensor, self._reason = sensor, reason

    @property
    def header(self) -> Any:
        """Raises GeometryError."""
        raise GeometryError(f"message of {self._sensor}", found=self._reason, remedy="correct the rig or the driver")


def stream_options(node: StudentNode, student: Student) -> StreamOptions:
    """What the node's parameters ask of the stream."""
    cameras = matched_cameras(node)
    return StreamOptions(
        node.pivot,
        cameras,
        _policy(node) if node.cameras else SyncPolicy(),
        node.value("rule") if cameras else "nearest",
        require_intensity=student.uses_intensity,
        deadline_ns=node.value("deadline_ms") * NS_PER_MS or None,
        num_sweeps=student.num_sweeps,
        refuse_frozen_after=node.value("frozen_after"),
    )


def matched_cameras(node: StudentNode) -> tuple[str, ...]:
    """The cameras that are matched to the pivot."""
    return tuple(name for name in node.cameras if name != node.pivot)


def _policy(node: StudentNode) -> SyncPolicy:
    require, min_cameras = cameras_required(node.value("require"))
    num_matched = len(matched_cameras(node))
    if require == "min_n" and min_cameras > num_matched:
        raise InputError("parameter require", found=min_cameras, wanted=f"{num_matched} cameras at most")
    return SyncPolicy(
        tolerance_ns=node.value("tolerance_ms") * NS_PER_MS,
        max_wait_ns=node.value("max_wait_ms") * NS_PER_MS,
        silent_after_ns=max(_SILENT_NS, node.value("silent_ms") * NS_PER_MS),
        require=require,
        min_cameras=min_cameras,
    )


def input_options(node: StudentNode, student: Student) -> InputOptions:
    """What the node's parameters ask of the subscriptions."""
    of_lidar = ("points_topic", "reliable", "depth", "odometry_topic") if student.lidar else ()
    of_cameras = ("image_transport", "cameras_reliable", "cameras_depth") if node.cameras else ()
    return InputOptions(
        student.lidar,
        node.cameras,
        **{name: node.value(name) for name in (*of_lidar, *of_cameras)},
        camera_infos=bool(node.cameras) and node.value("camera_info") != "ignore",
        motion=node.value("motion") if student.lidar and student.num_sweeps > 1 else "",
    )


def _cloud_watch(node: StudentNode) -> CloudWatch:
    return CloudWatch(node, node.value("points_topic"), reliable=node.value("reliable"))
