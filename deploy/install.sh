#!/usr/bin/env bash
# Installs Understudy beside apt's ROS: a virtual environment that sees ROS's Python packages, and the ROS package built
# with it, so that `ros2 run` and `ros2 launch` find the nodes. Run from a checkout; needs python3-venv and colcon.
#   deploy/install.sh /opt/understudy
set -euo pipefail

prefix="${1:?usage: install.sh PREFIX}"
checkout="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
extras="${UNDERSTUDY_EXTRAS:-cpu,bags}"
# NVIDIA's images pin packages by this variable, numpy too.
unset PIP_CONSTRAINT

# The system's site packages hold rclpy's dependencies and colcon; without them the nodes could not be built here.
python3 -m venv --system-site-packages "$prefix/venv"
"$prefix/venv/bin/python" -m pip install --no-cache-dir --constraint "$checkout/deploy/constraints.txt" \
  "$checkout[$extras]" numpy

# By the environment's Python, which colcon writes into the executables' first line.
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
"$prefix/venv/bin/python" -m colcon --log-base "$work/log" build \
  --base-paths "$checkout/ros_nodes" --build-base "$work/build" --install-base "$prefix/install"
install -m 0755 "$checkout/deploy/entrypoint.sh" "$prefix/entrypoint.sh"
