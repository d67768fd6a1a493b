"""Formats values of a result as the Log Service does. Called by `engine` for every value of SQL."""

import base64
import datetime
import decimal
import math
from typing import Any

import msgspec

NULL = "null"


def text_of(value: Any) -> str:
    """The value as in GetLogs: NULL is `null`, arrays and maps are JSON, times have milliseconds."""
    match value:
        case str():
            return value
        case None:
            return NULL
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return double_text(value)
        case decimal.Decimal():
            return format(value, "f")
        case datetime.datetime():
            return _moment(value)
        case datetime.date():
            return value.isoformat()
        case datetime.time():
            return value.isoformat("milliseconds")
        case bytes():
            return base64.b64encode(value).decode()
        case list() | tuple() | dict():
            return _json(value)
        case _:
            return str(value)


def double_text(value: float) -> str:
    """Without an exponent, with at least one digit after the point: `1.0`, `1494985500.848`, `0.00001`."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    text = format(decimal.Decimal(repr(value)), "f")
    return text if "." in text else text + ".0"


def _moment(value: datetime.datetime) -> str:
    text = value.replace(tzinfo=None).isoformat(" ", "milliseconds")
    return f"{text} {value.tzinfo}" if value.tzinfo is not None else text


def _json(value: Any) -> str:
    return msgspec.json.encode(_plain(value)).decode()


def _plain(value: Any) -> Any:
    match value:
        case list() | tuple():
            return [_plain(each) for each in value]
        case dict():
            return {key if isinstance(key, str) else text_of(key): _plain(each) for key, each in value.items()}
        case float() if math.isfinite(value):
            return msgspec.Raw(double_text(value).encode())
        case None | bool() | int() | str():
            return value
        case _:
            return text_of(value)
