"""Which web pages may read what an HTTP function answers, as its domain or its trigger says (reference/api.md §5.2).

Checked by `control` when it is set; obeyed by `fc.web`. Browsers ask and obey (Fetch standard, CORS protocol).
"""

import msgspec

ANY = "*"


class CorsRules(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """`allow_origins` are `*`, `null`, or `https://host[:port]`, in which one `*` stands for any characters.

    `max_age` is in seconds. `*` among methods and headers stands for whatever a browser asks for.
    """

    allow_credentials: bool = False
    allow_headers: tuple[str, ...] = ()
    allow_methods: tuple[str, ...] = ()
    allow_origins: tuple[str, ...] = ()
    expose_headers: tuple[str, ...] = ()
    max_age: int = 0


NONE = CorsRules()


def allows(rules: CorsRules, origin: str) -> bool:
    return any(_matches(pattern, origin) for pattern in rules.allow_origins)


def _matches(pattern: str, origin: str) -> bool:
    before, star, behind = pattern.partition(ANY)
    if not star:
        return pattern == origin
    long_enough = len(origin) >= len(before) + len(behind)
    return long_enough and origin.startswith(before) and origin.endswith(behind)
