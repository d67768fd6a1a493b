"""The rules for `corsConfig` of custom domains and of HTTP triggers.

Called by `control.domains` and `control.trigger_checks` for what is stored, and by `control.stored_cors` for what was.
What passes can stand in a header.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from sesame.control import checks
from sesame.model.conversion import converted
from sesame.model.cors_rules import ANY, CorsRules
from sesame.model.errors import Invalid

NAMES_MAX = 100
MAX_AGE_S_MAX = 86_400
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,128}\Z")
_ORIGIN = re.compile(r"(\*|null|[a-z][a-z0-9+.\-]{0,31}://[A-Za-z0-9*.\-_:\[\]]{1,256})\Z")


def read(label: str, sent: Mapping[str, Any]) -> CorsRules:
    """Raises `Rejected` for what is no `corsConfig`, or one with a broken rule; `label` names the setting."""
    rules = converted(sent, CorsRules, label)
    check(label, rules)
    return rules


def check(label: str, rules: CorsRules) -> None:
    """Raises `Invalid` for the first rule that is broken."""
    for origin in _few(f"{label}.allow_origins", rules.allow_origins):
        if not _ORIGIN.match(origin) or origin.count(ANY) > 1:
            raise Invalid(
                f"{label}.allow_origins", "* or https://HOST[:PORT], with at most one * in it", checks.shown(origin)
            )
    for name, values in (
        ("allow_methods", rules.allow_methods),
        ("allow_headers", rules.allow_headers),
        ("expose_headers", rules.expose_headers),
    ):
        for value in _few(f"{label}.{name}", values):
            if not _TOKEN.match(value):
                raise Invalid(f"{label}.{name}", "* or names of the characters that HTTP allows", checks.shown(value))
    checks.between(f"{label}.max_age", rules.max_age, 0, MAX_AGE_S_MAX)


def _few(label: str, values: Sequence[str]) -> Sequence[str]:
    if len(values) > NAMES_MAX:
        raise Invalid(label, f"at most {NAMES_MAX}", len(values))
    return values
