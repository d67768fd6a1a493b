"""Published functions build the cloud's names from `context.region`: inside they lead here, over HTTP and HTTPS.

With the oss2 that ships with each runtime.
"""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import oss2
import pytest
from tests.journeys.conftest import (
    ACCOUNT_ID,
    KEY_ID,
    RUNTIMES,
    SECRET,
    Deploy,
    Sesame,
    newest,
    oldest_and_newest,
    run,
    running,
    runtimes_of,
)
from tests.support.jails import jail_only

from sesame.sandbox.network import HOST_ADDRESS

pytestmark = jail_only
ROLE = f"acs:ram::{ACCOUNT_ID}:role/aliyunfcdefaultrole"
# The oldest and the newest in `make test`, as their libraries check certificates in ways of their own.
EACH = pytest.mark.parametrize("runtime", oldest_and_newest(RUNTIMES, between=pytest.mark.thorough))
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sesame]:
    with running(tmp_path_factory.mktemp("names"), runtime=runtimes_of(request)) as sesame:
        yield sesame


@pytest.fixture(scope="module")
def bucket(server: Sesame) -> str:
    endpoint = json.loads((server.data_dir / "endpoints.json").read_text())["oss"]
    oss2.Bucket(oss2.Auth(KEY_ID, SECRET), endpoint, "published").create_bucket()
    return "published"


@pytest.mark.parametrize("runtime", newest(RUNTIMES))
def test_a_published_function_finds_object_storage(server: Sesame, bucket: str, runtime: str) -> None:
    client, service = server.client(), f"names-{next(_numbers)}"
    client.create_service(service, role=ROLE)
    call = Deploy(client, service, runtime)("cloud")
    for scheme in ("", "http://", "https://"):
        event = json.dumps({"scheme": scheme, "bucket": bucket, "message": f"by {scheme}"})
        assert call(event.encode()).data == f"by {scheme}".encode()


# Under 3.12 the SDK's own copy of urllib3 sends no server's name.
@EACH
def test_a_package_that_brings_certificates_of_its_own_trusts_the_names(server: Sesame, runtime: str) -> None:
    client, service = server.client(), f"names-{next(_numbers)}"
    client.create_service(service, role=ROLE)
    said = Deploy(client, service, runtime)("identity")(b"{}").data
    assert said.decode().startswith(f"acs:ram::{ACCOUNT_ID}:assumed-role/aliyunfcdefaultrole/")


def test_a_function_gives_out_narrower_credentials_by_sts(
    server: Sesame, bucket: str, runtime: str, tmp_path: Path
) -> None:
    number = next(_numbers)
    giver, given = (f"acs:ram::{ACCOUNT_ID}:role/{name}-{number}" for name in ("giver", "given"))
    for arn, trust, rights in (
        # By the proxy, and without it: the source is the same.
        (giver, {"Service": ["fc.aliyuncs.com"]}, {"Action": "sts:AssumeRole", "Resource": given}),
        (given, {"RAM": [giver]}, {"Action": "oss:GetObject", "Resource": f"acs:oss:*:*:{bucket}/*"}),
    ):
        where = {"IpAddress": {"acs:SourceIp": HOST_ADDRESS}}
        name, policy = arn.rpartition("/")[2], {"Effect": "Allow", "Condition": where, **rights}
        allowed = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": trust}
        files = [tmp_path / f"{name}.json", tmp_path / f"{name}-trust.json"]
        for file, statement in zip(files, (policy, allowed), strict=True):
            file.write_text(json.dumps({"Version": "1", "Statement": [statement]}))
        run(server, "roles", "add", name, "--policy-file", files[0], "--trust-file", files[1])
    endpoint = json.loads((server.data_dir / "endpoints.json").read_text())["oss"]
    oss2.Bucket(oss2.Auth(KEY_ID, SECRET), endpoint, bucket).put_object("open", b"for the browser")
    client, service = server.client(), f"names-{number}"
    client.create_service(service, role=giver)
    call = Deploy(client, service, runtime)("sts")
    for scheme in ("http", "https"):
        event = {"scheme": scheme, "bucket": bucket, "role": given, "key": "open"}
        assert call(json.dumps(event).encode()).data == b"for the browser"
