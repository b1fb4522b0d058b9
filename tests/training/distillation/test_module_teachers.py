"""Teachers that are a user's torch module."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from tests.training.distillation.foreign_teachers import MODULE, batch_of, recipe_of, write_module
from understudy.errors import InputError
from understudy_training.distillation.opened_teacher import open_teacher, weights_of_teacher
from understudy_training.distillation.teacher_cache import LiveTeacher
from understudy_training.models.observed import Observed
from understudy_training.testing import CLASSES


def test_a_users_module_with_its_weights_teaches(tmp_path):
    opened = open_teacher(write_module(tmp_path), CLASSES)
    own = opened.network.held
    assert own is not None
    changed = {name: value + 0.5 for name, value in own.state_dict().items()}
    save_file(changed, tmp_path / "net.safetensors")
    weighted = open_teacher(write_module(tmp_path, weights="net.safetensors"), CLASSES)
    assert weighted.weights != opened.weights
    recipe = recipe_of([{"kind": "dense_response"}, {"kind": "fitnet", "level": "low"}])
    batch = batch_of(weighted.network.collate, recipe)
    answers = LiveTeacher(weighted.network, recipe.distillation.asked)(batch)
    own.load_state_dict(changed)
    said = own(batch.teachers["teacher"].value)
    torch.testing.assert_close(answers.heatmap, said.heatmap[:, [2, 1]])
    torch.testing.assert_close(answers.regression, said.regression)
    torch.testing.assert_close(answers.low_map, said.early)
    assert not any(parameter.requires_grad for parameter in weighted.network.parameters())


def test_a_users_package_teaches(tmp_path, monkeypatch):
    (tmp_path / "their_networks.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    opened = open_teacher(write_module(tmp_path, module="their_networks:build"), CLASSES)
    assert opened.widths.low == 4
    before = opened.weights
    (tmp_path / "their_networks.py").write_text(MODULE + "\n# changed\n")
    assert weights_of_teacher(tmp_path / "net.yaml") != before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"module": "net.py:bild"}, r"net\.py:bild: found no such function, wanted one that returns an nn\.Module"),
        ({"module": "net.py:build_nothing"}, r"found NoneType, wanted an nn\.Module with collate"),
        ({"module": "net.py:build_broken"}, r"forward: found ValueError: no such thing \(net\.py, line \d+\)"),
        ({"module": "gone.py:build"}, r"gone\.py:build: found no such file"),
        ({"module": "no_such_package_anywhere:build"}, r"found no such module; install it, or name a file"),
        ({"module": "net.py"}, r"module: found 'net\.py', wanted path/to/file\.py:build or package\.module:build"),
        ({"arguments": {"depth": 3}}, r"found TypeError: .*depth"),
        ({"weights": "gone.safetensors"}, r"gone\.safetensors: found no such file, wanted a safetensors file"),
        ({"weights": "net.py"}, r"net\.py: found .*, wanted the module's own, as safetensors"),
        ({"low": "late"}, r"outputs: .*called late"),
    ],
)
def test_what_is_wrong_with_a_module_is_one_line(tmp_path, changes, message):
    path = write_module(tmp_path, **changes)
    with pytest.raises(InputError, match=message) as caught:
        open_teacher(path, CLASSES)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("raise SystemExit(0)", r"found SystemExit: 0 \(net\.py, line 1\)"),
        ("raise ValueError('word ' * 1000)", r"found ValueError: word .{100,200} \(net\.py, line 1\)"),
        (
            MODULE.replace('raise ValueError("no such thing")', 'return super().forward({"bev": inputs["bev"][:1]})'),
            r"output \w+: found \(1, .* of two frames, wanted one of each frame",
        ),
        (MODULE.replace('raise ValueError("no such thing")', "return 3"), r"found int, wanted maps by name"),
    ],
)
def test_code_that_ends_or_talks_without_end_is_one_line_too(tmp_path, source, message):
    path = write_module(tmp_path, module="net.py:build_broken")
    (tmp_path / "net.py").write_text(source)
    with pytest.raises(InputError, match=message) as caught:
        open_teacher(path, CLASSES)
    assert len(str(caught.value)) < 300


def test_answers_that_are_no_numbers_are_refused(tmp_path):
    opened = open_teacher(write_module(tmp_path, module="net.py:build_lost"), CLASSES)
    with pytest.raises(InputError, match="found values that are no numbers, wanted finite maps"):
        opened.network(opened.network.collate([Observed()]))
