"""What verbs do with students that look at pictures: replay, parity, latency, layers; what they refuse, in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.sdk.replay_cases import outputs
from understudy.autoware.package import export_package
from understudy.boxes import Boxes
from understudy.bundle.bundle import Bundle, open_bundle
from understudy.bundle.card import bundle_card
from understudy.datasets.dataset import Sample
from understudy.datasets.image_files import ImageFile, ImageFiles
from understudy.engines.opening import open_engine
from understudy.errors import BagError, BundleError, FrameError, GeometryError, InputError
from understudy.faults.run import run_faults
from understudy.fleet.annotate import annotate
from understudy.frame import Frame
from understudy.images import encode_jpeg
from understudy.latency import LatencyPlan, describe, measure
from understudy.layers.inspection import inspect_layers, made_up_scene
from understudy.layers.measuring import ProfilePlan
from understudy.messages.outputs import boxes_from_detections
from understudy.parity.faults import FAULTS
from understudy.parity.ladder import climb
from understudy.parity.replayed import Vehicle, replay_samples
from understudy.parity.rungs import rungs_of
from understudy.parity.self_test import self_test
from understudy.pipeline import open_pipeline
from understudy.recording import record_bag
from understudy.replay.against import Against
from understudy.replay.labels import Scoring
from understudy.replay.options import ReplayOptions
from understudy.replay.player import replay_bag
from understudy.rig import Rig
from understudy.synchronization.matcher import SyncPolicy
from understudy.testing import CLASS_NAMES, marked_pictures, road_cloud, surround_rig, tiny_bundle

RIG, CAMERAS_ALONE = surround_rig(), surround_rig(lidar=False)
KINDS = ("points", "images", "points_and_images")
PERIOD_NS = 100_000_000


@dataclass(frozen=True)
class Drive:
    """Marks that come nearer, on the ground before and behind; pictures are files."""

    folder: Path
    rig: Rig = RIG
    without: tuple[str, ...] = ()
    num_frames: int = 4
    class_names: tuple[str, ...] = CLASS_NAMES
    fingerprint: str = "f" * 64

    def __len__(self) -> int:
        return self.num_frames

    def __getitem__(self, number: int) -> Sample:
        stamp_ns = 10**18 + number * PERIOD_NS
        cloud = road_cloud(np.random.default_rng(number), 800, objects_m=((-6.0, 6.0),), stamp_ns=stamp_ns)
        clouds = {"lidar": cloud} if self.rig.lidars else {}
        frame = Frame(stamp_ns, clouds, self._images(number, stamp_ns))
        car = np.array([[9.5 - number, 1.5, 0.8, 4.2, 1.8, 1.6, 0.0], [0.0, 40.0, 0.8, 4.2, 1.8, 1.6, 0.0]], np.float32)
        boxes = Boxes(car, np.zeros(2, np.int32), CLASS_NAMES)
        return Sample(f"frame-{number}", frame, self.rig, boxes, segments={})

    def _images(self, number: int, stamp_ns: int) -> ImageFiles:
        marks = [(9.5 - number, 1.5, 0.1), (-9.5 + number, -1.5, 0.1)]
        files = {}
        for name, image in marked_pictures(RIG, marks).items():
            path = self.folder / f"{name}-{number}.jpg"
            if not path.is_file():
                path.write_bytes(encode_jpeg(image.pixels, 95))
            files[name] = ImageFile(path, stamp_ns, name)
        return ImageFiles({name: file for name, file in files.items() if name not in self.without})


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    folder = tmp_path_factory.mktemp("students")
    return {kind: tiny_bundle(folder / kind, kind, score_threshold=0.1) for kind in KINDS}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("drive")


@pytest.fixture(scope="module")
def bag(folder: Path) -> Path:
    return record_bag(Drive(folder), folder / "bag", labels=True).bag


@pytest.fixture(scope="module")
def bag_without_lidar(folder: Path) -> Path:
    return record_bag(Drive(folder, CAMERAS_ALONE), folder / "cameras").bag


def said(bundle: Bundle, drive: Drive, change: Callable[[Frame], Frame] = lambda frame: frame) -> list[Boxes]:
    with open_pipeline(bundle.folder, drive.rig) as pipeline:
        return [pipeline(change(drive[number].frame)) for number in range(len(drive))]


def assert_published(results: Path, wanted: list[Boxes]) -> None:
    found = [boxes_from_detections(message, CLASS_NAMES) for message in outputs(results)]
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one.geometry[:, :6], other.geometry[:, :6])
        np.testing.assert_array_equal(one.labels, other.labels)


def blind(frame: Frame) -> Frame:
    return replace(frame, images={})


def test_a_fusion_student_is_replayed_with_its_pictures(
    bundles: dict[str, Bundle], folder: Path, bag: Path, tmp_path: Path
) -> None:
    wanted = said(bundles["points_and_images"], Drive(folder))
    assert [len(boxes) for boxes in wanted] != [
        len(boxes) for boxes in said(bundles["points_and_images"], Drive(folder), blind)
    ]
    with open_pipeline(bundles["points_and_images"].folder, RIG) as pipeline:
        summary = replay_bag(bag, pipeline, tmp_path / "out")
    assert_published(tmp_path / "out", wanted)
    assert list(summary.topics) == [
        "/sensors/lidar/points",
        "/sensors/front/image/compressed",
        "/sensors/rear/image/compressed",
    ]
    assert all(counts["used"] == 4 for counts in summary.topics.values())
    assert summary.masked == ()


@pytest.mark.parametrize("with_lidar", [True, False])
def test_a_student_of_pictures_alone_is_replayed_by_its_first_camera(
    bundles: dict[str, Bundle], folder: Path, bag: Path, bag_without_lidar: Path, tmp_path: Path, with_lidar: bool
) -> None:
    rig, recording = (RIG, bag) if with_lidar else (CAMERAS_ALONE, bag_without_lidar)
    with open_pipeline(bundles["images"].folder, rig) as pipeline:
        summary = replay_bag(recording, pipeline, tmp_path / "out")
    assert_published(tmp_path / "out", said(bundles["images"], Drive(folder)))
    assert list(summary.topics) == ["/sensors/front/image/compressed", "/sensors/rear/image/compressed"]
    assert summary.num_detections > 0


def test_cameras_that_the_bag_lacks_are_masked_and_told(
    bundles: dict[str, Bundle], folder: Path, tmp_path: Path
) -> None:
    drive = Drive(folder, without=("rear",))
    recording = record_bag(drive, tmp_path / "bag").bag
    for kind in ("images", "points_and_images"):
        with open_pipeline(bundles[kind].folder, RIG) as pipeline:
            summary = replay_bag(recording, pipeline, tmp_path / kind)
        assert_published(tmp_path / kind, said(bundles[kind], drive))
        assert summary.masked == ("rear",)
        assert "masked, for the bag has no pictures of them: rear" in list(summary.lines())


def test_bags_without_the_pictures_are_refused(bundles: dict[str, Bundle], folder: Path, tmp_path: Path) -> None:
    no_front = record_bag(Drive(folder, without=("front",)), tmp_path / "no-front").bag
    nothing = record_bag(Drive(folder), tmp_path / "nothing", images=False).bag
    with open_pipeline(bundles["images"].folder, RIG) as pipeline:
        with pytest.raises(BagError, match=r"found pictures of rear, wanted those of front, the student"):
            replay_bag(no_front, pipeline, tmp_path / "out")
        with pytest.raises(BagError, match=r"no pictures, wanted /sensors/<camera>/image/compressed of front, rear"):
            replay_bag(nothing, pipeline, tmp_path / "out")
        with pytest.raises(InputError, match=r"--topic: found /points, wanted none: the student looks at pictures"):
            replay_bag(no_front, pipeline, tmp_path / "out", ReplayOptions(topic="/points", camera_topics={}))
    with (
        open_pipeline(bundles["points_and_images"].folder, RIG) as pipeline,
        pytest.raises(BagError, match="no pictures"),
    ):
        replay_bag(nothing, pipeline, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_wrong_with_a_camera_is_said_of_the_camera(
    bundles: dict[str, Bundle], bag: Path, tmp_path: Path
) -> None:
    def with_front(**changed: Any) -> Rig:
        sensors = {**RIG.sensors, "front": RIG.cameras["front"].model_copy(update=changed)}
        return RIG.model_copy(update={"sensors": sensors})

    pipeline = open_pipeline(bundles["images"].folder, with_front(frame_id="nose"))
    with pipeline, pytest.raises(GeometryError, match=r"found front, wanted nose \(camera front of rig surround\)"):
        replay_bag(bag, pipeline, tmp_path / "out")
    pipeline = open_pipeline(bundles["images"].folder, with_front(width_px=320))
    with pipeline, pytest.raises(FrameError, match=r"none of 4 pictures could be used; the first: picture of front: f"):
        replay_bag(bag, pipeline, tmp_path / "out")
    pipeline = open_pipeline(bundles["images"].folder, RIG)
    too_many = ReplayOptions(cameras=True, policy=SyncPolicy(require="min_n", min_cameras=2))
    with pipeline, pytest.raises(InputError, match="--require: found 2, wanted 1 at most"):
        replay_bag(bag, pipeline, tmp_path / "out", too_many)


@pytest.mark.parametrize(("one", "other"), [("points", "points_and_images"), ("images", "points")])
def test_students_of_different_sensors_are_compared_on_one_bag(
    bundles: dict[str, Bundle], folder: Path, bag: Path, tmp_path: Path, one: str, other: str
) -> None:
    with open_pipeline(bundles[one].folder, RIG) as a, open_pipeline(bundles[other].folder, RIG) as b:
        against = Against(a, b)
        replay_bag(bag, a, tmp_path / "out", against=against)
    assert_published(tmp_path / "out", said(bundles[one], Drive(folder)))
    others = outputs(tmp_path / "out", "/understudy/against/detections")
    wanted = said(bundles[other], Drive(folder))
    assert [len(message.detections) for message in others] == [len(boxes) for boxes in wanted]
    assert len(against.report().frames) == 4


def test_labels_that_no_picture_shows_are_not_held_against_a_student_of_pictures(
    bundles: dict[str, Bundle], bag: Path, tmp_path: Path
) -> None:
    counts = {}
    for kind in ("images", "points_and_images"):
        with open_pipeline(bundles[kind].folder, RIG) as pipeline:
            scoring = Scoring(pipeline)
            replay_bag(bag, pipeline, tmp_path / kind, scoring=scoring)
            settings = scoring.evaluation().settings
        counts[kind] = settings.pictures
    assert counts["images"] is not None
    assert counts["points_and_images"] is None


@pytest.mark.parametrize("kind", ["images", "points_and_images"])
def test_messages_of_a_bag_say_what_frames_say(bundles: dict[str, Bundle], folder: Path, kind: str) -> None:
    report = climb(rungs_of(bundles[kind], None, vehicle=Vehicle()), Drive(folder), num_frames=4)
    assert [rung.name for rung in report.rungs] == ["replay"]
    assert report.first_departing is None
    assert report.num_reference_boxes > 0
    assert report.rungs[0].total.num_pairs == report.num_reference_boxes
    assert report.rungs[0].total.deviations["score"].max == 0.0


def test_the_engine_is_fed_the_same_pictures(bundles: dict[str, Bundle], folder: Path) -> None:
    drive = Drive(folder)
    opened = rungs_of(bundles["points_and_images"], None, vehicle=Vehicle())[-1].open()
    with opened.engine:
        replayed = replay_samples(opened, [drive[1], drive[3]], None, Vehicle())
        pipeline = open_pipeline(bundles["points_and_images"].folder, RIG)
        for number, feeds in zip((1, 3), replayed.feeds, strict=True):
            wanted = pipeline.prepare(drive[number].frame)
            assert feeds.keys() == wanted.keys()
            assert all(np.array_equal(feeds[name], wanted[name]) for name in wanted)


def test_cameras_of_other_offsets_still_meet_their_sweep(bundles: dict[str, Bundle], folder: Path) -> None:
    rear = RIG.cameras["rear"].model_copy(update={"time_offset_ns": 300_000_000})
    rig = RIG.model_copy(update={"sensors": {**RIG.sensors, "rear": rear}})
    for kind in ("images", "points_and_images"):
        report = climb(rungs_of(bundles[kind], None, vehicle=Vehicle()), Drive(folder, rig), num_frames=2)
        assert report.first_departing is None


def test_faults_of_clouds_have_no_place_in_a_student_of_pictures_alone(
    bundles: dict[str, Bundle], folder: Path
) -> None:
    names = ("wrong unit", "wrong time offset", "padded points counted", "wrong class order")
    chosen = [fault for fault in FAULTS if fault.name in names]
    result = self_test(bundles["images"], Drive(folder, CAMERAS_ALONE), num_frames=2, faults=chosen)
    absent = {outcome.fault: outcome.absent for outcome in result.outcomes}
    assert absent["wrong unit"] == absent["wrong time offset"] == "it looks at no cloud"
    assert absent["padded points counted"] == "images"
    assert not absent["wrong class order"]
    assert result.ok


@pytest.mark.parametrize("kind", KINDS)
def test_latency_is_that_of_what_the_student_looks_at(bundles: dict[str, Bundle], folder: Path, kind: str) -> None:
    bundle, drive = bundles[kind], Drive(folder)
    with open_engine(bundle, "fp32") as engine:
        record = measure(bundle.manifest, engine, drive, LatencyPlan(num_samples=12, num_warmup=1))
    assert record.num_pictures == (() if kind == "points" else (2,) * 12)
    assert record.num_points == ((0,) * 12 if kind == "images" else (800,) * 12)
    found = [len(boxes) for boxes in said(bundle, drive)]
    assert record.num_boxes == tuple(found * 3), "every camera delivers"
    wanted = {"points": "800..800 points", "images": "2..2 pictures", "points_and_images": "points, 2..2 pictures"}
    assert wanted[kind] in "\n".join(describe(record))
    assert json.loads(record.model_dump_json())


def test_latency_says_how_many_cameras_did_not_deliver(bundles: dict[str, Bundle], folder: Path) -> None:
    bundle = bundles["points_and_images"]
    with open_engine(bundle, "fp32") as engine:
        plan = LatencyPlan(num_samples=12, num_warmup=0)
        record = measure(bundle.manifest, engine, Drive(folder, without=("rear",)), plan)
    assert "1..1 pictures" in "\n".join(describe(record))


@pytest.mark.parametrize("kind", KINDS)
def test_layers_are_timed_on_made_up_pictures(bundles: dict[str, Bundle], kind: str) -> None:
    scene = made_up_scene(bundles[kind].manifest)
    parts = {"points": "cloud", "images": "pictures", "points_and_images": "cloud and pictures"}
    assert scene.name == f"made-up {parts[kind]}"
    assert len(scene.frame.images) == (0 if kind == "points" else 2)
    report = inspect_layers(bundles[kind], ["fp32"], scene, ProfilePlan(num_runs=3))
    assert report.num_points == (0 if kind == "images" else 115_000)
    assert any(row.name.startswith("Conv") for row in report.layers)


def test_the_card_names_the_cameras(bundles: dict[str, Bundle]) -> None:
    assert "2 pictures of 80 x 48 px (front, rear)" in bundle_card(open_bundle(bundles["images"].folder))
    fused = bundle_card(open_bundle(bundles["points_and_images"].folder)).replace("\n", " ")
    assert "points: x, y, z, intensity" in fused
    assert "images uint8 (2, 48, 80, 3)" in fused


def test_an_autoware_package_is_refused(bundles: dict[str, Bundle], tmp_path: Path) -> None:
    for kind in ("images", "points_and_images"):
        with pytest.raises(BundleError, match="found a student that looks at 2 pictures, wanted one that looks at a L"):
            export_package(bundles[kind], tmp_path / "package")
    assert not list(tmp_path.iterdir())


def test_faults_need_a_lidar(bundles: dict[str, Bundle], bag: Path) -> None:
    with pytest.raises(InputError, match="found a student that looks at pictures alone, wanted one with a LiDAR"):
        run_faults(1, bundle=bundles["images"].folder, data=bag)
    assert run_faults(3, bundle=bundles["points_and_images"].folder, data=bag).holds


def test_bags_are_not_annotated_without_their_pictures(bundles: dict[str, Bundle], bag: Path, tmp_path: Path) -> None:
    summary = annotate([bag], bundles["points_and_images"].folder, tmp_path / "out", RIG)
    assert summary.num_failed == 1
    assert "found clouds alone, which are all that is read of a bag here" in "\n".join(summary.lines())


def test_the_drive_of_these_tests_is_recorded_byte_for_byte(folder: Path, bag: Path) -> None:
    front = outputs(bag, "/sensors/front/image/compressed")
    files = [Drive(folder)[number].frame.images.file("front").path.read_bytes() for number in range(4)]  # type: ignore[attr-defined]
    assert [bytes(message.data) for message in front] == files
