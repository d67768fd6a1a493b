"""Translates the search before the bar to a DuckDB condition over the view `logs`, using the index of a logstore.

Called by `engine`. Raises `QueryRefused` for searches that the index does not allow.
"""

import re
from collections.abc import Iterable, Sequence

import msgspec

from sesame.model.logstore import KeyIndex, LineIndex, LogIndex
from sesame.store.logs.query import tree
from sesame.store.logs.query.literals import literal, pointer
from sesame.store.logs.query.refusals import field_without_index, search_error
from sesame.store.logs.query.relation import TAG, Fields
from sesame.store.logs.query.words import EXACT, Rule, has_phrase, has_word, key_has_word, words_of

RESERVED = {"__topic__": "topic", "__source__": "source", "source": "source"}
TIME = "__time__"
NOTHING = "FALSE"
# POLICY: of all keywords together. A keyword may be a long text, and each of its words is searched in each field:
# DuckDB took a minute to plan a thousand of them, before it read a single log.
WORDS_MAX = 100

_LONG = "[-+]?[0-9]+"
_DOUBLE = r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?"
_NUMBER = re.compile(_DOUBLE)


class Field(msgspec.Struct, frozen=True):
    """A field that can be searched by name: its values as text, or as numbers if it has a numeric type."""

    text: str
    rule: Rule
    number: str = ""


def as_number(text: str, kind: str) -> str:
    """The text as a number, or NULL: a long that is not a whole number cannot be found."""
    pattern, cast = (_LONG, "BIGINT") if kind == "long" else (_DOUBLE, "DOUBLE")
    return f"CASE WHEN regexp_full_match({text}, {literal(pattern)}) THEN TRY_CAST({text} AS {cast}) END"


def json_leaf(text: str, path: Iterable[str]) -> str:
    """The value at a path of a JSON text; NULL if the text is not JSON."""
    return f"CASE WHEN json_valid({text}) THEN json_extract_string({text}, {literal(pointer(*path))}) END"


class Conditions:
    """Builds conditions for one index and the fields of one relation."""

    def __init__(self, index: LogIndex, fields: Fields) -> None:
        self._index = index
        self._fields = fields
        self._words = 0

    def of(self, search: tree.Search) -> str:
        match search:
            case tree.All():
                return "TRUE"
            case tree.And(parts):
                return "(" + " AND ".join(map(self.of, parts)) + ")"
            case tree.Or(parts):
                return "(" + " OR ".join(map(self.of, parts)) + ")"
            case tree.Not(part):
                # A log without the field does not match, so it matches the opposite.
                return f"NOT coalesce({self.of(part)}, FALSE)"
            case tree.Words(field=None):
                return self._anywhere(search)
            case tree.Words():
                return self._in_field(search)
            case tree.Exists(field):
                return f"{self._field(field).text} IS NOT NULL"
            case tree.Empty(field):
                return f"{self._field(field).text} = ''"
            case tree.Comparison():
                return self._comparison(search)
            case tree.Range():
                return self._range(search)

    def _field(self, field: str) -> Field:
        if field in RESERVED:
            return Field(RESERVED[field], EXACT)
        if field == TIME:
            return Field("CAST(time_s AS VARCHAR)", EXACT, "time_s")
        if key := self._index.keys.get(field):
            text = self._fields.tag(field.removeprefix(TAG)) if field.startswith(TAG) else self._fields.value(field)
            return _typed(text, key)
        if field.startswith(TAG):
            return Field(self._fields.tag(field.removeprefix(TAG)), EXACT)
        if leaf := find_leaf(self._index, field):
            key_name, path, key = leaf
            return _typed(json_leaf(self._fields.value(key_name), path), key)
        raise field_without_index(field)

    def _in_field(self, words: tree.Words) -> str:
        assert words.field is not None
        field = self._field(words.field)
        if field.number:
            if not _NUMBER.fullmatch(words.text):
                raise search_error(f"'{words.text[:64]}' is no number, which values of '{words.field}' are")
            return f"{field.number} = {words.text}"
        self._count(words_of(words.text, field.rule, wildcards=not words.quoted))
        return _all_words(words, [_Place(field.text, field.rule)])

    def _comparison(self, comparison: tree.Comparison) -> str:
        field = self._field(comparison.field) if self._is_indexed(comparison.field) else None
        if field is not None and field.number and _NUMBER.fullmatch(comparison.value):
            return f"{field.number} {comparison.operator} {comparison.value}"
        # According to the manual, without a numeric index this is a search for the words of the expression.
        texts = (comparison.field, comparison.operator, comparison.value)
        conditions = (self._anywhere(tree.Words(text, quoted=True), without_words="TRUE") for text in texts)
        return "(" + " AND ".join(conditions) + ")"

    def _range(self, within: tree.Range) -> str:
        field = self._field(within.field)
        if not field.number:
            raise search_error(f"'{within.field}' has no index of type long or double, which a range needs")
        if not (_NUMBER.fullmatch(within.low) and _NUMBER.fullmatch(within.high)):
            raise search_error(f"'{within.low} {within.high}' is no range: expected two numbers, as [100 200]")
        above, below = ">=" if within.with_low else ">", "<=" if within.with_high else "<"
        return f"({field.number} {above} {within.low} AND {field.number} {below} {within.high})"

    def _count(self, words: Sequence[str]) -> None:
        self._words += len(words)
        if self._words > WORDS_MAX:
            raise search_error(f"its keywords have more than {WORDS_MAX} words")

    def _is_indexed(self, field: str) -> bool:
        special = field in RESERVED or field == TIME or field.startswith(TAG)
        return special or field in self._index.keys or find_leaf(self._index, field) is not None

    def _anywhere(self, words: tree.Words, without_words: str = NOTHING) -> str:
        """Each word in some field. A text without words matches nothing, or as `without_words` says."""
        by_words: dict[tuple[str, ...], list[_Place]] = {}
        for place in self._places():
            found = tuple(words_of(words.text, place.rule, wildcards=not words.quoted))
            by_words.setdefault(found, []).append(place)
        self._count(max(by_words, key=len, default=()))
        conditions = [_all_words(words, places) for found, places in by_words.items() if found]
        if not conditions:
            return without_words if by_words else NOTHING
        return "(" + " OR ".join(conditions) + ")"

    def _places(self) -> list["_Place"]:
        """Where a search without a field looks; fields with an index of their own use its rules."""
        line, keys = self._index.line, self._index.keys
        places = [
            _Place(self._fields.value(field), _rule(key), field)
            for field, key in keys.items()
            if key.type in ("text", "json") and not field.startswith(TAG) and _covers(line, field)
        ]
        if line is None:
            return places
        rule, own = _rule(line), {place.key for place in places if place.key is not None}
        others = line.include_keys or self._fields.with_column
        places += (
            _Place(self._fields.value(each), rule, each) for each in others if each not in own and _covers(line, each)
        )
        if self._fields.has_rest and not line.include_keys:
            elsewhere = {*self._fields.with_column, *own} | set(line.exclude_keys)
            without = dict.fromkeys(sorted(elsewhere))
            patch = literal(msgspec.json.encode(without).decode())
            rest = f"CASE WHEN rest IS NOT NULL THEN json_merge_patch(rest, {patch}) END" if without else "rest"
            places.append(_Place(rest, rule, is_rest=True))
        return places


class _Place(msgspec.Struct, frozen=True):
    """A value to search for words, with the name of its field if that is searched too, or the JSON object `rest`."""

    value: str
    rule: Rule
    key: str | None = None
    is_rest: bool = False

    def has(self, word: str, *, wildcards: bool) -> str:
        if self.is_rest:
            condition = has_word("v", word, self.rule, wildcards=wildcards)
            return f"({self._any_value(condition)} OR {_any(f'json_keys({self.value})', condition)})"
        if self.key is not None and key_has_word(self.key, word, self.rule, wildcards=wildcards):
            return f"{self.value} IS NOT NULL"
        return has_word(self.value, word, self.rule, wildcards=wildcards)

    def has_phrase(self, phrase: str) -> str:
        if self.is_rest:
            return self._any_value(has_phrase("v", phrase, self.rule))
        return has_phrase(self.value, phrase, self.rule)

    def _any_value(self, condition: str) -> str:
        return _any(f"json_extract_string({self.value}, '$.*')", condition)


def _any(values: str, condition: str) -> str:
    return f"len(list_filter({values}, lambda v: {condition})) > 0"


def _all_words(words: tree.Words, places: list[_Place]) -> str:
    """Each word in some of the places, all of which split the text into the same words."""
    wildcards = not words.quoted
    found = words_of(words.text, places[0].rule, wildcards=wildcards)
    if not found:
        return NOTHING
    conditions = ["(" + " OR ".join(place.has(word, wildcards=wildcards) for place in places) + ")" for word in found]
    if words.phrase:
        conditions.append("(" + " OR ".join(place.has_phrase(words.text) for place in places) + ")")
    return "(" + " AND ".join(conditions) + ")"


def _covers(line: LineIndex | None, field: str) -> bool:
    if line is None:
        return True
    return field in line.include_keys if line.include_keys else field not in line.exclude_keys


def _rule(index: KeyIndex | LineIndex) -> Rule:
    return Rule(index.token, case_sensitive=index.case_sensitive, chinese=bool(index.chn))


def _typed(text: str, key: KeyIndex) -> Field:
    number = as_number(text, key.type) if key.type in ("long", "double") else ""
    return Field(text, _rule(key), number)


def find_leaf(index: LogIndex, field: str) -> tuple[str, list[str], KeyIndex] | None:
    """The JSON field that contains `field` (`info.user.name`), the path in it, and the leaf's index."""
    for name, key in index.keys.items():
        if key.type == "json" and field.startswith(name + "."):
            below = field[len(name) + 1 :]
            path = below.split(".")
            if below in key.json_keys:
                return name, path, key.json_keys[below]
            if key.index_all and (key.max_depth < 0 or len(path) <= key.max_depth):
                leaf = KeyIndex("text", key.token, key.case_sensitive, key.chn, key.doc_value)
                return name, path, leaf
    return None
