"""Data sets that are missing, damaged or not what a verb needs."""

from __future__ import annotations

import numpy as np

from tests.integration.cases import Case
from tests.integration.damage import copy, cut, edit, flip, folder, remove, swap, write

EVALUATE = "evaluate {bundle} --data {here}/scenes --out {here}/evaluation.json"
EVALUATE_KITTI = "evaluate {bundle} --data {here}/kitti --split all --out {here}/evaluation.json"
RECORD = "record {here}/scenes {here}/bag --split val"
SCENES, KITTI = copy("scenes"), copy("kitti")
FRAME = "scenes/drives/0001/frames/000002.npz"

DATA = (
    Case("data set missing", EVALUATE, ("scenes: found no such folder", "check the path")),
    Case("data set is a file", EVALUATE, ("scenes: found a file", "the folder of a data set"), (write("scenes", "x"),)),
    Case("data set name empty", "evaluate {bundle} --data ''", ("found no data set that is recognized",)),
    Case(
        "data set of no known kind", EVALUATE, ("no data set that is recognized", "dataset.yaml"), (folder("scenes"),)
    ),
    Case("split missing", EVALUATE + " --split test", ("split test", "wanted one of train, val"), (SCENES,)),
    Case("split of a kind without lists", EVALUATE_KITTI.replace("all", "val"), ("split val", "all"), (KITTI,)),
    Case(
        "scenes frame truncated",
        EVALUATE,
        ("000002.npz: found", "wanted a whole npz", "anew"),
        (SCENES, cut(FRAME, 400)),
    ),
    Case("scenes frame damaged", EVALUATE, ("000002.npz: found", "wanted a whole npz"), (SCENES, flip(FRAME, 5000))),
    Case("scenes frame empty", RECORD, ("000002.npz: found", "wanted a whole npz"), (SCENES, write(FRAME))),
    Case("scenes frame missing", RECORD, ("000002.npz: found no such file", "anew"), (SCENES, remove(FRAME))),
    Case(
        "scenes not finished",
        EVALUATE,
        ("no data set that is recognized",),
        (SCENES, remove("scenes/dataset.yaml")),
    ),
    Case(
        "scenes of another schema",
        EVALUATE,
        ("dataset.yaml: schema_version", "found 7, wanted 1", "anew"),
        (SCENES, edit("scenes/dataset.yaml", schema_version=7)),
    ),
    Case(
        "scenes description with an unknown key",
        EVALUATE,
        ("dataset.yaml: unknown key weather",),
        (SCENES, edit("scenes/dataset.yaml", weather="rain")),
    ),
    Case(
        "scenes drive outside the folder",
        EVALUATE,
        ("dataset.yaml", "name"),
        (SCENES, swap("scenes/dataset.yaml", "'0001'", "'../../0001'")),
    ),
    Case("scenes without a rig", EVALUATE, ("rig.yaml: found no such file",), (SCENES, remove("scenes/rig.yaml"))),
    Case(
        "KITTI sweep of a broken length",
        EVALUATE_KITTI,
        ("000000.bin: found 7997 bytes", "multiple of 16", "cut short"),
        (KITTI, cut("kitti/training/velodyne/000000.bin", 3)),
    ),
    Case(
        "KITTI sweep empty",
        EVALUATE_KITTI,
        ("000000.bin: found an empty file",),
        (KITTI, write("kitti/training/velodyne/000000.bin")),
    ),
    Case(
        "KITTI label with too few fields",
        EVALUATE_KITTI,
        ("label_2/000000.txt line 1: found 14 fields, wanted 15",),
        (KITTI, swap("kitti/training/label_2/000000.txt", " 0.10\n", "\n")),
    ),
    Case(
        "KITTI label with a word for a number",
        EVALUATE_KITTI,
        ("label_2/000000.txt line 1", "far"),
        (KITTI, swap("kitti/training/label_2/000000.txt", "1.50", "far")),
    ),
    Case(
        "KITTI label of a type that is none",
        EVALUATE_KITTI,
        ("label_2/000000.txt: found type car, wanted one of Car",),
        (KITTI, swap("kitti/training/label_2/000000.txt", "Car", "car")),
    ),
    Case(
        "KITTI label beyond the world",
        EVALUATE_KITTI,
        ("label_2/000000.txt line 1: found size and place", "meters"),
        (KITTI, swap("kitti/training/label_2/000000.txt", "10.00", "1e300")),
    ),
    Case(
        "KITTI labels that are a file",
        EVALUATE_KITTI,
        ("label_2: found a file, wanted a folder of labels",),
        (KITTI, remove("kitti/training/label_2"), write("kitti/training/label_2", "x")),
    ),
    Case(
        "KITTI split that names a frame twice",
        EVALUATE_KITTI.replace("all", "val"),
        ("ImageSets/val.txt: found frame 000000 twice",),
        (KITTI, write("kitti/ImageSets/val.txt", "000000\n000000\n")),
    ),
    Case(
        "two data sets in one folder",
        EVALUATE_KITTI,
        ("kitti: found 2 data sets: KITTI object and SemanticKITTI", "name its own folder"),
        (KITTI, write("kitti/sequences/00/velodyne/000000.bin", "x" * 16)),
    ),
    Case(
        "KITTI label missing",
        EVALUATE_KITTI,
        ("label_2/000000.txt: found no such file",),
        (KITTI, remove("kitti/training/label_2/000000.txt")),
    ),
    Case(
        "KITTI calibration missing",
        EVALUATE_KITTI,
        ("calib/000000.txt: found no such file",),
        (KITTI, remove("kitti/training/calib/000000.txt")),
    ),
    Case(
        "KITTI calibration not finite",
        EVALUATE_KITTI,
        ("calib/000000.txt: P2: found a value that is not finite",),
        (KITTI, swap("kitti/training/calib/000000.txt", "700", "nan")),
    ),
    Case(
        "KITTI calibration without a matrix",
        EVALUATE_KITTI,
        ("calib/000000.txt: Tr_velo_to_cam: found P2, R0_rect",),
        (KITTI, swap("kitti/training/calib/000000.txt", "Tr_velo", "Tr_imu")),
    ),
    Case(
        "KITTI calibration no rotation",
        EVALUATE_KITTI,
        ("calib/000000.txt", "rotation"),
        (KITTI, swap("kitti/training/calib/000000.txt", "R0_rect: 1", "R0_rect: 2")),
    ),
    Case(
        "KITTI picture missing",
        EVALUATE_KITTI,
        ("image_2/000000.png: found no such file",),
        (KITTI, remove("kitti/training/image_2/000000.png")),
    ),
    Case(
        "KITTI picture not a picture",
        EVALUATE_KITTI,
        ("image_2/000000.png", "wanted"),
        (KITTI, write("kitti/training/image_2/000000.png", b"GIF89a")),
    ),
    Case(
        "data without labels",
        EVALUATE_KITTI,
        ("no labels in 1 frames", "wanted a data set with labels"),
        (KITTI, remove("kitti/training/label_2")),
    ),
    Case(
        "KITTI intensity as bytes",
        "evaluate {here}/bundle --data {here}/kitti --split all",
        ("raw intensity", "intensity_scale"),
        (
            KITTI,
            copy("bundle"),
            edit("bundle/manifest.yaml", input__uses_intensity=True),
            remove("bundle/checksums.sha256"),
            write("kitti/training/velodyne/000000.bin", np.full((500, 4), 17, "<f4").tobytes()),
        ),
    ),
    Case(
        "record into a folder that is there",
        "record {scenes} {here}/bag",
        ("something there already", "--overwrite"),
        (copy("bag"),),
    ),
    Case(
        "record into the data set",
        "record {here}/scenes {here}/scenes --overwrite",
        ("scenes: found something else than a bag",),
        (SCENES,),
    ),
    Case(
        "record a damaged data set over a good bag",
        "record {here}/scenes {here}/bag --split val --overwrite",
        ("000000.npz: found", "wanted a whole npz"),
        (SCENES, copy("bag"), cut("scenes/drives/0001/frames/000000.npz", 400)),
    ),
    Case(
        "record a half damaged data set over a good bag",
        "record {here}/scenes {here}/bag --split val --overwrite",
        ("000002.npz: found", "wanted a whole npz"),
        (SCENES, copy("bag"), cut(FRAME, 400)),
    ),
    Case(
        "record over a bag that holds a stranger's file",
        "record {scenes} {here}/bag --split val --overwrite",
        ("bag: found notes.txt, wanted nothing but a bag", "move it away"),
        (copy("bag"), write("bag/notes.txt", "mine")),
    ),
    Case("record into a place that cannot be", "record {scenes} /dev/null/bag", ("/dev/null/bag",)),
    Case(
        "record a drive that is not there", "record {scenes} {here}/bag --drive 9", ("--drive: found 9, wanted 0 to 1",)
    ),
    Case("record a negative drive", "record {scenes} {here}/bag --drive -1", ("--drive: found -1",)),
    Case("record frames that are words", "record {scenes} {here}/bag --frames all", ("--frames: found all", "10:20")),
    Case("record no frames", "record {scenes} {here}/bag --frames 5:2", ("found no frames", "check --drive")),
    Case("record an unknown layout", "record {scenes} {here}/bag --layout odd", ("--layout: found odd", "shuffled")),
)

SCENES_VERB = (
    Case("scenes with 17 beams", "scenes {here}/new --beams 17", ("lidar.beams: found 17", "16, 32, 64")),
    Case("scenes of no drives", "scenes {here}/new --drives 0", ("num_drives: found 0", "greater than or equal to 1")),
    Case("scenes of no frames", "scenes {here}/new --frames 0", ("num_frames: found 0",)),
    Case(
        "scenes with only validation drives",
        "scenes {here}/new --drives 2 --val-drives 2",
        ("fewer validation drives than drives",),
    ),
    Case("scenes of a negative seed", "scenes {here}/new --seed -1", ("seed: found -1",)),
    Case("scenes of range NaN", "scenes {here}/new --range-m nan", ("lidar.range_m: found nan", "finite")),
    Case("scenes with no workers", "scenes {here}/new --workers 0", ("--workers", "greater than or equal to 1")),
    Case(
        "scenes into a folder with contents",
        "scenes {here}/run",
        ("a folder with contents", "--overwrite"),
        (copy("run"),),
    ),
    Case(
        "scenes over a folder that is no scenes",
        "scenes {here}/run --overwrite",
        ("a folder that holds no scenes", "nothing was removed"),
        (copy("run"),),
    ),
    Case(
        "scenes over a folder with drives of its own",
        "scenes {here}/home --overwrite --drives 1 --val-drives 0 --frames 1 --no-camera",
        ("home", "holds no scenes", "nothing was removed"),
        (write("home/drives/letters.txt", "mine"), write("home/notes.txt", "mine")),
    ),
    Case("scenes into a file", "scenes {here}/notes", ("found a file", "wanted a folder"), (write("notes", "x"),)),
    Case("scenes into a place that cannot be", "scenes /dev/null/new", ("/dev/null/new", "wanted a folder")),
)
