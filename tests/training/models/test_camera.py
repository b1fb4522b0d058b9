"""Camera and fusion encoders: what is lifted where, what a mask hides, and that batch and export agree."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from understudy.boxes import Boxes
from understudy.bundle.inputs import DepthBins, Pictures
from understudy.bundle.manifest import Grid
from understudy.datasets.dataset import Sample
from understudy.errors import EngineError, RecipeError
from understudy.feeding import PicturesFeeder
from understudy.frame import Frame, PointCloud
from understudy.lifting import lift_table
from understudy.pose import Pose
from understudy.rig import Camera, Mounting
from understudy.testing import noise_pictures, surround_rig
from understudy_training.batches import labelled_frame
from understudy_training.export import export_detector
from understudy_training.losses import depth_count, depth_loss
from understudy_training.models.camera import CameraLift, ImagesBatch, one_hot_depth
from understudy_training.models.counting import detector_cost
from understudy_training.models.detector import BevDetector
from understudy_training.models.observed import Observed
from understudy_training.models.sizes import Sensors, detector_config
from understudy_training.recipe import read_recipe

GRID = Grid(x_range_m=(-12.8, 12.8), y_range_m=(-9.6, 9.6), z_range_m=(-1.0, 3.0), cell_m=0.8)
PICTURES = Pictures(
    num_cameras=2, width_px=64, height_px=32, focal_px=40.0, depth=DepthBins(near_m=1.0, far_m=20.0, count=12)
)
OPTICAL = Pose(np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]), np.array([0.5, 0.0, 1.5]))


def cameras() -> dict[str, Camera]:
    """One looks ahead, one back; of another size and focal length than the network's."""
    return {
        name: Camera(
            ego_from_sensor=Mounting.from_pose(Pose.from_yaw(turn) @ OPTICAL),
            width_px=128,
            height_px=80,
            fx_px=focal,
            fy_px=focal,
            cx_px=63.5,
            cy_px=39.5,
        )
        for name, turn, focal in (("front", 0.0, 70.0), ("rear", np.pi, 90.0))
    }


def seen(seed: int, **changes: object) -> Observed:
    generator = np.random.default_rng(seed)
    images = {name: generator.integers(0, 256, (80, 128, 3), dtype=np.uint8) for name in ("front", "rear")}
    points = generator.uniform((-12, -9, 0, 0), (12, 9, 3, 1), (500, 4)).astype(np.float32)
    return replace(Observed(points, images, cameras()), **changes)  # type: ignore[arg-type]


def build(sensors: Sensors, size: str = "nano", **options: object) -> BevDetector:
    torch.manual_seed(0)
    strides = {"strides": (1, 2, 2), "output_stride": 1}
    config = detector_config(
        size, GRID, ("car", "pedestrian"), sensors=sensors, pictures=PICTURES, **(strides | options)
    )
    return BevDetector(config).eval()


@pytest.mark.parametrize("sensors", ["camera", "fusion"])
def test_a_batch_is_its_frames(sensors):
    detector = build(sensors)
    frames = [seen(1), seen(2)]
    with torch.no_grad():
        both = detector(detector.collate(frames))
        alone = [detector(detector.collate([frame])) for frame in frames]
    for number, single in enumerate(alone):
        torch.testing.assert_close(both.heatmap[number], single.heatmap[0], atol=1e-5, rtol=1e-4)
        assert both.camera is not None
        torch.testing.assert_close(both.camera.bev[number], single.camera.bev[0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("sensors", ["camera", "fusion"])
def test_a_camera_that_is_absent_is_a_camera_that_is_masked(sensors):
    detector = build(sensors)
    whole = detector.collate([seen(1)])
    part = detector.collate([seen(1, images={"rear": seen(1).images["rear"]})])
    pictures = whole if isinstance(whole, ImagesBatch) else whole.camera
    masked = replace(pictures, camera_mask=torch.tensor([[0.0, 1.0]]))
    masked = masked if isinstance(whole, ImagesBatch) else replace(whole, camera=masked)
    with torch.no_grad():
        torch.testing.assert_close(detector(part).heatmap, detector(masked).heatmap)
        assert not torch.equal(detector(part).heatmap, detector(whole).heatmap)


def test_masked_pictures_change_nothing_whatever_they_show():
    detector = build("camera")
    first, second = (replace(detector.collate([seen(n)]), camera_mask=torch.zeros(1, 2)) for n in (1, 2))
    with torch.no_grad():
        assert torch.equal(detector(first).heatmap, detector(second).heatmap)


def test_a_lifted_cell_is_the_sum_over_its_pixels_and_depths():
    torch.manual_seed(0)
    lift = build("camera").encoder
    assert isinstance(lift, CameraLift)
    height, width = PICTURES.feature_size
    features = torch.randn(1, 2, lift.config.feature_channels, height, width)
    shares = torch.rand(1, 2, PICTURES.depth.count, height, width)
    batch = lift.collate([seen(1)])
    lift.collapse = torch.nn.Identity()
    found = lift.lifted(features, shares, batch.lift_pixels, batch.lift_depths)
    table = lift_table(tuple(cameras().values()), PICTURES, GRID)
    rows = features.permute(0, 1, 3, 4, 2).reshape(-1, features.shape[2])
    weights = shares.permute(0, 1, 3, 4, 2).reshape(-1)
    for cell in np.random.default_rng(0).integers(0, table.pixels.shape[1], 40):
        for number in range(len(PICTURES.heights_m)):
            wanted = torch.zeros(features.shape[2])
            for slot in range(number * PICTURES.hits, (number + 1) * PICTURES.hits):
                if table.pixels[slot, cell] < len(rows):
                    wanted += rows[table.pixels[slot, cell]] * weights[table.depths[slot, cell]]
            row, column = divmod(int(cell), GRID.width)
            channels = slice(number * features.shape[2], (number + 1) * features.shape[2])
            torch.testing.assert_close(found[0, channels, row, column], wanted)


def test_the_form_that_trains_is_the_form_that_is_exported():
    torch.manual_seed(0)
    lift = build("camera").encoder
    assert isinstance(lift, CameraLift)
    batch = lift.collate([seen(1), seen(2)])
    features = torch.randn(2, 2, lift.config.feature_channels, *PICTURES.feature_size, requires_grad=True)
    logits = torch.randn(2, 2, PICTURES.depth.count, *PICTURES.feature_size, requires_grad=True)
    maps, slopes = [], []
    for form in (lift._looked_up, lift._added_up):
        found = form(features, logits.softmax(2), batch.lift_pixels, batch.lift_depths)
        maps.append(found)
        slopes.append(torch.autograd.grad(found.square().sum(), (features, logits)))
    assert maps[0].abs().max() > 0.01
    torch.testing.assert_close(*maps)
    torch.testing.assert_close(*slopes)
    halves = features.detach().bfloat16().requires_grad_()
    found = lift._added_up(halves, logits.softmax(2).bfloat16(), batch.lift_pixels, batch.lift_depths)
    assert found.dtype == torch.bfloat16
    [slope] = torch.autograd.grad(found.float().square().sum(), halves)
    assert (slope.float() - slopes[0][0]).norm() < 0.01 * slopes[0][0].norm()


def test_true_depth_puts_features_where_the_points_are():
    """An assistant sees a point's own cell and nothing else along its ray."""
    lift = build("camera").encoder
    assert isinstance(lift, CameraLift)
    lift.config = lift.config.model_copy(update={"depth": "assistant"})
    point = np.array([[8.0, 1.2, 0.9, 0.5]], np.float32)
    batch = lift.collate([seen(1, points=point)])
    assert int(depth_count(batch)) == 1
    features, depth = torch.ones(1, 2, 1, *PICTURES.feature_size), torch.zeros(1, 2, PICTURES.depth.count, 4, 8)
    lift.collapse = torch.nn.Identity()
    shares = lift._shares(depth, batch.depth_bins)
    assert shares.sum() == 1
    lit = lift.lifted(features, shares, batch.lift_pixels, batch.lift_depths).sum(1)[0].nonzero()
    places = (lit.flip(1) + 0.5) * GRID.cell_m + torch.tensor([GRID.x_range_m[0], GRID.y_range_m[0]])
    assert len(places)
    assert (places - torch.tensor([8.0, 1.2])).norm(dim=1).min() < 1.5


def test_an_expert_without_hits_is_a_camera_alone():
    detector = build("camera")
    expert = BevDetector(detector.config.with_depth("expert")).eval()
    expert.load_state_dict(detector.state_dict())
    blind = seen(1, points=np.zeros((0, 4), np.float32))
    with torch.no_grad():
        assert torch.equal(detector(detector.collate([blind])).heatmap, expert(expert.collate([blind])).heatmap)
        own, told = (network(network.collate([seen(1)])).heatmap for network in (detector, expert))
    assert not torch.equal(own, told)


def test_depth_that_is_right_costs_nothing():
    detector = build("camera")
    inputs = detector.collate([seen(1)])
    outputs = detector(inputs)
    assert outputs.camera is not None
    right = one_hot_depth(inputs.depth_bins, PICTURES.depth.count) * 40
    perfect = replace(outputs, camera=replace(outputs.camera, depth=right))
    assert depth_loss(perfect, inputs) < 1e-6 < depth_loss(outputs, inputs)
    nowhere = replace(inputs, depth_bins=torch.full_like(inputs.depth_bins, -1))
    assert depth_loss(outputs, nowhere) == 0


@pytest.mark.parametrize("delivered", [("front", "rear"), ("rear",)])
def test_training_takes_what_the_vehicle_feeds(delivered):
    rig = surround_rig(focal_px=90.0, distortion=-0.1)
    images = {name: image for name, image in noise_pictures(rig, np.random.default_rng(4)).items() if name in delivered}
    cloud = PointCloud(np.ones((5, 4), np.float32), 0)
    frame = Frame(0, {rig.lidar(None)[0]: cloud}, images)
    sample = Sample("a", frame, rig, Boxes.empty(("car", "pedestrian")), {})
    shown = build("camera").encoder.collate([labelled_frame(sample, None, 100.0, PICTURES).observed])
    fed = PicturesFeeder(PICTURES, GRID, rig, needed=True)(frame)
    for name, values in fed.items():
        np.testing.assert_array_equal(getattr(shown, name)[0].numpy(), values, err_msg=name)
    assert fed["camera_mask"].sum() == len(delivered)


def test_no_depth_is_asked_for_where_there_is_no_picture():
    lift = build("camera").encoder
    whole = seen(0)
    bins = lift.collate([whole, replace(whole, images={"rear": whole.images["rear"]})]).depth_bins
    assert (bins[0] >= 0).flatten(1).any(1).all()
    assert (bins[1, 0] == -1).all()
    assert torch.equal(bins[1, 1], bins[0, 1])


def test_training_hides_cameras_and_evaluation_never():
    detector = build("fusion")
    inputs = detector.collate([seen(number) for number in range(8)])
    fusion = detector.encoder
    torch.manual_seed(1)
    fusion.train()
    masks = torch.cat([fusion._hide_cameras(inputs.camera).camera_mask for _ in range(200)])
    all_hidden = (masks.sum(1) == 0).float().mean()
    assert 0.1 < all_hidden < 0.25
    assert 0.15 < 1 - masks.mean() < 0.35
    fusion.eval()
    assert torch.equal(fusion._hide_cameras(inputs.camera).camera_mask, inputs.camera.camera_mask)


def test_something_is_always_left_to_see():
    detector = build("fusion")
    fusion = detector.encoder
    dropout = fusion.config.dropout.model_copy(update={"lidar": 0.5, "all_cameras": 0.5})
    fusion.config = fusion.config.model_copy(update={"dropout": dropout})
    fusion.train()
    points = torch.ones(400, 1, 2, 2)
    mask = (torch.arange(400) % 2).float()[:, None].expand(-1, 2)
    torch.manual_seed(0)
    left = fusion._hide_lidar(points, mask)[:, 0, 0, 0]
    assert (left[mask[:, 0] == 0] == 1).all()
    assert 0.35 < left[mask[:, 0] == 1].mean() < 0.65


def test_gradients_reach_pictures_and_points_parts():
    detector = build("fusion").train()
    outputs = detector(detector.collate([seen(1), seen(2)]))
    (outputs.heatmap.square().sum() + outputs.regression.square().sum()).backward()
    silent = [name for name, value in detector.named_parameters() if value.grad is None or value.grad.abs().sum() == 0]
    assert silent == []


def test_a_teacher_with_true_depth_is_not_exported(tmp_path):
    expert = BevDetector(build("camera").config.with_depth("expert"))
    with pytest.raises(EngineError, match="depth: expert, wanted depth: predicted"):
        export_detector(expert, read_recipe("benchmark-camera").contract(), tmp_path / "export")
    assert not (tmp_path / "export").exists()


def test_a_sensor_and_its_settings_belong_together():
    with pytest.raises(RecipeError, match="found nothing, wanted pictures, for sensors: camera"):
        detector_config("nano", GRID, ("car",), sensors="camera")
    with pytest.raises(RecipeError, match="a detector of LiDAR alone"):
        detector_config("nano", GRID, ("car",), pictures=PICTURES)
    coarse = PICTURES.model_copy(update={"cell_stride": 2})
    with pytest.raises(RecipeError, match="choose a coarser grid"):
        detector_config("nano", GRID, ("car",), sensors="camera", pictures=coarse, strides=(1, 2, 2), output_stride=1)


def test_pictures_are_counted():
    one, two = (detector_cost(build("camera", size)) for size in ("nano", "small"))
    assert one.macs < two.macs
    stem = PICTURES.num_cameras * (PICTURES.width_px // 2) * (PICTURES.height_px // 2) * 16 * 27
    assert stem < one.macs
