"""The account's own settings and limits, as the API returns them (reference/api.md §3.2, §3.6).

Called by the endpoints; created by `app` from settings. `identity` stores the account's keys.
"""

from collections.abc import Iterable

import msgspec

from sesame.model import limits


class AccountSettings(msgspec.Struct, frozen=True):
    """The account's zones, and the ARN of the default role for functions."""

    available_azs: tuple[str, ...] = ()
    default_role: str = ""


def account_configs(names: Iterable[str] = ()) -> dict[str, str]:
    """The named limits, or all of them, as text; unknown names are ignored."""
    known = {"CodeSizeLimit": str(limits.CODE_ZIP_BYTES)}
    wanted = set(names) or known.keys()
    return {name: value for name, value in known.items() if name in wanted}
