"""The long names of resources: acs:fc:{region}:{account}:… (reference/api.md §2).

Used by `control` and the endpoints wherever a caller names a resource or is told of one.
"""

import re

import msgspec

_SERVICE = re.compile(r"(?:acs:fc:[^:/]*:[^:/]*:)?services/([^/.]+)\Z")


class Arns(msgspec.Struct, frozen=True):
    """Of this account, in this region."""

    region: str
    account_id: str

    def service(self, service: str) -> str:
        return f"{self._prefix}services/{service}"

    def function(self, service: str, function: str, qualifier: str = "") -> str:
        qualified = f"{service}.{qualifier}" if qualifier else service
        return f"{self._prefix}services/{qualified}/functions/{function}"

    def layer(self, layer: str, version: int) -> str:
        return f"{self._prefix}layers/{layer}/versions/{version}"

    def bucket(self, bucket: str) -> str:
        """As triggers and events name it, with the region's bare name."""
        return f"acs:oss:{self.region}:{self.account_id}:{bucket}"

    def event_rule(self, bus: str, rule: str) -> str:
        return f"acs:eventbridge:{self.region}:{self.account_id}:eventbus/{bus}/rule/{rule}"

    @property
    def _prefix(self) -> str:
        return f"acs:fc:{self.region}:{self.account_id}:"


def parse_service_arn(arn: str) -> str | None:
    """The service's name, from the whole ARN or from `services/{name}`; None when it is no service's."""
    found = _SERVICE.match(arn)
    return None if found is None else found[1]
