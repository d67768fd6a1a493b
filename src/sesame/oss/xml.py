"""Writes the XML of OSS's answers, and parses the few XML bodies that callers send.

Called by the operations and, for errors, by `oss.app`. Parsing is bounded in bytes, elements and depth, and refuses
document types.
"""

import asyncio
import re
from collections.abc import Iterable
from typing import Any, TypeAlias
from xml.etree.ElementTree import Element as Node
from xml.etree.ElementTree import ParseError, TreeBuilder

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

from sesame.oss.body import Body
from sesame.oss.errors import OssError

Content: TypeAlias = "str | int | bool | Iterable[Element]"
Element: TypeAlias = "tuple[str, Content] | None"
"""A name with its text or its children; None is left out."""

CONTENT_TYPE = "application/xml"
BODY_BYTES_MAX = 2 * 1024 * 1024
# CompleteMultipartUpload is the largest document: 10,000 parts of three elements, some with CRC and size.
ELEMENTS_MAX = 60_000
DEPTH_MAX = 32
# Larger documents are parsed on a thread: 2 MB would block the event loop too long.
PARSE_ON_LOOP_BYTES_MAX = 32 * 1024
# Keys may hold characters that XML forbids, and clients write them verbatim or as character references. They are
# replaced for the parser by characters of a private use area, from a range that the document does not use.
_FORBIDDEN = frozenset([*range(0x20), 0xFFFE, 0xFFFF]) - {0x09, 0x0A, 0x0D}
_STAND_IN_BASES = (0xE000, 0xE800, 0xF000, 0xF0000, 0xF8000, 0x100000)
_REFERENCE = re.compile(r"&#(?:x([0-9A-Fa-f]{1,6})|([0-9]{1,7}));")
_DECLARED = re.compile(r"\s*<\?xml\s[^>]*?\bencoding\s*=\s*[\"']([^\"']*)[\"']")
# ASCII is a subset of UTF-8, as which bodies are decoded.
_ENCODINGS = ("utf-8", "utf8", "us-ascii", "ascii")
# The text of an element without child elements.
_TEXT = re.compile(r"(?<=>)[^<>]+(?=</)")
# A parser would turn a bare carriage return into a newline, so it is escaped too.
_ESCAPES: dict[int, str] = {
    **dict.fromkeys(_FORBIDDEN, "\ufffd"),
    ord("&"): "&amp;",
    ord("<"): "&lt;",
    ord(">"): "&gt;",
    ord("\r"): "&#13;",
}
_SPECIAL = re.compile(f"[{re.escape(''.join(map(chr, _ESCAPES)))}]")


def document(name: str, content: Content) -> bytes:
    """Characters that XML cannot represent become U+FFFD; with `encoding-type=url`, keys contain none."""
    pieces = ['<?xml version="1.0" encoding="UTF-8"?>\n']
    _write(pieces, name, content)
    return "".join(pieces).encode(errors="replace")


async def read(body: Body, root_name: str) -> Node:
    """Parses the body; element names lose their namespaces. Raises OssError MalformedXML, EntityTooLarge."""
    return await read_bytes(await body.whole(BODY_BYTES_MAX), root_name)


async def read_bytes(body: bytes, root_name: str) -> Node:
    """Like `read`, for a body that was already read."""
    if len(body) <= PARSE_ON_LOOP_BYTES_MAX:
        return parse(body, root_name)
    return await asyncio.to_thread(parse, body, root_name)


def parse(body: bytes, root_name: str) -> Node:
    """Blocks for up to some hundred milliseconds at the maximum size. Raises OssError MalformedXML."""
    try:
        given = body.decode("utf-8-sig")
        if (declared := _DECLARED.match(given)) and declared[1].lower() not in _ENCODINGS:
            raise ValueError("the document is in another encoding than UTF-8")
        stand_ins = _stand_ins(given)
        parser = DefusedXMLParser(target=_Bounded(), forbid_dtd=True)
        parser.feed(_replace_forbidden(given, stand_ins))
        root = parser.close()
    except (ParseError, DefusedXmlException, ValueError) as exc:
        raise OssError("MalformedXML") from exc
    assert isinstance(root, Node), "the tree builder gives an element"
    originals = {stand_in: code for code, stand_in in stand_ins.items()}
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        if originals and element.text:
            element.text = element.text.translate(originals)
    if root.tag != root_name:
        raise OssError("MalformedXML")
    return root


def text(parent: Node, name: str) -> str:
    """The text of a child element, "" if it is missing."""
    return parent.findtext(name) or ""


def flag(parent: Node, name: str) -> bool:
    """Whether a child element is "true", ignoring case: oss2 writes Python's True. Raises OssError MalformedXML."""
    value = text(parent, name).strip().lower()
    if value not in ("", "true", "false"):
        raise OssError("MalformedXML", details={"Element": name})
    return value == "true"


class _Bounded:
    """A parser target that builds a tree of bounded size. Raises ValueError beyond that size."""

    def __init__(self) -> None:
        self._builder = TreeBuilder()
        self._elements = 0
        self._depth = 0

    def start(self, tag: str, attributes: dict[Any, Any]) -> Node:
        self._elements += 1
        self._depth += 1
        if self._elements > ELEMENTS_MAX or self._depth > DEPTH_MAX:
            raise ValueError("the document has too many elements")
        return self._builder.start(tag, attributes)

    def end(self, tag: str) -> Node:
        self._depth -= 1
        return self._builder.end(tag)

    def data(self, data: str) -> None:
        self._builder.data(data)

    def close(self) -> Node:
        return self._builder.close()


def _stand_ins(given: str) -> dict[int, int]:
    """Maps forbidden characters, and carriage returns, which a parser turns into newlines, to stand-ins.

    Empty if the text has none of them. Raises ValueError if the document uses characters of every private use area.
    """
    needed = any(ord(char) in _FORBIDDEN or char == "\r" for char in set(given))
    references = {_code_of(match) for match in _REFERENCE.finditer(given)}
    # Inside CDATA a reference is plain text, so the parser must see it unchanged.
    if "<![CDATA[" in given or not (needed or references & _FORBIDDEN):
        return {}
    used = {ord(char) for char in set(given)} | references
    codes = [*sorted(_FORBIDDEN), 0x0D]
    for base in _STAND_IN_BASES:
        stand_ins = {code: base + number for number, code in enumerate(codes)}
        if used.isdisjoint(stand_ins.values()):
            return stand_ins
    raise ValueError("the document uses every private area")


def _replace_forbidden(given: str, stand_ins: dict[int, int]) -> str:
    if not stand_ins:
        return given

    def replace(match: "re.Match[str]") -> str:
        code = _code_of(match)
        return chr(stand_ins[code]) if code in stand_ins else match[0]

    returns = {0x0D: stand_ins[0x0D]}
    kept = _TEXT.sub(lambda match: match[0].translate(returns) if match[0].strip() else match[0], given)
    others = {code: stand_in for code, stand_in in stand_ins.items() if code != 0x0D}
    return _REFERENCE.sub(replace, kept.translate(others))


def _code_of(match: "re.Match[str]") -> int:
    return int(match[1], 16) if match[1] else int(match[2])


def _write(pieces: list[str], name: str, content: Content) -> None:
    """Appends an element: ten times as fast as building a tree first, which matters in listings of thousands."""
    if isinstance(content, bool):
        written = "true" if content else "false"
    elif isinstance(content, str | int):
        written = str(content)
        if _SPECIAL.search(written):
            written = written.translate(_ESCAPES)
    else:
        pieces.append(f"<{name}>")
        for child in content:
            if child is not None:
                _write(pieces, *child)
        pieces.append(f"</{name}>")
        return
    pieces.append(f"<{name}>{written}</{name}>")
