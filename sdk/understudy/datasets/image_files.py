"""Pictures of a frame that are read only when someone looks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from understudy.errors import InputError
from understudy.frame import Image
from understudy.images import read_image


@dataclass(frozen=True)
class ImageFile:
    """A picture on disk with what its file does not say."""

    path: Path
    stamp_ns: int
    frame_id: str


class ImageFiles(Mapping[str, Image]):
    """Images by camera name, decoded at each access; a LiDAR network never pays for them.

    Raises:
        InputError: at birth, when a file is missing; at access, when it is not a picture.
    """

    def __init__(self, files: Mapping[str, ImageFile]) -> None:
        missing = [file.path for file in files.values() if not file.path.is_file()]
        if missing:
            raise InputError(f"{missing[0]}", found="no such file", wanted="the frame's image")
        self._files = dict(files)

    def __getitem__(self, name: str) -> Image:
        """The picture, read now."""
        file = self._files[name]
        return Image(read_image(file.path), file.stamp_ns, file.frame_id)

    def file(self, name: str) -> ImageFile:
        """The picture's place on disk, for whoever copies it byte for byte."""
        return self._files[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)
