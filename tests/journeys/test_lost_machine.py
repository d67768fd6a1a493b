"""A machine that is lost, with records in PostgreSQL and objects and code in a bucket: another one goes on.

Starts a whole Sesame, kills it, removes its directory, and starts one on a new directory with the same two URLs.
"""

import json
import shutil
from pathlib import Path

import oss2
import pytest
from fc2.fc_exceptions import FcError
from tests.journeys.conftest import FUNCTIONS, KEY_ID, SECRET, Sesame, running, wait_until
from tests.support.faulty_proxy import faulty_proxy
from tests.support.s3 import Store

RUNTIME = "python3"
HELLO = str(FUNCTIONS / "journey_hello")
LARGE = bytes(range(256)) * 50_000


def bucket_of(sesame: Sesame) -> oss2.Bucket:
    endpoint = json.loads((sesame.data_dir / "endpoints.json").read_text())["oss"]
    return oss2.Bucket(oss2.Auth(KEY_ID, SECRET), endpoint, "photos")


@pytest.mark.thorough
def test_another_machine_goes_on_where_the_lost_one_was(tmp_path: Path, postgresql_url: str, s3_store: Store) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    with faulty_proxy(s3_store.port) as proxy:
        flags = ("--database", postgresql_url, "--objects", s3_store.new_url(proxy.endpoint))
        with running(tmp_path / "first", *flags, runtime=RUNTIME) as first:
            client = first.client()
            client.create_service("s")
            client.create_function("s", "hello", RUNTIME, "index.my_handler", codeDir=HELLO)
            assert client.invoke_function("s", "hello").data == b"hello world"
            photos = bucket_of(first)
            photos.create_bucket()
            photos.put_object("large", LARGE)
            photos.append_object("log", 0, b"first\n")
            first.kill()
        shutil.rmtree(tmp_path / "first" / "data")
        with running(tmp_path / "second", *flags, runtime=RUNTIME) as second:
            client, photos = second.client(), bucket_of(second)
            assert photos.get_object("large").read() == LARGE
            photos.append_object("log", 6, b"second\n")
            assert photos.get_object("log").read() == b"first\nsecond\n"
            proxy.status = 403
            with pytest.raises(FcError) as unreachable:
                client.invoke_function("s", "hello")
            assert unreachable.value.status_code == 503
            with pytest.raises(oss2.exceptions.ServerError):
                photos.put_object("new", b"new")
            proxy.heal()
            assert client.invoke_function("s", "hello").data == b"hello world"
            photos.put_object("new", b"new")
            photos.delete_object("large")
            wait_until(lambda: not photos.object_exists("large"), "the deletion")
