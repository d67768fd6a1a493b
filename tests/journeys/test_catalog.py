"""What is deployed, with the official SDK: paging, Etags, code links."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import fc2
import requests
from fastcrc import crc64
from tests.journeys.conftest import FUNCTIONS, Sesame, failure

HELLO = str(FUNCTIONS / "journey_hello")


def names(listing: Callable[..., Any], key: str, field: str, **options: Any) -> tuple[list[str], int]:
    """All pages of a list: the names, and how many calls it took."""
    found: list[str] = []
    calls, token = 0, None
    while True:
        page = listing(**options, nextToken=token).data
        calls += 1
        found += [item[field] for item in page[key]]
        token = page.get("nextToken")
        if not token:
            return found, calls


def test_services_come_in_pages(client: fc2.Client) -> None:
    made = [f"paged-{number:02d}" for number in range(10)]
    for name in made:
        client.create_service(name)
    assert names(client.list_services, "services", "serviceName", prefix="paged-", limit=3) == (made, 4)
    assert names(client.list_services, "services", "serviceName", prefix="paged-", limit=5) == (made, 2)
    started = client.list_services(prefix="paged-", startKey="paged-07").data["services"]
    assert [item["serviceName"] for item in started] == made[7:]
    for name in made:
        client.delete_service(name)
    assert client.list_services(prefix="paged-").data == {"services": []}


def test_functions_come_in_pages(client: fc2.Client, service: str) -> None:
    made = [f"f{number:02d}" for number in range(25)]
    for name in made:
        client.create_function(service, name, "python3", "index.my_handler", codeDir=HELLO)
    page = client.list_functions(service).data
    assert len(page["functions"]) == 20
    assert names(lambda **options: client.list_functions(service, **options), "functions", "functionName") == (made, 2)
    assert failure(client.delete_service, service)["code"] == "ServiceNotEmpty"


def test_code_is_fetched_back_as_it_was_sent(client: fc2.Client, service: str, tmp_path: Path) -> None:
    client.create_function(service, "f", "python3", "index.my_handler", codeDir=HELLO)
    link = client.get_function_code(service, "f").data
    fetched = requests.get(link["url"], timeout=60)
    assert fetched.status_code == 200
    assert str(crc64.xz(fetched.content)) == link["checksum"] == fetched.headers["X-Oss-Hash-Crc64ecma"]
    assert link["checksum"] == client.get_function(service, "f").data["codeChecksum"]
    (tmp_path / "again.zip").write_bytes(fetched.content)
    client.create_function(service, "g", "python3", "index.my_handler", codeZipFile=str(tmp_path / "again.zip"))
    assert client.invoke_function(service, "g").data == b"hello world"
    forged = requests.get(link["url"].replace("size=", "size=1"), timeout=60)
    assert (forged.status_code, forged.json()["ErrorCode"]) == (403, "AccessDenied")


def test_a_change_needs_the_present_etag_when_one_is_given(client: fc2.Client, service: str) -> None:
    etag = client.get_service(service).headers["Etag"]
    changed = client.update_service(service, description="x", headers={"if-match": etag})
    assert failure(client.update_service, service, "y", headers={"if-match": etag})["status"] == 412
    assert client.get_service(service).data["description"] == "x"
    client.delete_service(service, headers={"if-match": changed.headers["Etag"]})
    gone = failure(client.get_service, service)
    assert (gone["status"], gone["code"]) == (404, "ServiceNotFound")
    assert gone["ErrorMessage"] == f"service '{service}' does not exist"


def test_every_answer_has_a_request_id_and_a_date(sesame: Sesame) -> None:
    for path in ("/", "/2016-08-15/services", "/2016-08-15/nothing"):
        answer = requests.get(sesame.endpoint + path, timeout=60)
        assert len(answer.headers["X-Fc-Request-Id"]) == 36
        assert answer.headers["Date"].endswith("GMT")
        assert set(answer.json()) == {"ErrorCode", "ErrorMessage"}
