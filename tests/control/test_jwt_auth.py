"""The `authConfig` of triggers and domains that verify tokens: its spellings, what is refused, which paths need one."""

import json
from typing import Any

import pytest
from tests.support.tokens import jwks, part

from sesame.control import jwt_auth
from sesame.control.jwt_auth import CONFIG_BYTES_MAX, Lookup, Passed
from sesame.model.errors import Duplicate, Invalid, Missing, Rejected, Unusable

KEYS = jwks({"kty": "oct", "alg": "HS256", "k": part(b"k" * 32)})
LEAST = {"jwks": KEYS, "tokenLookup": "header:Authorization:Bearer "}
TEXTS = LEAST | {"tokenLookup": "header:Token:Bearer , cookie:c", "claimPassBy": "query:uid:id, header:name:X-Name"}


def read(**changes: Any) -> jwt_auth.JwtAuth:
    return jwt_auth.read(LEAST | changes, "auth_config")


@pytest.mark.parametrize(
    "sent",
    [
        TEXTS,
        {name[0].upper() + name[1:]: value for name, value in TEXTS.items()} | {"JWKS": KEYS},
        {
            "jwks": json.dumps(KEYS),
            "tokenLookup": ["header:Token:Bearer ", "cookie:c"],
            "claimPassBy": ["query:uid:id", "header:name:X-Name"],
        },
    ],
)  # fmt: skip
def test_the_spellings_of_sdks_and_tools(sent: dict[str, Any]) -> None:
    """2021-04-06's model has lists and a text of keys, the example in 2023-03-30's capitals, `fc3` texts."""
    for form in (sent, json.dumps(sent)):
        found = jwt_auth.read(form, "auth_config")
        assert found.lookups == (Lookup("header", "token", "Bearer "), Lookup("cookie", "c"))
        assert found.passed == (Passed("query", "uid", "id"), Passed("header", "name", "X-Name"))
        assert list(found.keys.keys) == [""]


def test_nothing_is_passed_by_what_tools_write_for_nothing() -> None:
    assert read(claimPassBy="query::").passed == ()
    assert read(claimPassBy=None).passed == ()
    # Kept: no caller may set a parameter that a claim stands for.
    assert read(claimPassBy="query::uid").passed == (Passed("query", "", "uid"),)


@pytest.mark.parametrize(
    ("sent", "error", "text"),
    [
        (None, Missing, "auth_config"),
        ("", Missing, "auth_config"),
        ("{", Unusable, "auth_config is not JSON"),
        ("[" * 20_000, Unusable, "auth_config is not JSON"),
        ("[1]", Unusable, "auth_config is not a JSON object"),
        ({"tokenLookup": "query:t"}, Missing, "auth_config.jwks"),
        ({"jwks": KEYS}, Missing, "auth_config.token_lookup"),
        (LEAST | {"tokenLookup": " , "}, Missing, "auth_config.token_lookup"),
        (LEAST | {"jwks": "{"}, Unusable, "auth_config.jwks is not JSON"),
        (LEAST | {"jwks": {"keys": [{"kty": "RSA"}]}}, Missing, "auth_config.jwks.keys.alg"),
        (LEAST | {"tokenLookup": 7}, Unusable, "auth_config.token_lookup is neither"),
        (LEAST | {"tokenLookup": [{"readPosition": "header"}]}, Unusable, "auth_config.token_lookup is neither"),
        (LEAST | {"tokenLookup": "body:t"}, Invalid, "token_lookup: expected header | query | cookie | form"),
        (LEAST | {"tokenLookup": "header"}, Invalid, "header:NAME[:PREFIX]"),
        (LEAST | {"tokenLookup": "header::Bearer"}, Invalid, "header:NAME[:PREFIX]"),
        (LEAST | {"tokenLookup": "cookie:a:Bearer"}, Invalid, "header:NAME[:PREFIX]"),
        (LEAST | {"tokenLookup": "header:a b"}, Invalid, "a name that a header can have"),
        (LEAST | {"tokenLookup": ["query:t"] * 21}, Invalid, "at most 20 of them"),
        (LEAST | {"claimPassBy": "header:uid"}, Invalid, "PLACE:CLAIM:NAME"),
        (LEAST | {"claimPassBy": "env:uid:UID"}, Invalid, "auth_config.claim_pass_by: expected header | query"),
        (LEAST | {"claimPassBy": "header:uid:a\r\nb"}, Invalid, "a name that a header can have"),
        (LEAST | {"claimPassBy": "cookie:uid:a;b"}, Invalid, "a name that a cookie can have"),
        (LEAST | {"claimPassBy": "header:uid:Host"}, Invalid, "not the connection's"),
        (LEAST | {"claimPassBy": "header:uid:Content_Length"}, Invalid, "not the connection's"),
        (LEAST | {"claimPassBy": "header:uid:X-Fc-Access-Key-Id"}, Invalid, "not the connection's"),
        (LEAST | {"claimPassBy": "header:a:X-A,header:b:x_a"}, Duplicate, "header:x_a"),
        (LEAST | {"whiteList": ["/a"], "blackList": "/b"}, Unusable, "black_list cannot be set together"),
        (LEAST | {"whitelist": ["a"]}, Invalid, "auth_config.white_list: expected a path that begins with '/'"),
        (LEAST | {"blacklist": ["/a/*/b"]}, Invalid, "auth_config.black_list: expected a path"),
        (LEAST | {"blacklist": ["/a/../b"]}, Invalid, "auth_config.black_list: expected a path"),
        (LEAST | {"whiteList": ["/a"] * 201}, Invalid, "at most 200"),
        (LEAST | {"more": "x" * CONFIG_BYTES_MAX}, Invalid, f"at most {CONFIG_BYTES_MAX} bytes"),
    ],
)  # fmt: skip
def test_what_is_refused(sent: Any, error: type[Rejected], text: str) -> None:
    with pytest.raises(error) as caught:
        jwt_auth.read(sent, "auth_config")
    assert text in str(caught.value)


AMBIGUOUS = (
    "//a",
    "/a//b",
    "/b/./a",
    "/b/../a",
    "/b/..",
    "/a;x",
    "/a\\b",
    "/a\0",
    "/a\udcff",
    "/.",
    "/%2e%2e/a",
    "/%61",
)


def test_every_path_needs_a_token_without_lists() -> None:
    for path in ("/", "/a", *AMBIGUOUS):
        assert read().needs_token(path)
        assert read(whiteList=[], blackList=None).needs_token(path)


def test_paths_of_a_blacklist_need_one() -> None:
    auth = read(blackList=["/a", "/login/*", "/Straße/"])
    # Frameworks that are not strict take these for the same.
    the_same = ("/a/", "/A", "/A/", "/LOGIN/x", "/Login/", "/straße", "/STRASSE/")
    needing = ("/a", "/login/", "/login/x", "/login/b/c/d", *AMBIGUOUS, *the_same)
    assert [path for path in (*needing, "/", "/ab", "/login", "/loginx") if auth.needs_token(path)] == [*needing]
    assert read(blackList=["/"]).needs_token("/")
    assert not read(blackList=["/"]).needs_token("/a")


def test_paths_of_a_whitelist_need_none() -> None:
    auth = read(whiteList="/a,/login/*")
    free = ("/a", "/login/", "/login/x", "/login/b/c/d")
    others = ("/", "/a/", "/A", "/login", "/login/../secret", "/login//x", "/login/..;/secret", *AMBIGUOUS)
    assert [path for path in (*free, *others) if not auth.needs_token(path)] == [*free]
    assert not read(whiteList=["/*"]).needs_token("/anything")
