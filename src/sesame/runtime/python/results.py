"""Converts a handler's result to the bytes of the response body (reference/runtime.md section 5).

Used by bootstrap.py for event functions. An exception for an unsupported value counts as the function's failure.
"""

import json
import sys

_PY2 = sys.version_info[0] == 2
_TEXT = type(u"")


def encode(value):
    """bytes unchanged, text as UTF-8, everything else as JSON: indented by 4, keys sorted, ASCII only."""
    if isinstance(value, bytes):
        # For a subclass, the bytes that it holds, whatever its methods do.
        return value if type(value) is bytes else b"".join([value])
    if isinstance(value, _TEXT):
        return _TEXT.encode(value, "utf-8")
    return to_json(value)


def to_json(value):
    """JSON as bytes, in the layout of results and error bodies."""
    text = json.dumps(value, indent=4, sort_keys=True, separators=(",", ": "), default=_plain)
    # Python 2 already returns bytes; encoding them would first convert them to text of four times the size.
    return text if _PY2 else text.encode("ascii")


def _plain(value):
    if isinstance(value, _kind("decimal", "Decimal")):
        return float(value)
    if not _PY2:
        if isinstance(value, _kind("datetime", "date")):
            return value.isoformat()
        if callable(getattr(value, "to_json", None)):
            return value.to_json()
    raise TypeError("%r is not JSON serializable" % (value,))


def _kind(module, name):
    """The class, if its module has been imported. If not, no value can be one, and a cold start need not import it."""
    found = getattr(sys.modules.get(module), name, ())
    return found if isinstance(found, type) else ()
