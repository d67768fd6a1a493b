"""Strings that no encoding has, and texts that do not keep their promises: no call ends the instance because of one."""

from typing import Any

import pytest

from sesame.sandbox.interface import SandboxDied

pytestmark = pytest.mark.asyncio(loop_scope="module")

GBK = "你好".encode("gbk").decode("latin-1")
UTF8 = "你好".encode().decode("latin-1")
REQUEST = {
    "path": "/\ufffd",
    "raw_path": "/" + GBK,
    "method": "GET",
    "request_uri": "/proxy/" + GBK,
    "client_ip": "10.1.2.3",
    "query": "gbk",
    "headers": [["X-Text", GBK]],
}


def request(query: str) -> dict[str, Any]:
    return {**REQUEST, "query": query}


@pytest.mark.parametrize(
    ("name", "sent"),
    [("gbk", GBK), ("utf8", UTF8), ("text", UTF8), ("latin1", "café"), ("number", "5")],
)
async def test_a_header_goes_out_as_the_bytes_that_were_set(stage: Any, name: str, sent: str) -> None:
    actor = await stage.shared("strings", "index.web")
    reply = await actor.invoke(http_params=request(name))
    assert (reply.ok, reply.payload) == (True, b"served")
    assert reply.http == {"status": 200, "headers": [["X-Text", sent]]}


async def test_surrogates_in_a_header(stage: Any) -> None:
    """Those that stand for bytes are bytes again; others are encoded as the interpreter does, or refused."""
    actor = await stage.shared("strings", "index.web")
    escaped = await actor.invoke(http_params=request("escaped"))
    assert escaped.http["headers"] == [["X-Text", "" if stage.py2 else GBK]]
    if stage.py2:
        assert (await actor.invoke(http_params=request("lone"))).http["headers"] == [["X-Text", "\xed\xa0\x80"]]
    else:
        body = await actor.error(http_params=request("lone"))
        assert (body["errorType"], "cannot be encoded" in body["errorMessage"]) == ("InvalidResponse", True)
    assert (await actor.invoke(http_params=request("utf8"))).ok


@pytest.mark.parametrize(
    ("handler", "query", "reason"),
    [
        ("index.web", "newline", "the response's header 'X-Text' has characters that are not allowed in headers"),
        ("index.web", "huge", "the response's headers have 204806 bytes, more than can be sent"),
        ("index.web_name", "x", "has characters that are not allowed in headers"),
        ("index.web_status", "huge", "expected three digits and a reason"),
        ("index.web_status", "word", "the response's status is 'fine', expected three digits and a reason"),
        ("index.web_status", "gbk", "expected three digits and a reason"),
    ],
)
async def test_invalid_headers_fail_the_call_with_a_reason(stage: Any, handler: str, query: str, reason: str) -> None:
    actor = await stage.shared("strings", handler)
    body = await actor.error(http_params=request(query))
    assert body["errorType"] == "InvalidResponse"
    assert reason in body["errorMessage"]
    assert reason in actor.text
    assert len(body["errorMessage"]) < 200
    await actor.error(http_params=request(query))


async def test_a_status_may_be_a_number(stage: Any) -> None:
    actor = await stage.shared("strings", "index.web_status")
    assert (await actor.invoke(http_params=request("int"))).http["status"] == 204


async def test_the_request_comes_as_the_bytes_that_were_sent(stage: Any) -> None:
    actor = await stage.shared("strings", "index.web_echo")
    seen = (await actor.invoke(http_params=REQUEST)).payload.split(b"\n")
    assert seen == [b"/" + "你好".encode("gbk"), b"gbk", "你好".encode("gbk"), b"/proxy/" + "你好".encode("gbk")]


@pytest.mark.parametrize(
    ("name", "kind", "text"),
    [
        ("lone", "Exception", "\ud800"),
        ("speaks", "Speaks", "\ud800"),
        ("speaks_text", "Speaks", "held"),
        ("speaks_number", "Speaks", "<unprintable Speaks object>"),
        ("unspeakable", "Unspeakable", "<unprintable Unspeakable object>"),
        ("in_unspeakable", "Exception", "<unprintable Exception object>"),
        ("megabyte", "Exception", "x" * 1024 * 1024),
        ("syntax", "SyntaxError", "text"),
    ],
)
async def test_exceptions_with_strange_texts(stage: Any, name: str, kind: str, text: str) -> None:
    actor = await stage.shared("strings", "index.raises")
    for _ in range(2):
        body = await actor.error(name.encode())
        assert (body["errorType"], body["errorMessage"]) == (kind, text)
        assert body["stackTrace"][0][0] == 'File "/code/index.py"'


async def test_bytes_in_an_exception(stage: Any) -> None:
    actor = await stage.shared("strings", "index.raises")
    assert (await actor.error(b"gbk"))["errorMessage"] == (
        "\ufffd\ufffd\ufffd" if stage.py2 else repr(b"\xc4\xe3\xba\xc3")
    )
    assert (await actor.error(b"named"))["errorType"] == ("B\ufffdd" if stage.py2 else "Bäd")


async def test_an_exception_larger_than_any_response(stage: Any) -> None:
    actor = await stage.shared("strings", "index.raises")
    assert (await actor.error(b"huge"))["errorType"] == "ResponseTooLarge"
    assert (await actor.error(b"speaks"))["errorType"] == "Speaks"


async def test_raising_an_old_style_class_ends_the_process_under_python_2(stage: Any) -> None:
    actor = await stage.start("strings", "index.raises")
    if not stage.py2:
        assert (await actor.error(b"old"))["errorType"] == "TypeError"
        return
    with pytest.raises(SandboxDied) as died:
        await actor.invoke(b"old")
    assert (died.value.reason, str(died.value)) == ("exit", "exit status 1")
    assert "Traceback (most recent call last)" in actor.text


@pytest.mark.parametrize(
    ("name", "payload"),
    [
        ("lone_inside", b'{\n    "a": "\\ud800",\n    "\\ud800": 1\n}'),
        ("text", "你".encode()),
        ("bytes", b"raw"),
        ("nan", b"NaN"),
    ],
)
async def test_results_with_strange_texts(stage: Any, name: str, payload: bytes) -> None:
    actor = await stage.shared("strings", "index.returns")
    assert (await actor.invoke(name.encode())).payload == payload


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("gbk_inside", ("UnicodeDecodeError", "TypeError")),
        ("gbk_key", ("UnicodeDecodeError", "TypeError")),
        ("cyclic", ("ValueError", "ValueError")),
        ("unspeakable", ("KeyError", "KeyError")),
    ],
)
async def test_results_that_cannot_be_written(stage: Any, name: str, kinds: tuple[str, str]) -> None:
    actor = await stage.shared("strings", "index.returns")
    assert (await actor.error(name.encode()))["errorType"] == kinds[0 if stage.py2 else 1]
    assert (await actor.invoke(b"text")).ok


async def test_a_lone_surrogate_as_the_result(stage: Any) -> None:
    actor = await stage.shared("strings", "index.returns")
    reply = await actor.invoke(b"lone")
    assert reply.ok is stage.py2
    assert reply.payload == b"\xed\xa0\x80" if stage.py2 else b"UnicodeEncodeError" in reply.payload


async def test_log_lines_in_any_encoding(stage: Any) -> None:
    actor = await stage.start("strings", "index.logs")
    assert (await actor.invoke()).payload == b"done"
    texts = [line.partition(b"] ")[2] for line in bytes(actor.output).splitlines() if b"Z req-1 [" in line]
    gbk = "你好".encode("gbk")
    assert texts == [
        "你好".encode(),
        gbk if stage.py2 else b"plain " + repr(gbk).encode(),
        b"\xed\xa0\x80" if stage.py2 else b"\\ud800",
        b"escaped \xed\xb3\xbf" if stage.py2 else b"escaped \xff",
        "你".encode(),
        b"last",
    ]
    assert b"Exception: " + (gbk if stage.py2 else repr(gbk).encode()) in bytes(actor.output)


@pytest.mark.parametrize(("handler", "said"), [("exits", ""), ("exits_with_text", "你 ")])
async def test_an_exit_with_a_strange_text(stage: Any, handler: str, said: str) -> None:
    actor = await stage.start("strings", f"index.{handler}")
    with pytest.raises(SandboxDied) as died:
        await actor.invoke()
    assert str(died.value) == "exit status 1"
    assert said in actor.text


async def test_a_function_that_closes_its_output_goes_on(stage: Any) -> None:
    actor = await stage.start("strings", "index.closes_its_output")
    for _ in range(2):
        assert (await actor.error())["errorMessage"] in ("unseen", "[Errno 9] Bad file descriptor")
