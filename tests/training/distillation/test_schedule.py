import pytest
from pydantic import ValidationError

from tests.training.distillation.made_up_answers import STUDENT, TEACHER, centres, whole_answers
from understudy.errors import RecipeError
from understudy_training.distillation.distiller import DistillationConfig, Distiller
from understudy_training.distillation.schedule import TermSchedule
from understudy_training.distillation.terms import CWDConfig, LogitKDConfig
from understudy_training.recipe import check_recipe
from understudy_training.testing import recipe_values


@pytest.mark.parametrize(
    ("values", "shares"),
    [
        ({}, [1, 1, 1, 1, 1]),
        ({"warmup_epochs": 4}, [0, 0.5, 1, 1, 1]),
        ({"start_epoch": 2, "warmup_epochs": 4}, [0, 0, 0.5, 1, 1]),
        ({"stop_epoch": 4}, [1, 1, 0, 0, 0]),
        ({"decay": "cosine"}, [1, 0.853553, 0.5, 0.146447, 0]),
        ({"decay": "cosine", "decay_to": 0.5}, [1, 0.926777, 0.75, 0.573223, 0.5]),
        ({"start_epoch": 2, "stop_epoch": 6, "decay": "cosine"}, [0, 1, 0.5, 0, 0]),
        ({"warmup_epochs": 4, "decay": "cosine"}, [0, 0.5, 1, 0.5, 0]),
    ],
)
def test_shares_over_eight_epochs(values, shares):
    schedule = TermSchedule(**values)
    found = [schedule.share(progress, 8) for progress in (0, 0.25, 0.5, 0.75, 1)]
    assert found == pytest.approx(shares, abs=1e-6)


def test_a_stop_before_the_end_of_the_warmup_is_refused():
    with pytest.raises(ValidationError, match="stop_epoch"):
        TermSchedule(start_epoch=1, warmup_epochs=2, stop_epoch=3)


def test_each_term_follows_its_own_schedule_and_is_recorded_in_full():
    first = LogitKDConfig(schedule=TermSchedule(stop_epoch=2))
    second = CWDConfig(schedule=TermSchedule(start_epoch=2, warmup_epochs=2))
    distiller = Distiller(DistillationConfig(terms=(first, second), warmup=0), TEACHER, STUDENT, epochs=4)
    student, teacher = whole_answers(0, STUDENT, encoded=True), whole_answers(1)
    losses = [distiller(student, teacher, centres(), progress) for progress in (0, 0.5, 0.75, 1)]
    logit, cwd = (losses[0].by_term[name].item() for name in ("logit_kd", "cwd_logits"))
    assert [loss.total.item() for loss in losses] == pytest.approx([logit, 0, cwd / 2, cwd])
    assert all(loss.by_term == losses[0].by_term for loss in losses)


def test_a_recipe_takes_schedules_and_refuses_a_term_that_is_never_heard():
    terms = [{"kind": "cwd", "schedule": {"start_epoch": 1, "warmup_epochs": 0.5}}]
    recipe = check_recipe(recipe_values(distillation={"terms": terms}, schedule={"epochs": 2}), "r.yaml")
    assert recipe.distillation.terms[0].schedule.start_epoch == 1
    with pytest.raises(RecipeError, match="epochs: found 1, before the start of cwd_logits"):
        recipe.with_epochs(1)
    terms[0]["schedule"]["start_epoch"] = 2
    with pytest.raises(RecipeError, match="cwd_logits would start after the last of 2 epochs"):
        check_recipe(recipe_values(distillation={"terms": terms}, schedule={"epochs": 2}), "r.yaml")
    with pytest.raises(RecipeError, match=r"schedule.*start_epoch, stop_epoch"):
        check_recipe(recipe_values(distillation={"terms": [{"kind": "cwd", "schedule": {"epoch": 2}}]}), "r.yaml")


def test_the_same_term_twice_is_refused():
    terms = [{"kind": "fitnet", "level": "low"}, {"kind": "fitnet", "level": "high"}]
    check_recipe(recipe_values(distillation={"terms": terms}), "r.yaml")
    with pytest.raises(RecipeError, match="fitnet_low is there twice"):
        check_recipe(recipe_values(distillation={"terms": [terms[0], terms[0]]}), "r.yaml")
