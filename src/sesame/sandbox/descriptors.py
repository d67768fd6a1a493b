"""How many instances the open files that this process may have (RLIMIT_NOFILE) are enough for.

Used by `_engine` for admission, by `_endpoints` and by `sesame doctor`.
"""

import resource

# Instances may take this share; the other is for connections (http.limits.CONNECTIONS_SHARE).
INSTANCES_SHARE = 0.5
# Beside connections and instances of functions: 237 were open after a start with five runtimes, whose prewarmed
# sandboxes take most; further ones are for files, the database and starts under way. Of a small limit, half the share.
RESERVED = 384
WITHOUT_LIMIT = 1_000_000
# macOS calls the hard limit infinite, and takes so many.
OPEN_MAX = 10_240


def of_process() -> int:
    """The soft limit of this process, which `sesame start` has raised to the hard one."""
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return WITHOUT_LIMIT if soft == resource.RLIM_INFINITY else soft


def of_server() -> int:
    """The limit that `sesame start` would have here."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return OPEN_MAX if hard == resource.RLIM_INFINITY else hard


def instances_max(descriptors: int, of_instance: int) -> int:
    """At least one, so that a small limit is told by the start that fails and not by a bound of nothing."""
    share = int(descriptors * INSTANCES_SHARE)
    return max((share - min(RESERVED, share // 2)) // of_instance, 1)
