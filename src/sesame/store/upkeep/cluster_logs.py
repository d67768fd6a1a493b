"""A cluster's logs in its bucket: checks them against their rows, and adds them to a copy of a node's files.

Used by checks of a bucket and by backups. Only the leader has all lines, some time after it became the leader.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa

from sesame.store import outbox
from sesame.store.logs.file import LogWriter
from sesame.store.logs.logstores import bucket_groups
from sesame.store.logs.logstores.bucket_groups import GroupSegment
from sesame.store.logs.logstores.shared import LogService, log_service_of, with_log_service
from sesame.store.logs.shared import group_index, index, progress
from sesame.store.logs.shared.sealing import Sealing
from sesame.store.logs.shared.segment import Damaged, Ranges, Segment, opened
from sesame.store.sql import sqlite_file
from sesame.store.sql.backends import backend_of
from sesame.store.sql.cluster_schema import cluster_leadership
from sesame.store.upkeep.contents import BucketContents
from sesame.store.upkeep.damage import Checked, Damage
from sesame.store.upkeep.inventory import DataPaths

# POLICY: the leader uploads logs every 5 s. One that has recorded nothing for this time is dead or unable to upload.
BROUGHT_WITHIN_S, LOOKS_EVERY_S = 30.0, 0.25
# The first reading of a recorded time, and two changes since.
TOLD_TIMES = 3
pause = time.sleep
LOST = "nodes that have its lines keep them; others show a note in their place until they are too old"


class Brought(NamedTuple):
    """`until`: earlier logs are in the bucket, or in the node's own file (Unix seconds by the leader's clock; 0 if
    never recorded). `late`: the leader has uploaded none since the call, or there is no leader.
    """

    until: float
    late: bool


class Rows(NamedTuple):
    """`on_the_way`: digests of objects that have no row yet, or no longer have one."""

    lines: list[Segment]
    groups: list[GroupSegment]
    service: LogService | None
    on_the_way: frozenset[str]

    @property
    def segments(self) -> list[Segment | GroupSegment]:
        return [*self.lines, *self.groups]

    @property
    def digests(self) -> set[str]:
        return {each.digest for each in self.segments} | self.on_the_way


def read_rows(paths: DataPaths) -> Rows:
    """Raises `ConfigurationError` if the database cannot be read."""
    return backend_of(paths.database).follow(_rows)


def _rows(connection: sa.Connection) -> Rows:
    lines = [each.segment for each in index.segments_of(connection)]
    groups = [each.segment for each in group_index.segments_of(connection)]
    topics = (outbox.SEGMENT_ANNOUNCED, outbox.SEGMENT_REMOVED)
    on_the_way = frozenset(entry.subject for topic in topics for entry in outbox.pending(connection, topic))
    return Rows(lines, groups, log_service_of(connection), on_the_way)


def check_logs(paths: DataPaths, contents: BucketContents, rows: Rows, checked: Checked) -> Iterator[Damage]:
    """Checks that each segment with a row exists and is unchanged."""
    doubtful: list[tuple[Segment | GroupSegment, str]] = []
    for each in rows.segments:
        checked.log_segments += 1
        if what := _damage(contents, each):
            doubtful.append((each, what))
    # Other nodes may have deleted or merged some since the rows were read.
    there = read_rows(paths).digests if doubtful else set()
    names = rows.service.names if doubtful and rows.service is not None else {}
    for each, what in doubtful:
        if each.digest in there:
            holds = _described(each, names)
            yield Damage(f"segment {each.digest} of logs in {contents.shown}, with {holds}: {what}", LOST)


def _damage(contents: BucketContents, segment: Segment | GroupSegment) -> str:
    data = contents.log_segment(segment.digest)
    if data is None:
        return "it is not in the bucket"
    try:
        if isinstance(segment, Segment):
            opened(segment.digest, data)
        else:
            bucket_groups.opened(segment, data)
    except Damaged as damage:
        return str(damage)
    return ""


def _described(segment: Segment | GroupSegment, names: Mapping[int, str]) -> str:
    """Describes a segment; `names` are those of logstores, by number."""
    if isinstance(segment, Segment):
        of = ", ".join("/".join(filter(None, owner)) for owner in segment.owners)
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(segment.first_ms / 1000))
        return f"lines of {of} from {at} on"
    known = sorted({names.get(part.logstore, "a logstore that is gone") for part in segment.parts})
    return f"logs of {', '.join(known)}"


def add_missing(paths: DataPaths, contents: BucketContents, logs: Path, logstores: Path) -> list[str]:
    """Adds the bucket's logs to copies of a node's files; returns descriptions of lost segments.

    Creates the files if they do not exist and the cluster has logs.
    """
    lost: list[str] = []
    # Segments missing at the first pass may have been deleted or merged meanwhile, so the second reads the rows again.
    for last in (False, True):
        rows = read_rows(paths)
        if rows.lines:
            lost += _add_lines(contents, rows.lines, logs, last=last)
        if rows.service is not None:
            lost += _add_groups(contents, rows.groups, rows.service, logstores, last=last)
    return lost


def until_brought(paths: DataPaths) -> Brought | None:
    """Waits until the leader has uploaded the logs that it had when this was called.

    Returns at once if this node is the leader or there is none, and after a time limit if the leader uploads nothing.
    Returns None outside a cluster.
    """
    backend = backend_of(paths.database)
    seen = backend.follow(_progress)
    if not seen.epoch:
        return None
    if seen.leader and seen.leader == paths.standing().node:
        # Logs that this node has not uploaded are in its own file.
        return Brought(time.time(), late=False)
    told = [[each] for each in seen.told]
    ends_at = time.monotonic() + BROUGHT_WITHIN_S
    # The first recorded time after the call may belong to an upload that started before; the next ones do not.
    while seen.leader and not all(len(each) >= TOLD_TIMES for each in told):
        if time.monotonic() >= ends_at:
            break
        pause(LOOKS_EVERY_S)
        seen = backend.follow(_progress)
        for each, now in zip(told, seen.told, strict=True):
            if now != each[-1]:
                each.append(now)
    return Brought(min(seen.told), late=not all(len(each) >= TOLD_TIMES for each in told))


class _Progress(NamedTuple):
    """`leader` is "" if there is none; `epoch` is 0 if there never was one."""

    epoch: int
    leader: str
    told: tuple[float, float]


def _progress(connection: sa.Connection) -> _Progress:
    row = connection.execute(sa.select(cluster_leadership.c.epoch, cluster_leadership.c.node)).first()
    epoch, leader = (0, "") if row is None else row
    return _Progress(epoch, leader, progress.brought(connection))


def _add_lines(contents: BucketContents, segments: list[Segment], path: Path, *, last: bool) -> Iterator[str]:
    writer = LogWriter(path)
    writer.open()
    with closing(writer):
        sealing = Sealing(writer)
        here = Ranges(sealing.here())
        for each in segments:
            if each.ids in here:
                continue
            data = contents.log_segment(each.digest)
            if (data is not None or last) and (problem := sealing.take(each, data)):
                yield f"segment {each.digest} of lines of functions: {problem}"


def _add_groups(
    contents: BucketContents, segments: list[GroupSegment], service: LogService, path: Path, *, last: bool
) -> Iterator[str]:
    with closing(with_log_service(path, service)) as db:
        with sqlite_file.transaction(db):
            bucket_groups.begin(db)
            here = bucket_groups.here(db)
        # Zero keeps everything: the Sesame that starts with the copy deletes logs that are too old.
        names = service.names
        everything = dict.fromkeys(names, 0)
        for each in segments:
            if bucket_groups.is_here(each, here):
                continue
            data = contents.log_segment(each.digest)
            if data is None and not last:
                continue
            with sqlite_file.transaction(db):
                problem = bucket_groups.take(db, each, data, everything)
            if problem:
                yield f"segment {each.digest} of {_described(each, names)}: {problem}"
