"""What a caller sees under a qualifier: the present state, or a version as it was published.

Called by everything in this room that reads services and functions.
Never changes anything, and never decides where a canary goes: that is the engine's.
"""

from sesame.control.inputs import Listing, Page
from sesame.control.listing import page_of
from sesame.model import limits, records
from sesame.model.errors import AliasNotFound, FunctionNotFound, ServiceNotFound, VersionNotFound
from sesame.model.records import Record
from sesame.store.catalog import Catalog


def service_view(catalog: Catalog, service: str, qualifier: str = "") -> Record:
    """Raises `ServiceNotFound`, `VersionNotFound` or `AliasNotFound`."""
    record = catalog.get(records.SERVICE, "", service)
    if record is None:
        raise ServiceNotFound(service)
    if qualifier not in ("", limits.LATEST):
        raise VersionNotFound(service, qualifier) if qualifier.isdecimal() else AliasNotFound(service, qualifier)
    return record


def function_view(catalog: Catalog, service: str, function: str, qualifier: str = "") -> Record:
    """Raises what `service_view` raises, and `FunctionNotFound`."""
    service_view(catalog, service, qualifier)
    record = catalog.get(records.FUNCTION, service, function)
    if record is None:
        raise FunctionNotFound(service, function)
    return record


def functions_view(catalog: Catalog, service: str, wanted: Listing, qualifier: str = "") -> Page:
    """A page of the functions; raises what `service_view` raises."""
    service_view(catalog, service, qualifier)
    return page_of(catalog, records.FUNCTION, service, wanted)
