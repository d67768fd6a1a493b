"""Finds the HTTP trigger through which requests from the web reach a function.

Called by the endpoints that serve HTTP functions, for every such request; reads the catalog's memory.
"""

import msgspec

from sesame.control.views import function_view
from sesame.model import limits, records
from sesame.model import trigger_configs as configs
from sesame.model.errors import HTTP_TRIGGER, NotFound
from sesame.model.invocation import Target
from sesame.model.trigger import Trigger, trigger_parent
from sesame.store.catalog import Catalog, Change


class HttpTriggers:
    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        # (service, function) of every HTTP trigger of LATEST by both names in lower case; None when it is outdated.
        self._by_lower: dict[tuple[str, str], list[tuple[str, str]]] | None = None
        catalog.on_change(self._forget)

    def named(self, service: str, function: str) -> Target:
        """The function that a name of a host means, in which upper and lower case are one.

        Names that differ in nothing but their case: the one that is written so, else the first. The names as they are
        where no such function has an HTTP trigger.
        """
        if self._by_lower is None:
            self._by_lower = self._index()
        found = self._by_lower.get((service.lower(), function.lower()), [])
        names = (service, function)
        if found and names not in found:
            names = min(found)
        return Target(names[0], limits.LATEST, names[1])

    def of(self, target: Target) -> configs.HttpConfig:
        """What the trigger of exactly this qualifier says.

        Raises what the function's absence raises, and `NotFound` for a function without an HTTP trigger there.
        """
        for record in self._catalog.children(records.TRIGGER, trigger_parent(target.service, target.function)):
            trigger: Trigger = record.document
            if trigger.trigger_type == configs.HTTP and (trigger.qualifier or limits.LATEST) == target.qualifier:
                return msgspec.convert(trigger.trigger_config, configs.HttpConfig)
        function_view(self._catalog, target.service, target.function, target.qualifier)
        raise NotFound(HTTP_TRIGGER, target.qualifier, (target.service, target.function))

    def _index(self) -> dict[tuple[str, str], list[tuple[str, str]]]:
        index: dict[tuple[str, str], list[tuple[str, str]]] = {}
        for record in self._catalog.of_kind(records.TRIGGER):
            trigger: Trigger = record.document
            if trigger.trigger_type == configs.HTTP and trigger.qualifier in ("", limits.LATEST):
                service, _slash, function = record.parent.partition("/")
                index.setdefault((service.lower(), function.lower()), []).append((service, function))
        return index

    def _forget(self, change: Change) -> None:
        if change.kind == records.TRIGGER:
            self._by_lower = None
