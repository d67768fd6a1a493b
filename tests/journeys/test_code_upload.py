"""Code that is too large for a request goes into object storage first: with lent credentials, and by no other way."""

import io
import json
import zipfile
from typing import Any

import oss2
import pytest
from tests.journeys.conftest import ACCOUNT_ID, FUNCTIONS, Sesame
from tests.support.interpreters import INTERPRETERS
from tests.support.official_sdks import ask_by_fc2

RUNTIME = next(iter(INTERPRETERS), "python3.12")


@pytest.fixture
def loan(sesame: Sesame, client: Any) -> dict[str, Any]:
    path = "/2016-08-15/tempBucketToken"
    answer = ask_by_fc2(client, "GET", path)
    lent: dict[str, Any] = answer.json()
    return lent


@pytest.fixture
def bucket(sesame: Sesame, loan: dict[str, Any]) -> oss2.Bucket:
    keys = loan["credentials"]
    auth = oss2.StsAuth(keys["AccessKeyId"], keys["AccessKeySecret"], keys["SecurityToken"])
    endpoint = json.loads((sesame.data_dir / "endpoints.json").read_text())["oss"]
    return oss2.Bucket(auth, endpoint, loan["ossBucket"])


def test_the_token_names_the_region_as_part_of_a_host(loan: dict[str, Any]) -> None:
    assert loan["ossRegion"] == "oss-cn-shanghai"


def packed() -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.write(FUNCTIONS / "journey_hello" / "index.py", "index.py")
    return held.getvalue()


@pytest.mark.parametrize("folders", ["", f"{ACCOUNT_ID}/", f"{ACCOUNT_ID}/some-service/"])
def test_code_is_lent_a_place_and_runs_from_there(
    bucket: oss2.Bucket, loan: dict[str, Any], client: Any, service: str, folders: str
) -> None:
    name = folders + loan["objectName"]
    bucket.put_object(name, packed())
    client.create_function(
        service, "f", RUNTIME, "index.my_handler", codeOSSBucket=loan["ossBucket"], codeOSSObject=name
    )
    link = client.get_function_code(service, "f").data
    assert link["checksum"] == client.get_function(service, "f").data["codeChecksum"]
    assert client.invoke_function(service, "f").data == b"hello world"


def test_nothing_else_is_lent(bucket: oss2.Bucket, loan: dict[str, Any], client: Any) -> None:
    with pytest.raises(oss2.exceptions.AccessDenied):
        bucket.put_object("another-name", b"x")
    with pytest.raises(oss2.exceptions.AccessDenied):
        bucket.delete_object(loan["objectName"])
    with pytest.raises(oss2.exceptions.AccessDenied):
        bucket.list_objects()
