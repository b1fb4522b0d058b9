"""ROS 2 nodes: students behind lifecycle nodes. The only package of ours that imports rclpy."""
