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
# Keys may hold control characters, and clients write them into XML as they are, which XML forbids.
# The parser is given characters of a private area in their place.
_PRIVATE_AREA = 0xE000
_STAND_INS = {code: _PRIVATE_AREA + code for code in range(32) if chr(code) not in "\t\n\r"}
_CONTROLS_BACK = {stand_in: code for code, stand_in in _STAND_INS.items()}
_CONTROLS = frozenset(map(chr, _STAND_INS))
_UNFIT = dict.fromkeys([*_STAND_INS, 0xFFFE, 0xFFFF], 0xFFFD)
BODY_BYTES_MAX = 2 * 1024 * 1024


def document(name: str, content: Content) -> bytes:
    """What XML cannot hold at all becomes U+FFFD; callers who ask for `encoding-type=url` never meet it."""
    body: bytes = ElementTree.tostring(_element(name, content), encoding="utf-8", xml_declaration=False)
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + body


def parse(body: bytes, root_name: str) -> ElementTree.Element:
    """The root, all names without their namespace. Raises OssError MalformedXML."""
    if b"<!DOCTYPE" in body or b"<!ENTITY" in body:
        raise OssError("MalformedXML")
    try:
        text = body.decode()
        root = ElementTree.fromstring(text.translate(_STAND_INS))
    except (ElementTree.ParseError, ValueError) as exc:
        raise OssError("MalformedXML") from exc
    has_controls = not _CONTROLS.isdisjoint(text)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        if has_controls and element.text:
            element.text = element.text.translate(_CONTROLS_BACK)
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
        element.text = str(content).translate(_UNFIT)
    else:
        element.extend(_element(*child) for child in content if child is not None)
    return element
