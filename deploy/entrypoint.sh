#!/usr/bin/env bash
# Runs a command with ROS and Understudy in its environment; `exec`, so that signals reach the command itself.
# No `-u`: ROS's setup files read variables that may be unset.
set -eo pipefail

prefix="$(dirname "${BASH_SOURCE[0]}")"
ros="/opt/ros/${ROS_DISTRO:?set ROS_DISTRO to humble or jazzy}/setup.bash"
if [ ! -f "$ros" ]; then
  echo "understudy: no $ros; install ros-$ROS_DISTRO-ros-base or correct ROS_DISTRO" >&2
  exit 2
fi
# shellcheck disable=SC1090
source "$ros"
# shellcheck disable=SC1091
source "$prefix/install/setup.bash"
export PATH="$prefix/venv/bin:$PATH"
exec "$@"
