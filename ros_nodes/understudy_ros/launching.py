"""What the launch files share: a student as a lifecycle node that events configure and activate.

Imports `launch`, so only launch files import it. All names are in `launch` and `launch_ros` since Humble; `autostart`
of `LifecycleNode` is not, hence the events. `ros2 launch` runs in ROS's own Python, which need not have `understudy`:
nothing of it is imported here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    IncludeLaunchDescription,
    RegisterEventHandler,
    SetEnvironmentVariable,
    Shutdown,
)
from launch.conditions import IfCondition
from launch.event_handlers import OnProcessStart
from launch.events import matches_action
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import EnvironmentVariable, LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node
from launch_ros.event_handlers import OnStateTransition
from launch_ros.events.lifecycle import ChangeState
from launch_ros.parameter_descriptions import ParameterValue
from lifecycle_msgs.msg import Transition

PACKAGE = "understudy_ros"
TASKS = ("lidar", "fusion", "camera")
"""Students by the name of their launch file."""
PROFILE_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
"""Kilted and later read the first one, Humble and Jazzy only the second."""
STUDENT = {
    "bundle": "Folder or zip of the student's bundle.",
    "rig": "Rig file of this vehicle.",
}
"""What every student needs and nobody can guess."""
TOPICS = {
    "points": "Topic of the point clouds (sensor_msgs/PointCloud2).",
    "odometry": "Topic of the ego motion (nav_msgs/Odometry).",
}
"""Inputs of every student with a LiDAR by the name that the node has for them."""

CAMERA = "{camera}"
"""Stands for a camera's name in the topics given to a launch file."""

Remappings = Sequence[tuple[str, Any]]


def student_arguments(share: Path, executable: str, topics: Mapping[str, str] = TOPICS) -> list[Any]:
    """All that the launch file of a student can be given.

    Args:
        share: holds its config, launch and rviz folders.
        executable: of the package.
        topics: inputs by the node's name for them, with descriptions.
    """
    profile = EnvironmentVariable(PROFILE_VARIABLES[0], default_value=str(share / "config" / "fastdds_shm.xml"))
    config = str(share / "config" / f"{executable}.yaml")
    return [
        *(DeclareLaunchArgument(name, description=text) for name, text in STUDENT.items()),
        DeclareLaunchArgument("params_file", default_value=config, description="All other parameters of the node."),
        DeclareLaunchArgument("namespace", default_value="", description="Namespace of the node."),
        *(DeclareLaunchArgument(name, default_value=name, description=text) for name, text in topics.items()),
        switch("use_sim_time", "false", "Take the time from /clock."),
        switch("rviz", "false", "Open RViz too."),
        switch("required", "true", "End the launch when the node ends, for a supervisor to start it again."),
        switch("shared_memory", "true", "Set the Fast DDS profile for all that is launched from here on."),
        DeclareLaunchArgument(
            "dds_profile", default_value=profile, description="That profile; the environment's first."
        ),
    ]


def switch(name: str, default: str, description: str) -> DeclareLaunchArgument:
    """An argument that is true or false."""
    return DeclareLaunchArgument(name, default_value=default, description=description, choices=["true", "false"])


def middleware() -> list[Any]:
    """Fast DDS's profile with shared memory; to be listed before any node, which would else start without it."""
    wanted = IfCondition(LaunchConfiguration("shared_memory"))
    profile = LaunchConfiguration("dds_profile")
    return [SetEnvironmentVariable(name, profile, condition=wanted) for name in PROFILE_VARIABLES]


def student(executable: str, remappings: Remappings, texts: Iterable[str] = ()) -> list[Any]:
    """The node, and the two transitions that bring it up; a refused one leaves it up, with the reason in diagnostics.

    Args:
        executable: of the package, and the node's name.
        remappings: of its topics.
        texts: arguments beyond those of every student that are parameters of it.
    """
    node = LifecycleNode(
        package=PACKAGE,
        executable=executable,
        name=executable,
        namespace=LaunchConfiguration("namespace"),
        parameters=[LaunchConfiguration("params_file"), {**_texts([*STUDENT, *texts]), **sim_time()}],
        remappings=list(remappings),
        output="screen",
        on_exit=[Shutdown(reason=f"{executable} has ended", condition=IfCondition(LaunchConfiguration("required")))],
    )
    configure = OnProcessStart(target_action=node, on_start=[_change(node, "CONFIGURE")])
    activate = OnStateTransition(
        target_lifecycle_node=node,
        start_state="configuring",
        goal_state="inactive",
        entities=[_change(node, "ACTIVATE")],
    )
    return [RegisterEventHandler(configure), RegisterEventHandler(activate), node]


def inputs() -> Remappings:
    """Where the node finds the topics that every student has."""
    return [(name, LaunchConfiguration(name)) for name in TOPICS]


def camera_arguments() -> list[Any]:
    """Where the cameras of the rig are to be found."""
    return [
        DeclareLaunchArgument(
            "cameras", default_value="", description="Names in the rig, with commas; empty: the student's."
        ),
        DeclareLaunchArgument(
            "image",
            default_value=f"{CAMERA}/image",
            description=f"Topic of raw pictures, {CAMERA} for the camera's name in the rig; compressed ones lie below.",
        ),
        DeclareLaunchArgument(
            "camera_info",
            default_value=f"{CAMERA}/camera_info",
            description="Topic of intrinsics, likewise.",
        ),
    ]


def camera_inputs(context: Any) -> Remappings:
    """Where the node finds the pictures and intrinsics of each camera of the rig; needs `camera_arguments`.

    Raises:
        ValueError: when several cameras would be listened to on one topic.
    """
    image, info = (LaunchConfiguration(name).perform(context) for name in ("image", "camera_info"))
    cameras = _cameras(Path(LaunchConfiguration("rig").perform(context)).expanduser())
    if len(cameras) > 1 and CAMERA not in image:
        raise ValueError(f"image: found {image}, wanted {CAMERA} in it: the rig has {', '.join(cameras)}")
    remappings = []
    for camera in cameras:
        pictures = image.replace(CAMERA, camera)
        remappings += [
            (f"{camera}/image", pictures),
            (f"{camera}/image/compressed", f"{pictures}/compressed"),
            (f"{camera}/camera_info", info.replace(CAMERA, camera)),
        ]
    return remappings


def numbered(remappings: Remappings) -> Remappings:
    """The compressed pictures among them as `camera_1/image/compressed` and so on, which RViz's file shows."""
    pictures = [target for source, target in remappings if source.endswith("/image/compressed")]
    return [(f"camera_{number}/image/compressed", target) for number, target in enumerate(pictures, 1)]


def _cameras(rig: Path) -> list[str]:
    """Cameras in a rig file; of one that cannot be read none: the node then refuses it and says why."""
    try:
        sensors = yaml.safe_load(rig.read_text())["sensors"]
        return [name for name, sensor in sensors.items() if sensor["kind"] == "camera"]
    except (OSError, ValueError, LookupError, TypeError, AttributeError, yaml.YAMLError):
        return []


def view(share: Path, executable: str, remappings: Remappings) -> Node:
    """RViz, when it is asked for; its file holds the topics as they are without namespace and remapping."""
    results = [(f"/{executable}/{name}", f"{executable}/{name}") for name in ("markers", "detections")]
    return Node(
        package="rviz2",
        executable="rviz2",
        namespace=LaunchConfiguration("namespace"),
        arguments=["-d", str(share / "rviz" / f"{executable}.rviz")],
        parameters=[sim_time()],
        remappings=[*results, *((f"/{source}", target) for source, target in remappings)],
        condition=IfCondition(LaunchConfiguration("rviz")),
    )


def task_arguments() -> list[Any]:
    """Which student a launch file around that of a student runs; all other arguments go through to it."""
    return [
        DeclareLaunchArgument("task", default_value="lidar", description="Which student.", choices=list(TASKS)),
        *(DeclareLaunchArgument(name, description=text) for name, text in STUDENT.items()),
    ]


def included_student(share: Path, **fixed: str) -> IncludeLaunchDescription:
    """The student's own launch file; what has no default there must be handed on by name, or launch refuses."""
    path = [str(share / "launch"), "/", LaunchConfiguration("task"), ".launch.py"]
    handed_on = {name: LaunchConfiguration(name) for name in STUDENT}
    return IncludeLaunchDescription(
        PythonLaunchDescriptionSource(path), launch_arguments=[*handed_on.items(), *fixed.items()]
    )


def sim_time() -> dict[str, Any]:
    """The parameter that every node has, from the argument of its name."""
    return {"use_sim_time": ParameterValue(LaunchConfiguration("use_sim_time"), value_type=bool)}


def _texts(names: Iterable[str]) -> dict[str, Any]:
    """Parameters from arguments of their names; without the type, a folder called 2026 would become a number."""
    return {name: ParameterValue(LaunchConfiguration(name), value_type=str) for name in names}


def _change(node: LifecycleNode, transition: str) -> EmitEvent:
    number = getattr(Transition, f"TRANSITION_{transition}")
    return EmitEvent(event=ChangeState(lifecycle_node_matcher=matches_action(node), transition_id=number))
