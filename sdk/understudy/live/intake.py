"""From messages to matched sets to frames, for the live stream and for replay; no thread, no clock of its own."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

from understudy.ego_motion import EgoMotion
from understudy.errors import FrameError, InputError, UnderstudyError
from understudy.frame import Frame, Image, PointCloud
from understudy.images import encoded_size_px
from understudy.live.accumulating import Accumulation, Arrival, Matched, accumulated, pending
from understudy.live.matching import JumpingMatcher, matcher_for
from understudy.live.options import StreamOptions
from understudy.live.reading import Reader, refuse_other_size
from understudy.live.reasons import Reasons, let_go
from understudy.live.tally import MOTION
from understudy.messages.images import image_from_message
from understudy.rig import Camera, Rig
from understudy.synchronization.matcher import Counts, Outcome

_log = logging.getLogger(__name__)
Picture = tuple[str, Any]
"""A camera's name and its message."""


class Decode(Protocol):
    """Applies a function to pictures, one by one like `map`, or in a pool; gives the results in their order."""

    def __call__(
        self, function: Callable[[Picture], Image | UnderstudyError], pictures: Iterable[Picture], /
    ) -> Iterator[Image | UnderstudyError]:
        """Iterates over the results."""


class Intake:
    """Reads and matches messages, keeps count of each, and makes frames of the sets.

    No call raises for what a sensor sends. Calls may come from several threads; nothing is locked while pictures are
    decoded and sweeps accumulated.

    Args:
        rig: the vehicle's sensors.
        options: which of them, and how they are matched.
        steady_ns: a clock that never jumps, for how long reading takes.

    Attributes:
        lock: held whenever something is counted; who wants two looks of one instant holds it, too. Reentrant.
        reasons: by sensor, and for `ego motion`, why messages were not used.
        num_motion: messages of ego motion pushed.
        num_motion_refused: of these, not taken.

    Raises:
        GeometryError: when the sensors are not the rig's.
    """

    def __init__(self, rig: Rig, options: StreamOptions, steady_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._sensors = options.sensors(rig)
        self._options, self._steady_ns = options, steady_ns
        self.lock = threading.RLock()
        self._readers = {name: Reader(name, sensor, options) for name, sensor in self._sensors.items()}
        self._matcher: JumpingMatcher[Arrival] = matcher_for(options, self._sensors)
        self._motion = EgoMotion()
        self._ego_from_pivot = self._sensors[options.pivot].ego_from_sensor.pose()
        self._accumulation = Accumulation(
            self._motion,
            self._ego_from_pivot,
            options.num_sweeps,
            max_wait_ns=options.policy.max_wait_ns,
            most=options.policy.queue_size,
        )
        self._epoch = self.epoch
        self.reasons = {name: Reasons() for name in (*self._sensors, MOTION)}
        self.num_motion = self.num_motion_refused = 0

    @property
    def counts(self) -> dict[str, Counts]:
        """Counters by sensor, the pivot first. `used` is in a set that was closed and not refused since."""
        return self._matcher.counts

    @property
    def jumps(self) -> dict[str, int]:
        """How often each sensor's own stamps have gone back for good."""
        return self._matcher.jumps

    @property
    def clock_jumps(self) -> int:
        """How often the clock has gone back."""
        return self._matcher.clock_jumps

    @property
    def epoch(self) -> tuple[int, int]:
        """Changes where time begins anew: the clock jumped back, or the pivot's stamps did."""
        return self.clock_jumps, self.jumps[self._options.pivot]

    @property
    def held(self) -> list[Matched]:
        """Sets that were closed and wait for the ego's pose."""
        return self._accumulation.held

    @property
    def next_deadline_ns(self) -> int | None:
        """When `advance` has something to do although nothing arrives; None for never."""
        with self.lock:
            both = (self._matcher.next_deadline_ns, self._accumulation.next_deadline_ns)
            return min((deadline_ns for deadline_ns in both if deadline_ns is not None), default=None)

    def refuse_unknown(self, sensor: str) -> None:
        """Raises InputError when a sensor is none of the options'."""
        if sensor not in self._readers:
            raise InputError("sensor", found=sensor, wanted=f"one of {', '.join(self._readers)}")

    def push(self, sensor: str, message: Any, now_ns: int) -> list[Matched]:
        """Takes a message of a sensor; gives the sets that it closes, or that have waited long enough.

        Args:
            sensor: name in the rig.
            message: `sensor_msgs/PointCloud2`, `Image` or `CompressedImage`. One that cannot be used is counted as
                rejected, with its reason.
            now_ns: the clock of the stamps.

        Raises:
            InputError: when there is no such sensor.
        """
        self.refuse_unknown(sensor)
        received_ns = self._steady_ns()
        with self.lock:
            try:
                read = self._readers[sensor].read(message, now_ns)
            except Exception as error:  # whatever an odd message's attributes lead to
                self._matcher.reject(sensor)
                self._note(sensor, error)
                return self._given(self._matcher.advance(now_ns), now_ns)
            arrival = Arrival(read.stamp_ns, read.content, now_ns, received_ns, self._steady_ns())
            closed = self._matcher.push(sensor, read.stamp_ns, arrival, now_ns)
            arrival.epoch = self.epoch
            return self._given(closed, now_ns)

    def push_motion(self, message: Any) -> None:
        """Takes a `nav_msgs/Odometry` or a `tf2_msgs/TFMessage`; one that is refused is counted, with its reason."""
        with self.lock:
            self.num_motion += 1
            try:
                self._motion.push(message)
            except Exception as error:  # as above
                self.num_motion_refused += 1
                self._note(MOTION, error)

    def advance(self, now_ns: int) -> list[Matched]:
        """The sets that are closed because time has passed, or motion has become known."""
        with self.lock:
            return self._given(self._matcher.advance(now_ns), now_ns)

    def flush(self) -> list[Matched]:
        """The sets that are closed by the end of the stream; nothing waits after it."""
        with self.lock:
            return self._accumulation.flush(self._matcher.flush())

    def frame(self, matched: Matched, decode: Decode = map) -> Frame:
        """The frame of a set: pictures decoded, sweeps accumulated.

        A picture that cannot be decoded, or has another size than the rig's camera, is left out and counted as
        rejected.

        Raises:
            FrameError: when the set cannot be used; it is counted already, its reason kept.
        """
        try:
            return self._made(matched, decode)
        except UnderstudyError as error:
            self.reject_set(matched, error)
            raise
        except Exception as error:  # a bug of ours or too little memory; the next set may be fine
            _log.debug("unexpected", exc_info=True)
            self.reject_set(matched, error)
            raise FrameError(f"set of {self._options.pivot}", found=_text(error), wanted="a frame") from error

    def reject_set(self, matched: Matched, error: Exception) -> None:
        """Counts a set as one that could not be used after all: the pivot is rejected, its pictures are unmatched."""
        pivot = self._options.pivot
        with self.lock:
            for name, arrival in pending(matched, pivot).items():
                self._move(name, arrival, "rejected" if name == pivot else "unmatched")
            self._note(pivot, error)

    def _made(self, matched: Matched, decode: Decode) -> Frame:
        pivot, arrival = self._options.pivot, matched.pivot.item
        clouds: dict[str, PointCloud] = {}
        pictures: dict[str, Any] = {}
        if isinstance(self._sensors[pivot], Camera):
            pictures[pivot] = arrival.content
        else:
            what = f"the sweep of {pivot}"
            clouds[pivot] = accumulated(arrival, self._ego_from_pivot, self._options.num_sweeps, what)
        pictures |= {name: entry.item.content for name, entry in matched.cameras.items() if entry is not None}
        decoded = dict(zip(pictures, list(decode(self._image, list(pictures.items()))), strict=True))
        if isinstance(refused := decoded.get(pivot), UnderstudyError):
            raise refused
        images = {name: image for name, image in decoded.items() if isinstance(image, Image)}
        for name, error in decoded.items():
            if isinstance(error, UnderstudyError):
                self._reject_picture(name, matched, error)
        return Frame(arrival.stamp_ns, clouds, images, arrival.world_from_ego)

    def _image(self, picture: Picture) -> Image | UnderstudyError:
        """The decoded picture, or why there is none."""
        name, message = picture
        try:
            camera = self._sensors[name]
            assert isinstance(camera, Camera)
            if hasattr(message, "format"):  # decoding a picture of another size may take seconds, or all memory
                refuse_other_size(name, camera, *encoded_size_px(bytes(message.data)))
            image = image_from_message(message)
            refuse_other_size(name, camera, image.pixels.shape[1], image.pixels.shape[0])
        except UnderstudyError as error:
            return error
        except Exception as error:  # of a decoder
            return FrameError(f"picture of {name}", found=_text(error), wanted="a picture")
        return image

    def _reject_picture(self, name: str, matched: Matched, error: UnderstudyError) -> None:
        with self.lock:
            arrival = pending(matched, self._options.pivot).get(name)
            if arrival is not None:
                self._move(name, arrival, "rejected")
                self._note(name, error)

    def _move(self, name: str, arrival: Arrival, outcome: Outcome) -> None:
        """A message that was used comes to another end."""
        arrival.done = True
        self.counts[name].move("used", outcome)

    def _given(self, closed: list[Matched], now_ns: int) -> list[Matched]:
        """The sets that go on; where time began anew, those that waited for motion do not."""
        if self.epoch != self._epoch:
            self._epoch = self.epoch
            for matched in self._accumulation.restart():
                for name, arrival in pending(matched, self._options.pivot).items():
                    self._move(name, arrival, "unmatched")
        return self._accumulation.give(closed, now_ns)

    def _note(self, who: str, error: Exception) -> None:
        self.reasons[who].note(_text(error))
        let_go(error)


def _text(error: Exception) -> str:
    return str(error) if isinstance(error, UnderstudyError) else f"{type(error).__name__}: {error}"
