"""What the account as a whole is told about itself (reference/api.md §3.2, §3.6).

Called by the doors; made by `app` from settings.
Never holds keys: `identity` does.
"""

from collections.abc import Iterable

import msgspec

from sesame.model import limits


class AccountSettings(msgspec.Struct, frozen=True, rename="camel"):
    """Answer of GetAccountSettings. Nothing is reserved here, so the list of reserved capacities is always empty."""

    available_azs: tuple[str, ...] = msgspec.field(default=(), name="availableAZs")
    default_role: str = ""


def account_configs(names: Iterable[str] = ()) -> dict[str, str]:
    """The named limits, or all of them, as text; names that nobody knows are left out."""
    known = {"CodeSizeLimit": str(limits.CODE_ZIP_BYTES)}
    wanted = set(names) or known.keys()
    return {name: value for name, value in known.items() if name in wanted}
