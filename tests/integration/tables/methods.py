"""Studies over methods, the zoo, cameras and complete objects, asked for what is not there."""

from __future__ import annotations

from tests.integration.cases import Case
from tests.integration.damage import copy, edit, write

STUDY = "ledger run lidar --data {scenes} --out {here}/new"
NO_STUDY = "name: [\n"

METHODS = (
    Case("study unknown", STUDY.replace("lidar", "nothing"), ("study nothing: found no such study", "one of: ")),
    Case(
        "study not YAML",
        STUDY.replace("lidar", "{here}/study.yaml"),
        ("study.yaml: found", "wanted a YAML file"),
        (write("study.yaml", NO_STUDY),),
    ),
    Case("study without its data", STUDY.replace("{scenes}", "{here}/no"), ("no: found no such folder",)),
    Case("study of an unknown method", STUDY + " --only magic", ("--only: found magic, wanted among control, ",)),
    Case("study with an unknown preset", STUDY + " --preset glimpse", ("--preset: found glimpse, wanted glance",)),
    Case("share that is none", STUDY + " --share 4/3", ("--share: found 4/3", "such as 1/3")),
    Case("share of more machines than there are", STUDY + f" --share 1/{10**20}", ("--share: found 1/1000",)),
    Case("ledger that is missing", "ledger show {here}/no", ("no",)),
    Case("network of the zoo unknown", "zoo show nothing", ("network of the zoo: found nothing, wanted one of",)),
    Case("zoo, taking what is not there", "zoo take nothing --out {here}/new", ("network of the zoo: found nothing",)),
    Case(
        "cameras of another rig",
        "train benchmark-camera --data {scenes} --out {here}/new",
        ("cameras: found ", "wanted 6 called camera_front, ", "or that many in all; rename them"),
    ),
    Case(
        "true depth without pictures",
        "train {here}/recipe.yaml --data {scenes} --out {here}/new",
        ("recipe.yaml: detector.sized: found depth: expert is of pictures, and sensors: lidar sees none",),
        (
            copy("recipe_yaml"),
            edit(
                "recipe.yaml",
                detector={
                    "kind": "sized",
                    "size": "nano",
                    "depth": "expert",
                    "grid": {
                        "x_range_m": [-25.6, 25.6],
                        "y_range_m": [-25.6, 25.6],
                        "z_range_m": [-1.0, 3.0],
                        "cell_m": 1.6,
                    },
                    "class_names": ["car"],
                },
            ),
        ),
    ),
    Case(
        "evaluate without a camera that nobody looks through",
        "evaluate {bundle} --data {scenes} --frames 1 --without roof",
        ("cameras to do without: found roof, wanted",),
    ),
    Case("complete frames of no data set", "xray complete {here}/no --out {here}/new", ("no: found no such folder",)),
)
