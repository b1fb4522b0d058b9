"""Messages, a clock that moves when it is told to, and a rig with two cameras, for tests of the live core."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from understudy.bags.types import make_message
from understudy.frame import Frame, Image
from understudy.live.options import StreamOptions
from understudy.live.stream import SensorStream
from understudy.messages.cloud_layouts import LAYOUTS, LayoutName, cloud_message
from understudy.messages.headers import header_message
from understudy.messages.images import compressed_image_message
from understudy.messages.transforms import odometry_message
from understudy.pose import Pose
from understudy.rig import Rig
from understudy.testing import road_cloud, simple_rig

T0 = 1_700_000_000_000_000_000
MS, SECOND = 1_000_000, 1_000_000_000
PERIOD = 100 * MS


@dataclass
class HandClock:
    """Both clocks, moved by hand; they may part ways."""

    stamps_ns: int = T0
    steady: int = 0

    def now_ns(self) -> int:
        return self.stamps_ns

    def steady_ns(self) -> int:
        return self.steady

    def pass_ns(self, duration_ns: int) -> None:
        self.stamps_ns += duration_ns
        self.steady += duration_ns


def two_camera_rig() -> Rig:
    """A LiDAR, and two cameras of 160 x 96 pixels."""
    rig = simple_rig(camera=True)
    rear = rig.cameras["front"].model_copy(update={"frame_id": "rear"})
    return rig.model_copy(update={"sensors": {**rig.sensors, "rear": rear}})


def cloud(
    stamp_ns: int,
    *,
    seed: int | None = None,
    num_points: int = 60,
    frame_id: str = "lidar",
    layout: LayoutName = "plain",
) -> Any:
    """A sweep whose points depend on the seed; by default on the stamp."""
    rng = np.random.default_rng(stamp_ns % 2**31 if seed is None else seed)
    made = road_cloud(rng, num_points, stamp_ns=stamp_ns, frame_id=frame_id)
    return cloud_message(make_message, made, LAYOUTS[layout], 1.0)


def jpeg(stamp_ns: int, *, name: str = "front", size_px: tuple[int, int] = (160, 96), seed: int | None = None) -> Any:
    """A JPEG of noise."""
    rng = np.random.default_rng(stamp_ns % 2**31 if seed is None else seed)
    pixels = rng.integers(0, 255, (size_px[1], size_px[0], 3)).astype(np.uint8)
    return compressed_image_message(make_message, Image(pixels, stamp_ns, name))


def raw_picture(stamp_ns: int, *, name: str = "front", size_px: tuple[int, int] = (160, 96)) -> Any:
    """A `sensor_msgs/Image` of noise, bgr8."""
    width, height = size_px
    data = np.random.default_rng(stamp_ns % 2**31).integers(0, 255, height * width * 3).astype(np.uint8)
    return make_message(
        "sensor_msgs/msg/Image",
        header=header_message(make_message, stamp_ns, name),
        height=height,
        width=width,
        encoding="bgr8",
        is_bigendian=0,
        step=width * 3,
        data=data,
    )


def odometry(stamp_ns: int, x_m: float) -> Any:
    """The ego at a place on the x axis."""
    return odometry_message(make_message, Pose.from_yaw(0.0, (x_m, 0.0, 0.0)), stamp_ns)


def cut(message: Any, num_bytes: int) -> Any:
    """The message with no more than so many bytes of data."""
    return replace(message, data=message.data[:num_bytes])


@dataclass
class Bench:
    """A stream that is stepped, its clock, and what it published.

    Attributes:
        options: of the stream.
        during: called within the student, with the frame.
    """

    options: StreamOptions
    rig: Rig = field(default_factory=two_camera_rig)
    during: Callable[[Frame], Any] = lambda frame: None
    clock: HandClock = field(default_factory=HandClock)

    def __post_init__(self) -> None:
        self.published: list[Frame] = []
        self.stream: SensorStream[Any] = SensorStream(
            self.rig, self.options, lambda frame: self.during(frame), self.take, self.clock
        )

    def take(self, result: Any, frame: Frame) -> None:
        self.published.append(frame)

    @property
    def stamps_ms(self) -> list[int]:
        """Of what was published, since the beginning."""
        return [(frame.stamp_ns - T0) // MS for frame in self.published]

    def drive(self, num_sweeps: int, *, without: tuple[str, ...] = (), work: bool = True) -> None:
        """Sweeps and pictures at 10 Hz, each when its stamp says; the student keeps up."""
        for _ in range(num_sweeps):
            now_ns = self.clock.stamps_ns
            for name in self.options.cameras:
                if name not in without:
                    self.stream.push(name, jpeg(now_ns, name=name))
            if self.options.pivot not in without:
                self.stream.push(self.options.pivot, cloud(now_ns))
            self.step(work=work)
            self.clock.pass_ns(PERIOD)

    def step(self, *, work: bool = True) -> None:
        """Time passes and the student works off what waits."""
        self.stream.tick()
        while work and self.stream.work():
            pass


def until(condition: Callable[[], bool]) -> None:
    """Waits for another thread."""
    end_s = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end_s, "waited 20 s in vain"
        time.sleep(0.002)
