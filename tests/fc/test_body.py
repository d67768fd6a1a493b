"""Bodies in any number of pieces, limits, and clients that leave."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sesame.fc.body import ClientGone, read_body
from sesame.fc.refusals import EntityTooLarge


class Wire:
    """Gives messages one by one; says how many were taken."""

    def __init__(self, chunks: list[bytes], *, leaves: bool = False) -> None:
        last = len(chunks) - 1
        self._messages: list[dict[str, Any]] = [
            {"type": "http.request", "body": chunk, "more_body": leaves or number < last}
            for number, chunk in enumerate(chunks)
        ]
        if leaves:
            self._messages.append({"type": "http.disconnect"})
        self.taken = 0

    async def receive(self) -> dict[str, Any]:
        self.taken += 1
        return self._messages.pop(0)


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=8), st.integers(0, 60))
async def test_the_whole_body_or_a_refusal(chunks: list[bytes], limit_bytes: int) -> None:
    whole = b"".join(chunks)
    wire = Wire(chunks)
    if len(whole) > limit_bytes:
        with pytest.raises(EntityTooLarge):
            await read_body(wire.receive, b"", limit_bytes)
    else:
        assert await read_body(wire.receive, b"", limit_bytes) == whole


async def test_one_piece_is_not_copied() -> None:
    body = b"x" * 100_000
    assert await read_body(Wire([body]).receive, b"100000", 100_000) is body


async def test_a_length_over_the_limit_is_refused_before_anything_is_read() -> None:
    wire = Wire([b"x"])
    with pytest.raises(EntityTooLarge, match=r"\(9 bytes\)"):
        await read_body(wire.receive, b"10", 9)
    assert wire.taken == 0


async def test_reading_stops_where_the_limit_is_passed() -> None:
    wire = Wire([b"12345"] * 100)
    with pytest.raises(EntityTooLarge):
        await read_body(wire.receive, b"", 9)
    assert wire.taken == 2


@pytest.mark.parametrize("chunks", [[], [b"a"], [b"a", b"b"]])
async def test_a_client_that_leaves(chunks: list[bytes]) -> None:
    with pytest.raises(ClientGone):
        await read_body(Wire(chunks, leaves=True).receive, b"", 10)
