"""Where places are looked up: the table against the camera model, and against real rigs with real points."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from understudy.bundle.inputs import DepthBins, Pictures
from understudy.bundle.manifest import Grid
from understudy.datasets.dataset import Sample
from understudy.datasets.kitti import KittiDataset
from understudy.datasets.nuscenes_keyframe import NuscenesKeyframes
from understudy.datasets.pandaset import PandasetSequence
from understudy.lifting import cells_and_depths, depth_targets, lift_table, lifted_size
from understudy.network_pictures import network_camera, network_images
from understudy.rig import Camera
from understudy.testing import marked_pictures, surround_rig, tiny_contract, tiny_pictures

GRID = Grid(x_range_m=(-16.0, 16.0), y_range_m=(-12.0, 12.0), z_range_m=(0.0, 3.0), cell_m=0.5)


def pictures(**changed: object) -> Pictures:
    """Of all four cameras, at their own size, a feature for each pixel."""
    usual = Pictures(
        num_cameras=4,
        width_px=160,
        height_px=96,
        feature_stride=1,
        focal_px=72.0,
        depth=DepthBins(near_m=0.5, far_m=40.0, count=30),
        heights_m=(0.0, 1.0),
        hits=2,
    )
    return usual.model_copy(update=changed)


def around() -> tuple[Camera, ...]:
    return tuple(surround_rig(("front", "left", "rear", "right")).cameras.values())


def cells_and_bins(
    places: NDArray[np.floating], camera: Camera, wanted: Pictures
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of every place its cell, -1 where no cell shows it, and its bin of depth, -1 where none holds it either."""
    cell, depth_bin = np.full(len(places), -1), np.full(len(places), -1)
    seen, cells, depth_m = cells_and_depths(places, camera, wanted)
    cell[seen], depth_bin[seen] = cells, wanted.depth.bin_of(depth_m)
    return cell, depth_bin


@dataclass(frozen=True)
class Lifted:
    """What a network does with a table, in NumPy: sums over hits of feature times share of depth."""

    pictures: Pictures
    grid: Grid
    cameras: tuple[Camera, ...]

    def __call__(self, features: NDArray[np.float64], shares: NDArray[np.float64]) -> NDArray[np.float64]:
        """`(N, h, w)` and `(N, h, w, D)` to `(Z, H, W)`."""
        table = lift_table(self.cameras, self.pictures, self.grid)
        by_pixel, by_depth = (np.append(values.ravel(), 0.0) for values in (features, shares))
        seen = by_pixel[table.pixels] * by_depth[table.depths]
        by_height = seen.reshape(len(self.pictures.heights_m), self.pictures.hits, -1).sum(axis=1)
        return by_height.reshape(-1, *lifted_size(self.grid, self.pictures))

    def every_depth(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """The same with every depth as likely."""
        return self(features, np.ones((*features.shape, self.pictures.depth.count)))


def cell_of(place_m: tuple[float, ...], grid: Grid = GRID) -> tuple[int, int]:
    return (
        int((place_m[1] - grid.y_range_m[0]) // grid.cell_m),
        int((place_m[0] - grid.x_range_m[0]) // grid.cell_m),
    )


def middles_m(grid: Grid = GRID, z_m: float = 0.0) -> NDArray[np.float64]:
    """`(H, W, 3)`."""
    y, x = np.meshgrid(
        grid.y_range_m[0] + (np.arange(grid.height) + 0.5) * grid.cell_m,
        grid.x_range_m[0] + (np.arange(grid.width) + 0.5) * grid.cell_m,
        indexing="ij",
    )
    return np.stack([x, y, np.full_like(x, z_m)], axis=-1)


def test_a_table_says_what_the_camera_model_says() -> None:
    cameras, wanted = around(), pictures()
    table = lift_table(cameras, wanted, GRID)
    (rows, columns), pixels_of_one = lifted_size(GRID, wanted), 96 * 160
    num_seen = 0
    for slot, z_m in enumerate(wanted.heights_m):
        places = middles_m(z_m=z_m).reshape(-1, 3)
        seen: list[list[tuple[int, int]]] = [[] for _ in places]
        for number, camera in enumerate(cameras):
            pixel, depth_m = camera.project(places)
            for place, ((u, v), depth) in enumerate(zip(np.floor(pixel + 0.5), depth_m, strict=True)):
                if depth > 0 and 0 <= u < 160 and 0 <= v < 96 and wanted.depth.bin_of(np.array(depth)) >= 0:
                    row = number * pixels_of_one + int(v) * 160 + int(u)
                    seen[place].append((row, row * 30 + int(wanted.depth.bin_of(np.array(depth)))))
        for hit in range(wanted.hits):
            nothing = (4 * pixels_of_one, 4 * pixels_of_one * 30)
            asked = np.array([entry[hit] if hit < len(entry) else nothing for entry in seen])
            assert (table.pixels[slot * wanted.hits + hit] == asked[:, 0]).all()
            assert (table.depths[slot * wanted.hits + hit] == asked[:, 1]).all()
        num_seen += sum(map(len, seen))
    assert table.pixels.shape == (2 * 2, rows * columns)
    assert num_seen > rows * columns, "the cameras see most of the ground, some of it twice"


@pytest.mark.parametrize("place_m", [(8.25, 2.25, 0.0), (-6.25, -4.25, 0.0), (0.75, 7.75, 0.0), (3.25, -9.25, 0.0)])
def test_what_stands_on_the_ground_is_found_in_its_cell(place_m: tuple[float, float, float]) -> None:
    rig = surround_rig(("front", "left", "rear", "right"))
    pixels = {name: image.pixels for name, image in marked_pictures(rig, [place_m], reach_px=0).items()}
    images, _ = network_images(pixels, rig.cameras, pictures())
    lifted = Lifted(pictures(), GRID, around()).every_depth(images.mean(axis=3))
    row, column = cell_of(place_m)
    assert lifted[0, row, column] >= 255.0
    farthest_m = np.linalg.norm(middles_m()[lifted[0] > 0, :2] - place_m[:2], axis=1).max()
    assert farthest_m < 2.5, "a pixel on the ground shows a small piece of it"
    assert lifted[1, row, column] == 0.0, "a meter higher the same place is at another pixel"


def test_the_share_of_the_right_depth_says_how_far_along_the_ray() -> None:
    """At its own height a thing at 8 m is told from one at 12 m in the same pixel by the share of its depth alone."""
    camera = (around()[0].model_copy(update={"cx_px": 80.0, "cy_px": 32.0}),)
    wanted = pictures(num_cameras=1, heights_m=(1.7,), hits=1)  # the camera's own height: the ray stays level
    grid = GRID.model_copy(update={"y_range_m": (-12.25, 12.25)})
    features, shares = np.zeros((1, 96, 160)), np.zeros((1, 96, 160, 30))
    uv, depth_m = camera[0].project(np.array([[8.25, 0.0, 1.7]]))
    u, v = (int(value) for value in np.floor(uv[0] + 0.5))
    features[0, v, u] = 1.0
    shares[0, v, u, wanted.depth.bin_of(depth_m)[0]] = 1.0
    found = middles_m(grid)[Lifted(wanted, grid, camera)(features, shares)[0] > 0]
    edge_m = wanted.depth.middles_m()[1:] - wanted.depth.middles_m()[:-1]
    assert len(found)
    assert np.abs(found[:, 0] - 8.25).max() <= edge_m.max()
    everywhere = middles_m(grid)[Lifted(wanted, grid, camera).every_depth(features)[0] > 0]
    assert everywhere[:, 0].max() - everywhere[:, 0].min() > 10.0


def test_bins_grow_with_the_distance_as_in_caddn() -> None:
    """Reading et al. 2021: d = near + (far - near) / (D (D + 1)) * i (i + 1), so 10 m and 30 m of 2 to 46.8 m."""
    bins = DepthBins(near_m=2.0, far_m=46.8, count=120)
    assert bins.bin_of(np.array([10.0, 30.0])).tolist() == [50, 94]
    assert bins.bin_of(np.array([1.99, 46.8, 1e9, -3.0])).tolist() == [-1, -1, -1, -1]
    assert bins.bin_of(np.array([2.0, 46.79])).tolist() == [0, 119]
    assert bins.bin_of(bins.middles_m()).tolist() == list(range(120))
    assert np.diff(np.diff(bins.middles_m())) == pytest.approx(2 * 44.8 / (120 * 121))


@given(st.floats(0.1, 5.0), st.floats(1.0, 80.0), st.integers(2, 150), st.floats(0.0, 1.0, exclude_max=True))
def test_every_depth_in_range_has_the_bin_between_whose_edges_it_lies(
    near_m: float, span_m: float, count: int, share: float
) -> None:
    bins = DepthBins(near_m=near_m, far_m=near_m + span_m, count=count)
    depth_m = near_m + share * span_m
    number = int(bins.bin_of(np.array(depth_m)))
    if depth_m >= bins.far_m:  # rounded up to it
        return
    edges = near_m + span_m / (count * (count + 1)) * np.arange(count + 1) * (np.arange(count + 1) + 1)
    assert number == -1 or edges[number] - 1e-6 <= depth_m <= edges[number + 1] + 1e-6
    assert number >= 0 or depth_m > bins.far_m - 1e-6


def test_a_camera_of_another_focal_length_gives_the_same_bin_to_what_looks_the_same() -> None:
    """A thing twice as far seems as large in a camera of twice the focal length: the network cannot tell them apart."""
    short, long = (surround_rig(("front",), focal_px=focal).cameras["front"] for focal in (72.0, 144.0))
    wanted = pictures(num_cameras=1, focal_px=72.0)
    from_camera = np.array([[0.0, 0.0, 0.0], [0.6, 0.3, 0.0], [-1.0, 0.2, 0.0]])
    near, far = (from_camera + np.array([0.0, 0.0, away_m]) for away_m in (6.0, 12.0))
    seen = [
        cells_and_bins(camera.ego_from_sensor.pose().apply(places), camera, wanted)
        for camera, places in ((short, near), (long, far))
    ]
    assert (seen[0][1] >= 0).all()
    assert (seen[0][0] == seen[1][0]).all()
    assert (seen[0][1] == seen[1][1]).all()
    same_place = cells_and_bins(long.ego_from_sensor.pose().apply(near), long, wanted)[1]
    assert (same_place < seen[0][1]).all(), "the same place looks nearer through the longer lens"


def test_a_larger_picture_of_the_same_lens_has_the_same_table() -> None:
    small = around()
    large = tuple(
        camera.model_copy(
            update={
                "width_px": 480,
                "height_px": 288,
                "fx_px": 216.0,
                "fy_px": 216.0,
                "cx_px": 3 * (camera.cx_px + 0.5) - 0.5,
                "cy_px": 3 * (camera.cy_px + 0.5) - 0.5,
            }
        )
        for camera in small
    )
    wanted = pictures(feature_stride=8)
    tables = [lift_table(cameras, wanted, GRID) for cameras in (small, large)]
    assert (tables[0].pixels == tables[1].pixels).mean() > 0.999, "but for rounding at the edges of cells"
    assert (tables[0].depths == tables[1].depths).mean() > 0.999


def test_what_two_cameras_show_has_both_and_no_more_than_there_is_room_for() -> None:
    cameras, wanted = around(), pictures(heights_m=(0.0,))
    seen = np.stack([cells_and_bins(middles_m().reshape(-1, 3), camera, wanted)[1] >= 0 for camera in cameras])
    num_pixels = 4 * 96 * 160
    for hits in (1, 2, 3):
        table = lift_table(cameras, wanted.model_copy(update={"hits": hits}), GRID)
        filled = (table.pixels < num_pixels).sum(axis=0)
        assert (filled == np.minimum(seen.sum(axis=0), hits)).all()
        assert ((table.depths < num_pixels * 30).sum(axis=0) == filled).all()
    assert (seen.sum(axis=0) == 2).any()
    both = np.flatnonzero(seen.sum(axis=0) == 2)[0]
    features = np.stack([np.full((96, 160), 10.0**number) for number in range(4)])
    lifted = Lifted(wanted, GRID, cameras).every_depth(features).ravel()
    assert lifted[both] == sum(10.0 ** np.flatnonzero(seen[:, both]))


def test_the_order_of_the_cameras_is_the_order_of_the_rows_and_nothing_else() -> None:
    cameras, wanted = around(), pictures(feature_stride=4, hits=4)
    rng = np.random.default_rng(2)
    features, shares = rng.random((4, 24, 40)), rng.random((4, 24, 40, 30))
    usual = Lifted(wanted, GRID, cameras)(features, shares)
    for order in permutations(range(4)):
        moved = Lifted(wanted, GRID, tuple(cameras[number] for number in order))
        assert moved(features[list(order)], shares[list(order)]) == pytest.approx(usual)


def test_a_coarser_map_looks_up_the_middles_of_its_own_cells() -> None:
    wanted = pictures(cell_stride=2)
    assert lifted_size(GRID, wanted) == (24, 32)
    coarse = Grid(x_range_m=GRID.x_range_m, y_range_m=GRID.y_range_m, z_range_m=GRID.z_range_m, cell_m=1.0)
    table, of_coarse = lift_table(around(), wanted, GRID), lift_table(around(), pictures(), coarse)
    assert (table.pixels == of_coarse.pixels).all()
    assert (table.depths == of_coarse.depths).all()


def test_what_lies_behind_or_beside_a_camera_is_nowhere() -> None:
    front, wanted = around()[0], pictures()
    places = np.array([[-8.0, 0.0, 1.0], [0.5, 0.0, 1.7], [8.0, 30.0, 1.0], [8.0, 0.0, 30.0], [100.0, 0.0, 1.0]])
    cell, depth_bin = cells_and_bins(places, front, wanted)
    assert cell.tolist()[:4] == [-1] * 4
    assert depth_bin.tolist() == [-1] * 5, "the last is in the picture, and beyond the last bin"
    assert cell[4] >= 0


def test_depth_targets_hold_the_nearest_point_of_each_cell() -> None:
    front, wanted = around()[:1], pictures(num_cameras=1, feature_stride=8)
    points = np.array([[10.5, 0.0, 1.6, 0.3], [6.5, 0.0, 1.66, 0.3], [-9.0, 0.0, 1.0, 0.3]])
    bins = depth_targets(points, front, wanted)
    assert bins.shape == (1, 12, 20)
    assert bins.dtype == np.int16
    [hit] = np.argwhere(bins >= 0)
    assert tuple(hit) == (0, 4, 10)
    assert bins[0, 4, 10] == wanted.depth.bin_of(np.array(6.0))
    assert (depth_targets(np.zeros((0, 4)), front, wanted) == -1).all()


def test_the_tiny_students_table_fits_its_signature() -> None:
    contract, wanted = tiny_contract("images"), tiny_pictures()
    table = lift_table(tuple(surround_rig().cameras.values()), wanted, contract.grid)
    assert table.pixels.shape == table.depths.shape == (2, 32 * 32)
    assert table.pixels.dtype == table.depths.dtype == np.int32
    assert table.pixels.max() == 2 * 24 * 40
    assert table.depths.max() == 2 * 24 * 40 * 12
    assert table.pixels.flags.c_contiguous


def real_samples(data_root: Path) -> dict[str, list[Sample]]:
    kitti = KittiDataset(data_root / "kitti" / "object")
    return {
        "nuscenes": [NuscenesKeyframes(data_root / "nuscenes")[0]],
        "kitti": [kitti[number] for number in range(len(kitti))],
        "pandaset": [next(iter(PandasetSequence(data_root / "pandaset" / "002")))],
    }


@pytest.mark.data
@pytest.mark.parametrize("name", ["nuscenes", "kitti", "pandaset"])
def test_points_on_real_cars_are_looked_up_where_the_table_looks(data_root: Path, name: str) -> None:
    """A point on a car and the middle of its place in the map fall into the same cells of the pictures, nearly."""
    num_shown = num_found = 0
    grid = Grid(x_range_m=(-48.0, 48.0), y_range_m=(-48.0, 48.0), z_range_m=(-1.0, 3.0), cell_m=0.5)
    for sample in real_samples(data_root)[name]:
        cameras = tuple(sample.rig.cameras.values())
        wanted = Pictures(
            num_cameras=len(cameras),
            width_px=320,
            height_px=96 if name == "kitti" else 192,
            focal_px=250.0,
            depth=DepthBins(near_m=1.0, far_m=70.0, count=60),
            heights_m=(0.75,),
        )
        table, cells_of_one = lift_table(cameras, wanted, grid), wanted.feature_size[0] * wanted.feature_size[1]
        points = points_on_cars(sample)
        points = points[(np.abs(points[:, :2]).max(axis=1) < 47.9) & (np.abs(points[:, 2] - 0.75) < 0.25)]
        places = np.floor((points[:, :2] + 48.0) / 0.5).astype(int) @ [1, grid.width]
        for number, camera in enumerate(cameras):
            cell, depth_bin = cells_and_bins(points, camera, wanted)
            shown = np.flatnonzero((cell >= 0) & (depth_bin >= 0))
            num_shown += len(shown)
            for point, place in zip(shown, places[shown], strict=True):
                for row, depth in zip(table.pixels[:, place], table.depths[:, place], strict=True):
                    if row // cells_of_one == number:
                        num_found += 1
                        away_m = float(np.linalg.norm(points[point] - camera.ego_from_sensor.translation_m))
                        cells_per_place = 0.5 * camera.fx_px / away_m * 320 / camera.width_px / 8
                        apart = _apart(row % cells_of_one, cell[point], wanted.feature_size[1])
                        assert apart <= 1 + cells_per_place
                        assert abs(depth % 60 - depth_bin[point]) <= 2
        share_seen = (table.pixels < len(cameras) * cells_of_one).any(axis=0).mean()
        assert (0.05 if name == "kitti" else 0.7) < share_seen < (0.3 if name == "kitti" else 1.0)
        assert (depth_targets(cloud_ego(sample), cameras, wanted) >= 0).mean() > 0.1
    assert num_shown >= 20
    assert num_found > 0.9 * num_shown, "but for places at the edge of a picture"


def points_on_cars(sample: Sample) -> NDArray[np.float64]:
    """`(P, 3)` in ego, of boxes of vehicles drawn in by a hand."""
    assert sample.boxes is not None
    points = cloud_ego(sample)
    cars = [
        box
        for box, label in zip(sample.boxes.geometry, sample.boxes.labels, strict=True)
        if "car" in sample.boxes.class_names[label].lower() or "vehicle" in sample.boxes.class_names[label].lower()
    ]
    inside = np.zeros(len(points), bool)
    for x, y, z, length, width, height, yaw in cars:
        moved = points - [x, y, z]
        along = moved[:, 0] * np.cos(yaw) + moved[:, 1] * np.sin(yaw)
        across = -moved[:, 0] * np.sin(yaw) + moved[:, 1] * np.cos(yaw)
        inside |= (np.abs(along) < length / 2) & (np.abs(across) < width / 2) & (np.abs(moved[:, 2]) < height / 2 - 0.1)
    return points[inside]


def cloud_ego(sample: Sample) -> NDArray[np.float64]:
    name, cloud = next(iter(sample.frame.clouds.items()))
    return sample.rig.lidars[name].ego_from_sensor.pose().apply(cloud.points[:, :3])


def _apart(one: int, other: int, width: int) -> float:
    """Cells between two cells of a picture."""
    return float(max(abs(one // width - other // width), abs(one % width - other % width)))


def test_the_network_camera_sees_what_the_table_looks_up() -> None:
    """The pixel of a place in the network's picture, floored by the stride, is its cell."""
    camera, wanted = around()[0], pictures(width_px=80, height_px=32, feature_stride=8)
    places = middles_m(z_m=0.5).reshape(-1, 3)
    cell, depth_bin = cells_and_bins(places, camera, wanted)
    seen_by = network_camera(camera, 80, 32)
    pixel, _ = seen_by.project(places)
    shown = cell >= 0
    assert shown.any()
    column, row = ((pixel[shown, axis] + 0.5) // 8 for axis in (0, 1))
    assert (row * 10 + column == cell[shown]).all()
    assert (depth_bin[shown] >= -1).all()
