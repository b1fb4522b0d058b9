"""Starts `lidar_detector`, configures it and, once that succeeded, activates it."""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, EmitEvent, RegisterEventHandler
from launch.event_handlers import OnProcessStart
from launch.events import matches_action
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode
from launch_ros.event_handlers import OnStateTransition
from launch_ros.events.lifecycle import ChangeState
from lifecycle_msgs.msg import Transition

ARGUMENTS = {
    "bundle": "Folder or zip of the student's bundle.",
    "rig": "Rig file of this vehicle.",
}
CONFIG = Path(__file__).resolve().parents[1] / "config" / "lidar_detector.yaml"


def generate_launch_description() -> LaunchDescription:
    """The node, its two transitions, and the arguments that a vehicle must give."""
    node = LifecycleNode(
        package="understudy_ros",
        executable="lidar_detector",
        name="lidar_detector",
        namespace=LaunchConfiguration("namespace"),
        parameters=[
            LaunchConfiguration("params_file"),
            {name: LaunchConfiguration(name) for name in ARGUMENTS},
        ],
        remappings=[("points", LaunchConfiguration("points"))],
        output="screen",
    )
    return LaunchDescription(
        [
            *(DeclareLaunchArgument(name, description=text) for name, text in ARGUMENTS.items()),
            DeclareLaunchArgument("params_file", default_value=str(CONFIG), description="All other parameters."),
            DeclareLaunchArgument("namespace", default_value="", description="Namespace of the node."),
            DeclareLaunchArgument("points", default_value="points", description="Topic of the point clouds."),
            RegisterEventHandler(OnProcessStart(target_action=node, on_start=[_change(node, "CONFIGURE")])),
            RegisterEventHandler(
                OnStateTransition(
                    target_lifecycle_node=node,
                    start_state="configuring",
                    goal_state="inactive",
                    entities=[_change(node, "ACTIVATE")],
                )
            ),
            node,
        ]
    )


def _change(node: LifecycleNode, transition: str) -> EmitEvent:
    number = getattr(Transition, f"TRANSITION_{transition}")
    return EmitEvent(event=ChangeState(lifecycle_node_matcher=matches_action(node), transition_id=number))
