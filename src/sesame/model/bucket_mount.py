"""A bucket that is mounted into a function: which, what of it, and where.

Made by `model.snapshot` of what `control` has accepted; served by `sandbox.buckets` (reference/api.md §3.1).
"""

import msgspec


class BucketMount(msgspec.Struct, frozen=True, kw_only=True):
    """`prefix` is what the keys of its files begin with: "", or a path that ends in "/". `mount_dir` is normalized."""

    bucket: str
    prefix: str
    mount_dir: str
    read_only: bool


def prefix_of(path: str) -> str:
    """Of a directory of a bucket, as `/a/b`."""
    return "".join(f"{part}/" for part in path.split("/") if part)
