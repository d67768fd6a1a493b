"""The state under a qualifier: the current state, or a version as it was published.

Called by all modules of `control` that read services and functions. The engine decides where a canary sends a
call.
"""

from typing import Protocol

import msgspec

from sesame.control.inputs import Listing, Page
from sesame.control.listing import page_of
from sesame.model import limits, records
from sesame.model.errors import NotFound
from sesame.model.records import Record
from sesame.model.version import Version, frozen_parent
from sesame.store.catalog import Catalog


class Reads(Protocol):
    """The catalog, or an edit of it."""

    def get(self, kind: str, parent: str, name: str) -> Record | None: ...


def existing(reads: Reads, owner: str) -> Record:
    """The owner's current state. Raises `NotFound`."""
    record = reads.get(records.SERVICE, "", owner)
    if record is None:
        raise NotFound(records.SERVICE, owner)
    return record


def version_of(reads: Reads, owner: str, qualifier: str) -> Record | None:
    """The version of a qualifier, also through an alias; None for the current state. Raises `NotFound`."""
    if qualifier in ("", limits.LATEST):
        return None
    version_id = qualifier
    if not qualifier.isdecimal():
        alias = reads.get(records.ALIAS, owner, qualifier)
        if alias is None:
            raise NotFound(records.ALIAS, qualifier, (owner,))
        version_id = alias.document.version_id
    version = reads.get(records.VERSION, owner, version_id)
    if version is None:
        raise NotFound(records.VERSION, version_id, (owner,))
    return version


def service_view(reads: Reads, owner: str, qualifier: str = "") -> Record:
    """Under a version or alias: the owner as published, with the version's description. Raises `NotFound`."""
    present = existing(reads, owner)
    version = version_of(reads, owner, qualifier)
    if version is None:
        return present
    published: Version = version.document
    document = msgspec.structs.replace(published.service, description=published.description)
    return msgspec.structs.replace(version, kind=records.SERVICE, parent="", name=owner, document=document)


def function_view(reads: Reads, owner: str, function: str, qualifier: str = "") -> Record:
    """A function of the owner. Raises `NotFound` if owner, version or function does not exist."""
    existing(reads, owner)
    version = version_of(reads, owner, qualifier)
    if version is None:
        record = reads.get(records.FUNCTION, owner, function)
    else:
        record = reads.get(records.FROZEN_FUNCTION, frozen_parent(owner, version.name), function)
    if record is None:
        raise NotFound(records.FUNCTION, function, (owner,))
    return record if version is None else _thawed(owner, record)


def functions_view(catalog: Catalog, owner: str, wanted: Listing, qualifier: str = "") -> Page:
    """A page of the functions of an owner. Raises `NotFound`."""
    existing(catalog, owner)
    version = version_of(catalog, owner, qualifier)
    if version is None:
        return page_of(catalog, records.FUNCTION, owner, wanted)
    page = page_of(catalog, records.FROZEN_FUNCTION, frozen_parent(owner, version.name), wanted)
    return Page(tuple(_thawed(owner, record) for record in page.items), page.next_token)


def _thawed(owner: str, record: Record) -> Record:
    """The function's own record as it was when the version was published."""
    frozen = record.document
    return Record(
        kind=records.FUNCTION,
        parent=owner,
        name=record.name,
        document=frozen.function,
        etag=frozen.etag,
        created_at=frozen.created_at,
        modified_at=frozen.modified_at,
    )
