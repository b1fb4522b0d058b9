"""Faults of what is in a message."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from understudy.faults.drafts import CloudDraft, PictureDraft, Sent
from understudy.faults.fault import Fault, Situation, span_of
from understudy.faults.stream_faults import SURE_SHARE
from understudy.images import decode_image, encode_jpeg
from understudy.messages.cloud_layouts import LAYOUTS, CloudLayout

_WITHOUT_X = CloudLayout((("y", "f4", 4), ("z", "f4", 8), ("intensity", "f4", 12)), point_step=16)
_WRONG_FRAME = "somewhere_else"


@dataclass(frozen=True, kw_only=True)
class ContentFault(Fault):
    """Some or all messages hold something else than they should."""

    share: float = 1.0

    def alter(self, sent: list[Sent], rng: np.random.Generator) -> list[Sent]:
        """The messages, some of them changed."""
        return [self.changed(one, rng) if rng.random() < self.share else one for one in sent]

    def changed(self, sent: Sent, rng: np.random.Generator) -> Sent:
        """One message with the fault in it."""
        raise NotImplementedError


def _drawn_share(rng: np.random.Generator) -> float:
    return 1.0 if rng.random() < 0.75 else float(rng.uniform(0.2, 0.8))


def _cloud(sent: Sent) -> CloudDraft:
    assert isinstance(sent.draft, CloudDraft), sent.sensor
    return sent.draft


def _picture(sent: Sent) -> PictureDraft:
    assert isinstance(sent.draft, PictureDraft), sent.sensor
    return sent.draft


@dataclass(frozen=True, kw_only=True)
class NanPoints(ContentFault):
    """Points without coordinates: a few, as organized clouds have, or all of them."""

    kind, on = "nan_points", "lidar"
    value = float("nan")
    points_share: float = 1.0

    @classmethod
    def draw(cls, rng: np.random.Generator, where: Situation) -> NanPoints:
        """All points in half of the cases; only then is the cloud useless."""
        everything = rng.random() < 0.5
        points_share = 1.0 if everything else float(rng.uniform(0.05, 0.6))
        return cls(target=where.target, **span_of(where), points_share=points_share, must_be_named=everything)

    def changed(self, sent: Sent, rng: np.random.Generator) -> Sent:
        """Some of its points, or all."""
        points = _cloud(sent).points.copy()
        points[rng.random(len(points)) < self.points_share, :3] = self.value
        return sent.drafted(points=points)


@dataclass(frozen=True, kw_only=True)
class InfinitePoints(NanPoints):
    """Points that are infinitely far."""

    kind, on = "infinite_points", "lidar"
    value = float("inf")


@dataclass(frozen=True, kw_only=True)
class EmptyCloud(ContentFault):
    """Clouds without a point."""

    kind, on = "empty_cloud", "lidar"

    @classmethod
    def draw(cls, rng: np.random.Generator, where: Situation) -> EmptyCloud:
        """Some of them or all."""
        share = _drawn_share(rng)
        return cls(target=where.target, **span_of(where), share=share, must_be_named=share >= SURE_SHARE)

    def changed(self, sent: Sent, rng: np.random.Generator) -> Sent:
        """No points."""
        return sent.drafted(points=_cloud(sent).points[:0])


@dataclass(frozen=True, kw_only=True)
class TruncatedCloud(ContentFault):
    """Clouds whose bytes are fewer than their header says."""

    kind, on = "truncated_cloud", "lidar"

    @classmethod
    def draw(cls, rng: np.random.Generator, where: Situation) -> TruncatedCloud:
        """Some of them or all."""
        share = _drawn_share(rng)
        return cls(target=where.target, **span_of(where), share=share, must_be_named=share >= SURE_SHARE)

    def changed(self, sent: Sent, rng: np.random.Generator) -> Sent:
        """Cut anywhere."""
        return sent.drafted(kept=float(rng.uniform(0.0, 0.99)))


@dataclass(frozen=True, kw_only=True)
class WrongFrameId(ContentFault):
    """Messages that say they come from another sensor."""

    kind, on = "wrong_frame_id", "any"

    @classmethod
    def draw(cls, rng: np.random.Generator, where: Situation) -> WrongFrameId:
        """Some of them or all."""
        share = _drawn_share(rng)
        return cls(target=where.target, **span_of(where), share=share, must_be_named=share >= SURE_SHARE)

    def changed(self, sent: Sent, rng: np.random.Generator) -> Sent:
        """Another frame id."""
        return sent.drafted(frame_id=_WRONG_FRAME)


@dataclass(frozen=True, kw_only=True)
class ChangedLayout(ContentFault):
    """The fields of the points change while the stream runs: to others that can be read, or to some without x."""

    kind, on = "changed_layout", "lidar"
    layout: Literal["shuffled", "without_x"]

    @classmethod
    def draw(cls, rng: np.random.Generator, where: Situation) -> ChangedLayout:
        """What can be read must be read."""
        readable = rng.random() < 0.5
        layout: Literal["shuffled", "without_x"] = "shuffled" if readable else "without_x"
        return cls(target=where.target, **span_of(where), layout=layout, must_be_named=not readable)

    def changed(self, sent: Sent, rng: np.random.Generator) -> Sent:
        """Other fields; intensities in the scale that the rig says."""
        shuffled = replace(LAYOUTS["shuffled"], full_intensity=None)
        return sent.drafted(layout=shuffled if self.layout == "shuffled" else _WITHOUT_X)


@dataclass(frozen=True, kw_only=True)
class ChangedResolution(ContentFault):
    """Pictures of another size than the rig's camera has."""

    kind, on = "changed_resolution", "camera"

    @classmethod
    def draw(cls, rng: np.random.Generator, where: Situation) -> ChangedResolution:
        """All of them."""
        return cls(target=where.target, **span_of(where))

    def changed(self, sent: Sent, rng: np.random.Generator) -> Sent:
        """Half of the size."""
        pixels = decode_image(_picture(sent).jpeg.tobytes())
        return sent.drafted(jpeg=np.frombuffer(encode_jpeg(pixels[::2, ::2]), np.uint8))


@dataclass(frozen=True, kw_only=True)
class CorruptJpeg(ContentFault):
    """Pictures that cannot be decoded: cut, overwritten, empty."""

    kind, on = "corrupt_jpeg", "camera"

    @classmethod
    def draw(cls, rng: np.random.Generator, where: Situation) -> CorruptJpeg:
        """Some of them or all."""
        share = _drawn_share(rng)
        return cls(target=where.target, **span_of(where), share=share, must_be_named=share >= SURE_SHARE)

    def changed(self, sent: Sent, rng: np.random.Generator) -> Sent:
        """Cut within its header, of noise, or empty."""
        jpeg = _picture(sent).jpeg
        noise = rng.integers(0, 256, 200, dtype=np.uint8)
        ways = (jpeg[: int(rng.integers(2, 100))], noise, jpeg[:0])
        return sent.drafted(jpeg=ways[int(rng.integers(len(ways)))])
