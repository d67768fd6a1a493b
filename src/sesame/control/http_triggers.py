"""Finds the HTTP trigger through which web requests reach a function.

Called for every such request by the endpoints that serve HTTP functions; reads the catalog's memory.
"""

from typing import Any

import msgspec

from sesame.control.stored_cors import StoredCors
from sesame.control.trigger_checks import HTTP_METHODS
from sesame.control.views import function_view
from sesame.model import limits, records
from sesame.model import trigger_configs as configs
from sesame.model.errors import HTTP_TRIGGER, NotFound
from sesame.model.function import Function
from sesame.model.invocation import Target
from sesame.model.owner import label, stands_alone
from sesame.model.records import Record
from sesame.model.trigger import Trigger, parts_of_parent, trigger_parent
from sesame.model.web_server import is_custom
from sesame.store.catalog import Catalog, Change

# The kinds of records from which an entry is made.
_SOURCES = frozenset({records.TRIGGER, records.FUNCTION, records.VERSION, records.FROZEN_FUNCTION, records.ALIAS})
_ANYBODY = configs.HttpConfig(auth_type="anonymous", methods=HTTP_METHODS)


class HttpEntry(msgspec.Struct, frozen=True):
    """An HTTP trigger as used by a request; without one, that of a custom domain (`HttpTriggers.of`).

    `takes_events`: the function gets FC 3.0's events instead of requests, because it has no service and its runtime
    does not serve requests itself.
    """

    config: configs.HttpConfig
    trigger_id: str
    takes_events: bool


class HttpTriggers:
    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        # Targets of hosts below `localhost`, by their labels in lower case; None if outdated.
        self._by_labels: dict[tuple[str, ...], list[Target]] | None = None
        # Entries requested since the records they are made from last changed.
        self._entries: dict[tuple[Target, bool], HttpEntry] = {}
        self._cors = StoredCors("an HTTP trigger")
        catalog.on_change(self._forget)

    def at(self, labels: tuple[str, ...]) -> Target | None:
        """The function for the labels of a host below `localhost`, which are case-insensitive.

        `FUNCTION.SERVICE`, or the one label of `local_label`. Among names that differ only in case, an exact match
        wins, otherwise the first. None if no such function has an HTTP trigger.
        """
        if self._by_labels is None:
            self._by_labels = self._index()
        found = self._by_labels.get(tuple(map(str.lower, labels)), [])
        exact = [target for target in found if _labels(target) == labels]
        return next(iter(exact or found), None)

    def of(self, target: Target, *, on_domain: bool = False) -> HttpEntry:
        """The trigger of exactly this qualifier.

        On a custom domain, a function without a service needs no trigger: FC 3.0's domains need only a function, and
        the vendor's own applications have no trigger beside theirs. Then only the domain's methods and authentication
        apply. Raises the errors of a missing function, and `NotFound` for a function without an HTTP trigger there.
        """
        entry = self._entries.get((target, on_domain))
        if entry is None:
            entry = self._entries[target, on_domain] = self._find(target, on_domain=on_domain)
        return entry

    def _find(self, target: Target, *, on_domain: bool) -> HttpEntry:
        for record in self._catalog.children(records.TRIGGER, trigger_parent(target.service, target.function)):
            trigger: Trigger = record.document
            if trigger.trigger_type == configs.HTTP and (trigger.qualifier or limits.LATEST) == target.qualifier:
                config = self._read(record)
                return HttpEntry(config, trigger.trigger_id, takes_events=self._takes_events(target))
        function_view(self._catalog, target.service, target.function, target.qualifier)
        if on_domain and stands_alone(target.service):
            return HttpEntry(_ANYBODY, "", takes_events=self._takes_events(target))
        raise NotFound(HTTP_TRIGGER, target.qualifier, (target.service, target.function))

    def _read(self, record: Record) -> configs.HttpConfig:
        """POLICY: settings that were stored before they were checked count as not set, so that they admit nobody."""
        stored: dict[str, Any] = record.document.trigger_config
        plain = {key: value for key, value in stored.items() if key != "corsConfig"}
        config = msgspec.convert(configs.readable(configs.HTTP, plain), configs.HttpConfig)
        rules = self._cors.of(_label(record.parent, record.name), stored.get("corsConfig"))
        return msgspec.structs.replace(config, cors_config=rules)

    def _takes_events(self, target: Target) -> bool:
        if not stands_alone(target.service):
            return False
        function: Function = function_view(self._catalog, target.service, target.function, target.qualifier).document
        return not is_custom(function.runtime)

    def _index(self) -> dict[tuple[str, ...], list[Target]]:
        index: dict[tuple[str, ...], list[Target]] = {}
        for record in self._catalog.of_kind(records.TRIGGER):
            trigger: Trigger = record.document
            owner, function = parts_of_parent(record.parent)
            target = Target(owner, trigger.qualifier or limits.LATEST, function)
            if trigger.trigger_type == configs.HTTP and (stands_alone(owner) or target.qualifier == limits.LATEST):
                index.setdefault(tuple(map(str.lower, _labels(target))), []).append(target)
        for found in index.values():
            found.sort(key=lambda target: (target.service, target.function, target.qualifier))
        return index

    def _forget(self, change: Change) -> None:
        if change.kind == records.TRIGGER:
            self._by_labels = None
            self._cors.forget(_label(change.parent, change.name))
        if change.kind in _SOURCES:
            self._entries.clear()


def local_label(function: str, qualifier: str) -> str:
    """The label below `localhost` of a function without a service; a version or an alias follows `--`."""
    return function if qualifier in ("", limits.LATEST) else f"{function}--{qualifier}"


def _label(parent: str, trigger: str) -> str:
    return f"{label(*parts_of_parent(parent))}/{trigger}"


def _labels(target: Target) -> tuple[str, ...]:
    if stands_alone(target.service):
        return (local_label(target.function, target.qualifier),)
    return target.function, target.service
