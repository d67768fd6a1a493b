"""Finds the logstore that SQL over a project names, and the query that asks that logstore.

Called by the Log Service's GetProjectLogs, on a thread.
"""

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from sesame.store.logs.query.refusals import QueryRefused
from sesame.store.logs.query.sql import bound_nested_types

SQL_CHARS_MAX = 10_000
_EXPECTED = "expected SELECT … FROM <logstore> WHERE …"


def logstore_and_query(sql: str) -> tuple[str, str]:
    """The name, and `* | SELECT … FROM log …`. Raises `QueryRefused` unless exactly one logstore is named."""
    if not sql.strip():
        raise QueryRefused(f"the query is missing: {_EXPECTED}", "sql")
    if len(sql) > SQL_CHARS_MAX:
        raise QueryRefused(f"the query has {len(sql)} characters: expected at most {SQL_CHARS_MAX}", "sql")
    try:
        bound_nested_types(sqlglot.tokenize(sql, read="presto"))
        tree = sqlglot.parse_one(sql, read="presto")
    except (SqlglotError, RecursionError) as error:
        raise QueryRefused(f"the query is no SQL: {_EXPECTED}", "sql") from error
    own = {each.alias for each in tree.find_all(exp.CTE)}
    tables = [each for each in tree.find_all(exp.Table) if each.name not in own]
    names = {each.name for each in tables}
    if len(names) != 1:
        raise QueryRefused(f"the query names {len(names)} logstores: {_EXPECTED}, with one logstore", "sql")
    for table in tables:
        table.set("this", exp.to_identifier("log"))
    try:
        return names.pop(), "* | " + tree.sql(dialect="presto")
    except RecursionError as error:
        raise QueryRefused("the query is nested too deeply", "sql") from error
