"""Decodes management bodies like the cloud's server: any Content-Type, keys in any case, null as absent.

Called by the routes for every request with a JSON body (reference/api.md §0, rules 1 to 3). `control` validates ranges
and names; text that no API may contain, and nesting that could not be stored, are rejected here.
"""

from collections.abc import Callable, Mapping
from functools import cache
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

import msgspec

from sesame.fc.refusals import InvalidArgument
from sesame.fc.wording import spelled, worded
from sesame.model.conversion import converted, shown
from sesame.model.errors import Rejected

T = TypeVar("T", bound=msgspec.Struct)
Fold = Callable[[Any], Any]

# Deeper documents could be decoded here but not encoded, or not be decoded at the next start.
NESTING_MAX = 64


def decode(body: bytes, shape: type[T]) -> T:
    """Decodes the body as `shape`; an empty body counts as an object without fields.

    Keys of structs match in any case, the last one wins; unknown keys are ignored, unless the struct forbids them; keys
    of maps stay as sent.
    Raises `InvalidArgument` naming the field, what was expected and what was found; also for text with a NUL
    character, and for values nested more than `NESTING_MAX` deep.
    """
    try:
        document = msgspec.json.decode(body) if body and not body.isspace() else {}
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"the request body is not valid JSON: {error}") from error
    except RecursionError as error:
        raise InvalidArgument("the request body is not accepted: its JSON is nested too deeply") from error
    if not isinstance(document, dict):
        raise InvalidArgument.of("the request body", "a JSON object", shown(document))
    folded = _struct_fold(shape)(document)
    check_values(folded)
    try:
        return converted(folded, shape, "")
    except Rejected as error:
        raise worded(error) from error


def check_values(document: dict[str, Any]) -> None:
    """Raises `InvalidArgument` for text with a NUL character, and for values nested more than `NESTING_MAX` deep.

    Not recursive, so that deep nesting cannot raise a `RecursionError` here.
    """
    left: list[tuple[str, int, Any]] = [(field, 1, value) for field, value in document.items()]
    while left:
        field, depth, value = left.pop()
        if isinstance(value, str):
            if "\0" in value:
                raise InvalidArgument.of(spelled(field), "text without NUL characters", shown(value))
        elif isinstance(value, dict | list):
            if depth > NESTING_MAX:
                raise InvalidArgument.of(spelled(field), f"values nested at most {NESTING_MAX} deep", "deeper ones")
            left += [(field, depth + 1, item) for item in value]
            if isinstance(value, dict):
                left += [(field, depth + 1, item) for item in value.values()]


@cache
def _struct_fold(shape: type[msgspec.Struct]) -> Fold:
    """Returns a function that renames an object's keys to the struct's spelling, recursively."""
    fields = {
        field.encode_name.lower(): (field.encode_name, _fold_of(field.type)) for field in msgspec.structs.fields(shape)
    }

    forbids_others = shape.__struct_config__.forbid_unknown_fields

    def fold(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        folded = {}
        for key, inner in value.items():
            known = fields.get(key.lower())
            if known is None and forbids_others:
                folded[key] = inner
            elif known is not None and inner is not None:
                name, inner_fold = known
                folded[name] = inner if inner_fold is None else inner_fold(inner)
        return folded

    return fold


def _fold_of(annotation: Any) -> Fold | None:
    """How values of this type are folded; None if they stay as they are."""
    origin = get_origin(annotation)
    if origin in (Union, UnionType):
        folds = [fold for fold in map(_fold_of, get_args(annotation)) if fold is not None]
        return folds[0] if folds else None
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return _struct_fold(annotation)
    if origin in (list, tuple):
        return _each(_fold_of(get_args(annotation)[0]))
    if origin in (dict, Mapping) and get_args(annotation)[1] is not Any:
        return _values(_fold_of(get_args(annotation)[1]))
    return None


def _each(fold: Fold | None) -> Fold | None:
    if fold is None:
        return None
    return lambda value: [fold(item) for item in value] if isinstance(value, list) else value


def _values(fold: Fold | None) -> Fold:
    def fold_values(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {key: fold(item) if fold else item for key, item in value.items() if item is not None}

    return fold_values
