"""The folder that `understudy scenes` makes: same bytes however it is made, and refusals in one line."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from understudy.cli import build_app
from understudy.datasets.scenes import ScenesDataset
from understudy.errors import InputError
from understudy_training.scenes.config import SceneConfig, SurroundConfig
from understudy_training.scenes.writer import make_scenes, write_drive

SMALL = SceneConfig(
    seed=5,
    num_drives=3,
    num_val_drives=1,
    num_frames=2,
    lidar={"beams": 16, "azimuth_steps": 360},
    camera={"width_px": 64, "height_px": 48, "ground_truth": True},
)


def digests(folder: Path) -> dict[str, str]:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("scenes") / "set"
    make_scenes(SMALL, out, workers=1)
    return out


def test_same_seed_same_bytes_with_more_workers(made: Path, tmp_path: Path) -> None:
    make_scenes(SMALL, tmp_path / "set", workers=3)
    assert digests(tmp_path / "set") == digests(made)


def test_same_bytes_in_another_order_and_process(made: Path, tmp_path: Path) -> None:
    """Drives 2 and 0 alone, made by another process with other hash seeds, equal those of the whole set."""
    program = (
        "import sys; from pathlib import Path\n"
        "from understudy_training.scenes.config import SceneConfig\n"
        "from understudy_training.scenes.writer import write_drive\n"
        "config = SceneConfig.model_validate_json(sys.argv[1])\n"
        "[write_drive(config, number, Path(sys.argv[2])) for number in (2, 0)]\n"
    )
    command = [sys.executable, "-c", program, SMALL.model_dump_json(), str(tmp_path)]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONHASHSEED": "7"})
    wanted = {name: value for name, value in digests(made).items() if name.startswith(("drives/0000", "drives/0002"))}
    assert digests(tmp_path) == wanted


def test_another_seed_gives_another_set(made: Path, tmp_path: Path) -> None:
    write_drive(SMALL.model_copy(update={"seed": 6}), 0, tmp_path)
    name = "drives/0000/frames/000000.npz"
    assert digests(tmp_path)[name] != digests(made)[name]


def test_depth_and_class_pictures(made: Path) -> None:
    import PIL.Image

    depth = np.array(PIL.Image.open(made / "drives/0000/depth/000000.png"))
    classes = np.array(PIL.Image.open(made / "drives/0000/classes/000000.png"))
    assert depth.shape == classes.shape == (48, 64)
    assert depth.max() > 10_000
    assert (depth[classes == 255] == 0).all()
    assert set(np.unique(classes)) <= {*range(10), 255}


def test_refuses_a_folder_with_contents(made: Path) -> None:
    before = digests(made)
    with pytest.raises(InputError, match="--overwrite"):
        make_scenes(SMALL, made)
    assert digests(made) == before


def test_overwrites_scenes_but_nothing_else(made: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    make_scenes(SMALL.model_copy(update={"num_drives": 2, "seed": 9}), out)
    make_scenes(SMALL, out, overwrite=True)
    assert digests(out) == digests(made)
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="nothing was removed"):
        make_scenes(SMALL, other, overwrite=True)
    assert (other / "thesis.txt").read_text() == "years of work"


def test_overwriting_leaves_what_others_put_beside_the_scenes(tmp_path: Path) -> None:
    out = tmp_path / "set"
    make_scenes(SMALL, out)
    for name in ("drives/notes.txt", "drives/0000/frames/notes.npz", "drives/0002/mine/000000.npz"):
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text("mine")
    make_scenes(SMALL.model_copy(update={"num_drives": 2}), out, overwrite=True)
    left = {name for name in digests(out) if "notes" in name or "0002" in name}
    assert left == {"drives/notes.txt", "drives/0000/frames/notes.npz", "drives/0002/mine/000000.npz"}


def test_scenes_that_were_not_finished_may_be_made_anew(made: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    write_drive(SMALL.model_copy(update={"num_frames": 1}), 0, out)
    make_scenes(SMALL, out, overwrite=True)
    assert digests(out) == digests(made)
    (out / "dataset.yaml").write_text("kind: warehouse")
    with pytest.raises(InputError, match="nothing was removed"):
        make_scenes(SMALL, out, overwrite=True)
    assert len(digests(out)) == len(digests(made))


def test_refuses_a_file_and_a_folder_it_cannot_make(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="found a file"):
        make_scenes(SMALL, tmp_path / "file")
    with pytest.raises(InputError, match="folder to write to"):
        make_scenes(SMALL, tmp_path / "file" / "below")


def test_reader_reads_what_the_writer_writes(made: Path) -> None:
    train, val = ScenesDataset(made, "train"), ScenesDataset(made, "val")
    assert (len(train), len(val)) == (4, 2)
    for sample in [*train, *val]:
        points = sample.rig.lidars["lidar"].ego_from_sensor.pose().apply(sample.frame.clouds["lidar"].points[:, :3])
        np.testing.assert_array_equal(sample.boxes.contains(points).sum(axis=1), sample.boxes.num_points)
        assert sample.frame.images["camera"].pixels.shape == (48, 64, 3)
        assert len(sample.segments["lidar"]) == len(points)
    assert not ScenesDataset(made, images=False)[0].frame.images


def run_verb(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = "from understudy.cli import main; main()"
    return subprocess.run([sys.executable, "-c", program, "scenes", *arguments], capture_output=True, text=True)


def test_verb_makes_a_set_and_says_so(tmp_path: Path) -> None:
    done = run_verb(
        str(tmp_path / "set"), "--drives", "2", "--frames", "1", "--val-drives", "1", "--no-camera", "--beams", "16"
    )
    assert done.returncode == 0, done.stderr
    assert "2 frames in 2 drives (1 for validation)" in done.stdout
    assert "frames/s" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--beams", "48"], "lidar.beams"),
        (["--drives", "2", "--val-drives", "2"], "fewer validation drives"),
        (["--frames", "0"], "num_frames"),
        (["--range-m", "-3"], "range_m"),
    ],
)
def test_verb_refuses_bad_values_in_one_line(tmp_path: Path, arguments: list[str], says: str) -> None:
    done = run_verb(str(tmp_path / "set"), *arguments)
    assert done.returncode == 2
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--cameras", "six"], "--cameras: found six, wanted one of: front, surround, none"),
        (["--cameras", "surround", "--no-camera"], "--cameras: found --no-camera beside it"),
        (["--cameras", "none", "--depth"], "--depth: found no cameras"),
        (["--benchmark", "scenes-64", "--seed", "0"], "--benchmark: found --seed beside it"),
        (["--benchmark", "scenes-64", "--val-drives", "3"], "--benchmark: found --val-drives beside it"),
        (["--benchmark", "scenes-1"], "benchmark: found scenes-1, wanted one of: scenes-64"),
        (["--val-seed", "0"], "val_seed: found 0, wanted another seed"),
        (["--turns-per-frame", "0"], "turns_per_frame"),
    ],
)
def test_verb_refuses_options_that_contradict(tmp_path: Path, arguments: list[str], says: str) -> None:
    done = CliRunner().invoke(build_app(), ["scenes", str(tmp_path / "set"), *arguments])
    assert isinstance(done.exception, InputError)
    assert says in str(done.exception)
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize(
    ("choice", "folders"),
    [
        (["--cameras", "none"], 0),
        (["--cameras", "front"], 1),
        (["--cameras", "surround"], 6),
        (["--cameras", "surround", "--depth"], 18),
        (["--camera"], 1),
    ],
    ids=["none", "front", "surround", "depth", "camera"],
)
def test_verb_chooses_the_cameras(tmp_path: Path, choice: list[str], folders: int) -> None:
    small = ["--drives", "1", "--frames", "1", "--val-drives", "0"]
    done = CliRunner().invoke(build_app(), ["scenes", str(tmp_path / "set"), *small, *choice])
    assert done.exit_code == 0, done.output
    made = [path for path in (tmp_path / "set" / "drives" / "0000").iterdir() if path.name != "frames"]
    assert len(made) == folders
    assert all(len(list(path.iterdir())) == 1 for path in made)


def test_overwriting_takes_the_pictures_of_every_camera_away(made: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    make_scenes(SMALL.model_copy(update={"surround": SurroundConfig(ground_truth=True), "num_frames": 1}), out)
    make_scenes(SMALL, out, overwrite=True)
    assert digests(out) == digests(made)
