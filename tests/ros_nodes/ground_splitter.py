"""A node of somebody's own that says of each point whether it is the ground, as docs/ros.md shows it."""

import numpy as np

from understudy.boxes import Segments
from understudy_ros.lidar_node import LidarNode, Student
from understudy_ros.outputs import SEGMENT_PARAMETERS, SegmentOutput
from understudy_ros.running import run_node

CLASSES = ("ground", "other")
HIGHEST_M = 0.25


class GroundSplitter(LidarNode):
    def open_student(self):
        name, lidar = self.rig.lidar(self.value("lidar") or None)
        ego_from_lidar = lidar.ego_from_sensor.pose()

        def split(frame):
            points = frame.clouds[name].points[:, :3]
            height_m = ego_from_lidar.apply(points)[:, 2]
            labels = np.where(height_m < HIGHEST_M, 0, 1)
            return Segments(np.where(np.isfinite(height_m), labels, -1).astype(np.int16), CLASSES)

        return Student(split, name, "ground by height", class_names=CLASSES)

    def create_outputs(self):
        self.segments = SegmentOutput(self)

    def publish_frame(self, result, frame):
        [cloud] = frame.clouds.values()
        self.segments.publish(result, cloud)


if __name__ == "__main__":
    run_node(lambda: GroundSplitter("ground_splitter", SEGMENT_PARAMETERS))
