"""Functions that have a bucket as files, for tests with a server of their own, and the official OSS SDK beside them.

Used by the journeys.
"""

import itertools
import json
import textwrap
from typing import Any

import oss2
from tests.journeys.conftest import ACCOUNT_ID, FUNCTIONS, KEY_ID, SECRET, Sesame

ROLE = f"acs:ram::{ACCOUNT_ID}:role/aliyunfcdefaultrole"
ENDPOINT = "http://oss-cn-shanghai-internal.aliyuncs.com"
CODE = str(FUNCTIONS / "bucket_files")
_numbers = itertools.count(1)


def new_name() -> str:
    return f"files-{next(_numbers)}"


def bucket_of(server: Sesame, name: str) -> oss2.Bucket:
    endpoint = json.loads((server.data_dir / "endpoints.json").read_text())["oss"]
    return oss2.Bucket(oss2.Auth(KEY_ID, SECRET), endpoint, name, connect_timeout=10)


def keys(bucket: oss2.Bucket) -> list[str]:
    return [each.key for each in oss2.ObjectIterator(bucket)]


def text(bucket: oss2.Bucket, key: str) -> str:
    return str(bucket.get_object(key).read().decode())


def create_service(server: Sesame, service: str, bucket: str, role: str = ROLE, **point: Any) -> None:
    """Functions of the service have the bucket at /mnt/oss."""
    points = [{"bucketName": bucket, "endpoint": ENDPOINT, "mountDir": "/mnt/oss", "readOnly": False, **point}]
    body = {"serviceName": service, "role": role, "ossMountConfig": {"mountPoints": points}}
    made = server.api().whole("POST", "/2021-04-06/services", json.dumps(body), {"content-type": "application/json"})
    assert made.status_code == 200, made.text


class Mounted:
    """A function that has the bucket at /mnt/oss, and runs programs."""

    def __init__(self, server: Sesame, bucket: str, runtime: str, *, timeout: int = 60, **settings: Any) -> None:
        self.service = new_name()
        create_service(server, self.service, bucket, **settings)
        self._client = server.client()
        self._client.create_function(
            self.service, "f", runtime, "index.run", codeDir=CODE, memorySize=256, timeout=timeout
        )

    def __call__(self, program: str) -> Any:
        """What the program leaves in `result`."""
        answer = self._client.invoke_function(self.service, "f", payload=textwrap.dedent(program).encode())
        return json.loads(answer.data)
