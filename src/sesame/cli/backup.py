"""`sesame backup` and `sesame restore`: copy a data directory consistently, even while Sesame runs, and back.

Both leave the source directory unchanged.
"""

import datetime
from pathlib import Path
from typing import Any

import click

from sesame.cli import output
from sesame.cli.json_option import with_json
from sesame.cli.options import settle, with_settings
from sesame.data_dir import DataDir
from sesame.store.blobs.ownership import require_own_objects
from sesame.store.sql.pairing import require_own_database
from sesame.store.upkeep.backup import back_up
from sesame.store.upkeep.backup import restore as restore_from
from sesame.store.upkeep.manifest import Manifest


@click.command()
@click.argument("destination", type=click.Path(path_type=Path), metavar="DEST")
@with_json
@with_settings("data_dir", "database", "objects")
def backup(destination: Path, as_json: bool, **flags: Any) -> None:
    """Copies database, objects, code packages and logs to the new directory DEST, even while Sesame runs."""
    settings = settle(flags)
    data_dir = DataDir(settings.data_dir, settings.database, settings.objects)
    data_dir.refuse_file()
    require_own_database(data_dir.path, data_dir.database)
    require_own_objects(data_dir.path, data_dir.bucket)
    with output.busy(f"Copying {data_dir.path} …"):
        manifest = back_up(data_dir, destination.absolute())
    for lost in manifest.lost_logs:
        output.note(f"Not copied: {lost}")
    if manifest.logs_until is not None:
        output.note(_logs_until(manifest))
    if as_json:
        output.json_document(_document(manifest, "backup", destination))
    output.note(
        f"{destination} holds {_shown(manifest)}. Take it back with `sesame restore {destination} --data-dir NEW`."
    )


@click.command()
@click.argument("source", type=click.Path(path_type=Path), metavar="SRC")
@with_json
@with_settings("data_dir", "database", "objects")
def restore(source: Path, as_json: bool, **flags: Any) -> None:
    """Restores the backup SRC into a data directory, which must be new or empty, and checks every digest.

    With --database, records go to that database; with --objects, objects and code go to that place. Both must be empty.
    """
    settings = settle(flags)
    data_dir = DataDir(settings.data_dir, settings.database, settings.objects)
    data_dir.refuse_file()
    with output.busy(f"Restoring {source} to {data_dir.path} …"):
        manifest = restore_from(source.absolute(), data_dir)
    if as_json:
        output.json_document(_document(manifest, "dataDirectory", data_dir.path))
    elsewhere = (("--database", settings.database), ("--objects", settings.objects))
    also = "".join(f" {flag} …" for flag, value in elsewhere if value)
    output.note(
        f"{data_dir.path} holds {_shown(manifest)}. Start with `sesame start --data-dir {data_dir.path}{also}`."
    )


def _logs_until(manifest: Manifest) -> str:
    assert manifest.logs_until is not None
    at = datetime.datetime.fromtimestamp(manifest.logs_until).astimezone()
    until = f"up to {at:%Y-%m-%d %H:%M:%S %z}" if manifest.logs_until else "up to a time that is not known"
    if not manifest.logs_late:
        return f"The logs of the cluster are in it {until}."
    return (
        f"The logs of the cluster are in it {until} only: the node that leads has brought none into the bucket since "
        "this began, or none leads (`sesame cluster status`). Later ones are on the node that has led: run this there."
    )


def _document(manifest: Manifest, kind: str, place: Path) -> dict[str, Any]:
    files = {"files": len(manifest.files), "bytes": _bytes(manifest)}
    logs = {} if manifest.logs_until is None else {"logsUntil": manifest.logs_until, "logsLate": manifest.logs_late}
    return {kind: str(place.absolute()), **files, "revision": manifest.revision, **logs}


def _bytes(manifest: Manifest) -> int:
    return sum(file.size for file in manifest.files)


def _shown(manifest: Manifest) -> str:
    return (
        f"{len(manifest.files)} files, {_bytes(manifest) / 1e6:.1f} MB, at revision {manifest.revision} of the catalog"
    )
