"""Bags and data sets in the paths a user names: what they are, what they hold, and how they are cut into units."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from understudy.configuration import Config
from understudy.datasets.opening import KINDS, open_dataset
from understudy.errors import InputError, UnderstudyError
from understudy.fleet.plan import FleetSettings, ModelIdentity, Plan, Source, Unit, unit_of
from understudy.progress import Track, silent
from understudy.rig import Rig, read_rig

METADATA, RIG_FILE = "metadata.yaml", "rig.yaml"
_STORAGES = (".mcap", ".db3")
_ENDS_BYTES = 1 << 16
_NAME_HASH = 8


class Planned(Config):
    """A plan with the rigs that its sources name by hash."""

    plan: Plan
    rigs: dict[str, Rig]


def make_plan(
    paths: Sequence[Path],
    model: ModelIdentity,
    settings: FleetSettings,
    rig: Rig | None = None,
    *,
    track: Track = silent,
) -> Planned:
    """Finds bags and data sets, reads their metadata and cuts them into units. Reads no message.

    Args:
        paths: bags, data sets, or folders with bags somewhere below.
        model: what will be run.
        settings: how.
        rig: of every bag; None takes the `rig.yaml` beside each bag's metadata.
        track: progress over the sources.

    Raises:
        InputError: when a path holds nothing, the same bag comes twice, or no source at all can be opened.
    """
    found = [place for path in paths for place in _places(path)]
    rigs = {} if rig is None else {rig.hash: rig}
    sources: dict[str, Source] = {}
    units: list[Unit] = []
    for path in track(list(dict.fromkeys(found)), "planning", len(set(found))):
        source, slices = _bag(path, settings, rig, rigs) if _is_bag(path) else _dataset(path, settings)
        _refuse_twice(source, sources)
        sources[source.name] = source
        units += [unit_of(model, settings, source, first, after) for first, after in slices]
    _refuse_if_all_fail(list(sources.values()))
    plan = Plan(model=model, settings=settings, sources=tuple(sources.values()), units=tuple(units))
    return Planned(plan=plan, rigs=rigs)


def bag_identity(path: Path) -> str:
    """SHA-256 that changes when a bag does, without reading all of it.

    Over its name, the contents of `metadata.yaml`, and of each storage file name, size and first and last 64 KiB: an
    MCAP ends with its statistics and index, a sqlite3 file begins with a counter of its changes.

    Raises:
        InputError: when a file cannot be read.
    """
    digest = hashlib.sha256(f"{path.name}\n".encode())
    try:
        if path.is_dir():
            digest.update(hashlib.sha256((path / METADATA).read_bytes()).digest())
        for file in _storage_files(path):
            digest.update(f"{file.name} {file.stat().st_size}\n".encode() + _ends(file))
    except OSError as error:
        raise InputError(f"{error.filename or path}", found=error.strerror, wanted="a bag that can be read") from error
    return digest.hexdigest()


def identity_of(source: Source, split: str | None) -> str:
    """The identity as it is on disk now."""
    path = Path(source.path)
    return bag_identity(path) if source.kind == "bag" else open_dataset(path, split).fingerprint


def _storage_files(path: Path) -> list[Path]:
    """The storage files of a bag folder, compressed ones too, or the file itself."""
    if path.is_file():
        return [path]
    return sorted(entry for entry in path.iterdir() if set(entry.suffixes) & set(_STORAGES))


def _ends(file: Path) -> bytes:
    with file.open("rb") as stream:
        head = stream.read(_ENDS_BYTES)
        stream.seek(max(0, file.stat().st_size - _ENDS_BYTES))
        return hashlib.sha256(head + stream.read(_ENDS_BYTES)).digest()


def _is_bag(path: Path) -> bool:
    return (path / METADATA).is_file() or (path.is_file() and path.suffix in _STORAGES)


def _places(path: Path) -> Iterator[Path]:
    path = path.resolve()
    if _is_bag(path) or (path.is_dir() and any(kind.recognizes(path) for kind in KINDS)):
        yield path
        return
    bags = _bags_below(path) if path.is_dir() else []
    if not bags:
        found = "nothing there" if not path.exists() else "no bag and no data set"
        raise InputError(f"{path}", found=found, wanted="a bag, a data set, or a folder with bags below")
    yield from bags


def _bags_below(folder: Path) -> list[Path]:
    folders = {entry.parent for entry in folder.rglob(METADATA) if not _is_hidden(entry, folder)}
    files = [file for ending in _STORAGES for file in folder.rglob(f"*{ending}") if not _is_hidden(file, folder)]
    return sorted(folders | {file for file in files if file.parent not in folders})


def _is_hidden(path: Path, below: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(below).parts)


def _bag(
    path: Path, settings: FleetSettings, rig: Rig | None, rigs: dict[str, Rig]
) -> tuple[Source, list[tuple[int | None, int | None]]]:
    """The source and its slices; a bag that cannot be opened is one slice that will fail."""
    from understudy.bags.reader import BagReader
    from understudy.replay.sources import POINTS_TYPE
    from understudy.topics import points_topic

    identity = bag_identity(path)
    source = Source(name=_name(path, identity), kind="bag", path=str(path), identity=identity)
    try:
        rig = rig or _rig_beside(path, rigs)
        lidar, _ = rig.lidar(settings.lidar)
        with BagReader(path) as reader:
            topic = reader.topic_of(POINTS_TYPE, name=settings.topic, preferred=points_topic(lidar))
            source = source.model_copy(update={"topic": topic.name, "rig": rig.hash, "num_sweeps": topic.num_messages})
            num_slices = -(-topic.num_messages // settings.sweeps_per_unit)
            return source, _time_slices(reader.start_ns, reader.end_ns, num_slices)
    except UnderstudyError as error:
        return source.model_copy(update={"problem": str(error)}), [(None, None)]


def _rig_beside(path: Path, rigs: dict[str, Rig]) -> Rig:
    file = (path if path.is_dir() else path.parent) / RIG_FILE
    if not file.is_file():
        raise InputError(f"bag {path}", found=f"no {RIG_FILE} in it", wanted="a rig", remedy="say --rig RIG.yaml")
    rig = read_rig(file)
    return rigs.setdefault(rig.hash, rig)


def _time_slices(start_ns: int, end_ns: int, num_slices: int) -> list[tuple[int | None, int | None]]:
    """Slices of equal time; the outer ends are open, so that no message can lie outside."""
    cuts = [start_ns + (end_ns - start_ns) * number // num_slices for number in range(1, num_slices)]
    return list(zip([None, *cuts], [*cuts, None], strict=True))


def _dataset(path: Path, settings: FleetSettings) -> tuple[Source, list[tuple[int | None, int | None]]]:
    dataset = open_dataset(path, settings.split)
    identity = dataset.fingerprint
    source = Source(
        name=_name(path, identity), kind="dataset", path=str(path), identity=identity, num_sweeps=len(dataset)
    )
    step = settings.sweeps_per_unit
    return source, [(first, min(first + step, len(dataset))) for first in range(0, len(dataset), step)]


def _name(path: Path, identity: str) -> str:
    return f"{re.sub(r'[^A-Za-z0-9_.-]', '_', path.stem)}-{identity[:_NAME_HASH]}"


def _refuse_twice(source: Source, earlier: Mapping[str, Source]) -> None:
    if source.name in earlier:
        found = f"the same contents as {earlier[source.name].path}"
        raise InputError(source.path, found=found, wanted="each bag once", remedy="leave one of them out")


def _refuse_if_all_fail(sources: Sequence[Source]) -> None:
    problems = [source.problem for source in sources if source.problem]
    if problems and len(problems) == len(sources):
        raise InputError(f"none of {len(sources)} sources can be opened; the first: {problems[0]}")
