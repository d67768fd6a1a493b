"""DuckDB conditions for words in a value, according to the delimiters, case and Chinese setting of an index.

A value is split into words at the delimiters. A word of Chinese characters is found anywhere in a value, because
Chinese is not segmented; other words are found only as a whole.
"""

import functools
import re

import msgspec
import re2

from sesame.store.logs.query.literals import literal, pattern_of

_CHINESE = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_CHINESE_RUN = re.compile(f"[{_CHINESE}]+")
# Each field of an index may have its own rule; a query needs one for each of its words, in each field.
_REMEMBERED_RULES = 256
# A part without letters is searched first, because no case must be folded for it.
_CASELESS = re.compile(r"[0-9_\-.]{3,}")


class Rule(msgspec.Struct, frozen=True):
    """How the values of a field are split into words. Without delimiters a value is one word."""

    delimiters: tuple[str, ...] = ()
    case_sensitive: bool = False
    chinese: bool = False


EXACT = Rule(case_sensitive=True)


def words_of(text: str, rule: Rule, *, wildcards: bool) -> list[str]:
    """The words of a search text; wildcards are not delimiters."""
    cut = [each for each in rule.delimiters if not (wildcards and each in "*?")]
    words = [text]
    if cut:
        words = [word for word in re.split("[" + "".join(map(re.escape, cut)) + "]", text) if word]
    if rule.chinese:
        words = [part for word in words for part in _parts_by_script(word)]
    return words


def _parts_by_script(word: str) -> list[str]:
    return re.findall(f"[{_CHINESE}]+|[^{_CHINESE}]+", word)


def has_word(value: str, word: str, rule: Rule, *, wildcards: bool) -> str:
    """The condition that the expression `value` contains the word."""
    if wildcards and ("*" in word or "?" in word):
        return f"regexp_matches({value}, {literal(_pattern(_wildcards(word, rule), rule))})"
    if rule.chinese and _CHINESE_RUN.fullmatch(word):
        return f"contains({value}, {literal(word)})"
    folded = value if rule.case_sensitive else f"lower({value})"
    wanted = word if rule.case_sensitive else word.lower()
    if not rule.delimiters and not rule.chinese:
        return f"{folded} = {literal(wanted)}"
    whole = f"regexp_matches({value}, {literal(_pattern(pattern_of(word), rule))})"
    conditions = [f"contains({folded}, {literal(wanted)})", whole]
    if not rule.case_sensitive and (caseless := max(_CASELESS.findall(word), key=len, default="")):
        conditions.insert(0, f"contains({value}, {literal(caseless)})")
    return "(" + " AND ".join(conditions) + ")"


def has_phrase(value: str, phrase: str, rule: Rule) -> str:
    """The condition that the phrase occurs literally in `value`."""
    if rule.case_sensitive:
        return f"contains({value}, {literal(phrase)})"
    return f"contains(lower({value}), {literal(phrase.lower())})"


def key_has_word(key: str, word: str, rule: Rule, *, wildcards: bool) -> bool:
    """Whether a field's name contains the word; a search without a field matches names of fields, too."""
    wanted = _wildcards(word, rule) if wildcards else pattern_of(word)
    return re2.search(_pattern(wanted, rule), key) is not None


def _wildcards(word: str, rule: Rule) -> str:
    inside = f"[^{_boundary(rule)}]" if rule.delimiters or rule.chinese else "[\\s\\S]"
    return "".join({"*": inside + "*", "?": inside}.get(each) or pattern_of(each) for each in word)


def _pattern(inner: str, rule: Rule) -> str:
    flags = "(?s)" if rule.case_sensitive else "(?is)"
    if not rule.delimiters and not rule.chinese:
        return f"{flags}\\A{inner}\\z"
    boundary = f"[{_boundary(rule)}]"
    return f"{flags}(?:\\A|{boundary}){inner}(?:{boundary}|\\z)"


@functools.lru_cache(_REMEMBERED_RULES)
def _boundary(rule: Rule) -> str:
    return "".join(map(pattern_of, rule.delimiters)) + (_CHINESE if rule.chinese else "")
