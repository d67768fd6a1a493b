"""Which settings must be the same on every node of a cluster, and how each is shown in messages.

Used by `_node`. POLICY: all settings except those for a machine's own addresses, paths, processors and memory.
"""

from sesame.cluster.sameness import Same, told
from sesame.settings import SECRETS, TABLE, Settings
from sesame.store.blobs.location import parse_location

# `database` is not compared, because one database has many URLs. A follower recognizes the same database by the row
# that the writer creates for it.
OWN = frozenset(
    (
        "port", "host", "agents", "tls_cert", "tls_key", "oss_port", "sls_port", "sts_port", "metrics_host", "data_dir",
        "database", "network_allow", "interpreters", "runtimes_dir", "interpreters_channel", "interpreters_mirror",
        "interpreters_proxy", "mounts", "image_root", "images", "max_memory_mb", "max_disk_mb", "calls",
    )
)  # fmt: skip
# For these, only whether they are set must be the same.
_ENDPOINTS = frozenset(("https_port", "metrics_port"))


def shared(settings: Settings, key: bytes) -> Same:
    """The shared settings by name; `key` is the cluster's."""
    same = {}
    for name in TABLE.keys() - OWN:
        value = getattr(settings, name)
        if name == "objects" and value is not None:
            place = parse_location(value)
            said = {each: place.items[each] for each in ("endpoint", "region") if each in place.items}
            shown = " ".join((place.shown, *(f"{each}={said[each]}" for each in sorted(said))))
            same[name] = told(key, name, [place.bucket, place.prefix, said], shown=shown)
        elif name in _ENDPOINTS:
            same[name] = told(key, name, value is not None, shown="none" if value is None else "given")
        elif name in SECRETS and value is not None:
            same[name] = told(key, name, value, shown="")
        else:
            same[name] = told(key, name, value, shown="not given" if value is None else None)
    return same
