"""A head that a connection repeats: what the application sees is what it would see if each were read anew."""

import asyncio
import itertools
from typing import Any

import pytest
import uvicorn
from hypothesis import example, given
from hypothesis import strategies as st
from uvicorn.server import ServerState

from sesame.fc import http_protocol
from sesame.fc.auth.request_head import head_of
from sesame.fc.http_protocol import Connection
from sesame.fc.known_head import HEAD_BYTES_MAX, REPEATED, KnownHead, learn

Seen = list[tuple[Any, ...]]

HEADS = (
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET /a%20b?x=1 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /a HTTP/1.1\r\nHost: x\r\nX-A: 1\r\nx-a: 2\r\n\r\n",
    b"\r\n\r\nGET /late HTTP/1.1\r\n\r\n",
    b"GET /odd HTTP/1.1\nHost: x\n\n",
    b"GET /closed HTTP/1.1\r\nConnection: close\r\n\r\n",
    b"GET /old HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"GET /upgrade HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
    b"POST /none HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
)
# Says nothing, and may stand before a request.
BLANK = (b"\r\n", b"\r\n\r\n")
HEADS_WITH_BODY = (
    b"POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n",
    b"PUT /told HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n",
    b"POST /odd HTTP/1.1\nContent-Length: %d\n\n",
)
CHUNKED = b"POST /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n"
BODIES = (b"a", b"bc", b"\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n")

requests = st.one_of(
    st.sampled_from((*HEADS, *BLANK)),
    st.builds(lambda head, body: head % len(body) + body, st.sampled_from(HEADS_WITH_BODY), st.sampled_from(BODIES)),
    st.builds(lambda body: CHUNKED % (len(body), body), st.sampled_from(BODIES)),
)


async def turns() -> None:
    """Of the loop, enough for all that came to be answered."""
    for _ in range(50):
        await asyncio.sleep(0)


class Wire(asyncio.Transport):
    """Takes what is written, and closes when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self._closing = False

    def write(self, data: Any) -> None:
        if not self._closing:
            self.written += bytes(data)

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        self._closing = True

    abort = close

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


def conversation(pieces: list[bytes], *, patient: bool = True) -> tuple[Seen, bytes]:
    """What an application sees of these pieces, each read by itself, and what the client is told.

    Who is patient waits for an answer before it sends the next piece.
    """
    seen: Seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body, more = body + message["body"], message["more_body"]
        said = {name: value for name, value in scope.items() if not name.startswith("sesame.")}
        seen.append((said, body, head_of(scope)))
        scope["headers"].append((b"x-of", b"the application's own"))
        scope["own"] = True
        await send({"type": "http.response.start", "status": 200, "headers": (), "body": scope["raw_path"] + body})

    async def talk() -> bytes:
        config = uvicorn.Config(app, http=Connection, ws="none", lifespan="off", log_config=None)
        config.load()
        wire = Wire()
        connection = Connection(config, ServerState(), {}, asyncio.get_running_loop())
        connection.connection_made(wire)
        for piece in pieces:
            if wire.is_closing():
                break
            connection.data_received(piece)
            if patient:
                await turns()
        await turns()
        connection.connection_lost(None)
        await asyncio.gather(*connection.tasks, return_exceptions=True)
        return wire.written

    return seen, asyncio.run(talk())


@given(
    st.lists(st.tuples(requests, st.integers(1, 3), st.lists(st.integers(0, 80), max_size=2)), min_size=1, max_size=6),
    st.booleans(),
    st.booleans(),
)
@example([(HEADS[0], 3, [])], False, False)
@example([(HEADS_WITH_BODY[0] % 2 + b"bc", 2, []), (HEADS_WITH_BODY[1] % 1 + b"a", 1, [70])] * 2, False, True)
@example([(HEADS[0], 1, []), (HEADS_WITH_BODY[0] % 18 + HEADS[0], 1, [49])], False, True)
@example([(b"\r\n", 1, []), (HEADS[0], 2, []), (b"\r\n\r\n", 3, [])], False, True)
def test_it_makes_no_difference(sent: list[tuple[bytes, int, list[int]]], joined: bool, patient: bool) -> None:
    """`sent` has requests, how often each comes in a row, and where it is cut in pieces."""
    pieces: list[bytes] = []
    for request, times, cuts in sent:
        edges = [0, *sorted(min(cut, len(request)) for cut in cuts), len(request)]
        cut = [request[start:end] for start, end in itertools.pairwise(edges) if start < end]
        pieces.extend(cut * times)
    if joined:
        pieces = [a + b for a, b in zip(pieces[::2], [*pieces[1::2], b""], strict=False)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(http_protocol, "new_request_id", lambda: "the same")
        found = conversation(pieces, patient=patient)
        patch.setattr(http_protocol, "learn", lambda *_: None)
        assert found == conversation(pieces, patient=patient)


@pytest.mark.parametrize("request_bytes", [HEADS[1], HEADS[8], HEADS_WITH_BODY[0] % 2 + b"bc"])
def test_the_parser_does_not_see_a_head_again(request_bytes: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[bytes] = []

    def on_url(self: Connection, url: bytes) -> None:
        read.append(url)
        self.url += url

    monkeypatch.setattr(Connection, "on_url", on_url)
    seen, _ = conversation([request_bytes] * 5)
    assert len(seen) == 5
    assert len(read) == 1


def test_another_body_comes_with_a_head_that_is_known() -> None:
    head = HEADS_WITH_BODY[0] % 2
    seen, _ = conversation([head + b"ab", head + b"cd", head + b"ab"])
    assert [body for _, body, _ in seen] == [b"ab", b"cd", b"ab"]


def test_what_follows_from_a_head_is_kept_with_it() -> None:
    scopes = [known(HEADS[1]).scope() for _ in range(2)]
    assert scopes[0][REPEATED] is not scopes[1][REPEATED]
    one = known(HEADS[1])
    assert one.scope()[REPEATED] is one.scope()[REPEATED]
    assert head_of(one.scope()) is head_of(one.scope())


def known(data: bytes, headers: tuple[tuple[bytes, bytes], ...] = ()) -> KnownHead:
    found = learn(data, {"method": "GET", "raw_path": b"/", "headers": list(headers)})
    assert found is not None
    return found


def test_a_head_is_learnt_only_where_it_ends_beyond_doubt() -> None:
    for data, headers in (
        (b"GET / HTTP/1.1\n\n", []),
        (b"GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n", []),
        (b"POST / HTTP/1.1\r\ncontent-length: 3\r\n\r\nab", [(b"content-length", b"3")]),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", [(b"transfer-encoding", b"chunked")]),
        (b"GET / HTTP/1.1\r\nA: %b\r\n\r\n" % (b"a" * HEAD_BYTES_MAX), []),
    ):
        assert learn(data, {"headers": headers}) is None, data[:40]


def test_only_the_same_bytes_are_known() -> None:
    head = known(b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nab", ((b"content-length", b"2"),))
    assert head.body_of(b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\ncd") == b"cd"
    for other in (
        b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\nab",
        b"post / HTTP/1.1\r\nContent-Length: 2\r\n\r\nab",
    ):
        assert head.body_of(other) is None
