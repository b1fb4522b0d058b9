"""A KITTI raw drive: consecutive sweeps with left color images, as recorded, no labels."""

from __future__ import annotations

from pathlib import Path

from understudy.converters.class_maps import ClassChoice, chosen_map
from understudy.converters.kitti import parse_calibration
from understudy.datasets.dataset import Place, Sample
from understudy.datasets.files import fingerprint, read_float_records, read_text
from understudy.datasets.image_files import ImageFile, ImageFiles
from understudy.datasets.kitti import CAMERA, LIDAR, kitti_rig
from understudy.errors import InputError
from understudy.frame import Frame, PointCloud
from understudy.rig import Rig

_PERIOD_NS = 100_000_000
_CALIBRATION = "calib_object_format.txt"


class KittiRawDataset:
    """A drive folder with `velodyne_points/data` and `image_02/data`, calibration in the object benchmark's format.

    Stamps are synthetic, 10 Hz by frame number; where the ego was is not known. Ego as in `KittiDataset`.

    Raises:
        InputError: when the calibration or all sweeps are missing; at access, when a file is missing or malformed.
    """

    def __init__(self, path: Path, *, classes: ClassChoice | None = None) -> None:
        self._class_map = chosen_map("kitti", classes)
        self._root = path
        places = [path.parent / _CALIBRATION, path / _CALIBRATION]
        found = [place for place in places if place.is_file()]
        if not found:
            raise InputError(f"{path}", found="no calibration", wanted=f"{_CALIBRATION} beside or in the drive folder")
        self._calibration_path = found[0]
        self._keys = sorted(sweep.stem for sweep in (path / "velodyne_points" / "data").glob("*.bin"))
        if not self._keys:
            raise InputError(f"{path}", found="no sweeps", wanted="velodyne_points/data/*.bin")

    @property
    def class_names(self) -> tuple[str, ...]:
        """Classes of the class map, though nothing is labeled."""
        return self._class_map.class_names

    @property
    def fingerprint(self) -> str:
        """SHA-256 over sweeps' and images' names and sizes and the calibration."""
        bulky = [path for key in self._keys for path in (self._sweep_path(key), self._image_path(key))]
        return fingerprint(self._calibration_path.parent, bulky, [self._calibration_path])

    @property
    def rig(self) -> Rig:
        """The drive's rig."""
        calibration = parse_calibration(read_text(self._calibration_path), f"{self._calibration_path}")
        return kitti_rig(calibration, self._image_path(self._keys[0]))

    def __len__(self) -> int:
        return len(self._keys)

    def place(self, index: int) -> Place:
        """All frames are of one drive, the folder."""
        return Place(self._root.name, int(self._keys[index]) * _PERIOD_NS)

    def __getitem__(self, index: int) -> Sample:
        """The frame, without labels."""
        key = self._keys[index]
        stamp_ns = int(key) * _PERIOD_NS
        cloud = PointCloud(read_float_records(self._sweep_path(key), 4), stamp_ns, LIDAR)
        images = ImageFiles({CAMERA: ImageFile(self._image_path(key), stamp_ns, CAMERA)})
        return Sample(key, Frame(stamp_ns, {LIDAR: cloud}, images), self.rig, None, {})

    def _sweep_path(self, key: str) -> Path:
        return self._root / "velodyne_points" / "data" / f"{key}.bin"

    def _image_path(self, key: str) -> Path:
        return self._root / "image_02" / "data" / f"{key}.png"
