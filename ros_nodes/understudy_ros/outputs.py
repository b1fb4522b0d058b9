"""Topics that a node's results go out on; each is made in `create_outputs` and told to publish."""

from __future__ import annotations

import json
from array import array
from typing import TYPE_CHECKING, Any

from std_msgs.msg import Float64MultiArray, MultiArrayDimension, MultiArrayLayout, String

from understudy.boxes import Boxes, Segments
from understudy.frame import PointCloud
from understudy.live.tally import Times
from understudy.messages.outputs import DETECTIONS_TYPE, MARKERS_TYPE, detections_message, markers_message
from understudy.messages.segments import SEGMENTS_TYPE, segments_message
from understudy_ros.make import make_message, message_class
from understudy_ros.parameters import Declared
from understudy_ros.qos import latched_profile
from understudy_ros.topics import naming

if TYPE_CHECKING:
    from understudy_ros.student_node import StudentNode

OUTPUT_DEPTH = 10
DETECTION_PARAMETERS = (
    Declared("output", "both", "What to publish.", choices=("both", "detection3d", "markers")),
    Declared("detections_topic", "~/detections", "vision_msgs/Detection3DArray, in base_link."),
    Declared("markers_topic", "~/markers", "visualization_msgs/MarkerArray, in base_link."),
)
SEGMENT_PARAMETERS = (Declared("segments_topic", "~/segments", "sensor_msgs/PointCloud2 with a label for each point."),)
TIMING_STAGES = ("age", "convert", "match", "wait", "frame", "run", "publish")
"""Columns of the timing topic, as `Times` has them, in milliseconds."""


class DetectionOutputs:
    """Boxes as detections and as markers; the node must have `DETECTION_PARAMETERS`."""

    def __init__(self, node: StudentNode) -> None:
        output = node.value("output")
        self._detections = self._markers = None
        if output != "markers":
            self._detections = node.create_output(message_class(DETECTIONS_TYPE), node.value("detections_topic"))
        if output != "detection3d":
            self._markers = node.create_output(message_class(MARKERS_TYPE), node.value("markers_topic"))

    def publish(self, boxes: Boxes, stamp_ns: int) -> None:
        """Detections first: they are what others wait for. Markers cost more, so they are made while somebody looks."""
        if self._detections is not None:
            self._detections.publish(detections_message(make_message, boxes, stamp_ns))
        if self._markers is not None and self._markers.get_subscription_count():
            self._markers.publish(markers_message(make_message, boxes, stamp_ns))


class SegmentOutput:
    """A class for each point of a sweep, as a cloud; the node must have `SEGMENT_PARAMETERS`."""

    def __init__(self, node: StudentNode) -> None:
        self._publisher = node.create_output(message_class(SEGMENTS_TYPE), node.value("segments_topic"))

    def publish(self, segments: Segments, cloud: PointCloud) -> None:
        """The sweep's points in the sweep's frame, with its stamp."""
        self._publisher.publish(segments_message(make_message, segments, cloud))


class ClassNamesOutput:
    """The classes by number, latched: whoever comes late hears them too, and so does a recorder."""

    def __init__(self, node: StudentNode, class_names: tuple[str, ...]) -> None:
        topic = node.value("class_names_topic")
        with naming(topic):
            publisher = node.create_publisher(String, topic, latched_profile(1))
        publisher.publish(String(data=json.dumps(dict(enumerate(class_names)))))
        node.when_released(lambda: node.destroy_publisher(publisher))


class TimingOutput:
    """What each result took, as numbers that any tool can plot."""

    def __init__(self, node: StudentNode) -> None:
        self._publisher = node.create_output(Float64MultiArray, node.value("timing_topic"))
        size = len(TIMING_STAGES)
        columns = MultiArrayDimension(label=",".join(f"{stage}_ms" for stage in TIMING_STAGES), size=size, stride=size)
        self._layout = MultiArrayLayout(dim=[columns], data_offset=0)

    def publish(self, times: Times) -> None:
        """One result's."""
        values = array("d", (float(getattr(times, f"{stage}_ns")) / 1e6 for stage in TIMING_STAGES))
        message: Any = Float64MultiArray(layout=self._layout, data=values)
        self._publisher.publish(message)
