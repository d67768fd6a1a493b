"""Which tags a conditional header names, as RFC 9110 says of lists, weak tags and `*`."""

import pytest

from sesame.model.etags import names

ETAG = "e19d5cd5af0378da05f63f891c7467af"


@pytest.mark.parametrize(
    "header",
    [
        ETAG, f'"{ETAG}"', f' "{ETAG}" ', f'"a", "{ETAG}"', f'"{ETAG}","a"', f"a, {ETAG}", f', "a,b" ,, "{ETAG}",',
        "*", " * ",
    ],
)  # fmt: skip
def test_a_list_names_each_of_its_tags(header: str) -> None:
    assert names(header, ETAG)


@pytest.mark.parametrize(
    "header",
    ['""', '"', ",", '"a", "b"', '"*"', '"a", *', f'"{ETAG}x"', f'"x, {ETAG}"', f'"{ETAG[:-1]}"', ETAG.upper()],
)
def test_other_tags_are_not_named(header: str) -> None:
    assert not names(header, ETAG)
    assert not names(header, ETAG, weakly=True)


@pytest.mark.parametrize("header", [f'W/"{ETAG}"', f"W/{ETAG}", f'"a", W/"{ETAG}"'])
def test_a_weak_tag_is_named_weakly_only(header: str) -> None:
    assert not names(header, ETAG)
    assert names(header, ETAG, weakly=True)
