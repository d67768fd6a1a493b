"""Splits lists into pages (reference/api.md §2).

Called by all modules of `control` that list. A token is the plain name at which the next page starts, so that any
text is valid.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

import msgspec

from sesame.control.inputs import Listing, Page
from sesame.model import limits
from sesame.model.errors import Invalid
from sesame.model.owner import AFTER_OWNERS
from sesame.model.records import Record
from sesame.store.catalog import Catalog

# A page is decoded and encoded on the event loop; more than this would delay other requests.
PAGE_BYTES_MAX = 4 * limits.MIB


def fitting(sizes: Iterable[int]) -> int:
    """How many items of these sizes, in bytes, fit into a page; at least one if there is one."""
    number = total = 0
    for size in sizes:
        total += size
        if number and total > PAGE_BYTES_MAX:
            break
        number += 1
    return number


def document_bytes(record: Record) -> int:
    """About the size of the record's item in an answer."""
    return len(msgspec.json.encode(record.document))


def page_from(found: Sequence[Record], limit: int, token: Callable[[Record], str]) -> Page:
    """The first `limit` records, or fewer if they would exceed PAGE_BYTES_MAX. `token` names the next page's first."""
    number = fitting(map(document_bytes, found[:limit]))
    return Page(tuple(found[:number]), token(found[number]) if len(found) > number else None)


def limit_of(listing: Listing) -> int:
    if listing.limit is None:
        return limits.LIST_LIMIT_DEFAULT
    if not 1 <= listing.limit <= limits.LIST_LIMIT_MAX:
        raise Invalid("limit", f"1 to {limits.LIST_LIMIT_MAX}", listing.limit)
    return listing.limit


def of_services(listing: Listing) -> Listing:
    """The same for names of services only: it starts after the owners of single functions."""
    start = max(listing.next_token or listing.start_key, AFTER_OWNERS)
    return msgspec.structs.replace(listing, next_token=start)


def page_of(catalog: Catalog, kind: str, parent: str, listing: Listing) -> Page:
    """A token replaces the start key; the prefix still applies."""
    items, following = catalog.page(
        kind, parent, prefix=listing.prefix, start=listing.next_token or listing.start_key, limit=limit_of(listing)
    )
    page = page_from(items, len(items), _name)
    return Page(page.items, page.next_token or following)


def filtered_page_of(catalog: Catalog, kind: str, listing: Listing, wanted: Callable[[Record], bool]) -> Page:
    """As `page_of`, for the wanted ones of records without a parent. Reads as many as necessary."""
    limit = limit_of(listing)
    found = list(islice(filter(wanted, records_from(catalog, kind, listing)), limit + 1))
    return page_from(found, limit, _name)


def page_of_all(catalog: Catalog, kind: str, listing: Listing, wanted: Callable[[Record], bool]) -> Page:
    """The wanted records of all parents, in order of parent and name; tokens are `parent:name`."""
    limit = limit_of(listing)
    parent, _colon, name = listing.next_token.partition(":")
    rest = (each for each in catalog.of_kind(kind) if (each.parent, each.name) >= (parent, name) and wanted(each))
    return page_from(list(islice(rest, limit + 1)), limit, lambda record: f"{record.parent}:{record.name}")


def page_of_function(
    catalog: Catalog,
    kind: str,
    listing: Listing,
    of: tuple[str, str] | None,
    may_see: Callable[[str, str], bool] = lambda _owner, _function: True,
) -> Page:
    """As `page_of_all`, for settings that name their function: of one (owner, name), or all that `may_see` allows."""

    def is_wanted(record: Record) -> bool:
        named = (record.parent, record.document.function)
        return of in (None, named) and may_see(*named)

    return page_of_all(catalog, kind, listing, is_wanted)


def records_from(catalog: Catalog, kind: str, listing: Listing) -> Iterator[Record]:
    """All records without a parent from the listing's start on, page by page; ignores its limit."""
    start: str | None = listing.next_token or listing.start_key
    while start is not None:
        items, start = catalog.page(kind, "", prefix=listing.prefix, start=start, limit=limits.LIST_LIMIT_MAX)
        yield from items


def _name(record: Record) -> str:
    return record.name
