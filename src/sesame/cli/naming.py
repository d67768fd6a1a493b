"""How commands name things: `service/function`, `service/function:qualifier`, `NAME=VALUE`.

Used by every command with such an argument.
"""

from collections.abc import Iterable

import click
import msgspec

from sesame.model import limits
from sesame.model.owner import owner_of


class FunctionName(msgspec.Struct, frozen=True):
    """`qualifier` is a version or an alias, "" for LATEST."""

    service: str
    function: str
    qualifier: str = ""

    @property
    def qualified_service(self) -> str:
        """The form in the API's paths: `service` or `service.qualifier`."""
        return f"{self.service}.{self.qualifier}" if self.qualifier else self.service


def function_name(text: str) -> FunctionName:
    """Parses `service/function[:qualifier]`; also `service.qualifier/function`, as in the API's paths.

    A name without a slash means a function without a service (FC 3.0).
    """
    if "/" not in text:
        alone, colon, qualifier = text.partition(":")
        if limits.FUNCTION_NAME.match(alone) and (not colon or qualifier):
            return FunctionName(owner_of(alone), alone, qualifier)
    service, slash, rest = text.partition("/")
    function, colon, qualifier = rest.partition(":")
    service, dot, in_service = service.partition(".")
    if not slash or not service or not function or "/" in function or (colon and not qualifier) or (colon and dot):
        raise click.UsageError(
            f"'{text[:80]}' names no function: expected SERVICE/FUNCTION, or FUNCTION alone for one without a service, "
            "and :QUALIFIER behind it"
        )
    return FunctionName(service, function, qualifier or in_service)


def service_and_function(text: str) -> tuple[str | None, str]:
    """Parses `service/function`, or a function's name alone."""
    if "/" not in text:
        return None, text
    found = function_name(text)
    if found.qualifier:
        raise click.UsageError(f"'{text[:80]}' has a qualifier: a function is deployed without one")
    return found.service, found.function


def pairs(given: Iterable[str], flag: str) -> dict[str, str]:
    """Parses `NAME=VALUE` arguments."""
    found: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise click.UsageError(f"{flag} {text[:80]}: expected NAME=VALUE")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            # An argument of other bytes; it could not be sent.
            raise click.UsageError(f"{flag} {name[:80]!a}: its value is not in UTF-8") from error
        found[name] = value
    return found
