"""A node of somebody's own that looks at cameras too, as docs/ros.md shows it."""

import json

from std_msgs.msg import String

from understudy_ros.running import run_node
from understudy_ros.student_node import Student, StudentNode


def brightness(frame):
    return {name: round(float(image.pixels.mean()), 1) for name, image in frame.images.items()}


class CameraWatcher(StudentNode):
    def open_student(self):
        lidar, _ = self.rig.lidar()
        return Student(brightness, lidar, "mean brightness of each picture", looks_at_cameras=True)

    def create_outputs(self):
        self.brightness = self.create_output(String, "~/brightness")

    def publish(self, result, stamp_ns):
        self.brightness.publish(String(data=json.dumps(result)))


if __name__ == "__main__":
    run_node(lambda: CameraWatcher("camera_watcher"))
