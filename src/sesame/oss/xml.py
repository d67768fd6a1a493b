"""XML both ways: documents that OSS answers with, and the few bodies that callers send.

Called by the operations of this room and by `oss.app` for errors.
Never resolves entities or reads a document type: bodies with one are refused.
"""

from collections.abc import Iterable
from typing import TypeAlias
from xml.etree import ElementTree

from sesame.oss.errors import OssError

Content: TypeAlias = "str | int | bool | Iterable[Element]"
Element: TypeAlias = "tuple[str, Content] | None"
"""A name with its text or its children; None is left out."""

CONTENT_TYPE = "application/xml"
BODY_BYTES_MAX = 2 * 1024 * 1024


def document(name: str, content: Content) -> bytes:
    body: bytes = ElementTree.tostring(_element(name, content), encoding="utf-8", xml_declaration=False)
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + body


def parse(body: bytes, root_name: str) -> ElementTree.Element:
    """The root without its namespace. Raises OssError MalformedXML."""
    if b"<!DOCTYPE" in body or b"<!ENTITY" in body:
        raise OssError("MalformedXML")
    try:
        root = ElementTree.fromstring(body)
    except (ElementTree.ParseError, ValueError) as exc:
        raise OssError("MalformedXML") from exc
    for element in root.iter():
        if isinstance(element.tag, str):
            element.tag = element.tag.rpartition("}")[2]
    if root.tag != root_name:
        raise OssError("MalformedXML")
    return root


def text(parent: ElementTree.Element, name: str) -> str:
    """The text of a child, "" where there is none."""
    return parent.findtext(name) or ""


def _element(name: str, content: Content) -> ElementTree.Element:
    element = ElementTree.Element(name)
    if isinstance(content, bool):
        element.text = "true" if content else "false"
    elif isinstance(content, str | int):
        element.text = str(content)
    else:
        element.extend(_element(*child) for child in content if child is not None)
    return element
