"""How many instances this process's limit on open files (RLIMIT_NOFILE) allows.

Used by `_engine` for admission, by `_listening` and by `sesame doctor`.
"""

import resource

# The share of descriptors for instances; the rest is for connections (http.limits.CONNECTIONS_SHARE).
INSTANCES_SHARE = 0.5
# Descriptors taken by neither connections nor instances of functions: 237 were open after a start with five runtimes,
# most of them for prewarmed sandboxes; the rest is for files, the database and starts. At most half the share is used.
RESERVED = 384
WITHOUT_LIMIT = 1_000_000
# macOS reports an infinite hard limit, but accepts only this many.
OPEN_MAX = 10_240


def of_process() -> int:
    """This process's soft limit, which `sesame start` has raised to the hard one."""
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return WITHOUT_LIMIT if soft == resource.RLIM_INFINITY else soft


def of_server() -> int:
    """The limit that `sesame start` would have here."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return OPEN_MAX if hard == resource.RLIM_INFINITY else hard


def instances_max(descriptors: int, of_instance: int) -> int:
    """At least one, so that with a tiny limit the start itself fails and reports it, not admission."""
    share = int(descriptors * INSTANCES_SHARE)
    return max((share - min(RESERVED, share // 2)) // of_instance, 1)
