"""Finds the target of a destination: a function of this server, a URL, or none.

Used by `destinations.following` and `destinations.deliverer`. The setting `destinations` maps ARNs of services that
this server lacks to URLs.
"""

from collections.abc import Mapping

import msgspec

from sesame.model.arn import Arns, parse_function_arn
from sesame.model.destinations import is_web_url
from sesame.model.invocation import Target

_EVENTBRIDGE = "acs:eventbridge:"


class FunctionRoute(msgspec.Struct, frozen=True):
    target: Target


class UrlRoute(msgspec.Struct, frozen=True):
    """`as_event`: the record is sent as a CloudEvent. `of_operator`: the setting `destinations` names the URL."""

    url: str
    as_event: bool
    of_operator: bool


class NoRoute(msgspec.Struct, frozen=True):
    """`reason` states what was found and what to do."""

    reason: str


Route = FunctionRoute | UrlRoute | NoRoute


class Routes:
    """`mapped` maps ARN prefixes to URLs; the longest matching prefix applies."""

    def __init__(self, arns: Arns, mapped: Mapping[str, str]) -> None:
        self._arns = arns
        self._mapped = sorted(mapped.items(), key=lambda item: -len(item[0]))

    def why_undelivered(self, destination: str) -> str:
        """Why records for this destination become dead letters at once; "" if they are sent."""
        route = self.find(destination)
        return route.reason if isinstance(route, NoRoute) else ""

    def find(self, destination: str) -> Route:
        if is_web_url(destination):
            return UrlRoute(destination, as_event=False, of_operator=False)
        function = parse_function_arn(destination)
        own = function is not None and (
            function.region in ("", self._arns.region) and function.account_id in ("", self._arns.account_id)
        )
        if function is not None and own:
            return FunctionRoute(function.target)
        for prefix, url in self._mapped:
            if destination.startswith(prefix):
                return UrlRoute(url, as_event=destination.startswith(_EVENTBRIDGE), of_operator=True)
        if function is not None:
            own_place = f"region {self._arns.region} and account {self._arns.account_id}"
            return NoRoute(
                f"the function '{destination}' is not of {own_place}, and no URL is set for it (--destinations)"
            )
        return NoRoute(
            f"no URL is set for '{destination}'; map it, or the beginning of it, to one with --destinations ARN=URL"
        )
