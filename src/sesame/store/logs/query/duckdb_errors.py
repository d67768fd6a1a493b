"""Translates DuckDB's errors for statements that passed the checks into the Log Service's messages. Called by `engine`.

Only errors that a caller's statement or data can cause are translated. Any other is a bug in Sesame and is raised.
"""

import re

import duckdb

from sesame.store.logs.query.refusals import QueryRefused, sql_error, too_much_memory, ungrouped_column

_UNGROUPED = re.compile(r'column "([^"]*)" must appear in the GROUP BY')
_CONVERSION = re.compile(r"Could not convert string '([^']*)' to ([A-Z0-9]+)")
_ARGUMENTS = re.compile(r"argument types '(?!sls_)([a-z]\w*)\(([A-Z, ]*)\)'")
_COMPARED = re.compile(r"Cannot compare values of type (\w+) and type (\w+)")
_TYPES = {"INT64": "BIGINT", "INT32": "INTEGER"}
# Error texts of Sesame's own macros, which the cloud has too.
_OURS = re.compile(
    r"(Cannot cast '.*' to [A-Z]+|result of sequence function .* entries|Target length .*\]|The combined .* large)",
    re.DOTALL,
)


def refusal_of(error: duckdb.Error, memory_mb: int) -> Exception:
    """The refusal that describes the error; the error itself if the statement cannot be the cause."""
    text = str(error)
    match error:
        case duckdb.OutOfMemoryException():
            return too_much_memory(memory_mb)
        case duckdb.ConversionException():
            if found := _CONVERSION.search(text):
                return QueryRefused(f"Cannot cast '{found[1][:100]}' to {_TYPES.get(found[2], found[2])}", "sql")
            return QueryRefused("a value cannot be converted to the type that is wanted: use try_cast", "sql")
        case duckdb.OutOfRangeException():
            return QueryRefused("a number is out of the range of its type", "sql")
        case duckdb.InvalidInputException():
            return _invalid(text)
        case duckdb.BinderException() | duckdb.CatalogException() | duckdb.ParserException():
            if found := _UNGROUPED.search(text):
                return ungrouped_column(found[1])
            if found := _ARGUMENTS.search(text):
                return sql_error(f"Unexpected parameters ({found[2].lower()}) for function {found[1]}")
            if found := _COMPARED.search(text):
                return sql_error(f"a comparison cannot be applied to {_type(found[1])}, {_type(found[2])}")
            return sql_error("the statement's columns or types do not fit together")
        case duckdb.NotImplementedException():
            return sql_error("the statement is not supported")
    return error


def _type(name: str) -> str:
    return name.removesuffix("_LITERAL").lower()


def _invalid(text: str) -> QueryRefused:
    if found := _OURS.search(text):
        return QueryRefused(found[1][:200], "sql")
    if "Division by zero" in text:
        return QueryRefused("/ by zero", "sql")
    if "Could not parse string" in text:
        return QueryRefused("Invalid format: a text is no time in the format that is given", "sql")
    if "JSON" in text:
        return QueryRefused("a text cannot be converted to JSON", "sql")
    return QueryRefused("a value, a pattern or an argument is invalid", "sql")
