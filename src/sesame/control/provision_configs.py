"""How many instances a function keeps ready, and when that changes (reference/api.md §3.6).

Called by the endpoints; returns records. The engine starts the instances.
"""

from collections.abc import Sequence
from functools import partial

import msgspec
from msgspec import UNSET

from sesame.control import checks, rules
from sesame.control.inputs import Listing, Page, ProvisionInput
from sesame.control.listing import limit_of, page_from, page_of_function
from sesame.control.rules import Rule
from sesame.control.views import function_view, service_view
from sesame.model import limits, records, schedules
from sesame.model.configs import (
    METRIC_TYPES,
    ProvisionConfig,
    ScheduledAction,
    TargetTrackingPolicy,
    provision_config_name,
)
from sesame.model.errors import SCHEDULE, UTC_TIME, Duplicate, Invalid, Malformed, Missing, NotFound, TooMany
from sesame.model.owner import stands_alone
from sesame.model.records import Record
from sesame.store.catalog import Catalog, Transaction

RULES_MAX = 100


class Words(msgspec.Struct, frozen=True):
    """The names of the fields in a kind of configuration."""

    target: str
    actions: str
    policies: str
    least: str
    most: str


PROVISION_WORDS = Words("target", "scheduled_actions", "target_tracking_policies", "min_capacity", "max_capacity")


class ProvisionConfigs:
    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    async def put(self, path: tuple[str, str, str], sent: ProvisionInput, if_match: str | None = None) -> Record:
        """`path` is service, function and qualifier. Lists that are not sent stay, empty ones clear.

        A target of 0 without rules deletes the configuration: the API has no other way.
        """
        service, function, qualifier = path[0], path[1], path[2] or limits.LATEST
        function_view(self._catalog, service, function, qualifier)
        if sent.target is UNSET:
            raise Missing("target")
        name = provision_config_name(function, qualifier)

        def edit(tx: Transaction) -> Record:
            # Checked again: the function may have been deleted meanwhile, and a configuration must not outlive it.
            function_view(tx, service, function, qualifier)
            former = tx.get(records.PROVISION_CONFIG, service, name)
            if former is not None:
                checks.precondition(former, if_match)
            blank = ProvisionConfig(service=service, function=function, qualifier=qualifier)
            before = None if former is None else former.document
            config = _merged(before or blank, sent)
            rules.apply(_RULES, config, before)
            record = tx.put(records.PROVISION_CONFIG, service, name, config)
            if config == blank:
                tx.delete(records.PROVISION_CONFIG, service, name)
            return record

        return await self._catalog.edit(edit)

    async def get(self, service: str, function: str, qualifier: str = "") -> Record:
        """A function without a configuration has a target of 0; such a record has no etag and no times."""
        qualifier = qualifier or limits.LATEST
        function_view(self._catalog, service, function, qualifier)
        name = provision_config_name(function, qualifier)
        record = self._catalog.get(records.PROVISION_CONFIG, service, name)
        if record is not None:
            return record
        blank = ProvisionConfig(service=service, function=function, qualifier=qualifier)
        return Record(records.PROVISION_CONFIG, service, name, blank, etag="", created_at=0.0, modified_at=0.0)

    async def delete(self, service: str, function: str, qualifier: str = "") -> None:
        """Raises `NotFound` if nothing was set under exactly this qualifier."""
        qualifier = qualifier or limits.LATEST
        function_view(self._catalog, service, function, qualifier)
        name = provision_config_name(function, qualifier)

        def edit(tx: Transaction) -> None:
            if tx.get(records.PROVISION_CONFIG, service, name) is None:
                raise NotFound(records.PROVISION_CONFIG, qualifier, (service, function))
            tx.delete(records.PROVISION_CONFIG, service, name)

        await self._catalog.edit(edit)

    async def list_all(self, wanted: Listing, of: tuple[str, str] | None) -> Page:
        """All qualifiers of one function (owner, name), or all functions."""
        return page_of_function(self._catalog, records.PROVISION_CONFIG, wanted, of)

    async def list(self, wanted: Listing, service: str = "", qualifier: str = "") -> Page:
        """For one service (and one of its qualifiers), or for all services."""
        if qualifier and not service:
            raise Missing("service_name", needed_by="qualifier")
        if stands_alone(service):
            raise NotFound(records.SERVICE, service)
        if service:
            service_view(self._catalog, service)
            found = list(self._catalog.children(records.PROVISION_CONFIG, service))
        else:
            found = [each for each in self._catalog.of_kind(records.PROVISION_CONFIG) if not stands_alone(each.parent)]
        matching = [record for record in found if qualifier in ("", record.document.qualifier)]
        rest = [record for record in matching if _token(record) >= wanted.next_token]
        return page_from(rest, limit_of(wanted), _token)


def _token(record: Record) -> str:
    return f"{record.parent}#{record.name}"


def _merged(config: ProvisionConfig, sent: ProvisionInput) -> ProvisionConfig:
    changes = {field: value for field in sent.__struct_fields__ if (value := getattr(sent, field)) is not UNSET}
    return msgspec.structs.replace(config, **changes)


def check_target(words: Words, target: int) -> None:
    """Names a wrong field as it is called in the configuration that was sent, as the checks below do."""
    checks.between(words.target, target, 0, limits.PROVISION_TARGET_MAX)


def check_actions(words: Words, actions: Sequence[ScheduledAction]) -> None:
    _check_rules(words.actions, actions)
    for action in actions:
        checks.between(f"{words.actions}.target", action.target, 0, limits.PROVISION_TARGET_MAX)
        try:
            schedules.action(action.schedule_expression, action.time_zone or "")
        except schedules.NotASchedule as error:
            expression = checks.shown(action.schedule_expression)
            raise Malformed(f"{words.actions}.schedule_expression", SCHEDULE, expression) from error


def check_policies(words: Words, policies: Sequence[TargetTrackingPolicy]) -> None:
    _check_rules(words.policies, policies)
    for policy in policies:
        checks.one_of(f"{words.policies}.metric_type", policy.metric_type, METRIC_TYPES)
        if not 0 < policy.metric_target <= 1:
            raise Invalid(f"{words.policies}.metric_target", "above 0, at most 1", policy.metric_target)
        checks.between(f"{words.policies}.{words.least}", policy.min_capacity, 0, limits.PROVISION_TARGET_MAX)
        checks.between(
            f"{words.policies}.{words.most}", policy.max_capacity, policy.min_capacity, limits.PROVISION_TARGET_MAX
        )


def _check_rules(label: str, rules: Sequence[ScheduledAction | TargetTrackingPolicy]) -> None:
    if len(rules) > RULES_MAX:
        raise TooMany(label, RULES_MAX, len(rules))
    seen = set()
    for rule in rules:
        if not rule.name:
            raise Missing(f"{label}.name")
        if rule.name in seen:
            raise Duplicate(label, rule.name)
        seen.add(rule.name)
        checks.length(f"{label}.name", rule.name, limits.FOREIGN_NAME_CHARS)
        zone = rule.time_zone or ""
        try:
            schedules.check_zone(zone or "UTC")
        except schedules.NotASchedule as error:
            raise Invalid(f"{label}.time_zone", "a time zone such as Asia/Shanghai", checks.shown(zone)) from error
        moments = []
        for field, value in (("start_time", rule.start_time), ("end_time", rule.end_time)):
            try:
                moments.append(schedules.moment(value, zone))
            except schedules.NotASchedule as error:
                raise Malformed(f"{label}.{field}", UTC_TIME, checks.shown(value)) from error
        if moments[1] <= moments[0]:
            raise Invalid(f"{label}.end_time", f"a time after {rule.start_time}", rule.end_time)


_RULES = (
    Rule(("target",), partial(check_target, PROVISION_WORDS)),
    Rule(("scheduled_actions",), partial(check_actions, PROVISION_WORDS)),
    Rule(("target_tracking_policies",), partial(check_policies, PROVISION_WORDS)),
)
