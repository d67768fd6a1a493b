"""Services: creates, reads, changes and deletes them (reference/api.md §3.1).

Called by the endpoints; returns records. The engine sees the catalog change.
"""

import uuid
from collections.abc import Callable, Mapping
from functools import partial

import msgspec
from msgspec import UNSET

from sesame.control import checks, listing, rules
from sesame.control.dependents import forget_service
from sesame.control.inputs import Listing, Page, ServiceInput
from sesame.control.mount_checks import (
    check_can_mount,
    check_every_mount_dir,
    check_nas_config,
    check_oss_mount_config,
    check_role_of_mounts,
)
from sesame.control.requester import Requester, require_pass_role
from sesame.control.rules import Rule
from sesame.control.tags import has_tags
from sesame.control.views import existing, service_view
from sesame.model import limits, records
from sesame.model.errors import AlreadyExists, Missing, NotEmpty
from sesame.model.records import Record
from sesame.model.service import LogConfig, Service, TracingConfig
from sesame.store.catalog import Catalog, Transaction

CheckRole = Callable[[str], None]

SERVICE_NAME_CHARS = 128
LOG_BEGIN_RULES = ("None", "DefaultRegex")


class Services:
    """`check_role(arn)` raises `Rejected` for a role that functions of the service could not assume.

    `no_buckets` is the reason why no bucket can be mounted, or "".
    """

    def __init__(self, catalog: Catalog, check_role: CheckRole, no_buckets: str = "") -> None:
        self._catalog = catalog
        self._check_role = check_role
        self._rules = (*_RULES, Rule(("oss_mount_config",), partial(check_can_mount, no_buckets)))

    async def create(self, sent: ServiceInput, *, by: Requester) -> Record:
        """Raises `Forbidden` for a role that may not be passed, `Rejected` or `AlreadyExists`."""
        require_pass_role(by, sent)
        name = "" if sent.service_name is UNSET else sent.service_name
        checks.name("service_name", name, limits.SERVICE_NAME, SERVICE_NAME_CHARS)
        service = self.made(name, sent)

        def edit(tx: Transaction) -> Record:
            if tx.get(records.SERVICE, "", name) is not None:
                raise AlreadyExists(records.SERVICE, name)
            return tx.put(records.SERVICE, "", name, service)

        return await self._catalog.edit(edit)

    async def get(self, service: str, qualifier: str = "") -> Record:
        """The current service or, with a version or alias, the published one with the version's description."""
        return service_view(self._catalog, service, qualifier)

    async def update(self, service: str, sent: ServiceInput, if_match: str | None = None, *, by: Requester) -> Record:
        """Fields that were not sent stay; a sent field replaces the whole former value.

        Raises `Forbidden` for a role that the caller may not pass.
        """
        require_pass_role(by, sent)

        def edit(tx: Transaction) -> Record:
            former = existing(tx, service)
            checks.precondition(former, if_match)
            return tx.put(records.SERVICE, "", service, self.changed(former.document, sent))

        return await self._catalog.edit(edit)

    async def delete(self, service: str, if_match: str | None = None) -> None:
        """Raises `NotEmpty` while it has functions, versions or aliases."""

        def edit(tx: Transaction) -> None:
            checks.precondition(existing(tx, service), if_match)
            delete_owner(tx, service)

        await self._catalog.edit(edit)

    async def list(self, wanted: Listing, tags: Mapping[str, str] | None = None) -> Page:
        """With `tags`, only services that have all of them; an empty value matches any value of the key."""
        services = listing.of_services(wanted)
        if not tags:
            return listing.page_of(self._catalog, records.SERVICE, "", services)
        return listing.filtered_page_of(
            self._catalog, records.SERVICE, services, lambda record: has_tags(self._catalog, record.name, tags)
        )

    def made(self, name: str, sent: ServiceInput) -> Service:
        """A new service, or a new owner of one function. Raises `Rejected`."""
        service = merged(Service(service_name=name, service_id=str(uuid.uuid4())), sent)
        self._check(service, sent)
        return service

    def changed(self, service: Service, sent: ServiceInput) -> Service:
        """The service with the sent changes. Raises `Rejected` for what they make invalid."""
        changed = merged(service, sent)
        self._check(changed, sent, service)
        return changed

    def _check(self, service: Service, sent: ServiceInput, former: Service | None = None) -> None:
        rules.apply(self._rules, service, former)
        if sent.role is not UNSET and service.role:
            self._check_role(service.role)


def delete_owner(tx: Transaction, owner: str) -> None:
    """Raises `NotEmpty` while it has functions, versions or aliases."""
    if tx.count(records.FUNCTION, owner):
        raise NotEmpty(records.SERVICE, owner, "functions")
    if tx.count(records.VERSION, owner):
        raise NotEmpty(records.SERVICE, owner, "published versions")
    if tx.count(records.ALIAS, owner):
        raise NotEmpty(records.SERVICE, owner, "aliases")
    forget_service(tx, owner)
    tx.delete(records.SERVICE, "", owner)


def merged(service: Service, sent: ServiceInput) -> Service:
    """Fields that were not sent stay; a sent field replaces the whole former value."""
    changes = {field: value for field, value in msgspec.structs.asdict(sent).items() if value is not UNSET}
    changes.pop("service_name", None)
    if sent.log_config is not UNSET and not sent.log_config.log_begin_rule:
        changes["log_config"] = msgspec.structs.replace(sent.log_config, log_begin_rule=LOG_BEGIN_RULES[0])
    if sent.tracing_config is not UNSET and not sent.tracing_config.type and not sent.tracing_config.params:
        changes["tracing_config"] = TracingConfig()
    return msgspec.structs.replace(service, **changes)


def _check_log_config(config: LogConfig) -> None:
    if bool(config.project) != bool(config.logstore):
        raise Missing("log_config.logstore" if config.project else "log_config.project")
    for label, value in (("project", config.project), ("logstore", config.logstore)):
        checks.length(f"log_config.{label}", value, limits.FOREIGN_NAME_CHARS)
    checks.one_of("log_config.log_begin_rule", config.log_begin_rule, LOG_BEGIN_RULES)


def _check_tracing_config(config: TracingConfig) -> None:
    if config == TracingConfig():
        return
    checks.one_of("tracing_config.type", config.type or "", ("Jaeger",))
    endpoint = (config.params or {}).get("endpoint")
    if not isinstance(endpoint, str) or not endpoint:
        raise Missing("tracing_config.params.endpoint")
    checks.kept("tracing_config", config)


_RULES = (
    Rule(("description",), checks.description),
    Rule(("log_config",), _check_log_config),
    Rule(("vpc_config",), partial(checks.kept, "vpc_config")),
    Rule(("nas_config",), check_nas_config),
    Rule(("oss_mount_config",), check_oss_mount_config),
    Rule(("oss_mount_config", "nas_config"), check_every_mount_dir),
    Rule(("oss_mount_config", "role"), check_role_of_mounts),
    Rule(("tracing_config",), _check_tracing_config),
)
