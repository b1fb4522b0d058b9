"""How long each step takes on this vehicle, from the sensor's stamp to the published result, with what else runs there.

Without ROS, on frames of a data set: `understudy latency`.
"""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, RegisterEventHandler, Shutdown
from launch.event_handlers import OnProcessExit
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from understudy_ros.launching import PACKAGE, included_student, task_arguments

SHARE = Path(__file__).resolve().parents[1]


def generate_launch_description() -> LaunchDescription:
    """The student as its own launch file has it, and a recorder of its times, which ends the launch."""
    recorder = Node(
        package=PACKAGE,
        executable="timing_recorder",
        name="timing_recorder",
        namespace=LaunchConfiguration("namespace"),
        parameters=[
            {
                "results": ParameterValue(LaunchConfiguration("results"), value_type=int),
                "out": ParameterValue(LaunchConfiguration("out"), value_type=str),
            }
        ],
        remappings=[("timing", [LaunchConfiguration("task"), "_detector/timing"])],
        output="screen",
    )
    end = Shutdown(reason="the times are taken")
    return LaunchDescription(
        [
            DeclareLaunchArgument("results", default_value="600", description="How many to time; 0: until Ctrl-C."),
            DeclareLaunchArgument("out", default_value="", description="File for all times, as JSON; empty: none."),
            *task_arguments(),
            included_student(SHARE),
            RegisterEventHandler(OnProcessExit(target_action=recorder, on_exit=[end])),
            recorder,
        ]
    )
