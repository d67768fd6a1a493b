"""What a backup lists of itself: `backup.json`, with the digest of each file.

Written and read by `backup`.
"""

from pathlib import Path

import msgspec

from sesame.model.errors import ConfigurationError
from sesame.store.sql.migrate import known_migrations, newest_migration

MANIFEST = "backup.json"
FORMAT = 1
DATABASE = "sesame.db"


class CopiedFile(msgspec.Struct, frozen=True):
    """`path` is relative to the backup, with slashes. `sha256` in lower-case hex."""

    path: str
    size: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """`backup.json`: written last, so that a backup without it is not complete. `created_at` in Unix seconds.

    `lost_logs`: segments of a cluster's logs that its bucket does not have as they were put. Of a cluster, logs from
    before `logs_until` are in it (Unix seconds, by the clock of the node that leads); `logs_late` if that node did not
    bring those into the bucket that it had when the database was copied.
    """

    format: int
    sesame: str
    schema: str
    revision: int
    created_at: float
    files: list[CopiedFile]
    lost_logs: list[str] = []
    logs_until: float | None = None
    logs_late: bool = False


def read_manifest(source: Path) -> Manifest:
    path = source / MANIFEST
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except FileNotFoundError as error:
        if not source.exists():
            raise ConfigurationError(f"{source} does not exist: name a directory that `sesame backup` made") from error
        raise ConfigurationError(
            f"{source} is not a complete backup: it has no {MANIFEST}, which `sesame backup` writes last"
        ) from error
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}; restore another backup") from error
    if manifest.format != FORMAT:
        raise ConfigurationError(
            f"{source} was written by Sesame {manifest.sesame} in format {manifest.format}, expected format {FORMAT}: "
            "restore it with that version"
        )
    if manifest.schema not in known_migrations():
        raise ConfigurationError(
            f"{source} was made by a newer Sesame, {manifest.sesame} (found schema {manifest.schema}, expected "
            f"{newest_migration()} or older): restore it with that version, or an older backup with this one"
        )
    if DATABASE not in {file.path for file in manifest.files}:
        raise ConfigurationError(f"{source} is not a backup of a data directory: it lists no {DATABASE}")
    return manifest
