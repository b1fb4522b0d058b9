"""A node of somebody's own, as docs/ros.md shows it."""

from std_msgs.msg import UInt32

from understudy_ros.lidar_node import LidarNode
from understudy_ros.running import run_node


class BoxCounter(LidarNode):
    def create_outputs(self):
        self.count = self.create_output(UInt32, "~/count")

    def publish(self, result, stamp_ns):
        self.count.publish(UInt32(data=len(result)))


if __name__ == "__main__":
    run_node(lambda: BoxCounter("box_counter"))
