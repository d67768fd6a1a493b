"""What a caller sees under a qualifier: the present state, or a version as it was published.

Called by everything in this room that reads services and functions.
Never changes anything, and never decides where a canary goes: that is the engine's.
"""

import msgspec

from sesame.control.inputs import Listing, Page
from sesame.control.listing import page_of
from sesame.model import limits, records
from sesame.model.errors import NotFound
from sesame.model.records import Record
from sesame.model.version import frozen_parent
from sesame.store.catalog import Catalog


def service_view(catalog: Catalog, service: str, qualifier: str = "") -> Record:
    """Under a version or alias: the service as published, with the version's description.

    Raises `NotFound`.
    """
    present = catalog.get(records.SERVICE, "", service)
    if present is None:
        raise NotFound(records.SERVICE, service)
    version = _version(catalog, service, qualifier)
    if version is None:
        return present
    published = version.document
    document = msgspec.structs.replace(published.service, description=published.description)
    return msgspec.structs.replace(version, kind=records.SERVICE, parent="", name=service, document=document)


def function_view(catalog: Catalog, service: str, function: str, qualifier: str = "") -> Record:
    """Raises what `service_view` raises, and `NotFound`."""
    service_view(catalog, service, qualifier)
    version = _version(catalog, service, qualifier)
    if version is None:
        record = catalog.get(records.FUNCTION, service, function)
    else:
        record = catalog.get(records.FROZEN_FUNCTION, frozen_parent(service, version.name), function)
    if record is None:
        raise NotFound(records.FUNCTION, function, (service,))
    return record if version is None else _thawed(service, record)


def functions_view(catalog: Catalog, service: str, wanted: Listing, qualifier: str = "") -> Page:
    """A page of the functions; raises what `service_view` raises."""
    service_view(catalog, service, qualifier)
    version = _version(catalog, service, qualifier)
    if version is None:
        return page_of(catalog, records.FUNCTION, service, wanted)
    page = page_of(catalog, records.FROZEN_FUNCTION, frozen_parent(service, version.name), wanted)
    return Page(tuple(_thawed(service, record) for record in page.items), page.next_token)


def _version(catalog: Catalog, service: str, qualifier: str) -> Record | None:
    """The version that the qualifier means, through an alias too; None for the present state."""
    if qualifier in ("", limits.LATEST):
        return None
    version_id = qualifier
    if not qualifier.isdecimal():
        alias = catalog.get(records.ALIAS, service, qualifier)
        if alias is None:
            raise NotFound(records.ALIAS, qualifier, (service,))
        version_id = alias.document.version_id
    version = catalog.get(records.VERSION, service, version_id)
    if version is None:
        raise NotFound(records.VERSION, version_id, (service,))
    return version


def _thawed(service: str, record: Record) -> Record:
    """The function's own record as it was when the version was published."""
    frozen = record.document
    return Record(
        kind=records.FUNCTION,
        parent=service,
        name=record.name,
        document=frozen.function,
        etag=frozen.etag,
        created_at=frozen.created_at,
        modified_at=frozen.modified_at,
    )
