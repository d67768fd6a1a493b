"""What the endpoint refuses, and whom: with the codes and statuses of the API, before anything is touched."""

import errno
import hashlib
import json
import time
import zlib
from email.utils import formatdate
from typing import Any

import lz4.block
import pytest
import requests
from aliyun.log import GetLogsRequest, LogClient, LogException, LogItem, PutLogsRequest
from aliyun.log.proto import LogGroupRaw
from structlog.testing import capture_logs
from tests.sls.conftest import KEY_ID, SECRET, RunningEndpoint, client

from sesame.identity.signatures import sign_v1
from sesame.model.logstore import LogGroup, LogRecord
from sesame.sls import protobuf
from sesame.sls.request import Request
from sesame.sls.signature import string_to_sign_v1
from sesame.store.logs.logstores.interface import StorageFull
from sesame.store.logs.logstores.store import LogStorage

Logstore = tuple[str, str]
HOST = "big-game.cn-hangzhou.log.aliyuncs.com"
ALLOW_WRITING = {
    "Effect": "Allow",
    "Action": "log:PostLogStoreLogs",
    "Resource": "acs:log:*:*:project/big-game/logstore/app-*",
}


def refused(call: Any, *arguments: Any) -> tuple[int, str, str]:
    with pytest.raises(LogException) as caught:
        call(*arguments)
    return (
        int(caught.value.get_resp_status()),
        str(caught.value.get_error_code()),
        str(caught.value.get_error_message()),
    )


def one_log(logstore: Logstore) -> PutLogsRequest:
    return PutLogsRequest(*logstore, "", "", [LogItem(int(time.time()), contents=[("message", "m")])])


def test_both_signatures_are_accepted(endpoint: RunningEndpoint, logstore: Logstore) -> None:
    for version in ("v1", "v4"):
        sdk = client(auth_version=version, region="cn-hangzhou")
        sdk.put_logs(one_log(logstore))
        assert sdk.get_log(*logstore, 1, 2**31, query="m ü+*/", topic="a~b").get_count() == 0


@pytest.mark.parametrize("version", ["v1", "v4"])
def test_a_wrong_secret_is_refused(logstore: Logstore, version: str) -> None:
    sdk = client(secret="wrong", auth_version=version, region="cn-hangzhou")
    assert refused(sdk.get_logstore, *logstore)[:2] == (401, "SignatureNotMatch")


def test_an_unknown_key_is_refused(logstore: Logstore) -> None:
    found = refused(client("nobody").get_logstore, *logstore)
    assert found == (401, "Unauthorized", "AccessKeyId not found: nobody")


def test_a_clock_that_goes_wrong_is_refused(endpoint: RunningEndpoint, root: LogClient, logstore: Logstore) -> None:
    with endpoint.later(16 * 60.0):
        assert refused(root.get_logstore, *logstore)[:2] == (400, "RequestTimeTooSkewed")


def test_a_role_may_do_what_its_policy_says_and_nothing_else(endpoint: RunningEndpoint, logstore: Logstore) -> None:
    writer = endpoint.of_role("writer", ALLOW_WRITING)
    writer.put_logs(one_log(logstore))
    status, code, message = refused(writer.get_logs, GetLogsRequest(*logstore, 1, 2**31))
    assert (status, code) == (401, "Unauthorized")
    assert message.startswith("denied by sts or ram, action: log:GetLogStoreLogs, resource: acs:log:cn-hangzhou:")
    assert message.endswith("project/big-game/logstore/app-log")
    assert refused(writer.delete_project, "big-game")[1] == "Unauthorized"
    assert refused(writer.create_logstore, "big-game", "other")[1] == "Unauthorized"
    assert refused(writer.create_project, "other-game", "")[1] == "Unauthorized"


def test_either_name_of_an_action_allows_it_unless_the_other_is_denied(
    endpoint: RunningEndpoint, root: LogClient, logstore: Logstore
) -> None:
    root.create_consumer_group(*logstore, "g", 30)
    allow = {"Effect": "Allow", "Action": "log:HeartBeat", "Resource": "*"}
    assert endpoint.of_role("beats", allow).heart_beat(*logstore, "g", "c").get_shards() == [0, 1]
    deny = {"Effect": "Deny", "Action": "log:ConsumerGroupHeartBeat", "Resource": "*"}
    assert refused(endpoint.of_role("stopped", allow, deny).heart_beat, *logstore, "g", "c")[1] == "Unauthorized"


def test_a_token_that_is_old_forged_or_missing_is_refused(endpoint: RunningEndpoint, logstore: Logstore) -> None:
    writer = endpoint.of_role("late-writer", ALLOW_WRITING)
    with endpoint.later(7 * 3600.0):
        assert refused(writer.put_logs, one_log(logstore))[2] == "The security token you provided has expired."
    for sdk in (client("STS.NUnobody", "s", "forged"), client("STS.NUnobody", "s")):
        found = refused(sdk.put_logs, one_log(logstore))
        assert found == (401, "Unauthorized", "The security token you provided is invalid.")


def send(
    endpoint: RunningEndpoint, method: str, path: str, body: bytes = b"", timeout_s: float = 20, **headers: str
) -> requests.Response:
    """One request that is signed as V1, with headers that no client would send; an empty one is left out."""
    at = formatdate(usegmt=True)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    sent = {
        "host": HOST,
        "date": at,
        "x-log-apiversion": "0.6.0",
        "x-log-signaturemethod": "hmac-sha1",
        "content-md5": hashlib.md5(body).hexdigest().upper() if body else "",
        **named,
    }
    sent = {name: value for name, value in sent.items() if value}
    bare, _mark, query = path.partition("?")
    parsed = dict(item.split("=") for item in query.split("&") if item)
    request = Request(method, "big-game", bare, bare, parsed, sent, HOST, "", "127.0.0.1", False)
    if "authorization" not in named:
        sent["authorization"] = f"LOG {KEY_ID}:{sign_v1(SECRET, string_to_sign_v1(request))}"
    sent.setdefault("content-type", "")
    return requests.request(
        method,
        endpoint.url + path,
        data=body,
        headers=sent,
        timeout=timeout_s,
        proxies={"http": ""},
    )


PUT = "/logstores/app-log/shards/lb"
PROTOBUF = "application/x-protobuf"


@pytest.mark.parametrize(
    ("headers", "body", "status", "code"),
    [
        ({"x_log_apiversion": ""}, b"", 400, "MissingAPIVersion"),
        ({"x_log_apiversion": "9"}, b"", 400, "InvalidAPIVersion"),
        ({"x_log_signaturemethod": ""}, b"", 400, "MissingSignatureMethod"),
        ({"x_log_signaturemethod": "md5"}, b"", 400, "InvalidSignatureMethod"),
        ({"date": ""}, b"", 400, "MissingDate"),
        ({"date": "yesterday"}, b"", 400, "InvalidDateFormat"),
        ({"authorization": "Basic eA=="}, b"", 400, "MissAccessKeyId"),
        ({"content_md5": "00"}, b"", 401, "SignatureNotMatch"),
        ({"content_md5": "", "content_type": PROTOBUF}, b"x", 401, "SignatureNotMatch"),
        ({"content_type": PROTOBUF, "x_log_hashkey": "zz"}, b"", 400, "ParameterInvalid"),
        ({"content_type": "text/plain"}, b"x", 415, "InvalidContentType"),
        ({"content_type": PROTOBUF}, b"\x0a\x05", 400, "PostBodyInvalid"),
        ({"content_type": PROTOBUF, "x_log_compresstype": "snappy"}, b"x", 400, "InvalidCompressType"),
        ({"content_type": PROTOBUF, "x_log_compresstype": "lz4"}, b"x", 400, "MissingBodyRawSize"),
        (
            {"content_type": PROTOBUF, "x_log_compresstype": "lz4", "x_log_bodyrawsize": "many"},
            b"x",
            400,
            "InvalidBodyRawSize",
        ),
        (
            {"content_type": PROTOBUF, "x_log_compresstype": "lz4", "x_log_bodyrawsize": "8"},
            b"\xff\xff",
            400,
            "PostBodyUncompressError",
        ),
        (
            {"content_type": PROTOBUF, "x_log_compresstype": "lz4", "x_log_bodyrawsize": "999"},
            lz4.block.compress(b"x" * 99, store_size=False),
            400,
            "PostBodyUncompressError",
        ),
        (
            {"content_type": PROTOBUF, "x_log_compresstype": "deflate", "x_log_bodyrawsize": str(1 << 30)},
            b"x",
            400,
            "PostBodyTooLarge",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_is_wrong_has_the_code_of_the_api(
    endpoint: RunningEndpoint, logstore: Logstore, headers: dict[str, Any], body: bytes, status: int, code: str
) -> None:
    answer = send(endpoint, "POST", PUT, body, **headers)
    assert (answer.status_code, answer.json()["errorCode"]) == (status, code), answer.text
    assert len(answer.headers["x-log-requestid"]) == 24


def test_the_header_with_a_hash_key_chooses_the_shard(
    root: LogClient, endpoint: RunningEndpoint, logstore: Logstore
) -> None:
    record = LogRecord(int(time.time()), 0, (("message", "one"),))
    # Without the tag and the size that make it a part of a list.
    body = protobuf.write_groups([LogGroup((record,))])[2:]
    for _time in range(3):
        assert send(endpoint, "POST", PUT, body, content_type=PROTOBUF, x_log_hashkey="F" * 32).status_code == 200
    cursor = root.get_begin_cursor(*logstore, 1).get_cursor()
    assert len(root.pull_logs(*logstore, 1, cursor).get_flatten_logs_json()) == 3


@pytest.mark.parametrize("error", [StorageFull("database or disk is full"), OSError(errno.ENOSPC, "No space left")])
def test_a_full_disk_is_refused_as_a_quota_and_not_tried_again(
    root: LogClient, logstore: Logstore, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    async def full(*_arguments: object, **_options: object) -> None:
        raise error

    monkeypatch.setattr(LogStorage, "append", full)
    with capture_logs() as told:
        status, code, message = refused(root.put_logs, one_log(logstore))
    assert (status, code) == (403, "WriteQuotaExceed")
    assert "the disk of the Log Service is full; free some space on it" in message
    # `cli.own_log` makes one line of what has a traceback.
    assert [(each["log_level"], "exc_info" in each) for each in told] == [("error", isinstance(error, OSError))]


def test_a_body_beyond_the_bound_is_refused_unread(endpoint: RunningEndpoint, logstore: Logstore) -> None:
    answer = send(endpoint, "POST", "/logstores", b"{" + b" " * (1 << 20))
    assert (answer.status_code, answer.json()["errorCode"]) == (400, "PostBodyTooLarge")


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("PATCH", "/", "InvalidMethod"),
        ("GET", "/dashboards", "NotSupported"),
        ("GET", "/logstores/app-log?type=unheard", "NotSupported"),
        ("GET", "/logstores/app-log?other=1", "ParameterInvalid"),
        ("GET", "/logstores?size=0", "ParameterInvalid"),
        ("GET", "/logstores?size=x", "ParameterInvalid"),
        ("GET", "/logstores/app-log?type=log&from=1&to=2&line=101", "InvalidLine"),
        ("GET", "/logstores/app-log?type=log&from=1&to=2&offset=x", "InvalidOffset"),
        ("GET", "/logstores/app-log?type=log&from=1&to=2&reverse=x", "InvalidReverse"),
        ("GET", "/logstores/app-log?type=log&from=1", "InvalidTimeRange"),
        ("GET", f"/logstores/app-log?type=log&from={10**17}&to={10**18 - 1}", "InvalidTimeRange"),
        ("GET", f"/logstores/app-log?type=log&from=1&to=2&offset={10**17}", "InvalidOffset"),
        (
            "GET",
            f"/logstores/app-log?type=context_log&back_lines=1&pack_id=A-F&pack_meta={'9' * 5000}|0",
            "InvalidParameter",
        ),
        ("GET", "/logstores/app-log?type=log&from=1&to=2&fromNs=5", "ParameterInvalid"),
        ("GET", "/logstores/app-log/shards/x?type=cursor&from=end", "ShardNotExist"),
        ("GET", "/logstores/app-log/shards/9?type=cursor&from=end", "ShardNotExist"),
        ("GET", "/logstores/app-log/shards/0?type=cursor&from=noon", "ParameterInvalid"),
        ("GET", "/logstores/app-log/shards/0?type=log&cursor=xyz", "InvalidCursor"),
        ("GET", "/logstores/app-log/shards/0?type=log&cursor=MTAw&count=1001", "ParameterInvalid"),
        ("GET", "/logstores/{logstore}", "LogStoreNotExist"),
    ],
)
def test_bad_questions_are_refused(
    endpoint: RunningEndpoint, logstore: Logstore, method: str, path: str, code: str
) -> None:
    answer = send(endpoint, method, path)
    assert answer.json()["errorCode"] == code, answer.text
    assert answer.status_code == {"InvalidMethod": 405, "LogStoreNotExist": 404}.get(code, 400)


def test_a_query_whose_client_is_gone_keeps_nobody_waiting(
    endpoint: RunningEndpoint, root: LogClient, logstore: Logstore
) -> None:
    logs = [LogItem(int(time.time()), contents=[("message", str(number))]) for number in range(2_000)]
    root.put_logs(PutLogsRequest(*logstore, "", "", logs))
    endless = {"from": 1, "to": 2**31, "query": "* | select count(*) from log a, log b, log c, log d"}
    # As many as run at a time.
    for _ in range(2):
        with pytest.raises(requests.Timeout):
            send(endpoint, "POST", "/logstores/app-log/logs", json.dumps(endless).encode(), timeout_s=0.2)
    counted = root.get_log(*logstore, 1, 2**31, query="* | select count(*) as n")
    assert [each.contents["n"] for each in counted.get_logs()] == ["2000"]


def test_numbers_beyond_64_bits_fail_nothing(endpoint: RunningEndpoint, logstore: Logstore) -> None:
    def asked(question: object) -> tuple[int, str]:
        answer = send(endpoint, "POST", "/logstores/app-log/logs", json.dumps(question).encode())
        return answer.status_code, answer.json().get("errorCode", "")

    assert asked({"from": 1, "to": 10**30}) == (200, "")
    assert asked({"from": 10**29, "to": 10**30}) == (400, "InvalidTimeRange")
    assert asked({"from": 1, "to": 2, "offset": 10**30}) == (400, "InvalidOffset")


@pytest.mark.parametrize(
    "index",
    [
        {"keys": {"": {"type": "long"}}},
        {"keys": {"a\0b": {"type": "long"}}},
        {"keys": {"a": {"type": "long", "alias": "b\0"}}},
        {"keys": {"a" * 513: {"type": "long"}}},
        {"keys": {"a": {"type": "json", "token": [], "json_keys": {str(n): {"type": "long"} for n in range(1001)}}}},
        {"line": {"token": [" "] * 129}},
        {"line": {"token": [" "], "exclude_keys": [str(n) for n in range(501)]}},
    ],
    ids=lambda index: str(index)[:40],
)
def test_an_index_has_bounds(endpoint: RunningEndpoint, logstore: Logstore, index: object) -> None:
    answer = send(endpoint, "PUT", "/logstores/app-log/index", json.dumps(index).encode())
    assert (answer.status_code, answer.json()["errorCode"]) == (400, "IndexInfoInvalid")


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"from": 1, "to": "x"}', b'{"from": 1, "to": 2, "odd": 3}'])
def test_bad_json_is_refused(endpoint: RunningEndpoint, logstore: Logstore, body: bytes) -> None:
    answer = send(endpoint, "POST", "/logstores/app-log/logs", body)
    assert (answer.status_code, answer.json()["errorCode"]) == (400, "ParameterInvalid")


def test_a_host_without_a_project_is_told_so(endpoint: RunningEndpoint) -> None:
    answer = send(endpoint, "GET", "/logstores", host="cn-hangzhou.log.aliyuncs.com")
    assert (answer.status_code, answer.json()["errorCode"]) == (404, "ProjectNotExist")
    assert "expected <project>.<host>" in answer.json()["errorMessage"]


def test_deflated_logs_are_read(endpoint: RunningEndpoint, root: LogClient, logstore: Logstore) -> None:
    group = LogGroupRaw(Topic="deflated")
    group.Logs.add(Time=int(time.time())).Contents.add(Key="message", Value=b"m")
    raw = group.SerializeToString()
    headers: dict[str, Any] = {
        "content_type": PROTOBUF,
        "x_log_compresstype": "deflate",
        "x_log_bodyrawsize": str(len(raw)),
    }
    assert send(endpoint, "POST", PUT, zlib.compress(raw), **headers).status_code == 200
    assert root.get_log(*logstore, 1, 2**31, topic="deflated").get_count() == 1


def track(endpoint: RunningEndpoint, method: str, path: str, body: Any = None) -> requests.Response:
    """Unsigned, as a page in a browser sends it."""
    return requests.request(
        method,
        f"{endpoint.url}/logstores/app-log/{path}",
        data=None if body is None else json.dumps(body),
        headers={"host": HOST, "user-agent": "Browser/1"},
        timeout=20,
        proxies={"http": ""},
    )


def test_web_tracking_needs_no_signature_where_the_logstore_takes_it(
    endpoint: RunningEndpoint, root: LogClient, logstore: Logstore
) -> None:
    body = {"__topic__": "page", "__logs__": [{"a": "1"}, {"a": "2"}], "__tags__": {"t": "x"}}
    assert track(endpoint, "POST", "track", body).json()["errorCode"] == "Unauthorized"
    root.update_logstore(*logstore, enable_tracking=True)
    assert track(endpoint, "POST", "track", body).status_code == 200
    assert track(endpoint, "GET", "track?APIVersion=0.6.0&a=3&__topic__=url").status_code == 200
    gif = track(endpoint, "GET", "track_ua.gif?APIVersion=0.6.0&a=4")
    assert (gif.status_code, gif.headers["content-type"], gif.content[:3]) == (200, "image/gif", b"GIF")
    assert track(endpoint, "GET", "track.gif?a=5").json()["errorCode"] == "MissingAPIVersion"
    assert track(endpoint, "POST", "track", {"__logs__": [{"a": 1}]}).json()["errorCode"] == "PostBodyInvalid"
    preflight = track(endpoint, "OPTIONS", "track")
    assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (200, "*")
    rows = [each.contents for each in root.get_log(*logstore, 1, 2**31).get_logs()]
    assert [row["a"] for row in rows] == ["1", "2", "3", "4"]
    assert (rows[0]["__tag__:t"], rows[2]["__topic__"], rows[3]["__userAgent__"]) == ("x", "url", "Browser/1")
