"""Finds the logstore that SQL over a project names, and the query for that logstore.

Called by the Log Service's GetProjectLogs, on a thread.
"""

from collections.abc import Sequence

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from sesame.store.logs.query.refusals import QueryRefused
from sesame.store.logs.query.sql import bound_nested_types

SQL_CHARS_MAX = 10_000
_BEFORE_NAMES = frozenset({sqlglot.TokenType.FROM, sqlglot.TokenType.JOIN})
_OF_NAMES = frozenset({sqlglot.TokenType.VAR, sqlglot.TokenType.DASH, sqlglot.TokenType.NUMBER})
_EXPECTED = "expected SELECT … FROM <logstore> WHERE …"


def logstore_and_query(sql: str) -> tuple[str, str]:
    """The name, and `* | SELECT … FROM log …`. Raises `QueryRefused` unless exactly one logstore is named."""
    if not sql.strip():
        raise QueryRefused(f"the query is missing: {_EXPECTED}", "sql")
    if len(sql) > SQL_CHARS_MAX:
        raise QueryRefused(f"the query has {len(sql)} characters: expected at most {SQL_CHARS_MAX}", "sql")
    try:
        tokens = sqlglot.tokenize(sql, read="presto")
        bound_nested_types(tokens)
        tree = sqlglot.parse_one(_names_quoted(sql, tokens), read="presto")
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


def _names_quoted(sql: str, tokens: Sequence[sqlglot.Token]) -> str:
    """With the names of logstores behind FROM and JOIN in quotation marks where they have hyphens, as in `access-log`,
    which the cloud takes as they are.
    """
    for number in range(len(tokens) - 1, 0, -1):
        last = number
        while last + 1 < len(tokens) and tokens[last + 1].start == tokens[last].end + 1:
            if tokens[last + 1].token_type not in _OF_NAMES:
                break
            last += 1
        if tokens[number - 1].token_type in _BEFORE_NAMES and tokens[number].token_type in _OF_NAMES and last > number:
            name = slice(tokens[number].start, tokens[last].end + 1)
            sql = f'{sql[: name.start]}"{sql[name]}"{sql[name.stop :]}'
    return sql
