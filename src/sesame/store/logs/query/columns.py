"""The columns of the logs in SQL: the fields of the index with `doc_value`, and the reserved ones.

Called by `engine`. The index determines a column's type: text, bigint or double.
"""

from collections.abc import Collection

import msgspec

from sesame.model.logstore import KeyIndex, LogIndex
from sesame.store.logs.query.conditions import as_number, json_leaf
from sesame.store.logs.query.literals import name
from sesame.store.logs.query.relation import TAG, Fields

RESERVED = {
    "__time__": "time_s",
    "__topic__": "topic",
    "__source__": "source",
    "__time_ns_part__": "time_ns",
}


class Column(msgspec.Struct, frozen=True):
    """An expression over the view `logs`. An alias is a second name, which `SELECT *` does not show."""

    expression: str
    is_alias: bool = False


def columns_of(index: LogIndex, fields: Fields) -> dict[str, Column]:
    """The columns by name. Of names that differ only in case, the first counts."""
    columns = {each: Column(expression) for each, expression in RESERVED.items()}
    for field, key in index.keys.items():
        text = fields.tag(field.removeprefix(TAG)) if field.startswith(TAG) else fields.value(field)
        if key.doc_value:
            _add(columns, field, key, text)
        for leaf, below in key.json_keys.items():
            if below.doc_value:
                _add(columns, f"{field}.{leaf}", below, json_leaf(text, leaf.split(".")))
    return columns


def _add(columns: dict[str, Column], field: str, key: KeyIndex, text: str) -> None:
    value = as_number(text, key.type) if key.type in ("long", "double") else text
    known = {each.lower() for each in columns}
    if field.lower() not in known:
        columns[field] = Column(value)
    if key.alias and key.alias.lower() not in known | {field.lower()}:
        columns[key.alias] = Column(value, is_alias=True)


def view_of(columns: dict[str, Column], used: Collection[str], condition: str, *, everything: bool) -> str:
    """The view `log` of the logs that the search finds, with the used columns, or `everything`."""
    shown = [
        f"{column.expression} AS {name(each)}"
        for each, column in columns.items()
        if each.lower() in used or (everything and not column.is_alias)
    ]
    return f"CREATE TEMP VIEW log AS SELECT {', '.join(shown) or '1 AS one'} FROM logs WHERE {condition}"
