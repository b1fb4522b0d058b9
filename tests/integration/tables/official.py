"""Results, class maps and options that do not fit: `score`, `evaluate --official`, `dataset ...`, `annotate`."""

from __future__ import annotations

from tests.integration.cases import Case
from tests.integration.damage import Step, copy, cut, folder, link, remove, write

SCORE = "score {here}/res --split all "
SCORE_KITTI = SCORE + "--data {kitti} --metric kitti"
SCORE_NUSCENES = SCORE + "--data {nuscenes} --metric nuscenes"
OFFICIAL = "evaluate {bundle} --data {kitti} --split all --official kitti --results {here}/res"
CLASSES = "evaluate {bundle} --data {scenes} --classes {here}/classes.yaml"
ANNOTATE = "annotate {bag} --model {bundle} --out {here}/new"
LINE = "Car -1 -1 0 1 1 9 9 1.5 1.8 4.2 0 1.7 10 0 0.5\n"
CUT_FRAME = cut("scenes/drives/0001/frames/000002.npz", 400)


def kitti(old: str = "", new: str = "", name: str = "000000.txt") -> Step:
    """A result file, one line, with one thing in it replaced."""
    return write(f"res/{name}", LINE.replace(old, new) if old else LINE)


SCORES = (
    Case("score nothing", SCORE_KITTI, ("res: found no such folder", "a folder of result files")),
    Case("score an empty folder", SCORE_KITTI, ("res: found no result file of these frames",), (folder("res"),)),
    Case(
        "score results of other frames",
        SCORE_KITTI,
        ("res/000099.txt: found no such frame in the data set", "the split that the results were made for"),
        (kitti(), kitti(name="000099.txt")),
    ),
    Case(
        "score a score that is no number",
        SCORE_KITTI,
        ("res/000000.txt line 1: found a value that is not finite",),
        (kitti(" 0.5\n", " nan\n"),),
    ),
    Case("score lines of labels", SCORE_KITTI, ("line 1: found 15 fields, wanted 16",), (kitti(" 0.5\n", "\n"),)),
    Case(
        "score a class that KITTI has not",
        SCORE_KITTI,
        ("res/000000.txt line 1: found class REGULAR_VEHICLE, wanted one of KITTI's",),
        (kitti("Car", "REGULAR_VEHICLE"),),
    ),
    Case(
        "score an occlusion that is none",
        SCORE_KITTI,
        ("line 1: found occlusion 1e30, wanted -1 to 3",),
        (kitti("-1 -1", "-1 1e30"),),
    ),
    Case("score bytes", SCORE_KITTI, ("000000.txt: found 'utf-8'",), (write("res/000000.txt", b"\xff\xfe"),)),
    Case("score by an unknown metric", SCORE + "--data {kitti} --metric coco", ("metric coco", "kitti or"), (kitti(),)),
    Case(
        "score on data of another kind",
        SCORE + "--data {kitti} --metric nuscenes-lidarseg",
        ("found a data set of kind KittiDataset", "nuScenes with its tables"),
        (kitti(),),
    ),
    Case(
        "score, writing over the results",
        SCORE_KITTI + " --out {here}/res/000000.txt",
        ("res/000000.txt: found another file there",),
        (kitti(),),
    ),
    Case(
        "score a submission of another benchmark",
        SCORE_NUSCENES,
        ("res: found 0", "wanted one result file"),
        (kitti(),),
    ),
    Case(
        "score results of other samples",
        SCORE_NUSCENES,
        ("results.json: results: found 2 of 2 samples missing",),
        (write("res/results.json", '{"meta": {}, "results": {"f00": []}}'),),
    ),
    Case(
        "score what is no Feather table",
        SCORE + "--data {argoverse2} --metric argoverse2",
        ("results.feather: found", "wanted a Feather table"),
        (write("res/results.feather", "hello"),),
    ),
    Case(
        "score point classes that are cut short",
        SCORE + "--data {semantickitti} --metric semantickitti",
        ("predictions/000000.label: found 3 bytes, wanted a multiple of 4",),
        (write("res/sequences/08/predictions/000000.label", b"123"),),
    ),
)

EVALUATIONS = (
    Case("official without results", OFFICIAL.split(" --results", maxsplit=1)[0], ("--official and --results", "both")),
    Case("official with classes", OFFICIAL + " --classes official", ("--classes: found given with --official",)),
    Case("official on some frames", OFFICIAL + " --frames 1", ("--frames: found given with --official",)),
    Case("official by an unknown name", OFFICIAL.replace("kitti --res", "coco --res"), ("metric coco: found no such",)),
    Case("official into a folder in use", OFFICIAL, ("res: found something there already",), (kitti(),)),
    Case("official into a dead link", OFFICIAL, ("res: found",), (link("res", "/nowhere/res"),)),
    Case("official into a place that cannot be", OFFICIAL.replace("{here}", "/dev/null"), ("/dev/null/res: found",)),
    Case(
        "official without labels",
        OFFICIAL.replace("{kitti}", "{here}/kitti"),
        ("metric kitti: found frames without labels",),
        (copy("kitti"), remove("kitti/training/label_2")),
    ),
    Case(
        "official with a record that cannot be written",
        OFFICIAL + " --out {here}/notes",
        ("notes: found another file there", "named *.json"),
        (write("notes", "mine"),),
    ),
    Case(
        "official with a record under a file",
        OFFICIAL + " --out /dev/null/record.json",
        ("/dev/null/record.json: found /dev/null, which is no folder",),
    ),
    Case("classes in a file that is missing", CLASSES, ("--classes: found", "or a YAML file"), ()),
    Case(
        "classes twice",
        CLASSES,
        ("classes.yaml", "class_names: car twice"),
        (write("classes.yaml", "class_names: [car, car]\nof: {car: car}\n"),),
    ),
    Case(
        "classes onto one that is not listed",
        CLASSES,
        ("classes.yaml", "of: bus not among class_names car"),
        (write("classes.yaml", "class_names: [car]\nof: {car: bus}\n"),),
    ),
    Case(
        "classes of names that no label has",
        CLASSES,
        ("classes.yaml: found no label of car in 3 frames", "native names that the labels have"),
        (write("classes.yaml", "class_names: [car]\nof: {Automobile: car}\n"),),
    ),
)

DATA_VERBS = (
    Case("stats of an unknown class map", "dataset stats {scenes} --classes mine", ("--classes: found mine",)),
    Case("stats of no frames", "dataset stats {scenes} --frames 0", ("frames to count: found 0",)),
    Case("stats into a file", "dataset stats {scenes} --out {here}/x", ("x: found File exists",), (write("x", "y"),)),
    Case("check a split that is not there", "dataset check {scenes} --splits train,no", ("split no", "train, val")),
    Case(
        "check, writing over a file",
        "dataset check {scenes} --out {here}/x",
        ("x: found another file",),
        (write("x"),),
    ),
    Case("show frames beyond the last", "dataset show {scenes} --out {here}/x --frames 99:", ("--frames: found 99:",)),
    Case("show into nothing", "dataset show {scenes} --out ''", ("--out: found no name",)),
    Case("show to the horizon", "dataset show {scenes} --out {here}/x --range 1e30", ("--range",)),
    Case(
        "show a bag over the data set",
        "dataset show {here}/scenes --as mcap --out {here}/scenes",
        ("scenes: found something there already",),
        (copy("scenes"),),
    ),
    Case(
        "show a data set damaged at its end",
        "dataset show {here}/scenes --split val --as mcap --out {here}/x",
        ("000002.npz: found",),
        (copy("scenes"), CUT_FRAME),
    ),
    Case(
        "shard onto the data set",
        "dataset shard {here}/scenes --out {here}/scenes",
        ("scenes: found something there already",),
        (copy("scenes"),),
    ),
    Case("shards of no size", "dataset shard {scenes} --out {here}/x --shard-mb nan", ("sharding: found", "nan MB")),
    Case(
        "objects of an unknown LiDAR",
        "dataset objects {scenes} --out {here}/x --lidar roof",
        ("LiDAR roof: found lidar",),
    ),
    Case(
        "objects of a damaged data set",
        "dataset objects {here}/scenes --split all --out {here}/x",
        ("000002.npz: found",),
        (copy("scenes"), CUT_FRAME),
    ),
    Case(
        "objects over a folder that is no database",
        "dataset objects {here}/scenes --out {here}/scenes --overwrite",
        ("scenes: found something else there",),
        (copy("scenes"),),
    ),
    Case(
        "record labels that are not there",
        "record {semantickitti} {here}/x --labels",
        ("recording: found no labels in 2 frames", "without --labels"),
    ),
)

ANNOTATIONS = (
    Case("annotate nothing", ANNOTATE.replace("{bag}", "{here}/no"), ("no: found nothing there",)),
    Case("annotate a run", ANNOTATE.replace("{bag}", "{run}"), ("run: found no bag and no data set",)),
    Case("annotate with no workers", ANNOTATE + " --workers 0", ("--workers: found 0, wanted 1 or more",)),
    Case("annotate with a lease of NaN", ANNOTATE + " --lease nan", ("--lease: found nan",)),
    Case("annotate from a score above 1", ANNOTATE + " --score 2", ("score: found 2.0",)),
    Case("annotate into the bag", "annotate {here}/bag --model {bundle} --out {here}/bag", ("bag",), (copy("bag"),)),
    Case("annotate into a place that cannot be", ANNOTATE.replace("{here}", "/dev/null"), ("/dev/null/new",)),
    Case("annotate an unknown split", ANNOTATE.replace("{bag}", "{scenes} --split no"), ("split no", "train, val")),
    Case(
        "annotate a bag cut short",
        ANNOTATE.replace("{bag}", "{here}/bag"),
        ("none of 1 sources can be opened", "bag: found"),
        (copy("bag"), cut("bag/bag.mcap", 60_000)),
    ),
)

OFFICIALS = (*SCORES, *EVALUATIONS, *DATA_VERBS, *ANNOTATIONS)
