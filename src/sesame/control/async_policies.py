"""The configuration of a function's asynchronous calls, for the code that accepts calls.

Used by `control.async_invocations`, by triggers and by destinations. Reads the catalog's memory.
"""

from sesame.model import limits, records
from sesame.model.async_result import NO_CONFIG, AsyncPolicy
from sesame.model.configs import AsyncConfig, Destination, async_config_name
from sesame.model.invocation import Target
from sesame.store.catalog import Catalog


class AsyncPolicies:
    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def policy_of(self, target: Target) -> AsyncPolicy:
        """The configuration of exactly this qualifier, with the defaults for everything else."""
        name = async_config_name(target.function, target.qualifier)
        record = self._catalog.get(records.ASYNC_CONFIG, target.service, name)
        if record is None:
            return NO_CONFIG
        config: AsyncConfig = record.document
        retries, age_s = config.max_async_retry_attempts, config.max_async_event_age_in_seconds
        destinations = config.destination_config
        return AsyncPolicy(
            max_retries=limits.ASYNC_RETRIES_DEFAULT if retries is None else retries,
            max_age_s=limits.ASYNC_EVENT_AGE_S_DEFAULT if age_s is None else age_s,
            stateful=config.stateful_invocation,
            on_success=_name_of(destinations.on_success),
            on_failure=_name_of(destinations.on_failure),
        )


def _name_of(destination: Destination | None) -> str:
    return "" if destination is None else destination.destination
