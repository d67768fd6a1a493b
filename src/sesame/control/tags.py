"""Tags of services, and of functions without a service: sets, removes, reads and lists them (reference/api.md §3.6).

Called by the endpoints, and by `control.services` to filter its list. A `service` here may be either owner.
"""

from collections.abc import Mapping, Sequence

from sesame.control import checks
from sesame.control.inputs import Listing, Page, TagInput, UntagInput
from sesame.control.listing import of_services, page_of
from sesame.model import records
from sesame.model.arn import Arns
from sesame.model.binding import Tags
from sesame.model.errors import Invalid, Missing, NotFound
from sesame.store.catalog import Catalog, Transaction

TAGS_MAX = 20
TAG_CHARS = 128


class ServiceTags:
    def __init__(self, catalog: Catalog, arns: Arns) -> None:
        self._catalog = catalog
        self._arns = arns

    async def tag(self, sent: TagInput) -> None:
        """Adds to the existing tags; an existing key gets the new value."""
        await self.add([self.service_of(sent.resource_arn)], sent.tags)

    async def add(self, owners: Sequence[str], tags: Mapping[str, str]) -> None:
        """Adds to services, and to owners of functions without a service: to all of them, or to none."""
        check_tags(tags)

        def edit(tx: Transaction) -> None:
            for owner in owners:
                add_tags(tx, owner, tags)

        await self._catalog.edit(edit)

    async def untag(self, sent: UntagInput) -> None:
        """Removes the given keys; with none given and `all`, every tag. Unknown keys are ignored."""
        await self.remove([self.service_of(sent.resource_arn)], sent.tag_keys, all_of_them=sent.all)

    async def remove(self, owners: Sequence[str], keys: Sequence[str], *, all_of_them: bool) -> None:
        """As `untag`, of all owners or of none."""
        if not keys and not all_of_them:
            raise Missing("tag_keys")

        def edit(tx: Transaction) -> None:
            for owner in owners:
                present = _present(tx, owner)
                deleted = keys or tuple(present)
                left = {key: value for key, value in present.items() if key not in deleted}
                if left:
                    tx.put(records.TAGS, "", owner, Tags(left))
                else:
                    tx.delete(records.TAGS, "", owner)

        await self._catalog.edit(edit)

    async def get(self, resource_arn: str) -> tuple[str, dict[str, str]]:
        """The service's name and its tags."""
        service = self.service_of(resource_arn)
        if self._catalog.get(records.SERVICE, "", service) is None:
            raise NotFound(records.SERVICE, service)
        return service, tags_of(self._catalog, service)

    def service_of(self, arn: str) -> str:
        """The service's name in an ARN or `services/{name}`. Raises `Rejected` for anything else."""
        if not arn:
            raise Missing("resource_arn")
        service = self._arns.own_service(arn)
        if service is None:
            raise Invalid("resource_arn", self._arns.service("{service}"), checks.shown(arn))
        return service

    def of(self, service: str) -> dict[str, str]:
        """The service's tags; none for a service that does not exist."""
        return tags_of(self._catalog, service)

    def owners(self) -> list[str]:
        """The names of all owners with tags."""
        return [record.name for record in self._catalog.children(records.TAGS, "")]

    async def list(self, wanted: Listing) -> Page:
        """Every service with tags: records of kind `tags`, named like the service."""
        return page_of(self._catalog, records.TAGS, "", of_services(wanted))


def tags_of(catalog: Catalog, service: str) -> dict[str, str]:
    record = catalog.get(records.TAGS, "", service)
    return {} if record is None else dict(record.document.tags)


def has_tags(catalog: Catalog, service: str, wanted: Mapping[str, str]) -> bool:
    """Whether the service has all of them; an empty value matches any value of the key (reference/api.md §3.1)."""
    tags = tags_of(catalog, service)
    return all(key in tags and value in ("", tags[key]) for key, value in wanted.items())


def _present(tx: Transaction, service: str) -> dict[str, str]:
    if tx.get(records.SERVICE, "", service) is None:
        raise NotFound(records.SERVICE, service)
    record = tx.get(records.TAGS, "", service)
    return {} if record is None else dict(record.document.tags)


def add_tags(tx: Transaction, service: str, tags: Mapping[str, str]) -> None:
    """Call within a transaction, with checked tags."""
    both = {**_present(tx, service), **tags}
    if len(both) > TAGS_MAX:
        raise Invalid("tags", f"at most {TAGS_MAX} tags", f"{len(both)} tags")
    tx.put(records.TAGS, "", service, Tags(both))


def check_tags(tags: Mapping[str, str]) -> None:
    if not tags:
        raise Missing("tags")
    for key, value in tags.items():
        if not key:
            raise Invalid("tags", "keys that are not empty", key)
        checks.length("tags", key, TAG_CHARS)
        checks.length("tags", value, TAG_CHARS)
