"""Argoverse 2 and PandaSet with one thing wrong."""

from __future__ import annotations

import numpy as np

from tests.integration.cases import Case
from tests.integration.damage import change_arrays, change_columns, change_json, copy, cut, remove, write
from tests.integration.tables.datasets import filled, first, stats
from tests.integration.zoo import LOG, START_NS

LOG_FOLDER = f"argoverse2/val/{LOG}"
CUBOIDS = "pandaset/annotations/cuboids/00.json"

ARGOVERSE2 = (
    Case(
        "Argoverse 2 table cut short",
        stats("argoverse2"),
        ("annotations.feather: found", "wanted a Feather table"),
        (copy("argoverse2"), cut(f"{LOG_FOLDER}/annotations.feather", 100)),
    ),
    Case(
        "Argoverse 2 poses unsorted",
        stats("argoverse2"),
        ("city_SE3_egovehicle.feather row 1: found", "ascending timestamp_ns"),
        (
            copy("argoverse2"),
            change_columns(
                f"{LOG_FOLDER}/city_SE3_egovehicle.feather", timestamp_ns=lambda stamps: stamps[::-1].copy()
            ),
        ),
    ),
    Case(
        "Argoverse 2 cuboids that are not turned by a rotation",
        stats("argoverse2"),
        ("annotations.feather row 0: rotation: found a quaternion of length 0, wanted length 1",),
        (copy("argoverse2"), change_columns(f"{LOG_FOLDER}/annotations.feather", qw=filled(0))),
    ),
    Case(
        "Argoverse 2 cuboids with a negative count",
        stats("argoverse2"),
        ("annotations.feather row 0: num_interior_pts: found -3, wanted 0 or more",),
        (copy("argoverse2"), change_columns(f"{LOG_FOLDER}/annotations.feather", num_interior_pts=filled(-3))),
    ),
    Case(
        "Argoverse 2 categories that are numbers",
        stats("argoverse2"),
        ("annotations.feather: category: found", "wanted text"),
        (
            copy("argoverse2"),
            change_columns(f"{LOG_FOLDER}/annotations.feather", category=lambda values: np.arange(len(values))),
        ),
    ),
    Case(
        "Argoverse 2 log for training without annotations",
        stats("argoverse2"),
        ("annotations.feather: found no such file",),
        (copy("argoverse2"), remove(f"{LOG_FOLDER}/annotations.feather")),
    ),
    Case(
        "Argoverse 2 sweep with infinite points",
        stats("argoverse2"),
        (f"{START_NS}.feather: x: found 60 values that are not finite",),
        (copy("argoverse2"), change_columns(f"{LOG_FOLDER}/sensors/lidar/{START_NS}.feather", x=filled(np.inf))),
    ),
    Case(
        "Argoverse 2 camera that is not mounted",
        stats("argoverse2"),
        ("egovehicle_SE3_sensor.feather: found no ring_front_center",),
        (
            copy("argoverse2"),
            change_columns(
                f"{LOG_FOLDER}/calibration/egovehicle_SE3_sensor.feather",
                sensor_name=lambda names: np.array(["roof", *names[1:]], object),
            ),
        ),
    ),
)

PANDASET = (
    Case(
        "PandaSet cuboid at no place",
        stats("pandaset"),
        ("cuboids/00.json: 0.position.x: found nan",),
        (copy("pandaset"), change_json(CUBOIDS, first("position.x", float("nan")))),
    ),
    Case(
        "PandaSet cuboid of no identity",
        stats("pandaset"),
        ("cuboids/00.json: 0.uuid: found 'car'",),
        (copy("pandaset"), change_json(CUBOIDS, first("uuid", "car"))),
    ),
    Case(
        "PandaSet cuboid inside out",
        stats("pandaset"),
        ("cuboids/00.json: 0.dimensions.y: found -1, wanted greater than or equal to 0",),
        (copy("pandaset"), change_json(CUBOIDS, first("dimensions.y", -1))),
    ),
    Case(
        "PandaSet cuboids that are numbers",
        stats("pandaset"),
        ("cuboids/00.json: found records without these keys",),
        (copy("pandaset"), write(CUBOIDS, "[3]")),
    ),
    Case(
        "PandaSet stamps unsorted",
        stats("pandaset"),
        ("lidar/timestamps.json: found stamp 1 is", "ascending stamps"),
        (copy("pandaset"), change_json("pandaset/lidar/timestamps.json", lambda stamps: stamps.reverse())),
    ),
    Case(
        "PandaSet points in milliseconds",
        stats("pandaset"),
        ("lidar/01.npz: t: found a point fired", "in seconds since 1970"),
        (copy("pandaset"), change_arrays("pandaset/lidar/01.npz", t=lambda stamps: stamps * 1000)),
    ),
    Case(
        "PandaSet sweep of the other LiDAR only",
        stats("pandaset"),
        ("lidar/00.npz: found no points of the 360-degree LiDAR",),
        (copy("pandaset"), change_arrays("pandaset/lidar/00.npz", d=filled(1))),
    ),
    Case(
        "PandaSet point classes without a name",
        stats("pandaset"),
        ("semseg/00.npz: found classes 9 to 9, wanted 0 to 2",),
        (copy("pandaset"), change_arrays("pandaset/annotations/semseg/00.npz", **{"class": filled(9)})),
    ),
    Case(
        "PandaSet intrinsics that are a list",
        stats("pandaset"),
        ("intrinsics.json: found [700]", "fx, fy, cx, cy"),
        (copy("pandaset"), write("pandaset/camera/front_camera/intrinsics.json", "[700]")),
    ),
    Case(
        "PandaSet picture missing",
        stats("pandaset"),
        ("front_camera/01.jpg: found no such file",),
        (copy("pandaset"), remove("pandaset/camera/front_camera/01.jpg")),
    ),
)

DRIVES = (*ARGOVERSE2, *PANDASET)
