"""What a check finds, how much it checked, and comparisons of bytes for every kind of store.

Used by the checks of a data directory and of a bucket.
"""

import msgspec

from sesame.store.upkeep.files import Sums
from sesame.store.upkeep.inventory import BlobRow

# How many items of one kind of damage are reported individually.
SHOWN_MAX = 20
# Beside a running Sesame: a younger file may still get its row, an older one will not.
IN_FLIGHT_S = 3600.0
RESTORE = "take a backup back with `sesame restore`; a start does not delete anything"
DEPLOY_AGAIN = "deploy it again, or `sesame restore` a backup"


class Damage(msgspec.Struct, frozen=True):
    """Something wrong, or with `harmless` only worth knowing; `next_step` may be ""."""

    what: str
    next_step: str = ""
    harmless: bool = False


class Checked(msgspec.Struct):
    """How much was checked."""

    records: int = 0
    blobs: int = 0
    blob_bytes: int = 0
    packages: int = 0
    log_segments: int = 0


def wrong_size(row: BlobRow, there: int) -> str:
    """What is wrong with a blob of `there` bytes; "" if nothing."""
    if there < row.size or (there > row.size and not row.grows):
        return f"has {there} bytes instead of {row.size}"
    return ""


def wrong_bytes(row: BlobRow, found: Sums) -> str:
    """What is wrong with the first `row.size` bytes of a blob; "" if nothing."""
    if found.crc64 != row.crc64:
        return "has other bytes than were stored: the CRC-64 differs"
    if row.md5 and found.md5 != row.md5:
        return "has other bytes than were stored: the MD5 differs"
    return ""
