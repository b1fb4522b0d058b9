"""The tables from native classes to those that count, and what a map does to labels."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from understudy.boxes import Boxes, Segments
from understudy.converters.class_maps import TABLES, ClassMap, chosen_map, identity, read_class_choice
from understudy.converters.classes import CLASS_NAMES
from understudy.errors import InputError

MAP = ClassMap(class_names=("vehicle", "person"), of={"car": "vehicle", "truck": "vehicle", "pedestrian": "person"})


@pytest.mark.parametrize("kind", TABLES)
def test_every_table_is_sound(kind):
    for class_map in TABLES[kind].values():
        assert set(class_map.of.values()) <= set(class_map.class_names)
        assert len(set(class_map.class_names)) == len(class_map.class_names)
    if "understudy" in TABLES[kind]:
        assert chosen_map(kind, None).class_names == CLASS_NAMES


def test_a_map_relabels_boxes_and_points():
    boxes = Boxes(
        np.ones((4, 7), np.float32),
        np.array([2, 3, 0, 1], np.int32),
        CLASS_NAMES,
        track_ids=np.array([5, 6, 7, 8], np.int64),
    )
    mapped = MAP.relabel_boxes(boxes)
    np.testing.assert_array_equal(mapped.labels, [1, 0, 0])
    np.testing.assert_array_equal(mapped.track_ids, [5, 7, 8])
    segments = Segments(np.array([-1, 0, 3, 2, 1], np.int16), CLASS_NAMES)
    np.testing.assert_array_equal(MAP.relabel_segments(segments).labels, [-1, 0, -1, 1, 0])
    same = identity(CLASS_NAMES).relabel_segments(segments)
    np.testing.assert_array_equal(same.labels, segments.labels)


def test_wrong_maps_are_refused():
    with pytest.raises(ValidationError, match="of: van not among class_names car"):
        ClassMap(class_names=("car",), of={"Van": "van"})
    with pytest.raises(InputError, match="class map official of scenes: found no such map, wanted understudy"):
        chosen_map("scenes", "official")
    assert chosen_map("kitti", MAP) is MAP


def test_a_command_line_names_a_map_or_a_file(tmp_path):
    assert read_class_choice(None) is None
    assert read_class_choice("official") == "official"
    path = tmp_path / "classes.yaml"
    path.write_text("class_names: [vehicle, person]\nof: {car: vehicle, truck: vehicle, pedestrian: person}\n")
    assert read_class_choice(f"{path}") == MAP
    with pytest.raises(InputError, match=r"--classes: found theirs, wanted understudy or official, or a YAML file"):
        read_class_choice("theirs")
    path.write_text("class_names: [vehicle]\nof: {car: person}\n")
    with pytest.raises(InputError, match=r"classes\.yaml: .*person not among class_names vehicle"):
        read_class_choice(f"{path}")
