"""How the instances of a function are scaled under a qualifier, as defined by the API of 2023-03-30.

Called by its endpoint. Treated and checked like configurations of provisioned instances.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

from sesame.control import checks, rules
from sesame.control.inputs import Listing, Page
from sesame.control.listing import page_of_function
from sesame.control.provision_configs import Words, check_actions, check_policies, check_target
from sesame.control.rules import Rule
from sesame.control.views import function_view
from sesame.model import limits, records
from sesame.model.configs import ScalingConfig, ScalingPolicy, ScheduledAction, provision_config_name
from sesame.model.conversion import converted
from sesame.model.errors import Invalid, NotFound
from sesame.model.records import Record
from sesame.store.catalog import Catalog, Transaction

SCALING_WORDS = Words(
    "min_instances", "scheduled_policies", "horizontal_scaling_policies", "min_instances", "max_instances"
)


class ScalingConfigs:
    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    async def put(self, config: ScalingConfig) -> Record:
        """Replaces the whole configuration."""

        def edit(tx: Transaction) -> Record:
            function_view(tx, config.service, config.function, config.qualifier)
            name = provision_config_name(config.function, config.qualifier)
            former = tx.get(records.SCALING_CONFIG, config.service, name)
            rules.apply(_RULES, config, None if former is None else former.document)
            return tx.put(records.SCALING_CONFIG, config.service, name, config)

        return await self._catalog.edit(edit)

    async def get(self, owner: str, function: str, qualifier: str) -> Record:
        """Raises `NotFound` if nothing was set under exactly this qualifier."""
        qualifier = qualifier or limits.LATEST
        function_view(self._catalog, owner, function, qualifier)
        found = self._catalog.get(records.SCALING_CONFIG, owner, provision_config_name(function, qualifier))
        if found is None:
            raise NotFound(records.SCALING_CONFIG, qualifier, (owner, function))
        return found

    async def delete(self, owner: str, function: str, qualifier: str) -> None:
        present = await self.get(owner, function, qualifier)
        await self._catalog.edit(lambda tx: tx.delete(records.SCALING_CONFIG, owner, present.name))

    async def list(self, wanted: Listing, of: tuple[str, str] | None) -> Page:
        """Of one function (owner, name), or of all."""
        return page_of_function(self._catalog, records.SCALING_CONFIG, wanted, of)


def _is_version(qualifier: str) -> bool:
    return qualifier in ("", limits.LATEST) or qualifier.isdecimal()


def _check_actions(sent: Sequence[dict[str, Any]]) -> None:
    check_actions(SCALING_WORDS, converted(sent, tuple[ScheduledAction, ...], "scheduled_policies"))


def _check_policies(sent: Sequence[dict[str, Any]]) -> None:
    policies = converted(sent, tuple[ScalingPolicy, ...], "horizontal_scaling_policies")
    check_policies(SCALING_WORDS, tuple(each.tracking() for each in policies))


def _check_on_demand(qualifier: str, enabled: bool) -> None:
    if not enabled and not _is_version(qualifier):
        # Its calls use the same instances as those of the version that it points to.
        raise Invalid("enable_on_demand_scaling", "true under an alias; false under LATEST or a version", False)


def _text(field: str) -> Rule:
    return Rule((field,), lambda value: checks.length(field, value, limits.HANDLER_CHARS))


_RULES = (
    Rule(("min_instances",), partial(check_target, SCALING_WORDS)),
    Rule(("scheduled_policies",), _check_actions),
    Rule(("horizontal_scaling_policies",), _check_policies),
    *map(_text, ("request_dispatch_policy", "resident_pool_id")),
    Rule(("qualifier", "enable_on_demand_scaling"), _check_on_demand),
)
