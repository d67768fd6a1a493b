"""The manual's closing example: a function uploads to OSS with the temporary credentials of its service's role.

Run under the oldest and the newest runtime, with the oss2 that ships with each, against a Sesame of its own with roles
in its file.
"""

import itertools
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fc2
import oss2
import pytest
from tests.journeys.conftest import (
    ACCOUNT_ID,
    FUNCTIONS,
    KEY_ID,
    RUNTIMES,
    SECRET,
    Sesame,
    failure,
    oldest_and_newest,
    running,
    runtimes_of,
)

DEFAULT_ROLE = f"acs:ram::{ACCOUNT_ID}:role/aliyunfcdefaultrole"
READER = f"acs:ram::{ACCOUNT_ID}:role/reader"
CONFIG = """
[roles.reader]
policies = ["AliyunOSSReadOnlyAccess"]
"""
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sesame]:
    folder = tmp_path_factory.mktemp("upload")
    config = folder / "sesame.toml"
    config.write_text(CONFIG)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SESAME_CONFIG", str(config))
        with running(folder, runtime=tuple({"python3", *runtimes_of(request)})) as sesame:
            yield sesame


@pytest.fixture(scope="module")
def endpoint(server: Sesame) -> str:
    return str(json.loads((server.data_dir / "endpoints.json").read_text())["oss"])


@pytest.fixture(scope="module")
def bucket(endpoint: str) -> oss2.Bucket:
    bucket = oss2.Bucket(oss2.Auth(KEY_ID, SECRET), endpoint, "journey-uploads")
    bucket.create_bucket()
    return bucket


class Upload:
    """A service with a role, and in it the functions of one runtime."""

    def __init__(self, server: Sesame, bucket: oss2.Bucket, runtime: str, role: str) -> None:
        self._client = server.client()
        self._bucket = bucket
        self._runtime = runtime
        self.service = f"upload-{next(_numbers)}"
        self._client.create_service(self.service, role=role)

    def __call__(self, case: str, key: str) -> Any:
        folder = str(FUNCTIONS / f"journey_{case}")
        self._client.create_function(
            self.service, case, runtime=self._runtime, handler="index.my_handler", codeDir=folder, timeout=30
        )
        event = {
            "endpoint": self._bucket.endpoint,
            "bucket": self._bucket.bucket_name,
            "objectName": key,
            "message": f"Hello from {self._runtime}",
        }
        return self._client.invoke_function(self.service, case, payload=json.dumps(event))


@pytest.mark.parametrize("runtime", oldest_and_newest(RUNTIMES))
def test_the_manuals_upload(server: Sesame, bucket: oss2.Bucket, runtime: str) -> None:
    key = f"dir/{runtime} ä.txt"
    upload = Upload(server, bucket, runtime, DEFAULT_ROLE)
    assert upload("upload", key).data == b"success"
    assert bucket.get_object(key).read().decode() == f"Hello from {runtime}"


def test_without_the_token_it_is_refused(server: Sesame, bucket: oss2.Bucket, runtime: str) -> None:
    key = f"no-token/{runtime}"
    upload = Upload(server, bucket, runtime, DEFAULT_ROLE)
    with pytest.raises(fc2.FcError) as caught:
        upload("upload_without_token", key)
    assert "InvalidAccessKeyId" in caught.value.message
    assert not bucket.object_exists(key)


def test_under_a_role_that_may_not_put_it_is_refused(server: Sesame, bucket: oss2.Bucket, runtime: str) -> None:
    key = f"reader/{runtime}"
    upload = Upload(server, bucket, runtime, READER)
    with pytest.raises(fc2.FcError) as caught:
        upload("upload", key)
    assert "AccessDenied" in caught.value.message
    assert not bucket.object_exists(key)


def test_a_token_of_another_service_or_with_one_byte_changed_is_refused(server: Sesame, bucket: oss2.Bucket) -> None:
    pairs = []
    for _ in range(2):
        upload = Upload(server, bucket, "python3", DEFAULT_ROLE)
        pairs.append(json.loads(upload("keys", "unused").data))
    (key_id, secret, token), (_, _, other) = pairs
    assert key_id.startswith("STS.")

    def put(with_token: str) -> None:
        auth = oss2.StsAuth(key_id, secret, with_token)
        oss2.Bucket(auth, bucket.endpoint, bucket.bucket_name).put_object("with-keys", b"x")

    put(token)
    middle = len(token) // 2
    changed = token[:middle] + ("A" if token[middle] != "A" else "B") + token[middle + 1 :]
    for refused in (other, changed, token[:-4], ""):
        with pytest.raises(oss2.exceptions.OssError) as caught:
            put(refused)
        assert caught.value.status == 403


def test_a_service_without_a_role_has_nothing_to_sign_with(server: Sesame, bucket: oss2.Bucket, runtime: str) -> None:
    key = f"no-role/{runtime}"
    upload = Upload(server, bucket, runtime, "")
    with pytest.raises(fc2.FcError):
        upload("upload", key)
    assert not bucket.object_exists(key)


def test_a_role_that_cannot_be_assumed_is_refused_when_it_is_written(server: Sesame) -> None:
    seen = failure(server.client().create_service, "nobody", role=f"acs:ram::{ACCOUNT_ID}:role/nobody")
    assert (seen["status"], seen["code"]) == (400, "InvalidArgument")


def test_code_may_come_from_a_bucket(server: Sesame, bucket: oss2.Bucket, tmp_path: Path) -> None:
    archive = tmp_path / "code.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.write(FUNCTIONS / "journey_hello" / "index.py", "index.py")
    bucket.put_object_from_file("code.zip", str(archive))
    client = server.client()
    client.create_service("from-bucket")

    def create(key: str) -> Any:
        return client.create_function(
            "from-bucket", "hello", "python3", "index.my_handler", codeOSSBucket=bucket.bucket_name, codeOSSObject=key
        )

    seen = failure(create, "absent.zip")
    assert (seen["status"], seen["code"]) == (400, "InvalidArgument")
    assert "absent.zip" in seen["ErrorMessage"]
    create("code.zip")
    assert client.invoke_function("from-bucket", "hello").data == b"hello world"
