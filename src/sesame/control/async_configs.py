"""How asynchronous calls of a function are retried and where their results go (reference/api.md §3.6).

Called by the endpoints, and returns records. `control.async_policies` reads them when calls are accepted.
"""

from collections.abc import Callable

from sesame.control import checks, rules
from sesame.control.inputs import AsyncConfigInput, Listing, Page
from sesame.control.listing import page_of, page_of_all, page_of_function
from sesame.control.rules import Rule
from sesame.control.views import function_view
from sesame.model import limits, records
from sesame.model.arn import Arns
from sesame.model.configs import AsyncConfig, Destination, DestinationConfig, async_config_name
from sesame.model.destinations import expected_instead, is_web_url, without_password
from sesame.model.errors import Invalid, NotFound
from sesame.model.records import Record
from sesame.store.catalog import Catalog, Transaction


class AsyncConfigs:
    """`expected_url(url)` says what to expect instead of a URL to which no record is sent, or ""."""

    def __init__(self, catalog: Catalog, arns: Arns, expected_url: Callable[[str], str] = lambda _url: "") -> None:
        self._catalog = catalog

        def expected(destination: str) -> str:
            wrong = expected_instead(destination, arns)
            return wrong or (expected_url(destination) if is_web_url(destination) else "")

        self._rules = (*_RULES, *(_destination_rule(name, expected) for name in ("on_success", "on_failure")))

    async def put(self, service: str, function: str, qualifier: str, sent: AsyncConfigInput) -> Record:
        """Replaces the whole configuration: fields that are not sent become unset."""
        qualifier = qualifier or limits.LATEST
        function_view(self._catalog, service, function, qualifier)
        config = AsyncConfig(
            service=service,
            function=function,
            qualifier=qualifier,
            destination_config=_destinations(sent.destination_config),
            max_async_event_age_in_seconds=sent.max_async_event_age_in_seconds,
            max_async_retry_attempts=sent.max_async_retry_attempts,
            stateful_invocation=sent.stateful_invocation,
        )
        name = async_config_name(function, qualifier)

        def edit(tx: Transaction) -> Record:
            # Checked again: the function may have been deleted meanwhile, and a configuration must not outlive it.
            function_view(tx, service, function, qualifier)
            former = tx.get(records.ASYNC_CONFIG, service, name)
            rules.apply(self._rules, config, None if former is None else former.document)
            return tx.put(records.ASYNC_CONFIG, service, name, config)

        return await self._catalog.edit(edit)

    async def get(self, service: str, function: str, qualifier: str = "") -> Record:
        """Raises `NotFound` if nothing was set under exactly this qualifier."""
        qualifier = qualifier or limits.LATEST
        function_view(self._catalog, service, function, qualifier)
        record = self._catalog.get(records.ASYNC_CONFIG, service, async_config_name(function, qualifier))
        if record is None:
            raise NotFound(records.ASYNC_CONFIG, qualifier, (service, function))
        return record

    async def delete(self, service: str, function: str, qualifier: str = "") -> None:
        qualifier = qualifier or limits.LATEST
        function_view(self._catalog, service, function, qualifier)
        name = async_config_name(function, qualifier)

        def edit(tx: Transaction) -> None:
            if tx.get(records.ASYNC_CONFIG, service, name) is None:
                raise NotFound(records.ASYNC_CONFIG, qualifier, (service, function))
            tx.delete(records.ASYNC_CONFIG, service, name)

        await self._catalog.edit(edit)

    async def list(self, service: str, function: str, wanted: Listing) -> Page:
        """All qualifiers of one function; the token is the plain name of a qualifier (reference/api.md §3.6)."""
        function_view(self._catalog, service, function)
        prefix = async_config_name(function, "")
        inner = Listing(
            prefix=prefix, next_token=prefix + wanted.next_token if wanted.next_token else "", limit=wanted.limit
        )
        page = page_of(self._catalog, records.ASYNC_CONFIG, service, inner)
        return Page(page.items, None if page.next_token is None else page.next_token.removeprefix(prefix))

    async def list_all(self, wanted: Listing, of: tuple[str, str] | None, may_see: Callable[[str, str], bool]) -> Page:
        """All qualifiers of one function (owner, name), or of all functions that `may_see` allows."""
        return page_of_function(self._catalog, records.ASYNC_CONFIG, wanted, of, may_see)

    async def with_destinations(self, wanted: Listing) -> Page:
        """Configurations of all functions with a destination, in order of service, function and qualifier."""
        return page_of_all(self._catalog, records.ASYNC_CONFIG, wanted, _has_destination)


def _has_destination(record: Record) -> bool:
    config: AsyncConfig = record.document
    return config.destination_config != DestinationConfig()


def _destinations(sent: DestinationConfig) -> DestinationConfig:
    return DestinationConfig(on_success=_set(sent.on_success), on_failure=_set(sent.on_failure))


def _set(sent: Destination | None) -> Destination | None:
    return None if sent is None or not sent.destination else sent


def _destination_rule(name: str, expected: Callable[[str], str]) -> Rule:
    def check(sent: Destination | None) -> None:
        if sent is not None and (wanted := expected(sent.destination)):
            shown = checks.shown(without_password(sent.destination))
            raise Invalid(f"destination_config.{name}.destination", wanted, shown)

    return Rule((f"destination_config.{name}",), check)


def _check_age(age: int | None) -> None:
    if age is not None:
        checks.between("max_async_event_age_in_seconds", age, 1, limits.ASYNC_EVENT_AGE_S_MAX)


def _check_retries(attempts: int | None) -> None:
    if attempts is not None:
        checks.between("max_async_retry_attempts", attempts, 0, limits.ASYNC_RETRIES_MAX)


_RULES = (Rule(("max_async_event_age_in_seconds",), _check_age), Rule(("max_async_retry_attempts",), _check_retries))
