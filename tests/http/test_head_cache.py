"""A head that a connection repeats: what the endpoint sees is what it would see if each were parsed anew."""

import asyncio
import itertools
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.http.wire import conversation

from sesame.http import connection as connection_module
from sesame.http.head_cache import HEAD_BYTES_MAX, KnownHead, learn
from sesame.http.interface import Exchange
from sesame.http.parsing import RequestParser
from sesame.http.request import Request
from sesame.http.status import CONTINUE

HEADS = (
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /a%20b?x=1 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /a HTTP/1.1\r\nHost: x\r\nX-A: 1\r\nx-a: 2\r\n\r\n",
    b"\r\n\r\nGET /late HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET http://other/absolute HTTP/1.1\r\nHost: x\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /closed HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    b"GET /old HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"GET /upgrade HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
    b"POST /none HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
)
# Says nothing, and may stand before a request.
BLANK = (b"\r\n", b"\r\n\r\n")
HEADS_WITH_BODY = (
    b"POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n",
    b"PUT /told HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n",
    b"POST /upgrade HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: h2c\r\nContent-Length: %d\r\n\r\n",
)
CHUNKED = b"POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n"
BODIES = (b"a", b"bc", b"\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n")


@pytest.fixture(scope="module")
def event_loop_policy() -> asyncio.AbstractEventLoopPolicy:
    """One is enough: there are no sockets here."""
    return asyncio.DefaultEventLoopPolicy()


requests = st.one_of(
    st.sampled_from((*HEADS, *BLANK)),
    st.builds(lambda head, body: head % len(body) + body, st.sampled_from(HEADS_WITH_BODY), st.sampled_from(BODIES)),
    st.builds(lambda body: CHUNKED % (len(body), body), st.sampled_from(BODIES)),
)


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
    found = conversation(pieces, patient=patient)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connection_module, "learn", lambda *_: None)
        assert found == conversation(pieces, patient=patient)


@settings(max_examples=60)
@given(st.lists(requests, min_size=1, max_size=4), st.data())
def test_where_the_stream_is_cut_makes_no_difference(sent: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(sent)
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=8))
    edges = [0, *sorted(cuts), len(stream)]
    pieces = [stream[start:end] for start, end in itertools.pairwise(edges) if start < end]
    assert conversation(pieces, patient=False) == conversation([stream], patient=False)
    seen, written = conversation(pieces, patient=True)
    # A client that waits is told to go on; one that has sent everything already is not.
    assert (seen, written.replace(CONTINUE, b"")) == conversation([stream], patient=False)


@pytest.mark.parametrize("request_bytes", [HEADS[1], HEADS[9], HEADS_WITH_BODY[0] % 2 + b"bc"])
def test_the_parser_does_not_see_a_head_again(request_bytes: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[bytes] = []

    def on_url(self: Any, url: bytes) -> None:
        read.append(url)
        self._url += url

    monkeypatch.setattr(RequestParser, "on_url", on_url)
    seen, _ = conversation([request_bytes] * 5)
    assert len(seen) == 5
    assert len(read) == 1


def test_another_body_comes_with_a_head_that_is_known() -> None:
    head = HEADS_WITH_BODY[0] % 2
    seen, _ = conversation([head + b"ab", head + b"cd", head + b"ab"])
    assert [body for *_, body in seen] == [b"ab", b"cd", b"ab"]


def test_what_an_endpoint_derives_from_a_head_is_kept_with_it() -> None:
    derived: list[Any] = []

    async def serve(exchange: Exchange) -> None:
        derived.append(exchange.request.derived)
        exchange.request.derived = "mine"
        exchange.send_whole(200, (), b"", b"")

    conversation([HEADS[0], HEADS[0], HEADS[1], HEADS[0]], serve=serve)
    assert derived == [None, "mine", None, None]


def made() -> Request:
    return Request("GET", (b"/", b""), (), "1.1", ("http", ("", 0), ("", 0)))


def known(data: bytes, body_bytes: int = 0) -> KnownHead:
    found = learn(data, made(), body_bytes)
    assert found is not None
    return found


def test_a_head_is_learnt_only_where_it_ends_beyond_doubt() -> None:
    for data, body_bytes in (
        (b"GET / HTTP/1.1\n\n", 0),
        (b"GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n", 0),
        (b"POST / HTTP/1.1\r\ncontent-length: 3\r\n\r\nab", 3),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", None),
        (b"GET / HTTP/1.1\r\nA: %b\r\n\r\n" % (b"a" * HEAD_BYTES_MAX), 0),
    ):
        assert learn(data, made(), body_bytes) is None, data[:40]


def test_only_the_same_bytes_are_known() -> None:
    head = known(b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nab", 2)
    assert head.body_of(b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\ncd") == b"cd"
    for other in (
        b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\nab",
        b"post / HTTP/1.1\r\nContent-Length: 2\r\n\r\nab",
    ):
        assert head.body_of(other) is None
