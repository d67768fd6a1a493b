"""What a caller sees under a qualifier: the present state, or a version as it was published.

Called by everything in `control` that reads services and functions. Where a canary sends a call is decided by the
engine.
"""

from typing import Protocol

import msgspec

from sesame.control.inputs import Listing, Page
from sesame.control.listing import page_of
from sesame.model import limits, records
from sesame.model.errors import NotFound
from sesame.model.owner import VersionOwner
from sesame.model.records import Record
from sesame.model.version import Version, frozen_parent
from sesame.store.catalog import Catalog


class Reads(Protocol):
    """The catalog, or an edit of it."""

    def get(self, kind: str, parent: str, name: str) -> Record | None: ...


def existing(reads: Reads, owner: VersionOwner) -> Record:
    """The owner in its present state. Raises `NotFound`."""
    record = reads.get(owner.kind, "", owner.name)
    if record is None:
        raise NotFound(owner.kind, owner.name)
    return record


def version_of(reads: Reads, owner: VersionOwner, qualifier: str) -> Record | None:
    """The version that the qualifier means, through an alias too; None for the present state. Raises `NotFound`."""
    if qualifier in ("", limits.LATEST):
        return None
    version_id = qualifier
    if not qualifier.isdecimal():
        alias = reads.get(records.ALIAS, owner.key, qualifier)
        if alias is None:
            raise NotFound(records.ALIAS, qualifier, (owner.name,))
        version_id = alias.document.version_id
    version = reads.get(records.VERSION, owner.key, version_id)
    if version is None:
        raise NotFound(records.VERSION, version_id, (owner.name,))
    return version


def owned_function(reads: Reads, owner: VersionOwner, function: str, qualifier: str = "") -> Record:
    """A function of the owner, or the owner itself. Raises `NotFound` for what is not there of the three."""
    existing(reads, owner)
    version = version_of(reads, owner, qualifier)
    if version is None:
        record = reads.get(records.FUNCTION, owner.functions, function)
    else:
        record = reads.get(records.FROZEN_FUNCTION, frozen_parent(owner.key, version.name), function)
    if record is None:
        raise NotFound(records.FUNCTION, function, (owner.name,))
    return record if version is None else _thawed(owner, record)


def service_view(catalog: Catalog, service: str, qualifier: str = "") -> Record:
    """Under a version or alias: the service as published, with the version's description. Raises `NotFound`."""
    owner = VersionOwner.service(service)
    present = existing(catalog, owner)
    version = version_of(catalog, owner, qualifier)
    if version is None:
        return present
    published: Version = version.document
    assert published.service is not None, "versions of a service hold it"
    document = msgspec.structs.replace(published.service, description=published.description)
    return msgspec.structs.replace(version, kind=records.SERVICE, parent="", name=service, document=document)


def function_view(catalog: Catalog, service: str, function: str, qualifier: str = "") -> Record:
    """A function of a service. Raises `NotFound`."""
    return owned_function(catalog, VersionOwner.service(service), function, qualifier)


def functions_view(catalog: Catalog, service: str, wanted: Listing, qualifier: str = "") -> Page:
    """A page of the functions of a service. Raises `NotFound`."""
    owner = VersionOwner.service(service)
    existing(catalog, owner)
    version = version_of(catalog, owner, qualifier)
    if version is None:
        return page_of(catalog, records.FUNCTION, owner.functions, wanted)
    page = page_of(catalog, records.FROZEN_FUNCTION, frozen_parent(owner.key, version.name), wanted)
    return Page(tuple(_thawed(owner, record) for record in page.items), page.next_token)


def _thawed(owner: VersionOwner, record: Record) -> Record:
    """The function's own record as it was when the version was published."""
    frozen = record.document
    return Record(
        kind=records.FUNCTION,
        parent=owner.functions,
        name=record.name,
        document=frozen.function,
        etag=frozen.etag,
        created_at=frozen.created_at,
        modified_at=frozen.modified_at,
    )
