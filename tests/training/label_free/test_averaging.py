"""The average of weights over the steps of the last rounds."""

import numpy as np
import pytest
import torch
from torch import nn

from understudy.errors import InputError
from understudy_training.distillation.frames import load_frames
from understudy_training.fitting import build_detector
from understudy_training.label_free.averaging import WeightAverager, reestimate
from understudy_training.recipe import check_recipe
from understudy_training.testing import MadeUpDataset, recipe_values


def weights(value: float) -> list[torch.Tensor]:
    return [torch.full((2, 3), float(value)), torch.full((4,), 10.0 * value)]


def averaged(decay: float, values: list[float], *, ramp: bool = True, start: int = 0) -> WeightAverager:
    averager = WeightAverager(start, decay, ramp=ramp)
    for value in values:
        averager.update(start, weights(value))
    return averager


@pytest.mark.parametrize("ramp", [True, False])
def test_without_decay_it_is_the_last_model(ramp):
    for kept, last in zip(averaged(0.0, [1, 2, 5], ramp=ramp).average, weights(5), strict=True):
        torch.testing.assert_close(kept, last)


def test_with_a_decay_of_one_it_is_the_first_model():
    for kept, first in zip(averaged(1.0, [1, 2, 5], ramp=False).average, weights(1), strict=True):
        torch.testing.assert_close(kept, first)


def test_it_is_the_sum_that_the_formula_says():
    values = [1.0, 2.0, 5.0, 3.0]
    expected = values[0]
    for step, value in enumerate(values[1:], 1):
        decay = min(0.3, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
    torch.testing.assert_close(averaged(0.3, values).average[0], weights(expected)[0])


def test_rounds_before_the_start_are_passed_over():
    averager = WeightAverager(2, 0.5)
    averager.update(1, weights(9))
    assert averager.average == []
    assert averager.num_steps == 0


def test_it_follows_the_optimizer_and_only_within():
    module = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    averager, seen = WeightAverager(0, 0.5, ramp=False), []
    with averager.following(0):
        for _ in range(3):
            module(torch.ones(1, 3)).sum().backward()
            optimizer.step()
            seen.append(module.weight.detach().clone())
    module(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    torch.testing.assert_close(averager.average[0], 0.25 * seen[0] + 0.25 * seen[1] + 0.5 * seen[2])
    assert averager.num_steps == 3
    averager.put_into(module)
    torch.testing.assert_close(module.weight.detach(), averager.average[0])


def test_it_goes_on_from_a_file(tmp_path):
    path = tmp_path / "average.safetensors"
    whole, first = averaged(0.9, [1, 2, 5, 3]), averaged(0.9, [1, 2])
    first.write(path)
    second = WeightAverager(0, 0.9)
    second.read(path)
    for value in (5.0, 3.0):
        second.update(0, weights(value))
    torch.testing.assert_close(second.average, whole.average)
    path.write_bytes(b"no")
    with pytest.raises(InputError, match="wanted averaged weights"):
        second.read(path)


def test_statistics_are_those_of_the_frames_with_the_present_weights():
    recipe = check_recipe(recipe_values(), "tiny")
    frames = load_frames(recipe, MadeUpDataset(4))
    detector = build_detector(recipe, 0)
    norms = [module for module in detector.modules() if isinstance(module, nn.BatchNorm2d)]
    momentum = norms[0].momentum
    before = {name: value.clone() for name, value in detector.named_parameters()}
    seen: list[torch.Tensor] = []
    handle = norms[0].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach()))
    reestimate(detector, frames, 2)
    handle.remove()
    means = torch.stack([batch.mean((0, 2, 3)) for batch in seen])
    assert len(means) == 2
    torch.testing.assert_close(norms[0].running_mean, means.mean(0))
    assert norms[0].momentum == momentum
    assert not detector.training
    for name, value in detector.named_parameters():
        np.testing.assert_array_equal(value.detach().numpy(), before[name].detach().numpy())
