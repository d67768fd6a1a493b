"""What keeps a body from being read, with the API's codes."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.exchanges import FakeExchange

from sesame.fc.auth.request_head import head_of
from sesame.fc.auth.verifier import BODY_SHA256
from sesame.fc.body import BodyPieces, read_body
from sesame.fc.refusals import ApiError, EntityTooLarge, SignatureNotMatch
from sesame.http.interface import Disconnected, TooManyBodies
from sesame.http.request import Request

REQUEST = Request("POST", (b"/", b""), (), "1.1", ("http", ("", 0), ("", 0)))


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=8), st.integers(0, 60))
async def test_the_whole_body_or_a_refusal(chunks: list[bytes], limit_bytes: int) -> None:
    whole = b"".join(chunks)
    exchange = FakeExchange(REQUEST, chunks)
    if len(whole) > limit_bytes:
        with pytest.raises(EntityTooLarge, match=rf"\({limit_bytes} bytes\)"):
            await read_body(exchange, limit_bytes)
    else:
        assert await read_body(exchange, limit_bytes) == whole


async def test_a_client_that_leaves() -> None:
    with pytest.raises(Disconnected):
        await read_body(FakeExchange(REQUEST, [b"a"], leaves=True), 10)


async def test_without_memory_for_it_the_client_is_to_come_again() -> None:
    class Full(FakeExchange):
        async def read_body(self, limit_bytes: int) -> bytes:
            raise TooManyBodies

    with pytest.raises(ApiError, match="try again later") as caught:
        await read_body(Full(REQUEST), 10)
    assert (caught.value.status, caught.value.code) == (503, "ResourceThrottled")


async def test_a_body_that_is_passed_on_is_never_whole_unless_it_is_the_signed_one() -> None:
    async def given(signed: bytes) -> tuple[list[bytes], bool]:
        request = Request("POST", (b"/", b""), (), "1.1", ("http", ("", 0), ("", 0)))
        head_of(request).memory[BODY_SHA256] = sha256(signed).hexdigest().encode()
        pieces, found = BodyPieces(FakeExchange(request, [b"a", b"b", b"c"])), []
        try:
            while piece := await pieces.receive():
                found.append(piece)
        except SignatureNotMatch:
            return found, False
        return found, True

    assert await given(b"abc") == ([b"a", b"b", b"c"], True)
    assert await given(b"abd") == ([b"a", b"b"], False)
