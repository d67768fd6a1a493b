"""What a check finds, and how much it looked at.

Used by the checks of a data directory and of a bucket.
"""

import msgspec

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
