"""A bucket mounted into a function.

Created by `model.snapshot` from the settings that `control` accepted; served by `sandbox.buckets` (reference/api.md
§3.1).
"""

import msgspec


class BucketMount(msgspec.Struct, frozen=True, kw_only=True):
    """`prefix` is the common prefix of the mounted keys: "", or a path that ends in "/". `mount_dir` is normalized."""

    bucket: str
    prefix: str
    mount_dir: str
    read_only: bool


def prefix_of(path: str) -> str:
    """The key prefix of a directory of a bucket: `/a/b` becomes `a/b/`."""
    return "".join(f"{part}/" for part in path.split("/") if part)
