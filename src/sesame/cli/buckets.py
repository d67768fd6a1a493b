"""`sesame buckets`: makes and lists buckets, and puts, gets and removes their objects.

An object's name is `bucket/key`. The official tools, which handle many objects, work with Sesame unchanged.
"""

import mimetypes
import os
import sys
from pathlib import Path

import click

from sesame.cli import output
from sesame.cli.oss_client import Entry, OssClient
from sesame.cli.server import OSS_ENDPOINT
from sesame.cli.server_options import Session, at_server
from sesame.model.errors import ConfigurationError


@click.group()
def buckets() -> None:
    """Makes and lists buckets, and puts, gets and removes their objects."""


@buckets.command()
@click.argument("bucket")
@at_server
def make(session: Session, bucket: str) -> None:
    """Makes a bucket; does nothing if the account already has it."""
    _client(session).make_bucket(bucket)
    session.show({"made": bucket}, lambda: iter([f"+ {bucket}"]))


@buckets.command("list")
@click.argument("name", required=False)
@at_server
def list_buckets(session: Session, name: str | None) -> None:
    """Lists the buckets, or the objects of NAME: a bucket, or BUCKET/PREFIX."""
    client = _client(session)
    bucket, _, prefix = (name or "").partition("/")
    found = list(client.objects(bucket, prefix) if bucket else client.buckets())
    document = [{"name": each.name, "modified": each.modified, "size": each.size} for each in found]
    session.show(document, lambda: (_line(each, is_object=bool(bucket)) for each in found))


@buckets.command()
@click.argument("source", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("name")
@at_server
def put(session: Session, source: Path, name: str) -> None:
    """Uploads the file SOURCE as NAME (BUCKET/KEY; BUCKET/ and BUCKET/FOLDER/ take the file's own name)."""
    bucket, key = _object(name, source.name)
    kind = mimetypes.guess_type(source.name)[0] or "application/octet-stream"
    _client(session).put(bucket, key, source, kind)
    session.show({"put": f"{bucket}/{key}"}, lambda: iter([f"+ {bucket}/{key}"]))


@buckets.command()
@click.argument("name")
@click.argument("target", type=click.Path(path_type=Path), default=Path("-"))
@at_server
def get(session: Session, name: str, target: Path) -> None:
    """Downloads NAME (BUCKET/KEY) to the file or folder TARGET; without one, or with -, to standard output."""
    bucket, key = _object(name, "")
    if str(target) == "-":
        _client(session).get(bucket, key, sys.stdout.buffer)
        sys.stdout.buffer.flush()
        return
    place = target / (key.rpartition("/")[2] or key) if target.is_dir() else target
    # Downloads to a temporary file first, so that an interrupted download leaves an existing file unchanged.
    draft = place.with_name(f".{place.name}.{os.getpid()}.partial")
    try:
        with draft.open("wb") as file:
            _client(session).get(bucket, key, file)
        draft.replace(place)
    except OSError as error:
        raise ConfigurationError(f"{place} cannot be written: {error.strerror}") from error
    finally:
        draft.unlink(missing_ok=True)
    session.show({"got": str(place)}, lambda: iter([str(place)]))


@buckets.command("remove")
@click.argument("name")
@at_server
def remove_object(session: Session, name: str) -> None:
    """Removes an object (BUCKET/KEY), or an empty bucket (BUCKET)."""
    bucket, _, key = name.partition("/")
    _client(session).remove(bucket, key)
    session.show({"removed": name}, lambda: iter([f"- {name}"]))


def _client(session: Session) -> OssClient:
    """A client for the server's object storage."""
    chosen = session.server
    if not chosen.oss:
        raise ConfigurationError(
            f"the object storage of {chosen.endpoint} is not known: set {OSS_ENDPOINT}, as `sesame env` does"
        )
    output.note(output.harmless(f"Object storage at {chosen.oss} as {chosen.key.described()}."))
    return OssClient(chosen.oss, chosen.key)


def _object(name: str, own: str) -> tuple[str, str]:
    bucket, slash, key = name.partition("/")
    if key.endswith("/") or not key:
        key += own
    if not bucket or not slash or not key:
        raise click.UsageError(f"'{name[:80]}' names no object: expected BUCKET/KEY")
    return bucket, key


def _line(entry: Entry, *, is_object: bool) -> str:
    return f"{entry.size:>12}  {entry.modified}  {entry.name}" if is_object else f"{entry.modified}  {entry.name}"
