"""Bags, clouds and rigs that do not fit: damaged, foreign, in other units."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tests.integration.cases import Case
from tests.integration.damage import POINTS, bag, copy, cut, edit, fields, points, remove, swap, write

REPLAY = "replay {here}/bag {bundle} --out {here}/out"
REPLAY_CHAIN = "replay {bag} {bundle} --out {here}/out"
BAG = copy("bag")
MILLIMETERS = np.array([1000, 1000, 1000, 1], np.float32)


BAGS = (
    Case("bag missing", REPLAY, ("bag: found nothing there", "check the path")),
    Case("bag name empty", "replay '' {bundle} --out {here}/out", ("wanted",)),
    Case("bag is a text file", REPLAY + " --rig {bag}/rig.yaml", ("bag", "wanted a folder"), (write("bag", "x"),)),
    Case(
        "bag truncated",
        REPLAY,
        ("bag: found", "wanted a whole rosbag2", "record or copy it again"),
        (BAG, cut("bag/bag.mcap", 60_000)),
    ),
    Case(
        "bag without metadata",
        REPLAY,
        ("no metadata.yaml but bag.mcap", "wanted a rosbag2 folder"),
        (BAG, remove("bag/metadata.yaml")),
    ),
    Case(
        "bag whose storage file is gone",
        REPLAY,
        ("bag: found", "wanted a whole rosbag2", "record or copy it again"),
        (BAG, remove("bag/bag.mcap")),
    ),
    Case(
        "bag with metadata not YAML",
        REPLAY,
        ("bag: found", "wanted a whole rosbag2"),
        (BAG, write("bag/metadata.yaml", "a: [")),
    ),
    Case(
        "bag without point clouds",
        REPLAY,
        ("/ego/odom (nav_msgs/msg/Odometry)", "wanted any sensor_msgs/msg/PointCloud2"),
        (bag(lambda message: None),),
    ),
    Case("topic unknown", REPLAY_CHAIN + " --topic /roof", (POINTS, "wanted /roof")),
    Case("topic of another type", REPLAY_CHAIN + " --topic /tf_static", ("TFMessage", "PointCloud2")),
    Case(
        "several LiDAR topics, none chosen",
        REPLAY,
        ("2 topics of sensor_msgs/msg/PointCloud2: /front, /rear", "--topic"),
        (bag(lambda message: message, topics=("/front", "/rear")),),
    ),
    Case(
        "frame_id is not the rig's",
        REPLAY,
        (f"frame_id on {POINTS}: found roof, wanted lidar", "--rig"),
        (bag(lambda message: replace(message, header=replace(message.header, frame_id="roof"))),),
    ),
    Case(
        "cloud in millimeters",
        REPLAY,
        ("none of 3 sweeps", "beyond 1000 m", "wanted meters", "look like millimeters"),
        (bag(points(lambda values: values * MILLIMETERS)),),
    ),
    Case("all clouds empty", REPLAY, ("none of 3 sweeps", "at least one"), (bag(points(lambda values: values[:0])),)),
    Case(
        "all points NaN",
        REPLAY,
        ("none of 3 sweeps", "none finite", "wanted finite points"),
        (bag(points(lambda values: values * np.nan)),),
    ),
    Case(
        "all points infinite",
        REPLAY,
        ("none of 3 sweeps", "none finite"),
        (bag(points(lambda values: np.full_like(values, np.inf))),),
    ),
    Case(
        "all points at zero",
        REPLAY,
        ("none of 3 sweeps", "no point farther than", "blocked"),
        (bag(points(lambda values: values * 0)),),
    ),
    Case(
        "cloud without z",
        REPLAY,
        ("none of 3 sweeps", "z is missing"),
        (bag(fields(lambda field: None if field.name == "z" else field)),),
    ),
    Case(
        "cloud with an unknown datatype",
        REPLAY,
        ("point field x: found datatype 99", "wanted 1 (INT8) to 8 (FLOAT64)"),
        (bag(fields(lambda field: replace(field, datatype=99) if field.name == "x" else field)),),
    ),
    Case(
        "cloud field beyond its point",
        REPLAY,
        ("point field z", "within point_step 22"),
        (bag(fields(lambda field: replace(field, offset=4000) if field.name == "z" else field)),),
    ),
    Case(
        "cloud data cut short",
        REPLAY,
        ("point cloud data: found 100 bytes", "x height 1", "was cut or its header is wrong"),
        (bag(lambda message: replace(message, data=message.data[:100])),),
    ),
    Case(
        "cloud with row_step 0",
        REPLAY,
        ("row_step: found 0", "points of 22 bytes"),
        (bag(lambda message: replace(message, row_step=0)),),
    ),
    Case(
        "intensity 0..255 under a scale of 1",
        "replay {here}/bag {here}/bundle --out {here}/out",
        ("raw intensity: found up to", "wanted up to about 1, the rig's intensity_scale", "set intensity_scale"),
        (
            BAG,
            edit("bag/rig.yaml", sensors__lidar__intensity_scale=1.0),
            copy("bundle"),
            edit("bundle/manifest.yaml", input__uses_intensity=True),
            remove("bundle/checksums.sha256"),
        ),
    ),
    Case(
        "no intensity for a student that needs it",
        "replay {here}/bag {here}/bundle --out {here}/out",
        ("point cloud fields", "wanted an intensity"),
        (
            bag(fields(lambda field: None if field.name == "intensity" else field)),
            copy("bundle"),
            edit("bundle/manifest.yaml", input__uses_intensity=True),
            remove("bundle/checksums.sha256"),
        ),
    ),
    Case("rate negative", REPLAY_CHAIN + " --rate -1", ("--rate: found -1.0", "wanted 0")),
    Case("rate not a number", REPLAY_CHAIN + " --rate nan", ("--rate: found nan",)),
    Case("rate of centuries", REPLAY_CHAIN + " --rate 1e-300", ("--rate",)),
    Case("threads without end", REPLAY_CHAIN + " --threads 100000", ("threads: found 100000", "up to 1024")),
    Case("start after the bag's end", REPLAY_CHAIN + " --start 1000", ("no sweeps", "check --start and --end")),
    Case("start is infinite", REPLAY_CHAIN + " --start inf", ("--start",)),
    Case("start not a number", REPLAY_CHAIN + " --start nan", ("--start",)),
    Case("end before start", REPLAY_CHAIN + " --start 5 --end 2", ("--start and --end", "a start before the end")),
    Case("end not a number", REPLAY_CHAIN + " --end nan", ("--end",)),
    Case("threads 0", REPLAY_CHAIN + " --threads 0", ("threads: found 0, wanted 1 or more",)),
    Case("precision unknown", REPLAY_CHAIN + " --precision int3", ("precision: found int3", "fp32 or")),
    Case("precision the bundle lacks", REPLAY_CHAIN + " --precision fp16", ("precision fp16", "fp32 or int8 or uint8")),
    Case(
        "replay into a folder that is there",
        REPLAY,
        ("something there already", "--overwrite"),
        (BAG, copy("run", "out")),
    ),
    Case(
        "replay over a folder that is no bag",
        REPLAY + " --overwrite",
        ("out: found something else than a bag",),
        (BAG, copy("run", "out")),
    ),
    Case(
        "replay over its own bag",
        "replay {here}/bag {bundle} --out {here}/bag --overwrite",
        ("bag", "another"),
        (BAG,),
    ),
    Case(
        "replay over its own bag, said otherwise",
        "replay {here}/bag/bag.mcap {bundle} --out {here}/run/../bag --overwrite",
        ("bag", "another"),
        (BAG, copy("run")),
    ),
    Case("replay into a place that cannot be", "replay {bag} {bundle} --out /dev/null/out", ("/dev/null/out",)),
    Case("replay without --out", "replay {bag} {bundle}", ("--out",)),
)

RIG = copy("bag")
REPLAY_RIG = "replay {bag} {bundle} --out {here}/out --rig {here}/bag/rig.yaml"
LIDAR = "sensors__lidar__"
RIGS = (
    Case("rig missing", "rig {here}/rig.yaml", ("rig.yaml: found no such file", "check the path")),
    Case("rig is a folder", "rig {bag}", ("bag: found", "wanted a YAML file")),
    Case("rig name empty", "rig ''", ("wanted a YAML file",)),
    Case("rig is a list", "rig {here}/rig.yaml", ("found list", "wanted a YAML mapping"), (write("rig.yaml", "- 1"),)),
    Case("rig is empty", "rig {here}/rig.yaml", ("rig.yaml", "wanted a YAML mapping"), (write("rig.yaml"),)),
    Case("rig not UTF-8", "rig {here}/rig.yaml", ("rig.yaml", "utf-8"), (write("rig.yaml", b"name: \xff\xfe"),)),
    Case(
        "rig with an unknown key",
        REPLAY_RIG,
        ("rig.yaml: unknown key sensors.lidar.lidar.hight_m", "one of: kind, frame_id", "remove or correct it"),
        (RIG, edit("bag/rig.yaml", **{LIDAR + "hight_m": 1.8})),
    ),
    Case(
        "rig quaternion not of unit length",
        REPLAY_RIG,
        ("rig.yaml: sensors.lidar", "quaternion: found length 1.4142", "normalize it"),
        (RIG, edit("bag/rig.yaml", **{LIDAR + "ego_from_sensor__rotation_wxyz": [1.0, 1.0, 0.0, 0.0]})),
    ),
    Case(
        "rig quaternion of three numbers",
        REPLAY_RIG,
        ("rig.yaml: sensors.lidar", "rotation_wxyz"),
        (RIG, edit("bag/rig.yaml", **{LIDAR + "ego_from_sensor__rotation_wxyz": [1.0, 0.0, 0.0]})),
    ),
    Case(
        "rig LiDAR mounted in millimeters",
        REPLAY_RIG,
        ("height above the road: found 1800 m, wanted 0 to 5 m", "in meters"),
        (RIG, edit("bag/rig.yaml", **{LIDAR + "ego_from_sensor__translation_m": [0.0, 0.0, 1800.0]})),
    ),
    Case(
        "rig LiDAR at infinity",
        REPLAY_RIG,
        ("rig.yaml: sensors.lidar", "translation_m", "finite"),
        (RIG, edit("bag/rig.yaml", **{LIDAR + "ego_from_sensor__translation_m": [0.0, 0.0, float("inf")]})),
    ),
    Case(
        "rig without LiDAR",
        REPLAY_RIG,
        ("LiDAR", "found no LiDAR"),
        (RIG, edit("bag/rig.yaml", sensors={})),
    ),
    Case(
        "rig with an intensity scale of 0",
        REPLAY_RIG,
        ("intensity_scale", "greater than 0"),
        (RIG, edit("bag/rig.yaml", **{LIDAR + "intensity_scale": 0})),
    ),
    Case(
        "rig of another vehicle",
        REPLAY_RIG,
        ("/tf_static has lidar: found", "away from the rig's mounting", "--ignore-tf"),
        (RIG, edit("bag/rig.yaml", **{LIDAR + "ego_from_sensor__translation_m": [0.5, 0.0, 1.2]})),
    ),
    Case("LiDAR unknown to the rig", REPLAY_CHAIN + " --lidar roof", ("LiDAR roof: found lidar",)),
    Case(
        "rig of the next schema",
        REPLAY_RIG,
        ("rig.yaml: schema_version", "found 2"),
        (RIG, swap("bag/rig.yaml", "schema_version: 1", "schema_version: 2")),
    ),
)
