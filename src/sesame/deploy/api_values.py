"""Reads values that a template writes as the API does, by the types of the API's inputs.

Used by `deploy.fc3_component`, `deploy.events` and the tables of keys: a value of another kind is refused with its
place before anything is deployed.
"""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from msgspec import inspect

from sesame.deploy.yaml_source import Node


def types_of(struct: type) -> Mapping[str, inspect.Type]:
    """The types of a struct's fields, by the API's names."""
    return {field.encode_name: field.type for field in _fields_of(struct)}


def reader(kind: inspect.Type) -> Callable[[Node], Any]:
    return lambda node: value(node, kind)


def of(kind: Any) -> Callable[[Node], Any]:
    """Like `reader`, for a Python type such as a struct or `dict[str, Any]`."""
    return reader(inspect.type_info(kind))


def struct(node: Node, kind: type) -> dict[str, Any]:
    """A mapping with the fields of a struct. Raises `TemplateError` like `value`."""
    found: dict[str, Any] = value(node, inspect.type_info(kind))
    return found


def value(node: Node, kind: inspect.Type) -> Any:
    """The value for the API. Raises `TemplateError` for a value of another kind, wherever in it that is.

    Numbers and booleans are taken as text where text is wanted, since templates omit quotes. Keys of structs match in
    any case; unknown keys stay, and keys without a value are left out, as by the API.
    """
    match kind:
        case _ if node.value is None:
            return None
        case inspect.Metadata():
            return value(node, kind.type)
        case inspect.StrType():
            return node.text()
        case inspect.IntType() | inspect.FloatType():
            return _number(node, whole=isinstance(kind, inspect.IntType))
        case inspect.BoolType():
            return node.boolean()
        case inspect.VarTupleType() | inspect.ListType():
            return [value(each, kind.item_type) for each in node.items()]
        case inspect.DictType():
            return {name: value(each, kind.value_type) for name, each in node.mapping().items()}
        case inspect.StructType():
            known = {field.encode_name.lower(): field for field in kind.fields}
            given = ((name, known.get(name.lower()), each) for name, each in node.mapping().items())
            return {
                field.encode_name if field else name: value(each, field.type if field else inspect.AnyType())
                for name, field, each in given
                if each.value is not None
            }
        case inspect.UnionType():
            kinds = [each for each in kind.types if not isinstance(each, inspect.NoneType)]
            return value(node, next((each for each in kinds if _fits(node, each)), kinds[0]))
        case _:
            return node.plain()


def _number(node: Node, *, whole: bool) -> Any:
    """Refuses text, as the API does, with the call that makes a number of a variable."""
    if isinstance(node.value, str):
        raise node.refuse("a number: leave out the quotes, or write ${env.init('NAME')} where it is a variable's")
    return node.integer() if whole else node.number()


def _fits(node: Node, kind: inspect.Type) -> bool:
    """Whether the value is a mapping, a list or neither, as the type is."""
    of_mapping = isinstance(kind, inspect.StructType | inspect.DictType)
    of_list = isinstance(kind, inspect.VarTupleType | inspect.ListType)
    return (isinstance(node.value, dict), isinstance(node.value, list)) == (of_mapping, of_list)


@cache
def _fields_of(struct: type) -> tuple[inspect.Field, ...]:
    kind = inspect.type_info(struct)
    assert isinstance(kind, inspect.StructType)
    return kind.fields
