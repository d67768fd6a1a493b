"""Heads of messages that are passed on: what is about one connection, and where a request came from."""

import pytest

from sesame.model.relaying import named_by_connection, with_sender

CLIENT = "192.0.2.7"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ((), set()),
        ((b"close",), {b"close"}),
        ((b"keep-alive, X-Own", b"x-other"), {b"keep-alive", b"x-own", b"x-other"}),
    ],
)
def test_connection_names_what_is_about_one_connection(said: tuple[bytes, ...], expected: set[bytes]) -> None:
    assert named_by_connection([(b"Connection", value) for value in said] + [(b"x-own", b"1")]) == expected


@pytest.mark.parametrize(
    ("headers", "scheme", "forwarded"),
    [
        ([], "http", (b"192.0.2.7", b"http")),
        ([], "https", (b"192.0.2.7", b"https")),
        ([(b"x-forwarded-for", b"10.0.0.1")], "http", (b"10.0.0.1, 192.0.2.7", b"http")),
        ([(b"x-forwarded-for", b"a"), (b"x-forwarded-for", b"b")], "http", (b"a, b, 192.0.2.7", b"http")),
        ([(b"x-forwarded-proto", b"https")], "http", (b"192.0.2.7", b"https")),
        ([(b"x-forwarded-proto", b"http")], "https", (b"192.0.2.7", b"https")),
    ],
)
def test_a_request_says_where_it_came_from(
    headers: list[tuple[bytes, bytes]], scheme: str, forwarded: tuple[bytes, bytes]
) -> None:
    found = with_sender([(b"host", b"h"), *headers], CLIENT, scheme)
    assert found == [(b"host", b"h"), (b"x-forwarded-for", forwarded[0]), (b"x-forwarded-proto", forwarded[1])]
