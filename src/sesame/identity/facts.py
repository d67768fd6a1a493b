"""The facts of a request besides its action and resource, which the conditions of policies test.

Built by the endpoints for every request; read by `identity.authorization`. No field has a default, so that no endpoint
can forget one.
"""

import ipaddress
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

import msgspec

from sesame.identity.policy.condition_keys import normal

NO_SERVICE_FACTS: Mapping[str, str] = {}


class RequestFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The facts of one request (reference/companions.md §3.2).

    `source_ip` is the peer's address, "" if the connection has none; `at` is in Unix seconds; `user_agent` is "" if the
    request has none. `service_keys` holds facts that only this service's conditions test, by condition key
    (`oss:Prefix`).
    """

    source_ip: str
    at: float
    secure_transport: bool
    user_agent: str
    access_key_id: str
    service_keys: Mapping[str, str]

    def with_keys(self, more: Mapping[str, str]) -> "RequestFacts":
        """The same request with additional facts of the service."""
        return msgspec.structs.replace(self, service_keys={**self.service_keys, **more})


def facts_of_sesame(at: float) -> RequestFacts:
    """The facts of a request from Sesame to itself: it has no address and crosses no network."""
    return RequestFacts(
        source_ip="", at=at, secure_transport=True, user_agent="", access_key_id="", service_keys=NO_SERVICE_FACTS
    )


class ConditionContext(Mapping[str, str]):
    """The facts by condition key, in any case. A fact that the request lacks is a missing key."""

    def __init__(self, facts: RequestFacts) -> None:
        self._values = {normal(key): value for key, value in facts.service_keys.items()}
        self._values["acs:currenttime"] = datetime.fromtimestamp(facts.at, UTC).isoformat()
        self._values["acs:securetransport"] = "true" if facts.secure_transport else "false"
        # Access keys cannot be bound to a second factor here.
        self._values["acs:mfapresent"] = "false"
        self._values["acs:accessid"] = facts.access_key_id
        if address := plain_address(facts.source_ip):
            self._values["acs:sourceip"] = address
        if facts.user_agent:
            self._values["acs:useragent"] = facts.user_agent

    def __getitem__(self, key: str) -> str:
        return self._values[normal(key)]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


def plain_address(text: str) -> str:
    """The address in the form used in policies: without zone, and IPv4 instead of IPv4-mapped IPv6.

    "" if the text is not an address.
    """
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return ""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)
