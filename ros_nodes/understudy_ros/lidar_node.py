"""The lifecycle of a student behind a LiDAR topic; subclass it for a student or an output of your own.

`create_outputs` and `publish` say what goes out. `open_student` is there for a student that is no bundle.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import PointCloud2

from understudy.bundle.manifest import precision_named
from understudy.errors import InputError, UnderstudyError
from understudy.frame import Frame
from understudy.live.lidar_stream import LidarStream, StreamOptions
from understudy.live.lidar_tally import Status, Verdict, judge
from understudy.pipeline import open_pipeline
from understudy.rig import read_rig
from understudy_ros.diagnostics import diagnostic_status, values_of
from understudy_ros.parameters import LIDAR_PARAMETERS, Declared, declare, described, unknown_parameters

_INPUT_DEPTH, _OUTPUT_DEPTH = 5, 10
_NS_PER_MS = 1_000_000
_SUCCESS, _FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


@dataclass(frozen=True)
class Student:
    """What a node runs.

    Attributes:
        run: from a frame with one cloud to what `publish` gets; called in a thread of its own.
        lidar: name in the rig of the LiDAR that it looks at.
        description: for diagnostics.
        uses_intensity: whether clouds without intensity are refused.
        close: called when the node is cleaned up.
    """

    run: Callable[[Frame], Any]
    lidar: str
    description: str
    uses_intensity: bool = False
    close: Callable[[], None] = lambda: None


class LidarNode(LifecycleNode):
    """Loads in configure, subscribes in activate, tells `/diagnostics` every second how it is doing.

    A bundle or rig that does not fit refuses the transition, with the reason in the log and in diagnostics. A message
    that cannot be used is counted and reported; nothing that arrives ends the process.

    Args:
        name: of the node, where nobody remaps it.
        parameters: beyond those every LiDAR node has.
    """

    def __init__(self, name: str, parameters: tuple[Declared, ...] = ()) -> None:
        super().__init__(name)
        self._declared = (*LIDAR_PARAMETERS, *parameters)
        declare(self, self._declared)
        self._state, self._refusal = "unconfigured", ""
        self._unknown = described(unknown_parameters(self), self._declared)
        if self._unknown:
            self.get_logger().warning(self._unknown)
        self._outputs: list[Any] = []
        self._student: Student | None = None
        self._stream: LidarStream[Any] | None = None
        self._subscription: Any = None
        self._seen = Status("")
        self.finished = False
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", _OUTPUT_DEPTH)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(1.0, self._tell, clock=steady)

    def create_outputs(self) -> None:
        """Makes publishers with `create_output`; to be overridden."""
        raise NotImplementedError

    def publish(self, result: Any, stamp_ns: int) -> None:
        """Sends what the student said about the sweep of that stamp; to be overridden, called in another thread."""
        raise NotImplementedError

    def open_student(self) -> Student:
        """The bundle of the parameters behind their rig; may be overridden.

        Raises:
            UnderstudyError: when they do not fit together; the node stays unconfigured.
        """
        bundle, rig = self._path("bundle"), read_rig(self._path("rig"))
        precision = precision_named(self.value("precision")) if self.value("precision") else None
        pipeline = open_pipeline(
            bundle, rig, precision, threads=self.value("threads"), lidar=self.value("lidar") or None
        )
        description = f"{pipeline.contract.name}, {pipeline.engine.description}"
        needed = pipeline.contract.input.uses_intensity
        return Student(pipeline, pipeline.lidar, description, needed, pipeline.close)

    def create_output(self, message_class: Any, topic: str) -> Any:
        """A publisher that is silent unless the node is active."""
        publisher = self.create_lifecycle_publisher(message_class, topic, _OUTPUT_DEPTH)
        self._outputs.append(publisher)
        return publisher

    def value(self, name: str) -> Any:
        """A parameter's value.

        Raises:
            InputError: when it is none of the parameter's choices.
        """
        found = self.get_parameter(name).value
        choices = next((entry.choices for entry in self._declared if entry.name == name), ())
        if choices and found not in choices:
            raise InputError(f"parameter {name}", found=found, wanted=" or ".join(choices))
        return found

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Opens the student and makes the outputs."""
        return self._attempt(self._open, "inactive", undo=self.release)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribes and starts to infer."""
        super().on_activate(state)
        done = self._attempt(self._subscribe, "active", undo=self._unsubscribe)
        if done is not _SUCCESS:
            super().on_deactivate(state)
        return done

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stops to infer; the student stays open."""
        done = self._attempt(self._unsubscribe, "inactive")
        super().on_deactivate(state)
        return done

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Closes the student; the next configure may open another one."""
        return self._attempt(self.release, "unconfigured")

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Closes the student and lets the process end."""
        self.finished = True
        return self._attempt(self.release, "finalized")

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Back to unconfigured, from where configure may be tried again."""
        return self._attempt(self.release, "unconfigured")

    def release(self) -> None:
        """Gives back all that configure and activate took; may be called in any state."""
        was_idle = self._unsubscribe()
        student, self._student = self._student, None
        if student is not None and was_idle:
            student.close()
        while self._outputs:
            self.destroy_lifecycle_publisher(self._outputs.pop())

    def _open(self) -> None:
        self._student = self.open_student()
        self.create_outputs()
        self.get_logger().info(f"configured: {self._student.description}")

    def _subscribe(self) -> None:
        assert self._student is not None
        deadline_ns = self.value("deadline_ms") * _NS_PER_MS or None
        needed = self._student.uses_intensity
        options = StreamOptions(self._student.lidar, require_intensity=needed, deadline_ns=deadline_ns)
        self._stream = LidarStream(options, self._student.run, self.publish, self._now_ns)
        self._seen = self._stream.status()
        reliability = ReliabilityPolicy.RELIABLE if self.value("reliable") else ReliabilityPolicy.BEST_EFFORT
        profile = QoSProfile(depth=_INPUT_DEPTH, reliability=reliability)
        self._stream.start()
        self._subscription = self.create_subscription(
            PointCloud2, self.value("points_topic"), self._stream.push, profile
        )

    def _unsubscribe(self) -> bool:
        """Whether the student is idle after it; one that hangs is left alone."""
        if self._subscription is not None:
            self.destroy_subscription(self._subscription)
            self._subscription = None
        stream, self._stream = self._stream, None
        if stream is None or stream.stop():
            return True
        self.get_logger().error("the student does not come back; it is left behind, not closed")
        return False

    def _attempt(
        self, step: Callable[[], object], next_state: str, undo: Callable[[], object] | None = None
    ) -> TransitionCallbackReturn:
        """A transition; rclpy would swallow an error in it without a trace."""
        try:
            step()
        except UnderstudyError as error:
            self._refusal = str(error)
        except Exception as error:  # whatever a user's own student raises
            self._refusal = f"{type(error).__name__}: {error}"
            self.get_logger().error(traceback.format_exc())
        else:
            self._state, self._refusal = next_state, ""
            return _SUCCESS
        self.get_logger().error(f"refused: {self._refusal}")
        if undo is not None:
            undo()
        return _FAILURE

    def _path(self, name: str) -> Path:
        text: str = self.value(name)
        if not text:
            raise InputError(f"parameter {name}", found="nothing", wanted="a path", remedy=f"set {name}")
        return Path(text).expanduser()

    def _now_ns(self) -> int:
        now_ns: int = self.get_clock().now().nanoseconds
        return now_ns

    def _tell(self) -> None:
        verdict, values = self._verdict()
        hardware = self._student.description if self._student else ""
        status = diagnostic_status(self.get_fully_qualified_name().lstrip("/"), hardware, verdict, values)
        self._diagnostics.publish(DiagnosticArray(header=self._header(), status=[status]))

    def _header(self) -> Any:
        header = DiagnosticArray().header
        header.stamp = self.get_clock().now().to_msg()
        return header

    def _verdict(self) -> tuple[Verdict, dict[str, str]]:
        values = {"state": self._state, "unknown_parameters": self._unknown}
        if self._refusal:
            return Verdict("error", f"{self._state}: {self._refusal}"), values
        if self._stream is None:
            return Verdict("warn" if self._unknown else "ok", self._unknown or self._state), values
        before, self._seen = self._seen, self._stream.status()
        verdict = judge(before, self._seen, self.value("silent_ms") * _NS_PER_MS)
        if verdict.level == "ok" and self._unknown:
            verdict = Verdict("warn", self._unknown)
        return verdict, {**values, **values_of(self._seen)}
