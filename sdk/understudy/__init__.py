"""Understudy: teacher networks, distilled to the vehicle. This package is the runtime: no torch, no rclpy."""

__version__ = "0.1.0"
