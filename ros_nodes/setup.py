"""For colcon; everybody else installs the `understudy` distribution, which holds this package too."""

from pathlib import Path

from setuptools import setup

NAME = "understudy_ros"


def files(pattern: str) -> list[str]:
    """Paths as setuptools wants them, from this folder, where colcon runs."""
    return sorted(str(path) for path in Path().glob(pattern))


setup(
    name=NAME,
    version="0.1.0",
    packages=[NAME, f"{NAME}.doctor", f"{NAME}.faults"],
    package_data={NAME: ["py.typed"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        (f"share/{NAME}/launch", files("launch/*.launch.py")),
        (f"share/{NAME}/config", files("config/*.yaml") + files("config/*.xml")),
        (f"share/{NAME}/rviz", files("rviz/*.rviz")),
        (f"share/{NAME}/foxglove", files("foxglove/*.json")),
    ],
    install_requires=["setuptools"],
    zip_safe=True,
    maintainer="The Understudy authors",
    description="Understudy's students as ROS 2 lifecycle nodes.",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            f"lidar_detector = {NAME}.lidar_detector:main",
            f"fusion_detector = {NAME}.fusion_detector:main",
            f"camera_detector = {NAME}.camera_detector:main",
            f"timing_recorder = {NAME}.timing_recorder:main",
            f"fault_injector = {NAME}.faults.command:main",
        ],
        "understudy.doctor": [f"ros = {NAME}.doctor:look"],
    },
)
