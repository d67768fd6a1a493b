"""Tells whether a schedule is written as the API reads it: `@every 5m`, six cron fields, `at(…)`, a UTC time.

Called by the checks of timer triggers and of provisioned instances; pure functions.
Never says when a schedule comes due: whoever fires does.
"""

import re
from datetime import datetime

_EVERY = re.compile(r"@every\s+(?:[0-9]+(?:\.[0-9]+)?(?:h|m|s|ms))+\Z")
_ZONE = re.compile(r"(?:CRON_TZ|TZ)=[A-Za-z0-9_+/-]+\Z")
_WRAPPED = re.compile(r"(at|cron)\((.*)\)\Z")
_UTC_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
# Seconds, minutes, hours, day of month, month, day of week.
_RANGES = ((0, 59), (0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
_NAMES: tuple[dict[str, int], ...] = (
    {}, {}, {}, {},
    {name: number + 1 for number, name in enumerate(_MONTHS)},
    {name: number for number, name in enumerate(_DAYS)},
)  # fmt: skip
_DAY_FIELDS = (3, 5)


def is_timer(text: str) -> bool:
    """`@every` with hours, minutes, seconds or milliseconds, or six cron fields, with a time zone in front or not."""
    if _EVERY.match(text):
        return any(digit in "123456789" for digit in text)
    zone, _, fields = text.partition(" ")
    return is_cron(fields if _ZONE.match(zone) else text)


def is_cron(text: str) -> bool:
    fields = text.split()
    return len(fields) == len(_RANGES) and all(_is_field(index, field) for index, field in enumerate(fields))


def is_schedule(text: str) -> bool:
    """`at(2020-10-10T10:10:10Z)` or `cron(0 */30 * * * *)`."""
    found = _WRAPPED.match(text)
    if found is None:
        return False
    return is_utc(found[2]) if found[1] == "at" else is_cron(found[2])


def is_utc(text: str) -> bool:
    """`2020-10-10T10:10:10Z`, and a time that exists."""
    try:
        return datetime.strptime(text, _UTC_FORMAT).strftime(_UTC_FORMAT) == text
    except ValueError:
        return False


def _is_field(index: int, field: str) -> bool:
    if field == "?" and index in _DAY_FIELDS:
        return True
    return all(_is_item(index, item) for item in field.split(","))


def _is_item(index: int, item: str) -> bool:
    base, slash, step = item.partition("/")
    if slash and not (step.isdecimal() and int(step) > 0):
        return False
    if base == "*":
        return True
    if index in _DAY_FIELDS and base == "L":
        return not slash
    low, dash, high = base.partition("-")
    first = _value(index, low)
    last = _value(index, high) if dash else first
    return first is not None and last is not None and first <= last


def _value(index: int, text: str) -> int | None:
    value = _NAMES[index].get(text.upper(), int(text) if text.isdecimal() and text.isascii() else None)
    low, high = _RANGES[index]
    return value if value is not None and low <= value <= high else None
