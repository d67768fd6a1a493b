"""Callers' texts as parts of DuckDB's SQL: string literals, names, patterns. No other code puts text into SQL."""

_WORD_CHARS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def name(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def pattern_of(text: str) -> str:
    """An RE2 pattern that matches the text, and can be used inside brackets too."""
    return "".join(each if each in _WORD_CHARS or ord(each) > 127 else f"\\x{{{ord(each):x}}}" for each in text)


def pointer(*keys: str) -> str:
    """The JSON pointer to a value (RFC 6901)."""
    return "".join("/" + key.replace("~", "~0").replace("/", "~1") for key in keys)
