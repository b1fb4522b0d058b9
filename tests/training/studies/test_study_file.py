import pytest
import yaml

from tests.training.studies.tiny_study import DENSE, FITNET, study_values, write_study
from understudy.errors import InputError, RecipeError
from understudy_training.studies.study_file import Preset, Study, read_study, recipe_beside, shipped_studies


def read(tmp_path, **changes) -> Study:
    return read_study(write_study(tmp_path, **changes))[0]


def test_a_study_is_read_with_its_methods(tmp_path):
    study = read(tmp_path, methods=[DENSE, FITNET], reference="dense")
    assert [method.label for method in study.methods] == ["dense", "fitnet"]
    assert study.first_teacher == "big"
    assert study.teachers_of(study.methods[0], study.methods[0].distillation) == {"teacher": "big"}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"methods": [DENSE, DENSE]}, "dense is there twice"),
        ({"methods": [DENSE | {"teacher": "bigger"}]}, "bigger is not among big"),
        ({"methods": [DENSE | {"students": ["tall"]}]}, "tall is not among small"),
        ({"methods": [DENSE | {"label": "control"}]}, "what every method is compared with"),
        ({"methods": [{"label": "nothing"}]}, "neither distillation nor other data"),
        ({"methods": [DENSE | {"term": "dense"}]}, "unknown key methods.0.term"),
        ({"methods": [DENSE | {"label": "a b"}]}, "methods.0.label"),
        ({"reference": "fitnet"}, "reference: fitnet is not among dense"),
        ({"seeds": [1, 1]}, "every seed once"),
        ({"seeds": [-1]}, "seeds from 0 to 4294967295"),
        ({"seeds": [2**32]}, "seeds from 0 to 4294967295"),
        ({"methods": []}, "methods: found \\[\\], wanted at least 1 of them"),
        ({"methods": [DENSE | {"distillation": {"terms": [{"kind": "magic"}]}}]}, "found magic, wanted one of: resp"),
        ({"methods": [DENSE | {"distillation": {"terms": [{"level": "low"}]}}]}, "terms.0.*: found no kind"),
        ({"teachers": {"big": {}}}, "either recipe or run"),
        ({"students": {"a/b": {"recipe": "benchmark-student"}}}, "a/b: names of files too"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(tmp_path, changes, says):
    with pytest.raises(RecipeError, match=says) as refused:
        read(tmp_path, **changes)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", sorted(shipped_studies()))
def test_no_preset_makes_two_students_of_a_shipped_study_the_same(name):
    study, folder = read_study(name)
    for preset in (Preset(), *study.presets.values()):
        seen = set()
        for student in study.students.values():
            recipe = recipe_beside(student.recipe, folder)
            epochs = preset.epochs or recipe.schedule.epochs
            schedule = recipe.schedule.model_copy(update={"epochs": epochs})
            seen.add(
                recipe.model_copy(update={"name": "", "distillation": None, "schedule": schedule}).model_dump_json()
            )
        assert len(seen) == len(study.students)


def test_terms_may_listen_to_several_teachers(tmp_path):
    terms = [{"kind": "dense_response"}, {"kind": "fitnet", "teacher": "assistant"}]
    method = {"label": "two", "distillation": {"terms": terms}}
    teachers = {"big": {"recipe": "teacher.yaml"}, "assistant": {"recipe": "teacher.yaml", "seed": 1}}
    study = read(tmp_path, methods=[method], teachers=teachers)
    assert study.teachers_of(study.methods[0], study.methods[0].distillation) == {
        "teacher": "big",
        "assistant": "assistant",
    }
    lacking = read(tmp_path, methods=[method])
    with pytest.raises(RecipeError, match="method two: teachers: found assistant, wanted among big"):
        lacking.teachers_of(lacking.methods[0], lacking.methods[0].distillation)
    renamed = read(tmp_path, methods=[method | {"others": {"assistant": "big"}}])
    assert renamed.teachers_of(renamed.methods[0], renamed.methods[0].distillation)["assistant"] == "big"


def test_presets_change_seeds_and_are_known_by_name(tmp_path):
    study = read(tmp_path, presets={"glance": {"seeds": [7], "epochs": 1}})
    smaller, preset = study.with_preset("glance")
    assert (smaller.seeds, preset.epochs) == ((7,), 1)
    with pytest.raises(InputError, match=r"--preset: found gpu, wanted glance"):
        study.with_preset("gpu")


def test_a_study_that_is_missing_is_refused_with_those_that_there_are():
    with pytest.raises(RecipeError, match="lidar"):
        read_study("no-such-study")


@pytest.mark.parametrize("name", sorted(shipped_studies()))
def test_the_shipped_studies_can_be_read(name):
    study, _ = read_study(name)
    assert study.name == name
    assert len(study.seeds) >= 3
    assert study.reference is not None or name in {"sizes", "sizes-long", "xray-tenth"}, (
        "methods that other studies tried so"
    )
    assert "glance" in study.presets


def test_what_is_written_is_read_back(tmp_path):
    study = Study.model_validate(study_values(methods=[DENSE, FITNET]))
    (tmp_path / "again.yaml").write_text(yaml.safe_dump(study.model_dump(mode="json", exclude_none=True)))
    assert read_study(tmp_path / "again.yaml")[0] == study
