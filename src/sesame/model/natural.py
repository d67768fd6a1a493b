"""Parses whole numbers that callers and templates write as text.

Python's `int` also accepts signs, spaces, underscores and the digits of other scripts, and raises for some thousand
digits.
"""

# Both databases store numbers up to this one.
LARGEST = 2**63 - 1
_DIGITS_MAX = len(str(LARGEST))


def natural(text: str, most: int = LARGEST) -> int | None:
    """The number that ASCII digits write; None for any other text, however long, and for a number above `most`."""
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX):
        return None
    return number if (number := int(text)) <= most else None


def whole(text: str) -> int | None:
    """As `natural`, with an optional minus sign."""
    number = natural(text.removeprefix("-"))
    return -number if number is not None and text.startswith("-") else number
