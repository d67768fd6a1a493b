"""The SQL after the bar: parsed in Presto's dialect, checked against what is allowed, written in DuckDB's dialect.

Called by `engine`. Only what is listed here is allowed: SELECT over the logs, its clauses and operators, and the
functions of `functions`. Everything else is refused with the Log Service's messages, before DuckDB sees it.
"""

import logging
from collections.abc import Collection, Iterable
from typing import Any, ClassVar

import sqlglot
from sqlglot import exp
from sqlglot.dialects.duckdb import DuckDB
from sqlglot.dialects.presto import Presto
from sqlglot.errors import SqlglotError

from sesame.model.natural import natural
from sesame.store.logs.query import functions
from sesame.store.logs.query.macros import ZONE
from sesame.store.logs.query.refusals import QueryRefused, sql_error, unresolved_column

# sqlglot warns about unknown syntax, which callers may send as often as they like; such syntax is refused anyway.
logging.getLogger("sqlglot").setLevel(logging.ERROR)

LOG = "log"
DEFAULT_LIMIT = 100
LIMIT_MAX = 1_000_000
NODES_MAX = 5_000
# POLICY: sqlglot parses the content of a constructor such as ARRAY[…] or ROW(…) twice, so the time doubles with each
# nesting level.
NESTED_TYPES_MAX = 4

# Some supported versions of sqlglot do not have these two; they parse them as names of columns, which no index has.
_LOCAL_TIME: Any = getattr(exp, "Localtime", exp.CurrentTime)
_LOCAL_TIMESTAMP: Any = getattr(exp, "Localtimestamp", exp.CurrentTimestamp)

_ALLOWED: frozenset[type] = frozenset(
    {
        # A query and its clauses.
        exp.Select, exp.Union, exp.Except, exp.Intersect, exp.Subquery, exp.With, exp.CTE, exp.From, exp.Join,
        exp.Where, exp.Group, exp.Having, exp.Order, exp.Ordered, exp.Limit, exp.Offset, exp.Distinct, exp.Table,
        exp.TableAlias, exp.Alias, exp.Aliases, exp.Identifier, exp.Column, exp.Star, exp.Values, exp.Tuple,
        exp.Unnest, exp.Rollup, exp.Cube, exp.GroupingSets, exp.Window, exp.WindowSpec, exp.Filter, exp.Exists,
        # Operators.
        exp.And, exp.Or, exp.Not, exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Is, exp.In, exp.Between,
        exp.Like, exp.Escape, exp.Any, exp.All, exp.Add, exp.Sub, exp.Mul, exp.Div, exp.Mod, exp.Neg, exp.Paren,
        exp.DPipe, exp.Concat, exp.Case, exp.If, exp.Cast, exp.TryCast, exp.Bracket, exp.Array, exp.Lambda,
        # Literals, types, and calls that have a syntax of their own.
        exp.Literal, exp.Boolean, exp.Null, exp.Var, exp.Interval, exp.DataType, exp.DataTypeParam, exp.Anonymous,
        exp.Extract, exp.StrPosition, exp.Substring, exp.AtTimeZone, exp.CurrentDate, exp.CurrentTime,
        exp.CurrentTimestamp,
        _LOCAL_TIME, _LOCAL_TIMESTAMP,
    }
)  # fmt: skip
_Type = exp.DataType.Type
_INTEGERS = frozenset({_Type.BIGINT, _Type.INT, _Type.SMALLINT, _Type.TINYINT})
_TYPES = _INTEGERS | {
    _Type.DOUBLE,
    _Type.FLOAT,
    _Type.BOOLEAN,
    _Type.VARCHAR,
    _Type.TEXT,
    _Type.CHAR,
    _Type.JSON,
    _Type.DATE,
    _Type.TIMESTAMP,
    _Type.TIME,
    _Type.DECIMAL,
    _Type.ARRAY,
    _Type.MAP,
    _Type.VARBINARY,
}

_parser_class = Presto.parser_class if hasattr(Presto, "parser_class") else Presto.Parser


_OPENING = frozenset({sqlglot.TokenType.L_PAREN, sqlglot.TokenType.L_BRACKET, sqlglot.TokenType.L_BRACE})
_CLOSING = frozenset({sqlglot.TokenType.R_PAREN, sqlglot.TokenType.R_BRACKET, sqlglot.TokenType.R_BRACE})


class _Parser(_parser_class):  # type: ignore[misc, valid-type]
    """Leaves every call as it is written, so that only `functions` gives it a meaning."""

    FUNCTIONS: ClassVar[dict[str, Any]] = {}
    FUNCTION_PARSERS: ClassVar = {
        name: parser
        for name, parser in _parser_class.FUNCTION_PARSERS.items()
        if name in ("CAST", "TRY_CAST", "EXTRACT", "POSITION", "SUBSTRING")
    }
    NO_PAREN_FUNCTION_PARSERS: ClassVar = {
        name: parser
        for name, parser in _parser_class.NO_PAREN_FUNCTION_PARSERS.items()
        if name in ("CASE", "IF", "ANY")
    }


class Sls(Presto):
    """The Log Service's dialect."""

    Parser = _Parser
    parser_class = _Parser


def read(text: str) -> exp.Query:
    """Parses the statement into a tree of allowed nodes."""
    try:
        bound_nested_types(sqlglot.tokenize(text, read=Sls))
        statements = sqlglot.parse(text, read=Sls)
    except SqlglotError as error:
        raise sql_error(_first_error(error)) from error
    if len(statements) != 1:
        raise sql_error(f"found {len(statements)} statements, expected one")
    tree = statements[0]
    if not isinstance(tree, exp.Query):
        raise sql_error("mismatched input: expected a SELECT statement")
    for count, node in enumerate(tree.walk()):
        _check(node)
        if count >= NODES_MAX:
            raise sql_error(f"the statement has more than {NODES_MAX} parts")
    return tree


def bound_nested_types(tokens: Iterable[Any]) -> None:
    """Refuses type names with brackets that are nested too deeply, before they are parsed."""
    opened: list[bool] = []
    after_type = False
    for token in tokens:
        if token.token_type in _OPENING:
            opened.append(after_type)
            if sum(opened) > NESTED_TYPES_MAX:
                raise sql_error(f"arrays, rows and types are nested deeper than {NESTED_TYPES_MAX}")
        elif token.token_type in _CLOSING and opened:
            opened.pop()
        after_type = token.token_type in _parser_class.TYPE_TOKENS


def _first_error(error: SqlglotError) -> str:
    for each in getattr(error, "errors", ()):
        found = f" near '{each['highlight']}'" if each.get("highlight") else ""
        return f"line {each['line']}:{each['col']}: {each['description']}{found}"
    return "the statement cannot be read"


def _check(node: Any) -> None:
    """Checks one node. Sesame's own macros (`sls_…`) are not listed in `functions`, so callers cannot use them."""
    if type(node) not in _ALLOWED:
        raise sql_error(f"'{node.sql('presto')[:100]}' is not supported")
    if isinstance(node, exp.DataType) and node.this not in _TYPES:
        raise sql_error(f"Unknown type: {node.sql('presto')[:100]}")
    if isinstance(node, exp.Interval) and not isinstance(node.this, exp.Literal):
        raise sql_error("an interval must have a number in single quotation marks")


def check_tables(tree: exp.Query, known: Collection[str]) -> None:
    """Allows reading only the logs, as `log` or the logstore's name, and the statement's own names.

    SAFETY: outside the scope of its WITH, DuckDB resolves a name to tables and files. Therefore a name in a WITH is
    replaced by one that neither can have.
    """
    names = {each.lower() for each in known}
    own: dict[str, str] = {}
    for each in tree.find_all(exp.CTE):
        called = each.alias_or_name.lower()
        own.setdefault(called, LOG if called in names else f"sls_with_{len(own)}")
        each.args["alias"].set("this", exp.to_identifier(own[called]))
    for table in tree.find_all(exp.Table):
        plain = isinstance(table.this, exp.Identifier) and not table.args.get("db") and not table.args.get("catalog")
        called = table.name.lower()
        if not plain or called not in names | own.keys():
            raise QueryRefused(f"Table {table.sql('presto')[:100]} does not exist", "sql")
        if called != LOG:
            if table.args.get("alias") is None:
                table.set("alias", exp.TableAlias(this=exp.to_identifier(table.name, quoted=True)))
            table.set("this", exp.to_identifier(own.get(called, LOG)))


def has_star(tree: exp.Query) -> bool:
    """Whether all columns are selected, and not only counted."""
    return any(not isinstance(star.parent, exp.Anonymous) for star in tree.find_all(exp.Star))


def check_columns(tree: exp.Query, known: Collection[str]) -> frozenset[str]:
    """Refuses names that neither the index nor the statement has; returns those used, in lower case."""
    names = {each.lower() for each in known} | _own_names(tree)
    used = set()
    for column in tree.find_all(exp.Column):
        if isinstance(column.this, exp.Star):
            continue
        name = column.name
        if name.lower() not in names:
            raise _unresolved(column)
        used.add(name.lower())
    return frozenset(used)


def _own_names(tree: exp.Query) -> set[str]:
    """Names that the statement defines: aliases of columns and tables, and parameters of lambdas."""
    names = {each.alias.lower() for each in tree.find_all(exp.Alias)}
    for alias in tree.find_all(exp.TableAlias):
        names.update(each.name.lower() for each in alias.args.get("columns") or ())
    for function in tree.find_all(exp.Lambda):
        names.update(each.name.lower() for each in function.expressions)
    names.update(f"_col{number}" for number in range(100))
    return names


def _unresolved(column: exp.Column) -> QueryRefused:
    meta = column.this.meta
    where = f"line {meta['line']}:{meta['col'] - meta['end'] + meta['start']}: " if "start" in meta else ""
    if column.this.args.get("quoted"):
        name = column.name
        return QueryRefused(
            f"{where}Column '{name}' cannot be resolved; it seems {name} is wrapper by \";"
            f"if {name} is a string ,not a key field, please use '{name}'",
            "sql",
        )
    return unresolved_column(column.name, where)


def add_from(tree: exp.Query) -> None:
    """Adds FROM the logs to a SELECT that names no table."""
    for select in tree.find_all(exp.Select):
        if select.args.get("from_") is None and select.args.get("from") is None:
            reads = select.find(exp.Column, exp.Star) is not None or _is_top(select)
            if reads or any(_is_aggregate(each) for each in select.find_all(exp.Anonymous)):
                select.from_(exp.Table(this=exp.to_identifier(LOG)), copy=False)


def _is_top(select: exp.Select) -> bool:
    return not select.find_ancestor(exp.Subquery, exp.CTE, exp.Exists, exp.In)


def _is_aggregate(call: exp.Anonymous) -> bool:
    return call.name.lower() in functions.AGGREGATES


def bound_rows(tree: exp.Query) -> None:
    """Limits the statement's LIMIT; 100 rows if it has none."""
    limit = tree.args.get("limit")
    if limit is None or not isinstance(limit.expression, exp.Literal):
        tree.limit(DEFAULT_LIMIT, copy=False)
    elif limit.expression.is_string or not limit.expression.this.isdigit():
        raise sql_error(f"Invalid limit: {limit.expression.sql()[:100]}")
    elif natural(limit.expression.this, LIMIT_MAX) is None:
        raise sql_error(f"LIMIT is {limit.expression.this[:100]}, and may be {LIMIT_MAX} at most")


def name_columns(tree: exp.Query) -> None:
    """Names unnamed columns `_col0`, `_col1`, …, by position."""
    select = tree
    while isinstance(select, exp.SetOperation):
        select = select.left
    if not isinstance(select, exp.Select):
        return
    for number, each in enumerate(select.expressions):
        if not isinstance(each, exp.Alias | exp.Column | exp.Star):
            each.replace(exp.alias_(each.copy(), f"_col{number}", quoted=True))


def write(tree: exp.Query, now_s: float) -> str:
    """The statement in DuckDB's dialect, with the Log Service's functions replaced. Changes the tree."""
    zones = _zones(tree)
    # Children first, because the replacement of a call uses its translated arguments.
    for node in reversed(list(tree.bfs())):
        replaced = _translate(node, now_s)
        if replaced is not node:
            node.replace(replaced)
    for number, zone in zones.items():
        each = tree.selects[number]
        inner: Any = each.unalias()
        inner.replace(functions.call("sls_zoned", inner.copy(), exp.Literal.string(zone)))
    return str(tree.sql(dialect=DuckDB, comments=False))


def _zones(tree: exp.Query) -> dict[int, str]:
    """The result's columns that are times with a zone, which is appended to their text."""
    found = {}
    for number, each in enumerate(tree.selects if isinstance(tree, exp.Select) else ()):
        match each.unalias():
            case exp.CurrentTimestamp():
                found[number] = ZONE
            case exp.Anonymous() as call if call.name.lower() in ("now", "from_iso8601_timestamp"):
                found[number] = ZONE
            case exp.Anonymous() as call if call.name.lower() == "from_unixtime" and len(call.expressions) == 2:
                found[number] = functions.text_literal(call.expressions[1], "the zone of a time")
    return found


def _translate(node: Any, now_s: float) -> Any:
    match node:
        case exp.Literal() if not node.is_string and not node.this.isdigit():
            # In the cloud, numbers with a point are doubles; in DuckDB they are decimals.
            return node if "e" in node.this.lower() else exp.Literal.number(node.this + "e0")
        case exp.Div():
            # Dividing whole numbers gives a whole number; `//` divides doubles as doubles.
            return exp.Paren(this=exp.IntDiv(this=node.this, expression=node.expression))
        case exp.CurrentDate():
            return functions.call("sls_date", _now(now_s))
        case exp.CurrentTime() | _LOCAL_TIME():
            return exp.cast(_now(now_s), "time")
        case exp.CurrentTimestamp() | _LOCAL_TIMESTAMP():
            return _now(now_s)
        case exp.Cast():
            return _cast(node)
        case exp.Extract():
            return functions.part_of_time(node.name, node.expression)
        case exp.AtTimeZone():
            zoned = functions.call("timezone", exp.Literal.string(ZONE), functions.time_of(node.this))
            return functions.call("timezone", node.args["zone"], zoned)
        case exp.Anonymous() if node.name.lower() == "now" and not node.expressions:
            return _now(now_s)
        case exp.Anonymous():
            return functions.translate(node.name, node.expressions)
    return node


def _cast(node: exp.Cast) -> exp.Expression:
    attempt = isinstance(node, exp.TryCast)
    if node.to.this in _INTEGERS:
        return functions.call("sls_try_bigint" if attempt else "sls_bigint", node.this)
    if node.to.this == _Type.TIMESTAMP and not attempt:
        return functions.time_of(node.this)
    return node


def _now(now_s: float) -> exp.Expression:
    return functions.call("sls_from_unixtime", exp.Literal.number(f"{now_s:.3f}e0"))
