"""Published functions build the cloud's names from `context.region`: inside they lead here, over HTTP and HTTPS.

Run under every runtime found, with the oss2 that ships with it.
"""

import itertools
import json
from collections.abc import Iterator

import oss2
import pytest
from tests.journeys.conftest import ACCOUNT_ID, KEY_ID, SECRET, Deploy, Sesame, running
from tests.support.jails import jail_only

pytestmark = jail_only
ROLE = f"acs:ram::{ACCOUNT_ID}:role/aliyunfcdefaultrole"
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sesame]:
    with running(tmp_path_factory.mktemp("names")) as sesame:
        yield sesame


@pytest.fixture(scope="module")
def bucket(server: Sesame) -> str:
    endpoint = json.loads((server.data_dir / "endpoints.json").read_text())["oss"]
    oss2.Bucket(oss2.Auth(KEY_ID, SECRET), endpoint, "published").create_bucket()
    return "published"


def test_a_published_function_finds_object_storage(server: Sesame, bucket: str, runtime: str) -> None:
    client, service = server.client(), f"names-{next(_numbers)}"
    client.create_service(service, role=ROLE)
    call = Deploy(client, service, runtime)("cloud")
    for scheme in ("", "http://", "https://"):
        event = json.dumps({"scheme": scheme, "bucket": bucket, "message": f"by {scheme}"})
        assert call(event.encode()).data == f"by {scheme}".encode()
