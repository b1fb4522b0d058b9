"""The networks that come with the package are what their cards say, and go through the chain."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from understudy.cli import build_app
from understudy.configuration import file_sha256, read_config, write_yaml
from understudy.errors import InputError
from understudy.evaluation import read_evaluation
from understudy_training.checkpoint import WEIGHTS, load_detector, read_record
from understudy_training.distillation.frames import load_frames
from understudy_training.distillation.study import StudyPaths, evaluate_run
from understudy_training.export import export_run
from understudy_training.fitting import fit
from understudy_training.models.counting import detector_cost
from understudy_training.recipe import check_recipe
from understudy_training.scenes.config import SceneConfig
from understudy_training.scenes.writer import make_scenes
from understudy_training.testing import recipe_values
from understudy_training.zoo.card import LARGEST_BYTES, CardText, ModelCard, describe_card, describe_list, make_card
from understudy_training.zoo.entries import card_of, cards, models_folder, put, take

SHIPPED = sorted(cards())
TEXT = CardText(name="mine", summary="tiny", trained_on="a", evaluated_on="b", not_for="anything")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run of one epoch, and the data it was trained on."""
    folder = tmp_path_factory.mktemp("zoo")
    lidar = {"beams": 16, "azimuth_steps": 180}
    config = SceneConfig.model_validate(
        {"num_drives": 2, "num_val_drives": 1, "num_frames": 2, "lidar": lidar, "camera": None}
    )
    make_scenes(config, folder / "scenes")
    values = recipe_values(schedule={"epochs": 1})
    values["detector"] = {**values["detector"], "class_names": ["car", "truck"]}  # type: ignore[dict-item]
    recipe = check_recipe(values, "zoo")
    from understudy.datasets.opening import open_dataset

    fit(recipe, load_frames(recipe, open_dataset(folder / "scenes", "train")), folder / "run")
    evaluate_run(folder / "run", recipe, StudyPaths(folder / "run", folder / "scenes", folder)).write(folder / "e.json")
    return folder / "run", folder / "e.json"


def test_there_are_a_lidar_and_a_fusion_network() -> None:
    assert {card.sensors for card in cards().values()} >= {"lidar", "fusion"}


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_network_is_what_its_card_says(name: str) -> None:
    card, folder = card_of(name), models_folder() / name
    assert card.weights_bytes == (folder / WEIGHTS).stat().st_size < LARGEST_BYTES
    assert card.weights_sha256 == file_sha256(folder / WEIGHTS) == read_record(folder).weights
    detector, contract = load_detector(folder)
    cost = detector_cost(detector)
    assert (cost.parameters, round(cost.gmacs, 4)) == (card.parameters, card.gmacs)
    assert contract.class_names == card.classes
    assert max(map(len, describe_card(card))) <= 100


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_network_is_taken_out_and_exported(name: str, tmp_path: Path) -> None:
    take(name, tmp_path / "run")
    record = export_run(tmp_path / "run", tmp_path / "export")
    assert record.parity.rows > 0
    assert record.parity.matched_share == 1.0


def test_a_card_of_ones_own(made: tuple[Path, Path], tmp_path: Path) -> None:
    run, evaluation = made
    folder = tmp_path / "models"
    words = ["zoo", "add", str(run), "--evaluation", str(evaluation), "--into", str(folder)]
    write_yaml(tmp_path / "text.yaml", TEXT)
    result = CliRunner().invoke(build_app(), [*words, "--text", str(tmp_path / "text.yaml")])
    assert result.exit_code == 0, result.output
    card = read_config(folder / "mine" / "card.yaml", ModelCard)
    assert card == card_of("mine", folder)
    assert {score.class_name for score in card.scores} == {"car", "truck"}
    assert [line for line in describe_list([card]) if line.startswith("mine")]
    assert take("mine", tmp_path / "taken", folder) == card
    assert read_record(tmp_path / "taken").weights == read_record(run).weights


def test_a_name_that_is_no_folder_is_refused(made: tuple[Path, Path], tmp_path: Path) -> None:
    run, evaluation = made
    (tmp_path / "text.yaml").write_text(
        "name: ../Mine\nsummary: s\ntrained_on: t\nevaluated_on: e\nnot_for: n\n", encoding="utf-8"
    )
    words = ["zoo", "add", str(run), "--evaluation", str(evaluation), "--into", str(tmp_path / "models")]
    result = CliRunner().invoke(build_app(), [*words, "--text", str(tmp_path / "text.yaml")])
    assert isinstance(result.exception, InputError)
    assert "name: found '../Mine', wanted a name that matches" in str(result.exception)
    assert not (tmp_path / "models").exists()


def test_a_network_that_was_changed_is_refused(made: tuple[Path, Path], tmp_path: Path) -> None:
    run, evaluation = made
    folder = put(run, make_card(run, read_evaluation(evaluation), TEXT), tmp_path)
    blob = bytearray((folder / WEIGHTS).read_bytes())
    blob[-1] ^= 1
    (folder / WEIGHTS).write_bytes(blob)
    with pytest.raises(InputError, match="sha256"):
        take("mine", tmp_path / "out", tmp_path)
    assert not (tmp_path / "out").exists()


def test_wrong_names_and_evaluations(made: tuple[Path, Path], tmp_path: Path) -> None:
    run, path = made
    with pytest.raises(InputError, match=r"network of the zoo: found strange, wanted one of: .*scenes-lidar-nano"):
        card_of("strange")
    with pytest.raises(InputError, match="folder with contents"):
        take(SHIPPED[0], run)
    of_a_bundle = read_evaluation(path).model_copy(update={"engine": "onnxruntime 1.0, cpu"})
    with pytest.raises(InputError, match="wanted of the run itself"):
        make_card(run, of_a_bundle, TEXT)
    settings = read_evaluation(path).settings
    elsewhere = settings.model_copy(update={"grid": load_detector(models_folder() / SHIPPED[0])[0].config.grid})
    for changed, message in (
        (elsewhere, "over another region"),
        (settings.model_copy(update={"num_frames": 1}), "found 1 frames, wanted the whole split"),
    ):
        with pytest.raises(InputError, match=message):
            make_card(run, read_evaluation(path).model_copy(update={"settings": changed}), TEXT)
