"""What a check finds, how much it looked at, and what is wrong with bytes wherever they are.

Used by the checks of a data directory and of a bucket.
"""

import msgspec

from sesame.store.upkeep.files import Sums
from sesame.store.upkeep.inventory import BlobRow

# Of one kind of damage so many are told one by one.
SHOWN_MAX = 20
# Beside a running Sesame: what is this young may still get its row, what is this old will not.
IN_FLIGHT_S = 3600.0
RESTORE = "take a backup back with `sesame restore`; a start does not delete anything"
DEPLOY_AGAIN = "deploy it again, or `sesame restore` a backup"


class Damage(msgspec.Struct, frozen=True):
    """Something that is wrong, or with `harmless` only worth knowing; `next_step` may be ""."""

    what: str
    next_step: str = ""
    harmless: bool = False


class Checked(msgspec.Struct):
    """How much was looked at."""

    records: int = 0
    blobs: int = 0
    blob_bytes: int = 0
    packages: int = 0
    log_segments: int = 0


def wrong_size(row: BlobRow, there: int) -> str:
    """What is wrong with a blob that has so many bytes, "" for nothing."""
    if there < row.size or (there > row.size and not row.grows):
        return f"has {there} bytes instead of {row.size}"
    return ""


def wrong_bytes(row: BlobRow, found: Sums) -> str:
    """What is wrong with the first `row.size` bytes of a blob, "" for nothing."""
    if found.crc64 != row.crc64:
        return "has other bytes than were stored: the CRC-64 differs"
    if row.md5 and found.md5 != row.md5:
        return "has other bytes than were stored: the MD5 differs"
    return ""
