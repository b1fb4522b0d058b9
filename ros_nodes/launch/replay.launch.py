"""Plays a bag into the real node under the bag's clock: everything as on the drive, DDS and timing included.

For results that are the same every time, and faster than the drive, use `understudy replay`, which needs no ROS.
"""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    RegisterEventHandler,
    Shutdown,
    TimerAction,
)
from launch.conditions import IfCondition
from launch.event_handlers import OnProcessExit
from launch.substitutions import LaunchConfiguration
from launch_ros.event_handlers import OnStateTransition

from understudy_ros.launching import included_student, switch, task_arguments

SHARE = Path(__file__).resolve().parents[1]
CLOCK_HZ = "100"
LAST_FRAMES_S = 2.0


def generate_launch_description() -> LaunchDescription:
    """The node as its own launch file has it; the player starts when the node is active, and ends the launch."""
    player = ExecuteProcess(
        cmd=[
            *("ros2", "bag", "play", LaunchConfiguration("bag"), "--clock", CLOCK_HZ),
            *("--rate", LaunchConfiguration("rate"), "--delay", LaunchConfiguration("delay")),
            "--disable-keyboard-controls",
        ],
        output="screen",
    )
    ends = IfCondition(LaunchConfiguration("end_with_bag"))
    end = TimerAction(period=LAST_FRAMES_S, actions=[Shutdown(reason="the bag has ended", condition=ends)])
    return LaunchDescription(
        [
            DeclareLaunchArgument("bag", description="Folder of the bag, or its file."),
            DeclareLaunchArgument("rate", default_value="1.0", description="Speed; 1: as it was recorded."),
            DeclareLaunchArgument("delay", default_value="1.0", description="Seconds for publishers to be discovered."),
            switch("end_with_bag", "true", "End the launch after the bag; false keeps RViz open."),
            *task_arguments(),
            RegisterEventHandler(OnStateTransition(goal_state="active", entities=[player], handle_once=True)),
            RegisterEventHandler(OnProcessExit(target_action=player, on_exit=[end])),
            included_student(SHARE, use_sim_time="true"),
        ]
    )
