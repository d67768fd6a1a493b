"""Answers that are the same in every API version, and their common time format.

Used by the modules that build the answers of one version or of those with services (reference/api.md §3.4, §3.6).
"""

import msgspec

from sesame.model import utc
from sesame.model.records import Record
from sesame.model.version import Version


class CodeAnswer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    url: str
    checksum: str


class VersionAnswer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    version_id: str
    description: str
    created_time: str
    last_modified_time: str


class LayerCode(msgspec.Struct, frozen=True, rename="camel"):
    repository_type: str
    location: str


class VpcIds(msgspec.Struct, frozen=True, rename="camel"):
    vpc_ids: tuple[str, ...]


def version(record: Record) -> VersionAnswer:
    document: Version = record.document
    return VersionAnswer(version_id=document.version_id, description=document.description, **times(record))


def time(unix_s: float) -> str:
    """For example `2020-04-08T08:00:15Z`: times in the APIs have no fractions."""
    return utc.text_of(unix_s)


def times(record: Record) -> dict[str, str]:
    return {"created_time": time(record.created_at), "last_modified_time": time(record.modified_at)}
