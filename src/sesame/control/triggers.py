"""Triggers: creates, reads, changes and deletes them (reference/api.md §3.5).

Called by the endpoints; returns records. The sources of events read these records.
"""

import uuid
from typing import Any

import msgspec
from msgspec import UNSET

from sesame.control import checks, jwt_auth, rules
from sesame.control.inputs import Listing, Page, TriggerInput
from sesame.control.listing import page_of
from sesame.control.oss_triggers import SELECTING, require_no_overlap, require_source
from sesame.control.requester import Requester, require_pass_role
from sesame.control.rules import Rule
from sesame.control.trigger_checks import WITH_SOURCE, canonical, check_config, check_tokens
from sesame.control.views import function_view
from sesame.model import limits, records
from sesame.model import trigger_configs as configs
from sesame.model.arn import Arns, parse_role_arn, role_arn
from sesame.model.errors import HTTP_TRIGGER, AlreadyExists, Invalid, Missing, NotFound
from sesame.model.records import Record
from sesame.model.trigger import Trigger, log_project_of, trigger_parent
from sesame.store.catalog import Catalog, Transaction

TRIGGER_NAME_CHARS = 128


class Triggers:
    def __init__(self, catalog: Catalog, arns: Arns) -> None:
        self._catalog = catalog
        self._arns = arns
        self._rules = (
            Rule(("description",), checks.description),
            Rule(("invocation_role",), self._check_role),
            Rule(("trigger_type", "trigger_config"), _check_size),
        )

    async def create(self, service: str, function: str, sent: TriggerInput, *, by: Requester) -> Record:
        """Raises `Forbidden` for a role that the caller may not pass, `Rejected`, the errors of a missing function,
        or `AlreadyExists`.
        """
        require_pass_role(by, sent)
        function_view(self._catalog, service, function)
        trigger = self._new(service, function, sent)
        require_source(trigger, self._arns, by)
        _require_project(trigger, self._arns)
        await check_tokens(trigger)
        function_view(self._catalog, service, function, trigger.qualifier)
        parent = trigger_parent(service, function)

        def edit(tx: Transaction) -> Record:
            if tx.get(records.FUNCTION, service, function) is None:
                raise NotFound(records.FUNCTION, function, (service,))
            if tx.get(records.TRIGGER, parent, trigger.trigger_name) is not None:
                raise AlreadyExists(records.TRIGGER, trigger.trigger_name, (service, function))
            _check_only_http(tx, parent, trigger)
            require_no_overlap(tx, parent, trigger, self._arns.account_id)
            return tx.put(records.TRIGGER, parent, trigger.trigger_name, trigger)

        return await self._catalog.edit(edit)

    async def get(self, service: str, function: str, trigger: str) -> Record:
        function_view(self._catalog, service, function)
        record = self._catalog.get(records.TRIGGER, trigger_parent(service, function), trigger)
        if record is None:
            raise NotFound(records.TRIGGER, trigger, (service, function))
        return record

    async def update(
        self, service: str, function: str, sent: TriggerInput, if_match: str | None = None, *, by: Requester
    ) -> Record:
        """Updates the trigger named by `sent`. Each part of its configuration that is sent replaces that part.

        Raises `Forbidden` for a role that the caller may not pass.
        """
        require_pass_role(by, sent)
        name = "" if sent.trigger_name is UNSET else sent.trigger_name
        former = await self.get(service, function, name)
        wanted = _merged(former.document, sent)
        if wanted.qualifier != former.document.qualifier:
            function_view(self._catalog, service, function, wanted.qualifier)
        if sent.trigger_config is not UNSET:
            require_source(wanted, self._arns, by)
            await check_tokens(wanted, former.document)
        parent = trigger_parent(service, function)

        def edit(tx: Transaction) -> Record:
            record = tx.get(records.TRIGGER, parent, name)
            if record is None:
                raise NotFound(records.TRIGGER, name, (service, function))
            checks.precondition(record, if_match)
            present: Trigger = record.document
            merged = _merged(present, sent)
            self._check(merged, present)
            if _state(merged) != _state(present):
                _check_only_http(tx, parent, merged)
            if any(merged.trigger_config.get(key) != present.trigger_config.get(key) for key in SELECTING):
                require_no_overlap(tx, parent, merged, self._arns.account_id)
            return tx.put(records.TRIGGER, parent, name, merged)

        return await self._catalog.edit(edit)

    async def delete(self, service: str, function: str, trigger: str, if_match: str | None = None) -> None:
        function_view(self._catalog, service, function)
        parent = trigger_parent(service, function)

        def edit(tx: Transaction) -> None:
            record = tx.get(records.TRIGGER, parent, trigger)
            if record is None:
                raise NotFound(records.TRIGGER, trigger, (service, function))
            checks.precondition(record, if_match)
            tx.delete(records.TRIGGER, parent, trigger)

        await self._catalog.edit(edit)

    async def list(self, service: str, function: str, wanted: Listing) -> Page:
        function_view(self._catalog, service, function)
        return page_of(self._catalog, records.TRIGGER, trigger_parent(service, function), wanted)

    def _new(self, service: str, function: str, sent: TriggerInput) -> Trigger:
        name = "" if sent.trigger_name is UNSET else sent.trigger_name
        checks.name("trigger_name", name, limits.TRIGGER_NAME, TRIGGER_NAME_CHARS)
        if sent.trigger_type is UNSET or not sent.trigger_type:
            raise Missing("trigger_type")
        config = canonical(sent.trigger_type, {} if sent.trigger_config is UNSET else sent.trigger_config)
        trigger = Trigger(
            trigger_name=name,
            trigger_id=str(uuid.uuid4()),
            trigger_type=sent.trigger_type,
            trigger_config=config,
        )
        trigger = msgspec.structs.replace(trigger, **_plain_changes(sent))
        self._check(trigger)
        return msgspec.structs.replace(trigger, source_arn=self._source((service, function, name), sent, config))

    def _check(self, trigger: Trigger, former: Trigger | None = None) -> None:
        """Raises `Rejected` for invalid settings, of a changed trigger only for those that differ from `former`."""
        rules.apply(self._rules, trigger, former)
        check_config(trigger, former)

    def _check_role(self, role: str) -> None:
        if role and parse_role_arn(role) is None:
            allowed = f"the ARN of a role, such as {role_arn(self._arns.account_id, 'name')}, or nothing"
            raise Invalid("invocation_role", allowed, checks.shown(role))

    def _source(self, path: tuple[str, str, str], sent: TriggerInput, config: dict[str, Any]) -> str | None:
        """The event source; `path` is service, function and trigger."""
        sent_arn = "" if sent.source_arn is UNSET else sent.source_arn
        if sent.trigger_type == configs.HTTP:
            return None
        if sent.trigger_type == configs.EVENTBRIDGE:
            source = config["eventSourceConfig"]["eventSourceType"]
            bus = "default" if source == "Default" else "-".join((source, *path[1:]))
            return self._arns.event_rule(bus, "-".join(path))
        if sent.trigger_type in WITH_SOURCE and not sent_arn:
            raise Missing("source_arn")
        checks.length("source_arn", sent_arn, limits.SOURCE_ARN_CHARS)
        return sent_arn


def _merged(trigger: Trigger, sent: TriggerInput) -> Trigger:
    changes = _plain_changes(sent)
    if sent.trigger_config is not UNSET:
        changes["trigger_config"] = trigger.trigger_config | canonical(trigger.trigger_type, sent.trigger_config)
    return msgspec.structs.replace(trigger, **changes)


def _plain_changes(sent: TriggerInput) -> dict[str, Any]:
    fields = ("invocation_role", "description", "qualifier")
    return {field: value for field in fields if (value := getattr(sent, field)) is not UNSET}


def _check_only_http(tx: Transaction, parent: str, trigger: Trigger) -> None:
    """A qualifier has at most one HTTP trigger (reference/api.md §2)."""
    if trigger.trigger_type != configs.HTTP:
        return
    for record in tx.children(records.TRIGGER, parent):
        other: Trigger = record.document
        if other.trigger_type != configs.HTTP or other.trigger_name == trigger.trigger_name:
            continue
        if _state(other) == _state(trigger):
            service, _, function = parent.partition("/")
            raise AlreadyExists(HTTP_TRIGGER, other.trigger_name, (service, function, _state(trigger)))


def _require_project(trigger: Trigger, arns: Arns) -> None:
    """Raises `Invalid` unless a log trigger's source is a project of this account and region. It may be made later."""
    if trigger.trigger_type != configs.LOG:
        return
    project = log_project_of(trigger)
    if not project or trigger.source_arn != arns.log_project(project):
        raise Invalid("source_arn", arns.log_project("<project>"), checks.shown(str(trigger.source_arn)))


def _check_size(trigger_type: str, config: dict[str, Any]) -> None:
    """What makes events has a limit of its own, and so has what verifies tokens."""
    own = {configs.TIMER: "payload", configs.LOG: "functionParameter", configs.HTTP: "authConfig"}.get(trigger_type)
    if trigger_type == configs.HTTP and config.get("authType") != jwt_auth.JWT:
        own = None
    checks.kept("trigger_config", {name: value for name, value in config.items() if name != own})


def _state(trigger: Trigger) -> str:
    return trigger.qualifier or limits.LATEST
