"""The size classes: a table of widths, measured in multiply-accumulates on the design grid."""

from __future__ import annotations

from typing import Literal, get_args

from understudy.bundle.manifest import Grid, Pictures
from understudy.configuration import Config, check_config
from understudy.errors import RecipeError
from understudy_training.models.camera_config import CameraEncoder, ImageBackbone
from understudy_training.models.config import (
    DetectorConfig,
    Encoder,
    FusionEncoder,
    Head,
    LearnedPillarEncoder,
    LidarEncoder,
    OccupancyEncoder,
    Three,
)

Size = Literal["teacher", "medium", "small", "nano"]
Sensors = Literal["lidar", "camera", "fusion"]

DESIGN_GRID = Grid(x_range_m=(0.0, 69.12), y_range_m=(-39.68, 39.68), z_range_m=(-1.0, 3.0), cell_m=0.16)
"""KITTI's range in 496 x 432 cells, heights above the road: what the limits below are counted on."""

GMAC_LIMITS: dict[Size, float] = {"teacher": 50.0, "medium": 9.0, "small": 3.1, "nano": 1.5}


class SizeRow(Config):
    """One row of the table."""

    encoder: LidarEncoder
    image: ImageBackbone
    feature_channels: int
    """Of what is looked up in the pictures, and below of the map that is made of it."""
    camera_channels: int
    widths: Three
    layers: Three
    neck_width: int
    head: Head
    output_stride: int


SIZES: dict[Size, SizeRow] = {
    "teacher": SizeRow(
        encoder=LearnedPillarEncoder(channels=64),
        image=ImageBackbone(stem=32, widths=(64, 96, 128), layers=(2, 3, 3)),
        feature_channels=48,
        camera_channels=96,
        widths=(64, 128, 256),
        layers=(3, 5, 5),
        neck_width=128,
        head=Head(width=64, branch_width=64),
        output_stride=2,
    ),
    "medium": SizeRow(
        encoder=OccupancyEncoder(height_slices=12, intensity_slices=4),
        image=ImageBackbone(stem=24, widths=(48, 64, 96), layers=(1, 2, 2)),
        feature_channels=32,
        camera_channels=64,
        widths=(32, 64, 128),
        layers=(3, 5, 5),
        neck_width=48,
        head=Head(width=48, branch_width=32),
        output_stride=4,
    ),
    "small": SizeRow(
        encoder=OccupancyEncoder(height_slices=10),
        image=ImageBackbone(stem=16, widths=(32, 48, 64), layers=(1, 2, 2)),
        feature_channels=24,
        camera_channels=48,
        widths=(32, 64, 64),
        layers=(1, 2, 3),
        neck_width=32,
        head=Head(width=32, branch_width=16),
        output_stride=4,
    ),
    "nano": SizeRow(
        encoder=OccupancyEncoder(height_slices=10),
        image=ImageBackbone(stem=16, widths=(24, 32, 48), layers=(1, 1, 1)),
        feature_channels=16,
        camera_channels=32,
        widths=(16, 32, 64),
        layers=(2, 3, 3),
        neck_width=32,
        head=Head(width=16, branch_width=16),
        output_stride=4,
    ),
}


def detector_config(
    size: Size,
    grid: Grid,
    class_names: tuple[str, ...],
    *,
    strides: Three = (2, 2, 2),
    output_stride: int | None = None,
    sensors: Sensors = "lidar",
    pictures: Pictures | None = None,
) -> DetectorConfig:
    """The detector of a size class on a grid.

    Args:
        size: row of the table.
        grid: bird's-eye grid in ego.
        class_names: classes in label order.
        strides: of the three backbone stages; (1, 2, 2) keeps a coarse grid's resolution.
        output_stride: grid cells per output cell; None takes the table's.
        sensors: what it sees.
        pictures: of which cameras, for one that sees pictures.

    Raises:
        RecipeError: when there is no such size, or the grid does not suit the strides.
    """
    if size not in SIZES:
        raise RecipeError("detector size", found=size, wanted=f"one of: {', '.join(get_args(Size))}")
    row = SIZES[size]
    values = {
        "grid": grid,
        "class_names": class_names,
        "encoder": _encoder(row, sensors, pictures),
        "backbone": {"widths": row.widths, "layers": row.layers, "strides": strides},
        "neck_width": row.neck_width,
        "output_stride": output_stride or row.output_stride,
        "head": row.head,
    }
    return check_config(values, DetectorConfig, f"detector of size {size}", RecipeError)


def _encoder(row: SizeRow, sensors: Sensors, pictures: Pictures | None) -> Encoder:
    if sensors == "lidar":
        if pictures is not None:
            raise RecipeError(
                "detector.pictures", found="a detector of LiDAR alone", wanted="sensors: camera or fusion"
            )
        return row.encoder
    if pictures is None:
        raise RecipeError("detector.pictures", found="nothing", wanted=f"pictures, for sensors: {sensors}")
    camera = CameraEncoder(
        pictures=pictures, image=row.image, feature_channels=row.feature_channels, channels=row.camera_channels
    )
    return camera if sensors == "camera" else FusionEncoder(lidar=row.encoder, camera=camera)
