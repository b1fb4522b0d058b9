"""Verbs called on the wrong link of the chain, or with values outside their range."""

from __future__ import annotations

from tests.integration.cases import Case
from tests.integration.damage import copy, cut, edit, folder, link, remove, swap, write

EXPORT, RUN = copy("export"), copy("run")
QUANTIZE = "quantize {here}/export --data {scenes}"
PACK = "pack {here}/export --out {here}/new"
LATENCY = "latency {bundle} --data {scenes}"
COMPARE = "compare {bundle} --data {scenes}"

TRAIN = "train {here}/recipe.yaml --data {scenes} --out {here}/new"
DISTILL = "distill {here}/recipe.yaml --teacher {run} --data {scenes} --out {here}/new"
RECIPE = copy("recipe_yaml")
TAUGHT = edit("recipe.yaml", distillation={"terms": [{"kind": "response"}]})

TRAINING = (
    Case("recipe unknown", "train nothing --data {scenes} --out {here}/new", ("recipe nothing: found no such recipe",)),
    Case("recipe name empty", "train '' --data {scenes} --out {here}/new", ("found no such recipe", "one of:")),
    Case(
        "recipe with an unknown key",
        TRAIN,
        ("recipe.yaml: unknown key color",),
        (RECIPE, edit("recipe.yaml", color=1)),
    ),
    Case(
        "recipe with a negative learning rate",
        TRAIN,
        ("recipe.yaml: schedule.peak_learning_rate: found -1", "greater than 0"),
        (RECIPE, edit("recipe.yaml", schedule__peak_learning_rate=-1)),
    ),
    Case(
        "recipe with cells of no size",
        TRAIN,
        ("recipe.yaml: detector", "cell_m: found 0", "greater than 0"),
        (RECIPE, edit("recipe.yaml", detector__grid__cell_m=0)),
    ),
    Case(
        "recipe with too many cells",
        TRAIN,
        ("recipe.yaml: detector", "choose larger cells"),
        (RECIPE, edit("recipe.yaml", detector__grid__cell_m=0.0001)),
    ),
    Case("recipe not YAML", TRAIN, ("recipe.yaml: found", "wanted a YAML file"), (write("recipe.yaml", "a: ["),)),
    Case(
        "train on data without labels",
        TRAIN.replace("{scenes}", "{here}/kitti") + " --split all",
        ("no labeled boxes",),
        (RECIPE, copy("kitti"), remove("kitti/training/label_2")),
    ),
    Case("train on a split that is not there", TRAIN + " --split test", ("split test", "train, val"), (RECIPE,)),
    Case("train no epochs", TRAIN + " --epochs 0", ("--epochs", "greater than or equal to 1"), (RECIPE,)),
    Case("train from a negative seed", TRAIN + " --seed -1", ("--seed", "greater than or equal to 0"), (RECIPE,)),
    Case(
        "train from a huge seed",
        TRAIN + f" --seed {10**30}",
        ("seed",),
        (RECIPE,),
    ),
    Case("train with no threads", TRAIN + " --threads 0", ("--threads", "greater than or equal to 1"), (RECIPE,)),
    Case("train on from nothing", TRAIN + " --resume", ("found nothing to resume", "drop --resume"), (RECIPE,)),
    Case("train into a file", TRAIN, ("new",), (RECIPE, write("new", "x"))),
    Case(
        "train into a place that cannot be",
        "train {here}/recipe.yaml --data {scenes} --out /dev/null/new",
        ("/dev/null/new",),
        (RECIPE,),
    ),
    Case(
        "train over a finished run",
        "train {here}/recipe.yaml --data {scenes} --out {here}/run --epochs 1",
        ("run",),
        (RECIPE, RUN),
    ),
    Case(
        "train into the data set",
        "train {here}/recipe.yaml --data {here}/scenes --out {here}/scenes --epochs 1",
        ("scenes",),
        (RECIPE, copy("scenes")),
    ),
    Case(
        "distill with seeds that are letters",
        DISTILL + " --seeds a,b",
        ("--seeds: found a,b", "0,1,2"),
        (RECIPE, TAUGHT),
    ),
    Case("distill with a seed twice", DISTILL + " --seeds 1,1", ("--seeds: found 1,1", "different"), (RECIPE, TAUGHT)),
    Case("distill with no seeds", DISTILL + " --seeds ''", ("--seeds: found", "0,1,2"), (RECIPE, TAUGHT)),
    Case(
        "distill without a teacher",
        DISTILL.replace("{run}", "{here}/teacher"),
        ("teacher: found no weights.safetensors",),
        (RECIPE, TAUGHT),
    ),
    Case(
        "distill with a bag as teacher",
        DISTILL.replace("{run}", "{bag}"),
        ("no weights.safetensors", "understudy train"),
        (RECIPE, TAUGHT),
    ),
    Case("distill by a recipe that does not say how", DISTILL, ("found no distillation", "or use train"), (RECIPE,)),
    Case(
        "distill with a teacher of another grid",
        DISTILL,
        ("teacher's cells of the output", "train a teacher with the student's"),
        (RECIPE, TAUGHT, edit("recipe.yaml", detector__grid__cell_m=1.6)),
    ),
)

VERBS = (
    Case(
        "export of a folder that is no run",
        "export {scenes} --out {here}/new",
        ("no weights.safetensors", "understudy train"),
    ),
    Case("export of nothing", "export {here}/run --out {here}/new", ("no weights.safetensors", "understudy train")),
    Case(
        "export of truncated weights",
        "export {here}/run --out {here}/new",
        ("weights.safetensors: sha256: found", "the file was changed or cut short"),
        (RUN, cut("run/weights.safetensors", 99)),
    ),
    Case(
        "export of another recipe's weights",
        "export {here}/run --out {here}/new",
        ("weights.safetensors: found", "train it again"),
        (RUN, edit("run/recipe.yaml", detector__neck_width=48)),
    ),
    Case(
        "export of a run without its record",
        "export {here}/run --out {here}/new",
        ("run.json: found no such file",),
        (RUN, remove("run/run.json")),
    ),
    Case("export into a file", "export {run} --out {here}/notes", ("notes", "check the path"), (write("notes", "x"),)),
    Case("export into nothing", "export {run} --out ''", ("--out: found an empty name",)),
    Case(
        "export into the run",
        "export {here}/run --out {here}/run",
        ("run: found a training run", "choose another --out"),
        (RUN,),
    ),
    Case("export into a place that cannot be", "export {run} --out /dev/null/new", ("/dev/null/new",)),
    Case("quantize on no frames", QUANTIZE + " --frames 0", ("calibration frames: found 0 asked for",), (EXPORT,)),
    Case(
        "quantize on more frames than there are",
        QUANTIZE,
        ("found 32 asked for, 3 in the data set", "lower --frames"),
        (EXPORT,),
    ),
    Case(
        "quantize a run", "quantize {here}/run --data {scenes} --frames 2", ("model.onnx: found no such file",), (RUN,)
    ),
    Case(
        "quantize nothing", "quantize {here}/export --data {scenes} --frames 2", ("contract.yaml: found no such file",)
    ),
    Case(
        "quantize what is no ONNX",
        QUANTIZE + " --frames 2",
        ("model.onnx: found", "ONNX"),
        (EXPORT, write("export/model.onnx", "hello")),
    ),
    Case("quantize with an unknown method", QUANTIZE + " --method guess", ("--method", "minmax"), (EXPORT,)),
    Case("quantize with no threads", QUANTIZE + " --frames 2 --threads 0", ("threads: found 0",), (EXPORT,)),
    Case(
        "quantize, keeping a layer that is not there",
        QUANTIZE + " --frames 2 --keep-float nothing",
        ("--keep-float: found nothing", "the name of a convolution"),
        (EXPORT,),
    ),
    Case("pack a run", "pack {run} --out {here}/new", ("no model.onnx", "understudy export")),
    Case("pack nothing", PACK, ("contract.yaml: found no such file",)),
    Case(
        "pack files of two exports",
        PACK,
        ("model.onnx: sha256", "not of one making", "again"),
        (EXPORT, swap("export/quantization.yaml", "source_sha256: ", "source_sha256: 0000")),
    ),
    Case(
        "pack over a folder that is no bundle",
        "pack {export} --out {here}/run",
        ("something that is not a bundle", "choose another --out"),
        (RUN,),
    ),
    Case(
        "pack over a bundle that holds a stranger's file",
        "pack {export} --out {here}/bundle",
        ("bundle: found notes.txt, wanted nothing but a bundle", "move it away"),
        (copy("bundle"), write("bundle/notes.txt", "mine")),
    ),
    Case(
        "pack over a link to a bundle",
        "pack {export} --out {here}/link",
        ("found a link to bundle", "name the folder itself"),
        (copy("bundle"), link("link", "bundle")),
    ),
    Case(
        "pack over the export itself",
        "pack {here}/export --out {here}/export",
        ("something that is not a bundle",),
        (EXPORT,),
    ),
    Case("pack into a place that cannot be", "pack {export} --out /dev/null/new", ("/dev/null/new",)),
    Case(
        "pack with a ledger that is no JSON",
        "pack {export} --out {here}/new --ledger {run}/recipe.yaml",
        ("recipe.yaml", "a JSON ledger"),
    ),
    Case(
        "pack with a ledger that is missing",
        "pack {export} --out {here}/new --ledger {here}/no.json",
        ("no.json", "a JSON ledger"),
    ),
    Case(
        "pack a contract with an unknown key",
        PACK,
        ("contract.yaml: unknown key weight",),
        (EXPORT, edit("export/contract.yaml", weight=3)),
    ),
    Case("compile for an unknown target", "compile {bundle} --target abacus", ("target: found abacus, wanted cpu or",)),
    Case(
        "compile uint8 for TensorRT",
        "compile {bundle} --target rtx --precision uint8",
        ("uint8", "wanted int8", "--precision int8"),
    ),
    Case("compile a single file that is none", "compile {here}/x.zip", ("not a zip",), (write("x.zip", b"x"),)),
    Case("compile a data set", "compile {scenes}", ("no manifest.yaml", "understudy pack")),
    Case(
        "compare with a reference that is no run",
        COMPARE + " --reference {scenes}",
        ("no weights.safetensors", "understudy train"),
    ),
    Case("compare on no frames", COMPARE + " --frames 0", ("frames to compare: found 0 of 3",)),
    Case("compare with no threads", COMPARE + " --threads 0", ("threads: found 0",)),
    Case(
        "compare, writing over a folder",
        COMPARE + " --frames 1 --json {here}/out",
        ("out: found", "wanted a file"),
        (folder("out"),),
    ),
    Case("latency of 3 calls", LATENCY + " --frames 3", ("--frames: found 3", "100 are needed for p99")),
    Case("latency with a negative warm-up", LATENCY + " --frames 10 --warmup -1", ("--warmup: found -1",)),
    Case("latency of a run", "latency {run} --data {scenes}", ("no manifest.yaml", "understudy pack")),
    Case("latency on an unknown LiDAR", LATENCY + " --frames 10 --lidar roof", ("LiDAR roof: found lidar",)),
    Case("latency of an unknown precision", LATENCY + " --precision int3", ("--precision", "int3")),
    Case("evaluate on no frames", "evaluate {bundle} --data {scenes} --frames 0", ("frames to evaluate: found 0",)),
    Case(
        "evaluate an export",
        "evaluate {export} --data {scenes}",
        ("found an export, wanted a bundle", "understudy pack"),
    ),
    Case("evaluate a data set", "evaluate {scenes} --data {scenes}", ("wanted a bundle", "training run")),
    Case("evaluate nothing", "evaluate {here}/model --data {scenes}", ("no such file or folder",)),
    Case(
        "evaluate a run in int8", "evaluate {run} --data {scenes} --precision int8", ("a training run", "wanted fp32")
    ),
    Case(
        "evaluate into a place that cannot be",
        "evaluate {bundle} --data {scenes} --frames 1 --out /dev/null/out.json",
        ("/dev/null/out.json", "wanted a file"),
    ),
    Case(
        "evaluate, writing over the data set",
        "evaluate {bundle} --data {here}/scenes --frames 1 --out {here}/scenes/dataset.yaml",
        ("dataset.yaml: found another file there", "named *.json"),
        (copy("scenes"),),
    ),
    Case(
        "latency, writing over the model",
        "latency {here}/bundle --data {scenes} --frames 10 --warmup 0 --json {here}/bundle/model.onnx",
        ("model.onnx: found another file there", "named *.json"),
        (copy("bundle"),),
    ),
    Case("a verb that is not there", "distil {run}", ("distil",)),
    Case("an option that is not there", "inspect {bundle} --loud", ("--loud",)),
    Case("an argument too many", "inspect {bundle} {bundle}", ("unexpected",)),
    Case("an argument too few", "inspect", ("BUNDLE",)),
)
