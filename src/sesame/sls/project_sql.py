"""Finds the logstore that the SQL of GetProjectLogs names, and the query that asks it.

Called by `sls.queries`.
"""

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from sesame.sls.bodies import off_loop
from sesame.sls.errors import SlsError

SQL_CHARS_MAX = 10_000
# Parsing takes some microseconds a character.
_PARSED_WEIGHT = 256


async def logstore_and_query(sql: str) -> tuple[str, str]:
    """The name, and `* | SELECT … FROM log …`. Raises SlsError unless one logstore is named."""
    if not sql.strip():
        raise SlsError("ParameterInvalid", "parameter query is missing: expected SELECT … FROM <logstore> WHERE …")
    if len(sql) > SQL_CHARS_MAX:
        raise SlsError("ParameterInvalid", f"query has {len(sql)} characters: expected at most {SQL_CHARS_MAX}")
    return await off_loop(len(sql) * _PARSED_WEIGHT, lambda: _split(sql))


def _split(sql: str) -> tuple[str, str]:
    try:
        tree = sqlglot.parse_one(sql, dialect="presto")
    except (SqlglotError, RecursionError) as error:
        raise SlsError("ParameterInvalid", "query is no SQL: expected SELECT … FROM <logstore> WHERE …") from error
    own = {each.alias for each in tree.find_all(exp.CTE)}
    tables = [each for each in tree.find_all(exp.Table) if each.name not in own]
    names = {each.name for each in tables}
    if len(names) != 1:
        raise SlsError(
            "ParameterInvalid",
            f"query names {len(names)} logstores: expected SELECT … FROM <logstore>, of one logstore",
        )
    for table in tables:
        table.set("this", exp.to_identifier("log"))
    return names.pop(), "* | " + tree.sql(dialect="presto")
