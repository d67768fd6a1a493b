"""Any bytes as a body of XML become a tree or the API's MalformedXML, within the bounds of a document.

Run by pytest, and with many more examples by `make torture`.
"""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.examples import examples

from sesame.oss import xml
from sesame.oss.errors import OssError

# Pieces of which documents are made, and of attacks on parsers.
pieces = st.sampled_from([
    "<Delete>", "</Delete>", "<Object>", "</Object>", "<Key>", "</Key>", "<Key/>", "a", "&amp;", "&lt;", "&#0;",
    "&#xFFFFFF;", "&unknown;", "&", "\x00", "\x0b", "\ufffe", "\ue000", "\U000f0000", "<![CDATA[", "]]>", "<!--", "-->",
    "<?xml version='1.0'?>", "<?pi ?>", "<!DOCTYPE d [<!ENTITY e 'x'>]>", "&e;", " xmlns='urn:x'", "<x:Key>", "\r\n",
])  # fmt: skip
documents = st.lists(pieces, max_size=30).map("".join)


def is_read_or_refused(body: bytes) -> None:
    with contextlib.suppress(OssError):
        root = xml.parse(body, "Delete")
        assert root.tag == "Delete"


@settings(max_examples=examples(80), deadline=None)
@given(documents.map(lambda inner: f"<Delete>{inner}</Delete>"))
def test_a_document_is_read_or_refused(text: str) -> None:
    is_read_or_refused(text.encode())


@settings(max_examples=examples(80), deadline=None)
@given(documents, st.binary(max_size=8), st.integers(0, 200))
def test_so_are_bytes_that_are_none(text: str, put: bytes, at: int) -> None:
    body = text.encode()
    is_read_or_refused(body[:at] + put + body[at:])


@pytest.mark.parametrize("body", [b"<Delete>" * 100_000, b"<Delete>" + b"<a/>" * 200_000 + b"</Delete>"])
def test_what_is_deeper_or_more_than_any_document_is_refused(body: bytes) -> None:
    with pytest.raises(OssError):
        xml.parse(body, "Delete")
