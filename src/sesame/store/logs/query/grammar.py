"""Parses a query: the search before the bar by a grammar (companions.md §4.8); the rest is left to `sql`.

`parse` is called by the store and by `sesame logs`. It raises only `QueryRefused`, whatever the text is.
"""

import functools
import re
from typing import Any

import msgspec
from lark import Lark, Token, Transformer, UnexpectedInput, UnexpectedToken
from lark.exceptions import VisitError

from sesame.store.logs.query.refusals import SQL_WITHOUT_SEARCH, QueryRefused, search_error
from sesame.store.logs.query.tree import All, And, Comparison, Empty, Exists, Not, Or, Parsed, Range, Search, Words

TEXT_CHARS_MAX = 20_000
TERMS_MAX = 30
DEPTH_MAX = 50
WILDCARD_CHARS_MAX = 64
PACK_META = "with_pack_meta"
# Operators of the search, which are words only if quoted; and, or, not are in the grammar.
RESERVED = frozenset({"sort", "asc", "desc", "group", "by", "avg", "sum", "min", "max", "limit"})

_SURROGATE = re.compile("[\ud800-\udfff]")
_SELECT = re.compile(r"\s*select\s", re.IGNORECASE)
_ANALYSIS = re.compile(r"\s*(select|with)\b", re.IGNORECASE)
# Up to the first bar outside double quotes.
_SEARCH = re.compile(r'(?:[^"|\\]|\\.|"(?:[^"\\]|\\.)*"|["\\])*', re.DOTALL)

# Terminals with a higher number are tried first: `and` is an operator unless characters of a word follow.
_GRAMMAR = r"""
?start: either?
?either: all (_OR all)*                -> either
?all: unary (_AND? unary)*             -> both
?unary: _NOT unary                     -> negation
      | "(" either ")"
      | "(" ")"                        -> everything
      | term
?term: text                            -> words
     | text _COLON text                -> field
     | TAG                             -> tag
     | text COMPARE text               -> comparison
     | text RANGE                      -> range
text: WORD | STRING | PHRASE

_OR.3: /or(?![^\s()"])/i
_AND.3: /and(?![^\s()"])/i
_NOT.3: /not(?![^\s()"])/i
TAG.3: /__tag__:(?:\\.|[^\s()":<>=])+\s*:\s*(?:"(?:[^"\\]|\\.)*"|(?:\\.|[^\s()"])+)/
RANGE.3: /in\s*[\[(]\s*[-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?[\s,]+[-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?\s*[\])]/
COMPARE.2: /[<>]=?|=/
_COLON.2: ":"
PHRASE.2: /#"(?:[^"\\]|\\.)*"/s
STRING.2: /"(?:[^"\\]|\\.)*"/s
WORD.1: /(?:\\.|[^\s()":<>=\\]|\\(?=\s|$))+/
%ignore /\s+/
"""


def parse(text: str) -> Parsed:
    """The parts of a query. The search and the SQL are checked against an index later."""
    if len(text) > TEXT_CHARS_MAX:
        raise search_error(f"it has {len(text)} characters, and may have {TEXT_CHARS_MAX}")
    if "\0" in text or _SURROGATE.search(text):
        raise search_error("it has characters that no log can have")
    found = _SEARCH.match(text)
    assert found is not None
    where, rest = found[0].strip(), text[found.end() :]
    if not rest and _SELECT.match(where):
        raise QueryRefused(SQL_WITHOUT_SEARCH, "sql")
    search = parse_search(where)
    behind = rest[1:].strip().removesuffix(";").strip()
    if behind.lower() == PACK_META or not behind:
        return Parsed(where, search, with_pack_meta=behind != "")
    if not _ANALYSIS.match(behind):
        raise QueryRefused(
            f"line 1:1: mismatched input '{_first_word(behind)}' expecting SELECT or WITH behind the bar", "sql"
        )
    return Parsed(where, search, behind)


def _first_word(text: str) -> str:
    return text.split(maxsplit=1)[0][:64]


def parse_search(text: str) -> Search:
    """Parses the part before the bar."""
    _bound_depth(text)
    try:
        search: Search = _Builder().transform(_parser().parse(text))
    except UnexpectedInput as error:
        raise search_error(_where(error, text)) from error
    except VisitError as error:
        raise error.orig_exc from error
    if (count := _terms(search)) > TERMS_MAX:
        raise search_error(f"it has {count} keywords, and may have {TERMS_MAX}")
    return search


def _bound_depth(text: str) -> None:
    """Limits the depth that the recursive steps after the parser must follow."""
    depth = nots = 0
    # An unclosed quotation mark extends to the end, so that no text is scanned twice.
    for match in re.finditer(r'"(?:[^"\\]|\\.)*\\?(?:"|\Z)|[()]|\bnot\b', text, re.IGNORECASE | re.DOTALL):
        depth += {"(": 1, ")": -1}.get(match[0], 0)
        nots += match[0].lower() == "not"
        if depth > DEPTH_MAX or nots > 2 * TERMS_MAX:
            raise search_error(f"operators and parentheses are nested deeper than {DEPTH_MAX}")


def _where(error: UnexpectedInput, text: str) -> str:
    at_end = isinstance(error, UnexpectedToken) and error.token.type == "$END"
    if at_end or error.pos_in_stream is None:
        return "it ends where a keyword or a value is expected"
    found = text[error.pos_in_stream :].split(maxsplit=1)[0][:64]
    return f"unexpected '{found}' at position {error.pos_in_stream + 1}"


def _terms(search: Search) -> int:
    match search:
        case And(parts) | Or(parts):
            return sum(map(_terms, parts))
        case Not(part):
            return _terms(part)
        case All():
            return 0
        case _:
            return 1


@functools.cache
def _parser() -> Lark:
    return Lark(_GRAMMAR, parser="lalr", lexer="basic", maybe_placeholders=False)


def unescape(text: str) -> str:
    r"""`\"` is a quotation mark; a backslash before anything else stands for itself, as `\d` and paths have it."""
    return text.replace('\\"', '"')


class _Text(msgspec.Struct, frozen=True):
    """A word or the text between quotation marks."""

    value: str
    quoted: bool = False
    phrase: bool = False

    def is_any(self) -> bool:
        return self.value == "*" and not self.quoted


class _Builder(Transformer[Token, Any]):
    """Builds the tree bottom up from what the grammar matched. Its methods are named after the grammar's rules."""

    def start(self, children: list[Search]) -> Search:
        return children[0] if children else All()

    def everything(self, _children: list[Search]) -> Search:
        return All()

    def either(self, parts: list[Search]) -> Search:
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def both(self, parts: list[Search]) -> Search:
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def negation(self, parts: list[Search]) -> Search:
        return Not(parts[0])

    def text(self, tokens: list[Token]) -> _Text:
        token = tokens[0]
        raw = token.value.removeprefix("#")[1:-1] if token.type in ("STRING", "PHRASE") else token.value
        return _Text(unescape(raw), quoted=token.type != "WORD", phrase=token.type == "PHRASE")

    def words(self, texts: list[_Text]) -> Search:
        text = texts[0]
        if not text.quoted and text.value.lower() in RESERVED:
            raise search_error(f"'{text.value}' is an operator: to search for it, wrap it in quotation marks")
        return All() if text.is_any() else _words(text, None)

    def field(self, texts: list[_Text]) -> Search:
        return _field(texts[0].value, texts[1])

    def tag(self, tokens: list[Token]) -> Search:
        name, _colon, value = tokens[0].value.removeprefix("__tag__:").partition(":")
        value = value.strip()
        quoted = value.startswith('"')
        text = _Text(unescape(value[1:-1] if quoted else value), quoted=quoted)
        return _field(f"__tag__:{unescape(name.strip())}", text)

    def comparison(self, parts: list[Any]) -> Search:
        return Comparison(parts[0].value, parts[1].value, parts[2].value)

    def range(self, parts: list[Any]) -> Search:
        bounds = parts[1].value.removeprefix("in").strip()
        numbers = bounds[1:-1].replace(",", " ").split()
        if len(numbers) != 2:
            raise search_error(f"'{bounds}' is no range: expected two numbers, as [100 200]")
        return Range(parts[0].value, numbers[0], numbers[1], bounds[0] == "[", bounds[-1] == "]")


def _field(name: str, text: _Text) -> Search:
    if text.is_any():
        return Exists(name)
    return Empty(name) if text.quoted and not text.value else _words(text, name)


def _words(text: _Text, field: str | None) -> Search:
    if not text.quoted and ("*" in text.value or "?" in text.value):
        _check_wildcards(text.value)
    return Words(text.value, field, quoted=text.quoted, phrase=text.phrase)


def _check_wildcards(text: str) -> None:
    if text[0] in "*?":
        raise search_error(f"'{text[:64]}' starts with a wildcard: expected * or ? behind at least one character")
    if len(text) > WILDCARD_CHARS_MAX:
        raise search_error(f"a keyword with wildcards has {len(text)} characters, and may have {WILDCARD_CHARS_MAX}")
