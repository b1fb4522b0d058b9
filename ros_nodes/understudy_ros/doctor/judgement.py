"""What is wrong with a topic, from who publishes it and what was heard of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from rclpy.qos import QoSProfile
from rclpy.serialization import deserialize_message

from understudy.diagnosis.dds import profile_variable, shipped_profile
from understudy.diagnosis.findings import Finding, missing, ok, warn
from understudy.errors import UnderstudyError
from understudy.messages.clouds import cloud_from_message
from understudy.messages.headers import is_other_frame
from understudy.messages.images import image_from_message
from understudy.messages.rig_comparison import camera_info_difference
from understudy.rig import Camera
from understudy_ros.doctor.heard import Heard
from understudy_ros.doctor.topics import CAMERA_INFO_TYPE, POINTS_TYPE, Expected
from understudy_ros.make import message_class
from understudy_ros.qos import mismatch, profile_of
from understudy_ros.transport import LARGE_BYTES

_PLAUSIBLE_HZ = {POINTS_TYPE: (4.0, 45.0)}
_PLAUSIBLE_CAMERA_HZ = (4.0, 125.0)
_RATE_TOLERANCE = 0.15
_OLD_S, _AHEAD_S = 1.0, 0.05
"""Ages that no driver with a synchronized clock has."""
_YEAR_2000_S, _DAY_S = 946_684_800, 86_400.0
_SHORT_NAMES = 5


@dataclass(frozen=True)
class Endpoint:
    """Somebody at one end of a topic."""

    node: str
    type_name: str
    profile: QoSProfile


@dataclass
class Seen:
    """All that was seen of an expected topic.

    Attributes:
        expected: the topic.
        profile: as our node subscribes.
        publishers: of it.
        subscribers: of it, without the doctor.
        elsewhere: topics that have messages of its type and somebody to publish them.
        heard: with the node's profile.
        heard_reliably: in a second listening, after messages got lost; None where there was none.
        clock: the clock of the ages.
    """

    expected: Expected
    profile: QoSProfile
    publishers: list[Endpoint] = field(default_factory=list)
    subscribers: list[Endpoint] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)
    heard: Heard = field(default_factory=Heard)
    heard_reliably: Heard | None = None
    clock: str = "this machine's clock"

    @property
    def may_lose_large(self) -> bool:
        """Whether messages got lost that a reliable listener may get."""
        is_lossy = not self.expected.reliable and (not self.heard.num_messages or self.heard.num_lost)
        reliable = all(mismatch(each.profile, profile_of(1, reliable=True)) == "" for each in self.publishers)
        return bool(self.publishers) and bool(is_lossy) and reliable


def topic_findings(seen: Seen, deadline_s: float) -> Iterator[Finding]:
    """The facts of a topic, then what is wrong with it."""
    expected, heard = seen.expected, seen.heard
    if not seen.publishers:
        yield missing(expected.topic, f"nobody publishes it ({expected.type_name})", _find(seen), expected.needed_for)
        return
    yield from _ends(seen)
    if any(each.type_name != expected.type_name for each in seen.publishers):
        return
    if not heard.num_messages:
        if not any(mismatch(each.profile, seen.profile) for each in seen.publishers):
            yield _silence(seen)
        return
    yield ok(expected.topic, _facts(seen))
    yield from _rate(seen)
    yield from _loss(seen)
    yield from _frame(seen)
    yield from _stamps(seen, deadline_s)
    yield from _content(seen)


def _find(seen: Seen) -> str:
    expected = seen.expected
    if seen.elsewhere:
        others = ", ".join(seen.elsewhere[:_SHORT_NAMES])
        return f"start the node with -r {expected.name}:=TOPIC (doctor: --remap): this type is on {others}"
    return "start the driver; is it in this domain and within the discovery range (see middleware)?"


def _ends(seen: Seen) -> Iterator[Finding]:
    expected = seen.expected
    for each in seen.publishers:
        if each.type_name != expected.type_name:
            seen_text = f"{each.node} publishes {each.type_name}, the node takes {expected.type_name}"
            remedy = "remap another topic, or set image_transport"
            yield missing(expected.topic, seen_text, remedy, expected.needed_for)
        elif why := mismatch(each.profile, seen.profile):
            remedy = f"set {_reliable_parameter(expected)}: false for our node, or make the driver reliable"
            text = f"nothing passes from {each.node} to our node: {why}"
            yield missing(expected.topic, text, remedy, expected.needed_for)
    if len(seen.publishers) > 1:
        names = ", ".join(sorted(each.node for each in seen.publishers))
        remedy = "stop all but one, or remap: sweeps of two sources are mixed"
        yield warn(expected.topic, f"{len(seen.publishers)} publishers: {names}", remedy, expected.needed_for)
    for subscriber in seen.subscribers:
        reasons = [why for each in seen.publishers if (why := mismatch(each.profile, subscriber.profile))]
        if reasons:
            text = f"{subscriber.node} gets nothing from {len(reasons)} of the publishers: {reasons[0]}"
            yield warn(expected.topic, text, "give the subscriber the publisher's QoS, or a weaker one")


def _reliable_parameter(expected: Expected) -> str:
    return "reliable" if expected.type_name == POINTS_TYPE else "cameras_reliable"


def _silence(seen: Seen) -> Finding:
    expected, names = seen.expected, ", ".join(sorted({each.node for each in seen.publishers}))
    reliably = seen.heard_reliably
    if reliably is not None and reliably.num_messages:
        text = f"nothing arrives with best effort, {_amount(reliably)} arrive reliably"
        return missing(expected.topic, text, _carry(reliably.largest_bytes), expected.needed_for)
    remedy = "look at the driver's log: is the sensor connected, powered and sending?"
    return missing(expected.topic, f"nothing arrives though {names} publishes", remedy, expected.needed_for)


def _amount(heard: Heard) -> str:
    return f"{heard.num_messages} messages of up to {heard.largest_bytes / 1e6:.2f} MB"


def _carry(size_bytes: int) -> str:
    if size_bytes <= LARGE_BYTES:
        return "the machine or the network is overloaded: look at its load, or set reliable: true"
    profile = f"{profile_variable()}={shipped_profile()}"
    return f"start the driver (and our node) with {profile}, or set reliable: true"


def _facts(seen: Seen) -> str:
    heard = seen.heard
    rate = f"{heard.rate_hz:.1f} Hz" if heard.rate_hz is not None else "one message"
    frames = ", ".join(sorted(heard.frame_ids)[:_SHORT_NAMES]) or "none"
    age = "" if heard.age_s is None or abs(heard.age_s) > _DAY_S else f", {heard.age_s * 1e3:.0f} ms old"
    source = seen.publishers[0].node if len(seen.publishers) == 1 else f"{len(seen.publishers)} nodes"
    lost = f"{heard.num_lost} lost" if heard.num_lost else "none lost"
    return f"{rate} from {source}, {heard.largest_bytes / 1e6:.2f} MB, {lost}, frame {frames}{age}"


def _rate(seen: Seen) -> Iterator[Finding]:
    expected, rate_hz = seen.expected, seen.heard.sent_hz
    if expected.type_name == CAMERA_INFO_TYPE:
        return
    if rate_hz is None:
        yield warn(expected.topic, "a single message came", "listen longer (--seconds), or look at the driver's log")
        return
    low_hz, high_hz = _PLAUSIBLE_HZ.get(expected.type_name, _PLAUSIBLE_CAMERA_HZ)
    wanted = f"{low_hz:.0f} to {high_hz:.0f}"
    if expected.rate_hz is not None:
        low_hz, high_hz = ((1 + sign * _RATE_TOLERANCE) * expected.rate_hz for sign in (-1, 1))
        wanted = f"{expected.rate_hz:g}"
    if not low_hz <= rate_hz <= high_hz:
        remedy = "correct the rate in the sensor's or the driver's settings; is this machine overloaded?"
        yield warn(expected.topic, f"sent at {rate_hz:.1f} Hz, wanted {wanted}", remedy, expected.needed_for)
    elif not seen.heard.num_lost and seen.heard.longest_gap_s > max(3.0 / rate_hz, 0.5):
        text = f"no message for {seen.heard.longest_gap_s:.1f} s in between, at {rate_hz:.1f} Hz"
        yield warn(expected.topic, text, "look at the load of this machine and at the driver's log")


def _loss(seen: Seen) -> Iterator[Finding]:
    expected, heard = seen.expected, seen.heard
    if not heard.num_lost:
        return
    sent = heard.num_messages + heard.num_lost
    text = f"{heard.num_lost} of {sent} messages lost on the way"
    if seen.heard_reliably is not None and not seen.heard_reliably.num_lost:
        text = f"{text} with best effort, none reliably"
    yield warn(expected.topic, text, _carry(heard.largest_bytes), expected.needed_for)


def _frame(seen: Seen) -> Iterator[Finding]:
    expected = seen.expected
    if expected.sensor is None:
        return
    name, sensor = expected.sensor
    wrong = [frame for frame in seen.heard.frame_ids if is_other_frame(frame, sensor.frame_id)]
    if wrong:
        text = f"frame id {wrong[0]}, the rig's {name} has {sensor.frame_id}: such messages are refused"
        remedy = f"set frame_id of {name} in the rig, or that of the driver"
        yield missing(expected.topic, text, remedy, expected.needed_for)


def _stamps(seen: Seen, deadline_s: float) -> Iterator[Finding]:
    expected, heard, age_s = seen.expected, seen.heard, seen.heard.age_s
    if heard.num_backward and len(seen.publishers) == 1:
        text = f"{heard.num_backward} of {heard.num_messages} stamps do not come after the one before"
        yield warn(expected.topic, text, "let the driver stamp each message anew, from a clock that never jumps back")
    if age_s is None or (-_AHEAD_S <= age_s <= _OLD_S and not (deadline_s and age_s > deadline_s)):
        return
    text, remedy = _offset(seen, age_s)
    if deadline_s and age_s > deadline_s:
        text = f"{text}; deadline_ms is {deadline_s * 1e3:.0f}: all are refused"
        yield missing(expected.topic, text, remedy, expected.needed_for)
    else:
        yield warn(expected.topic, text, remedy, expected.needed_for)


def _offset(seen: Seen, age_s: float) -> tuple[str, str]:
    begins_in_1970 = 0 <= seen.heard.stamps_ns[-1] < _YEAR_2000_S * 1_000_000_000
    if begins_in_1970 and age_s > _DAY_S:
        text = f"stamps begin in 1970 ({seen.heard.stamps_ns[-1] / 1e9:.1f} s): they count from the sensor's start"
        return (
            text,
            "set the driver to system or PTP time (Ouster: timestamp_mode); or is /clock missing?",
        )
    if age_s < 0:
        remedy = "one of the two clocks is wrong: synchronize both by PTP or NTP (see clock)"
        return f"stamps are {_duration(-age_s)} ahead of {seen.clock}", remedy
    remedy = "synchronize the sensor's clock by PTP or NTP (see clock); of a bag: play it with --clock and use_sim_time"
    return f"stamps are {_duration(age_s)} behind {seen.clock}", remedy


def _duration(seconds: float) -> str:
    return f"{seconds / _DAY_S:.0f} days" if seconds > 2 * _DAY_S else f"{seconds:.2f} s"


def _content(seen: Seen) -> Iterator[Finding]:
    """Whether the first message can be used as our nodes use it."""
    expected = seen.expected
    try:
        message = deserialize_message(seen.heard.first, message_class(expected.type_name))
        problem = _problem(expected, message)
    except (UnderstudyError, RuntimeError) as error:
        problem = str(error)
    if problem:
        yield missing(expected.topic, problem, "correct the driver's settings or the rig", expected.needed_for)


def _problem(expected: Expected, message: Any) -> str:
    if expected.type_name == POINTS_TYPE:
        cloud_from_message(message, extras=False)
        return ""
    camera = expected.sensor[1] if expected.sensor else None
    if not isinstance(camera, Camera):
        return ""
    if expected.type_name == CAMERA_INFO_TYPE:
        return camera_info_difference(camera, message)
    height_px, width_px = image_from_message(message).pixels.shape[:2]
    if (width_px, height_px) == (camera.width_px, camera.height_px):
        return ""
    return f"pictures of {width_px} x {height_px} pixels, the rig has {camera.width_px} x {camera.height_px}"
