"""Links to code: whole, changed, too old, and the address in them."""

from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sesame.fc.links import PATH_PREFIX, VALID_S, CodeLinks, base_url, secret_from
from sesame.fc.refusals import AccessDenied, ApiError, InvalidArgument
from sesame.model.function import Package

PACKAGE = Package("ab" * 32, "11051210869376104954", 9)
NOW = 1_000_000.0


def links(now: float = NOW, secret: str = "secret") -> CodeLinks:
    return CodeLinks(secret_from(secret), lambda: now)


def parts_of(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    assert parts.path.startswith(PATH_PREFIX)
    return parts.path.removeprefix(PATH_PREFIX), parts.query


def test_a_link_means_its_package_until_it_expires() -> None:
    name, query = parts_of(links().url("http://h:1", PACKAGE))
    assert links().package(name, query) == PACKAGE
    assert links(NOW + VALID_S).package(name, query) == PACKAGE
    with pytest.raises(AccessDenied, match="expired"):
        links(NOW + VALID_S + 1).package(name, query)


def test_a_link_of_another_server_is_refused() -> None:
    name, query = parts_of(links(secret="other").url("http://h:1", PACKAGE))
    with pytest.raises(AccessDenied, match="made by another server"):
        links().package(name, query)


def test_a_link_cannot_be_prolonged() -> None:
    name, query = parts_of(links().url("http://h:1", PACKAGE))
    items = {key: values[0] for key, values in parse_qs(query).items()}
    items["expires"] = str(int(items["expires"]) + 1)
    with pytest.raises(AccessDenied):
        links().package(name, urlencode(items))


@pytest.mark.parametrize("query", ["", "expires=1", "size=x&expires=1", "size=1&expires=²&signature=x"])
def test_what_is_no_link(query: str) -> None:
    with pytest.raises(InvalidArgument, match="GetFunctionCode"):
        links().package("x.zip", query)


@given(st.data())
def test_one_changed_character_is_refused(data: st.DataObject) -> None:
    name, query = parts_of(links().url("http://h:1", PACKAGE))
    whole = name.removesuffix(".zip") + "?" + query
    index = data.draw(st.integers(0, len(whole) - 1))
    letter = data.draw(st.characters(min_codepoint=33, max_codepoint=126))
    changed = whole[:index] + letter + whole[index + 1 :]
    changed_name, _mark, changed_query = changed.partition("?")
    assume(changed_name != name.removesuffix(".zip") or parse_qs(changed_query) != parse_qs(query))
    with pytest.raises(ApiError):
        links().package(changed_name + ".zip", changed_query)


@pytest.mark.parametrize(
    ("host", "server", "expected"),
    [
        ("localhost:9000", ("10.0.0.1", 9000), "http://localhost:9000"),
        ("127.0.0.1", ("127.0.0.1", 9000), "http://127.0.0.1:9000"),
        ("", ("127.0.0.1", 9000), "http://127.0.0.1:9000"),
        ("[::1]:9000", ("::1", 9000), "http://[::1]:9000"),
        ("::1", ("::1", 9000), "http://[::1]:9000"),
        ("evil/path:80", ("127.0.0.1", 9000), "http://127.0.0.1:9000"),
        ("user@evil:80", ("127.0.0.1", 9000), "http://127.0.0.1:9000"),
        ("h:80", None, "http://h:80"),
    ],
)
def test_the_address_is_the_one_the_request_came_to(host: str, server: tuple[str, int] | None, expected: str) -> None:
    assert base_url("http", server, host) == expected
