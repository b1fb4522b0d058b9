"""`understudy dataset from-bag`: a customer's recordings as a data set that trains, evaluates and is checked."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from understudy.bags.reader import BagReader
from understudy.configuration import file_sha256
from understudy.datasets.recorded import DriveEntry, Provenance, Split, is_recorded, read_description
from understudy.datasets.recorded_writer import DriveWriter, refuse_occupied
from understudy.engines.model import open_model
from understudy.errors import BagError, InputError
from understudy.evaluation import at_score_threshold
from understudy.fleet.plan import identify_model
from understudy.pipeline import Pipeline
from understudy.progress import Track, silent
from understudy_training.data.from_bag_drive import DriveRun
from understudy_training.data.from_bag_facts import (
    CLOUD_TYPE,
    COMPRESSED_TYPE,
    RAW_TYPE,
    BagFacts,
    read_facts,
    topics_by_type,
)
from understudy_training.data.from_bag_labels import RecordedLabels
from understudy_training.data.from_bag_poses import EgoPoses
from understudy_training.data.from_bag_settings import NONE, FromBagSettings
from understudy_training.data.from_bag_sources import Sources, find_sources, rig_beside
from understudy_training.data.from_bag_summary import DriveSummary
from understudy_training.data.pseudo_labels import Annotator, PseudoRules

_STORAGES = (".mcap", ".db3", ".zstd")


@dataclass(frozen=True)
class Job:
    """What is to be made, and of what.

    Attributes:
        bags: folders or storage files; each becomes a drive.
        out: folder of the data set.
        settings: topics, key frames, sweeps.
        rig: rig file; None takes the one in the bag's folder, else the bag's transforms and calibrations.
        drive: name of the drive, where there is one bag; its bag's name when empty.
        split: of every drive, unless `val_every` is given.
        val_every: every Nth drive of the data set is val, the others train; 0 for none.
        append: whether drives are added to a data set that is there.
        salvage: whether what a damaged bag gives before its damage is kept.
        teacher: bundle or training run that labels.
        rules: which of its boxes become labels.
        threads: of its engine.
    """

    bags: tuple[Path, ...]
    out: Path
    settings: FromBagSettings = field(default_factory=FromBagSettings)
    rig: Path | None = None
    drive: str = ""
    split: Split = "train"
    val_every: int = 0
    append: bool = False
    salvage: bool = False
    teacher: Path | None = None
    rules: PseudoRules = field(default_factory=PseudoRules)
    threads: int = 1

    def record(self) -> dict[str, Any]:
        """The settings that decide what is in every drive, as they are stored."""
        teacher = {} if self.teacher is None else {"rules": self.rules.model_dump(mode="json")}
        return self.settings.model_dump(mode="json", exclude_none=True) | teacher


def dataset_from_bags(job: Job, track: Track = silent) -> list[DriveSummary]:
    """Makes a data set of bags, or adds them to one.

    A new data set appears when all of its drives are whole. Until then they lie in a hidden folder beside it, where a
    second run with the same bags and settings goes on; drives that are there already with the same contents and
    settings are left as they are.

    Args:
        job: what is to be made.
        track: shows progress.

    Returns:
        What became of each bag.

    Raises:
        BagError: when a bag cannot be read, is damaged (unless `salvage`), or has no topic of the kind.
        GeometryError: when rig and bag do not fit.
        InputError: when something is at `out`, or an option cannot be.
        FrameError: when no sweep of a bag could be used.
    """
    names = _drive_names(job)
    _refuse_unfit(job, names)
    place = job.out if job.append and job.out.exists() else _partial(job.out)
    if place != job.out:
        _prepare_partial(place, job, names)
    summaries = []
    for bag, name in zip(job.bags, names, strict=True):
        summaries.append(_make_drive(job, bag, name, place, track))
    if place != job.out:
        refuse_occupied(job.out, "", append=False)
        place.rename(job.out)
    return summaries


def bag_sha256(bag: Path) -> str:
    """SHA-256 over a bag's storage files, by name."""
    files = [bag] if bag.is_file() else sorted(file for file in bag.iterdir() if file.suffix in _STORAGES)
    lines = [f"{file.name} {file_sha256(file)}" for file in files]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _make_drive(job: Job, bag: Path, name: str, place: Path, track: Track) -> DriveSummary:
    with BagReader(bag, salvage=job.salvage) as reader:
        split = _split(job, place, name)
        provenance = _provenance(job, bag)
        if there := _made_before(place, name, provenance):
            return DriveSummary(name, bag, there.split, damage=there.provenance.damage)
        facts = read_facts(reader, job.settings)
        sources = find_sources(reader, facts, job.rig, job.settings)
        poses = EgoPoses(facts, job.settings.base_frame, f"{bag}", use_transforms=job.settings.odometry_topic != NONE)
        labels = RecordedLabels(facts, job.settings.base_frame, f"{bag}")
        _refuse_unfit_bag(job, bag, poses, labels)
        with _annotator(job, sources) as annotator, DriveWriter(place, name, sources.rig) as writer:
            run = DriveRun(reader, sources, poses, labels, job.settings, writer, annotator)
            run.play(track)
            _refuse_failed(job, bag, writer, run, _damage(reader, run, facts), labels)
            summary = DriveSummary(
                drive=name,
                bag=bag,
                split=split,
                num_frames=writer.num_frames,
                counts=run.counts,
                rig=sources.rig_from,
                messages=run.messages(facts),
                unused_topics=_unused(reader, sources),
                reasons=dict(facts.reasons + run.counts.reasons + labels.reasons),
                damage=_damage(reader, run, facts),
                teacher=str(provenance.pseudo_labels.get("name", "")),
                judged=dict(annotator.counts) if annotator else {},
            )
            classes = annotator.class_names if annotator else labels.class_names
            writer.publish(_entry(summary, provenance, sources), classes)
    return summary


def _provenance(job: Job, bag: Path) -> Provenance:
    """What is known of a drive before it is made: all that decides what will be in it."""
    rig = job.rig or rig_beside(bag)
    return Provenance(
        source=f"{bag}",
        content_sha256=bag_sha256(bag),
        settings=job.record() | ({} if rig is None else {"rig": file_sha256(rig)}),
        pseudo_labels={} if job.teacher is None else _identity(job.teacher),
    )


def _entry(summary: DriveSummary, provenance: Provenance, sources: Sources) -> DriveEntry:
    counts: dict[str, dict[str, int]] = {}
    for (name, verdict), count in sorted(summary.judged.items()):
        counts.setdefault(name, {})[verdict] = count
    pseudo = provenance.pseudo_labels | ({"boxes": counts} if summary.teacher else {})
    changes = {
        "topics": {**sources.lidars, **sources.cameras},
        "messages": {topic: dict(row) for topic, row in summary.messages.items()},
        "damage": summary.damage,
        "pseudo_labels": pseudo,
    }
    return DriveEntry(
        name=summary.drive,
        split="val" if summary.split == "val" else "train",
        num_frames=summary.num_frames,
        labels="pseudo" if summary.teacher else "recorded" if summary.counts.labeled else "none",
        provenance=provenance.model_copy(update=changes),
    )


@contextmanager
def _annotator(job: Job, sources: Sources) -> Iterator[Annotator | None]:
    """The teacher behind the drive's rig, or None; its engine is closed after the drive."""
    if job.teacher is None:
        yield None
        return
    model = open_model(job.teacher, threads=job.threads)
    with model.engine:
        if model.contract.pictures is not None:
            found, wanted = "a network that looks at pictures", "one that looks at a LiDAR alone"
            remedy = "the scenes it is asked about again are changed clouds; understudy annotate takes the set instead"
            raise InputError(f"--teacher {job.teacher}", found=found, wanted=wanted, remedy=remedy)
        contract = at_score_threshold(model.contract, job.rules.detected_score)
        if contract.sweeps not in {1, job.settings.sweeps}:
            wanted = f"{contract.sweeps}, as {contract.name} was trained with"
            raise InputError(f"--sweeps with the teacher {job.teacher}", found=job.settings.sweeps, wanted=wanted)
        pipeline = Pipeline(contract, model.engine, sources.rig, lidar=sources.pivot, sweeps=contract.sweeps)
        yield Annotator(pipeline, sources.rig, contract.class_names, job.rules, contract.sweeps)


def _identity(teacher: Path) -> dict[str, Any]:
    found = identify_model(teacher, None)
    return {"teacher": f"{teacher}", "name": found.name, "precision": found.precision, "sha256": found.sha256}


def _split(job: Job, place: Path, name: str) -> Split:
    if not job.val_every:
        return job.split
    drives = [entry.name for entry in read_description(place).drives] if is_recorded(place) else []
    number = drives.index(name) if name in drives else len(drives)
    return "val" if (number + 1) % job.val_every == 0 else "train"


def _made_before(place: Path, name: str, provenance: Provenance) -> DriveEntry | None:
    """The drive when it is there, made of the same bag with the same settings; another of that name is refused."""
    if not is_recorded(place):
        return None
    for entry in read_description(place).drives:
        if entry.name != name:
            continue
        if _is_of(entry.provenance, provenance):
            return entry
        remedy = "name it with --drive, or make a new data set"
        found = f"one of that name, of {entry.provenance.source} with other contents or settings"
        raise InputError(f"{place}: drive {name}", found=found, remedy=remedy)
    return None


def _is_of(there: Provenance, wanted: Provenance) -> bool:
    """Whether a drive that is there is what would be made now."""
    same_teacher = there.pseudo_labels.get("sha256") == wanted.pseudo_labels.get("sha256")
    same = (there.content_sha256, there.settings) == (wanted.content_sha256, wanted.settings)
    return same and same_teacher


def _partial(out: Path) -> Path:
    """Where a new data set lies until all of its drives are whole."""
    return out.with_name(f".{out.name}.partial")


def _prepare_partial(place: Path, job: Job, names: Sequence[str]) -> None:
    """Goes on with what an interrupted run of the same job left; drops what another job left."""
    if not place.exists():
        return
    if not is_recorded(place):
        wanted = "what an interrupted run left"
        raise InputError(f"{place}", found="something else there", wanted=wanted, remedy="move it away")
    bags = dict(zip(names, job.bags, strict=True))
    for drive in read_description(place).drives:
        if drive.name not in bags or not _is_of(drive.provenance, _provenance(job, bags[drive.name])):
            shutil.rmtree(place)
            return


def _drive_names(job: Job) -> list[str]:
    if not job.bags:
        raise InputError("bags", found="none", wanted="at least one")
    if job.drive and len(job.bags) > 1:
        raise InputError("--drive", found=f"{len(job.bags)} bags", wanted="one bag with a name of its own")
    texts = (
        [job.drive] if job.drive else [bag.resolve().stem if bag.is_file() else bag.resolve().name for bag in job.bags]
    )
    names = [re.sub(r"[^\w.-]+", "_", text).lstrip(".-") or "drive" for text in texts]
    twins = [name for name, count in Counter(names).items() if count > 1]
    if twins:
        raise InputError("bags", found=f"several named {twins[0]}", wanted="one each", remedy="give them one by one")
    return names


def _refuse_unfit(job: Job, names: Sequence[str]) -> None:
    if job.val_every < 0 or job.val_every == 1:
        raise InputError("--val-every", found=job.val_every, wanted="2 or more, or 0")
    for name in names:
        if job.append and is_recorded(job.out):
            continue
        refuse_occupied(job.out, name, append=job.append)
    for bag in job.bags:
        if not bag.exists():
            raise BagError(f"bag {bag}", found="nothing there", remedy="check the path")
        source, target = bag.resolve(), job.out.resolve()
        if target in {source, *source.parents} or source in target.parents:
            raise InputError(f"{job.out}", found=f"the place of bag {bag}", wanted="another folder")


def _refuse_unfit_bag(job: Job, bag: Path, poses: EgoPoses, labels: RecordedLabels) -> None:
    """Raises InputError when what was asked for needs what the bag does not have."""
    wants = {
        "--sweeps": job.settings.sweeps > 1,
        "--min-motion": job.settings.min_motion_m > 0,
        "--teacher": job.teacher is not None,
    }
    for option, wanted in wants.items():
        if wanted and not poses.known:
            found = f"no odometry and no moving transform of {job.settings.base_frame}"
            remedy = "record one of them, or leave the option out"
            raise InputError(f"{option}: bag {bag}", found=found, wanted="poses of the ego", remedy=remedy)
    if job.teacher is not None and len(labels):
        remedy = "say --labels-topic none to take the teacher's instead"
        raise InputError(f"--teacher: bag {bag}", found=f"{len(labels)} recorded labels", remedy=remedy)


def _damage(reader: BagReader, run: DriveRun, facts: BagFacts) -> str:
    """What is wrong with the bag, in a line; empty when nothing is."""
    return (reader.salvage.text if reader.salvage else "") or run.damage or facts.damage


def _refuse_failed(
    job: Job, bag: Path, writer: DriveWriter, run: DriveRun, damage: str, labels: RecordedLabels
) -> None:
    if damage and not job.salvage:
        remedy = f"{writer.num_frames} frames lie before the damage; keep them with --salvage"
        raise BagError(damage, remedy=remedy)
    if not writer.num_frames:
        reason = damage or next(iter(run.counts.reasons), "no sweep, or none with the cameras that are required")
        raise BagError(f"bag {bag}: no frame could be made", found=reason)
    if len(labels) and not run.counts.labeled:
        remedy = "their header stamps have to be those of the sweeps; or say --labels-topic none"
        raise BagError(f"bag {bag}: {len(labels)} labels", found="none at the stamp of a key frame", remedy=remedy)


def _unused(reader: BagReader, sources: Sources) -> tuple[str, ...]:
    by_type = topics_by_type(reader)
    offered = [*by_type[CLOUD_TYPE], *by_type[COMPRESSED_TYPE], *by_type[RAW_TYPE]]
    return tuple(topic for topic in offered if topic not in sources.sensor_of)
