"""The lifecycle of a student behind sensors' topics; subclass it for a student or an output of your own.

`create_outputs` and `publish` say what goes out. `open_student` is there for a student that is no bundle.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from understudy.bundle.manifest import precision_named
from understudy.errors import GeometryError, InputError, UnderstudyError
from understudy.frame import Frame
from understudy.live.stream import SensorStream
from understudy.rig import Rig, read_rig
from understudy_ros.active import Active
from understudy_ros.diagnostics import Diagnostics, Look
from understudy_ros.outputs import OUTPUT_DEPTH, ClassNamesOutput, TimingOutput
from understudy_ros.parameters import (
    CAMERA_PARAMETERS,
    LIDAR_PARAMETERS,
    Declared,
    declare,
    described,
    named_cameras,
    unknown_parameters,
)
from understudy_ros.params_files import unreached_files
from understudy_ros.student import Student, bundle_student, pivot_of, refuse_other_sensors
from understudy_ros.topics import naming
from understudy_ros.transforms import RigWatch, StaticTransforms, rig_from_transforms

_SUCCESS, _FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


class StudentNode(LifecycleNode):
    """Loads in configure, subscribes in activate, tells `/diagnostics` every second how it is doing.

    A bundle or rig that does not fit refuses the transition, with the reason in the log and in diagnostics. A message
    that cannot be used is counted and reported; nothing that arrives ends the process.

    Args:
        name: of the node, where nobody remaps it.
        parameters: beyond those that every such node has.

    Attributes:
        finished: whether the process shall end.
    """

    base_parameters: tuple[Declared, ...] = (*LIDAR_PARAMETERS, *CAMERA_PARAMETERS)

    def __init__(self, name: str, parameters: tuple[Declared, ...] = ()) -> None:
        super().__init__(name)
        self._declared = (*self.base_parameters, *parameters)
        self._pending: dict[str, str] = {}
        declare(self, self._declared, self._note_change)
        self._state, self._refusal = "unconfigured", ""
        self._complaints = self._set_up_complaints()
        self._closers: list[Callable[[], object]] = []
        self._rig: Rig | None = None
        self._student: Student | None = None
        self._watch: RigWatch | None = None
        self._timing: TimingOutput | None = None
        self._cameras: tuple[str, ...] = ()
        self._pivot = ""
        self._active: Active | None = None
        self._left_behind: SensorStream[Any] | None = None
        self.finished = False
        self._transforms = StaticTransforms(self)
        self._diagnostics = Diagnostics(self, self._look)

    def create_outputs(self) -> None:
        """Makes publishers with `create_output`; to be overridden."""
        raise NotImplementedError

    def publish(self, result: Any, stamp_ns: int) -> None:
        """Sends what the student said about the sweep of that stamp; to be overridden, called in another thread."""
        raise NotImplementedError

    def publish_frame(self, result: Any, frame: Frame) -> None:
        """As `publish`, which it calls, for outputs that need what was seen: override one of the two."""
        self.publish(result, frame.stamp_ns)

    def open_student(self) -> Student:
        """The bundle of the parameters behind `rig`; may be overridden.

        Raises:
            UnderstudyError: when they do not fit together; the node stays unconfigured.
        """
        precision = precision_named(self.value("precision")) if self.value("precision") else None
        return bundle_student(
            self._path("bundle"),
            self.rig,
            precision=precision,
            runtime=self.value("runtime"),
            threads=self.value("threads"),
            lidar=self.value("lidar") or None if self.has_parameter("lidar") else None,
        )

    @property
    def rig(self) -> Rig:
        """The vehicle's sensors; from configure on."""
        assert self._rig is not None, "there is no rig before configure"
        return self._rig

    @property
    def cameras(self) -> tuple[str, ...]:
        """Names of the cameras that are listened to; from configure on."""
        return self._cameras

    @property
    def pivot(self) -> str:
        """Name of the sensor that makes sets: the student's LiDAR, or its first camera; from configure on."""
        return self._pivot

    def create_output(self, message_class: Any, topic: str) -> Any:
        """A publisher that is silent unless the node is active."""
        with naming(topic):
            publisher = self.create_lifecycle_publisher(message_class, topic, OUTPUT_DEPTH)
        self.when_released(lambda: self.destroy_lifecycle_publisher(publisher))
        return publisher

    def when_released(self, close: Callable[[], object]) -> None:
        """Has something closed with the student, the last one first."""
        self._closers.append(close)

    def value(self, name: str) -> Any:
        """A parameter's value.

        Raises:
            InputError: when it is none of the parameter's choices.
        """
        found = self.get_parameter(name).value
        declared = next((entry for entry in self._declared if entry.name == name), None)
        return found if declared is None else declared.checked(found)

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
        self._unsubscribe()
        is_idle = self._left_behind is None or self._left_behind.stop(0.0)
        student, self._student, self._left_behind = self._student, None, None
        if student is not None and is_idle:
            student.close()
        while self._closers:
            self._closers.pop()()
        self._watch = self._timing = self._rig = None

    def _open(self) -> None:
        self._pending.clear()
        self._rig = read_rig(self._path("rig"))
        asked = self._chosen_cameras()
        self._cameras = asked or self._all_cameras()
        use_tf = self.value("use_tf")
        if use_tf == "replace":
            self._replace_mountings()
        self._student = self.open_student()
        refuse_other_sensors(
            self._student, lidar=self.has_parameter("points_topic"), cameras=self.has_parameter("cameras")
        )
        self._cameras = asked or self._student.cameras or self._cameras
        self._pivot = pivot_of(self._student, self._cameras)
        self._watch = RigWatch(self.rig, self._transforms, "compare" if use_tf == "replace" else use_tf)
        if use_tf != "ignore" and self._transforms.missing:
            self.get_logger().warning(self._transforms.missing)
        self._refuse_contradicted_lidar()
        self._timing = TimingOutput(self)
        if self._student.class_names:
            ClassNamesOutput(self, self._student.class_names)
        self.create_outputs()
        self.get_logger().info(f"configured: {self._student.description}")
        self._say_who_is_looked_at(self._student)

    def _say_who_is_looked_at(self, student: Student) -> None:
        if self._cameras and not student.looks_at_cameras:
            self.get_logger().info(
                f"{student.description} does not look at pictures; {', '.join(self._cameras)} are matched and "
                "watched all the same"
            )
        if self._masked:
            self.get_logger().warning(f"{', '.join(self._masked)}: not listened to; masked for the student")

    @property
    def _masked(self) -> tuple[str, ...]:
        """Cameras that the student looks at and the parameter `cameras` leaves out."""
        looked_at = self._student.cameras if self._student is not None else ()
        return tuple(name for name in looked_at if name not in self._cameras)

    def _chosen_cameras(self) -> tuple[str, ...]:
        """Those that the parameter names; none where it names none."""
        if not self.has_parameter("cameras"):
            return ()
        return named_cameras(self.value("cameras"), tuple(self.rig.cameras), self.rig.name)

    def _all_cameras(self) -> tuple[str, ...]:
        return tuple(self.rig.cameras) if self.has_parameter("cameras") else ()

    def _replace_mountings(self) -> None:
        lidars = (self.rig.lidar(self.value("lidar") or None)[0],) if self.has_parameter("lidar") else ()
        wait_s = self.value("tf_wait_ms") / 1e3
        self._rig = rig_from_transforms(self.rig, (*lidars, *self._cameras), self._transforms, wait_s)

    def _subscribe(self) -> None:
        assert self._student is not None
        assert self._watch is not None
        assert self._timing is not None
        self._pending = {name: when for name, when in self._pending.items() if when != "activate"}
        if self._left_behind is not None and not self._left_behind.stop(0.0):
            found, remedy = "still busy with a frame from before", "clean up and configure, which opens another one"
            raise InputError("the student", found=found, wanted="idle", remedy=remedy)
        self._left_behind = None
        if self._cameras:
            self._watch.compare_infos = self.value("camera_info")
        self._refuse_contradicted_lidar()
        self._active = Active(self, self._student, self._watch, self._timing)
        self._active.open()

    def _unsubscribe(self) -> None:
        """Hears and says nothing any more; a student that hangs is left alone."""
        active, self._active = self._active, None
        if active is not None and not active.close():
            self._left_behind = active.stream
            self.get_logger().error("the student does not come back; it is left behind")

    def _refuse_contradicted_lidar(self) -> None:
        """Raises GeometryError when `/tf_static` has the LiDAR elsewhere than the rig; a camera costs its pictures."""
        assert self._student is not None
        assert self._watch is not None
        reason = self._watch.refusal(self._student.lidar) if self._student.lidar else ""
        if reason:
            remedy = "correct one of them, or set use_tf"
            raise GeometryError(f"rig {self.rig.name}: {self._student.lidar}", found=reason, remedy=remedy)

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

    def _note_change(self, declared: Declared) -> None:
        self._pending[declared.name] = declared.counts_from
        self.get_logger().info(f"parameter {declared.name} has changed: it counts from the next {declared.counts_from}")

    def _path(self, name: str) -> Path:
        text: str = self.value(name)
        if not text:
            raise InputError(f"parameter {name}", found="nothing", wanted="a path", remedy=f"set {name}")
        return Path(text).expanduser()

    def _set_up_complaints(self) -> tuple[str, ...]:
        unknown = described(unknown_parameters(self), self._declared)
        unreached = unreached_files(sys.argv, self.get_fully_qualified_name())
        complaints = tuple(filter(None, (unknown, unreached)))
        for complaint in complaints:
            self.get_logger().warning(complaint)
        return complaints

    def _look(self) -> Look:
        student, watch, active = self._student, self._watch, self._active
        sensors = tuple(dict.fromkeys((self._pivot, *self._cameras))) if student is not None else ()
        contradictions = watch.contradictions(sensors) if watch is not None else {}
        clouds = active.clouds if active is not None else None
        if clouds is not None:
            clouds.look()
        return Look(
            self._state,
            self._refusal,
            student.description if student is not None else "",
            tuple(filter(None, (*self._complaints, self._transforms.trouble))),
            tuple(self._pending),
            contradictions,
            warn_only=watch is not None and not any(watch.refusal(name) for name in contradictions),
            unheard=dict(active.inputs.unheard) if active is not None else {},
            transport=clouds.warning if clouds is not None else "",
            is_losing=clouds is not None and clouds.is_losing,
            masked=self._masked,
            status=active.stream.status() if active is not None else None,
            silent_ns=active.silent_ns if active is not None else 0,
        )
