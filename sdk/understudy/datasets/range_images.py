"""Range-view recordings: a folder of npy files, one sweep's front sector each, with a class per cell.

Source: the files of ika's PCLSegmentation (a Velodyne VLP-32C, 32 rows, 240 columns), `height x width x 6` float64:
x, y, z, intensity, depth, class.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from understudy.boxes import Segments
from understudy.converters.class_maps import ClassChoice, chosen_map
from understudy.datasets.dataset import Place, Sample
from understudy.datasets.files import BROKEN_ARRAYS, fingerprint, refuse_unless_finite
from understudy.errors import InputError
from understudy.frame import Frame, PointCloud
from understudy.pose import Pose
from understudy.rig import Lidar, Mounting, Rig

LIDAR = "lidar"
INTENSITY_SCALE = 255.0
SEGMENT_NAMES = (
    *("road", "sidewalk", "building", "pole", "vegetation", "person", "two-wheeler", "car", "truck", "bus"),
    "none",
)
LIDAR_HEIGHT_M = 1.79
"""Height of the LiDAR above the road: the plane of the road cells within 20 m in the four files (1.78 to 1.80 m)."""

EGO_FROM_LIDAR = Pose(np.eye(3), np.array([0.0, 0.0, LIDAR_HEIGHT_M]))
_CHANNELS = 6
_DEPTH, _CLASS = 4, 5
_PADDING = 10.0
_DEPTH_TOLERANCE_M = 0.01


class RangeImagesDataset:
    """Range-view files as point clouds with their classes.

    Args:
        path: a folder of npy files named by their stamp in nanoseconds.
        classes: classes that boxes would count in; nothing is labeled with boxes.

    Cells of depth 0 (no return) and cells that hold 10 in all channels (padding at the border) are dropped; the others
    become points row by row, the row as ring. Segments are the file's 11 classes, "none" among them. Ego is the point
    of the road below the LiDAR. Files of one folder are one drive.

    Raises:
        InputError: when there are no files, or one is not named by a stamp; at access, when a file is malformed.
    """

    def __init__(self, path: Path, *, classes: ClassChoice | None = None) -> None:
        self._class_map = chosen_map("scenes", classes)
        self._root = path
        files = {file.stem: file for file in path.glob("*.npy")}
        strangers = [name for name in files if not name.isdigit()]
        if strangers or not files:
            found = f"{strangers[0]}.npy" if strangers else "no range images"
            raise InputError(f"{path}", found=found, wanted="<stamp in nanoseconds>.npy")
        self._stamps_ns = sorted(int(name) for name in files)
        twice = [later for earlier, later in pairwise(self._stamps_ns) if earlier == later]
        if twice:
            raise InputError(f"{path}", found=f"two files of stamp {twice[0]}", wanted="one per stamp")
        self._files = {int(name): file for name, file in files.items()}
        lidar = Lidar(
            frame_id=LIDAR, ego_from_sensor=Mounting.from_pose(EGO_FROM_LIDAR), intensity_scale=INTENSITY_SCALE
        )
        self.rig = Rig(name="range_images", sensors={LIDAR: lidar})

    @property
    def class_names(self) -> tuple[str, ...]:
        """Classes of the class map, though nothing is labeled with boxes."""
        return self._class_map.class_names

    @property
    def segment_names(self) -> tuple[str, ...]:
        """The classes that points count in."""
        return SEGMENT_NAMES

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the files' names and contents; they are small."""
        return fingerprint(self._root, [], self._files.values())

    def __len__(self) -> int:
        return len(self._stamps_ns)

    def place(self, index: int) -> Place:
        """The drive is the folder."""
        return Place(self._root.name, self._stamps_ns[index])

    def __getitem__(self, index: int) -> Sample:
        """The returns of a file, with the class of each."""
        stamp_ns = self._stamps_ns[index]
        file = self._files[stamp_ns]
        cells = read_cells(file)
        measured = (cells[..., _DEPTH] > 0) & (cells != _PADDING).any(axis=-1)
        rows = np.broadcast_to(np.arange(len(cells), dtype=np.int16)[:, None], measured.shape)
        returns = cells[measured]
        if not len(returns):
            raise InputError(f"{file}", found="no returns", wanted="cells with a depth above 0")
        _refuse_wrong_returns(file, returns)
        cloud = PointCloud(returns[:, :4].astype(np.float32), stamp_ns, LIDAR, ring=rows[measured])
        segments = Segments(returns[:, _CLASS].astype(np.int16), SEGMENT_NAMES)
        return Sample(file.stem, Frame(stamp_ns, {LIDAR: cloud}), self.rig, None, {LIDAR: segments})


def read_cells(path: Path) -> NDArray[np.float64]:
    """`(H, W, 6)` channels of a file.

    Raises:
        InputError: when the file is missing, is no npy file, has another shape, or a value is not finite.
    """
    try:
        cells = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise InputError(f"{path}", found="no such file") from None
    except BROKEN_ARRAYS as error:
        raise InputError(f"{path}", found=str(error), wanted="an npy file without pickled objects") from error
    if not isinstance(cells, np.ndarray) or cells.ndim != 3 or cells.shape[2] != _CHANNELS or cells.dtype.kind != "f":
        found = f"{cells.dtype} {cells.shape}" if isinstance(cells, np.ndarray) else "an archive"
        raise InputError(f"{path}", found=found, wanted="float64 (height, width, 6)")
    values: NDArray[np.float64] = cells.astype(np.float64)
    refuse_unless_finite(path, values.reshape(-1, _CHANNELS))
    return values


def _refuse_wrong_returns(path: Path, returns: NDArray[np.float64]) -> None:
    classes = returns[:, _CLASS]
    wrong = (classes != np.rint(classes)) | (classes < 0) | (classes >= len(SEGMENT_NAMES))
    if wrong.any():
        found = f"class {classes[wrong][0]:g}"
        raise InputError(f"{path}", found=found, wanted=f"whole numbers 0 to {len(SEGMENT_NAMES) - 1}")
    off_m = np.abs(np.linalg.norm(returns[:, :3], axis=1) - returns[:, _DEPTH]).max()
    if off_m > _DEPTH_TOLERANCE_M:
        raise InputError(f"{path}", found=f"a depth {off_m:.3g} m off", wanted="the distance of x, y, z as channel 4")
