"""`time_series(time, window, format, padding)`: a row for each window of the query's time, even without logs.

Called by `engine`. The statement itself counts by windows; a query around it adds the missing rows.
"""

import re

import msgspec
from sqlglot import exp

from sesame.store.logs.query import functions
from sesame.store.logs.query.literals import literal, name
from sesame.store.logs.query.macros import ZONE_OFFSET_S
from sesame.store.logs.query.refusals import sql_error

NAME = "time_series"
POINTS_MAX = 100_000
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_WINDOW = re.compile(r"([0-9]{1,6})([smhd])")
_PADDINGS = {
    "0": "coalesce({value}, 0)",
    "null": "{value}",
    "last": "{last}",
    "next": "{next}",
    "avg": "coalesce({value}, ({last} + {next}) / 2e0)",
}


class Padding(msgspec.Struct, frozen=True):
    """How the windows are shown, and the values of those without logs. `columns` are the statement's, in order."""

    column: int
    columns: tuple[str, ...]
    window_s: int
    format: str
    padding: str
    limit: int

    def around(self, sql: str, from_s: int, to_s: int) -> str:
        """Adds the missing windows between the two times to the statement, in order."""
        first, last = self._start(from_s), self._start(to_s - 1)
        if (last - first) // self.window_s >= POINTS_MAX:
            raise sql_error(f"{NAME} has more than {POINTS_MAX} windows in the time of the query")
        time = name(self.columns[self.column])
        shown = ", ".join(self._shown(number) for number in range(len(self.columns)))
        return (
            f"SELECT {shown} FROM (SELECT unnest(range({first}, {last + 1}, {self.window_s})) AS {time}) AS windows "
            f"LEFT JOIN ({sql}) AS found USING ({time}) ORDER BY {time} LIMIT {self.limit}"
        )

    def _start(self, time_s: int) -> int:
        return time_s - (time_s + ZONE_OFFSET_S) % self.window_s

    def _shown(self, number: int) -> str:
        column = name(self.columns[number])
        if number == self.column:
            return f"strftime(sls_from_unixtime({column}), {literal(self.format)}) AS {column}"
        over = f"OVER (ORDER BY {name(self.columns[self.column])} ROWS BETWEEN "
        last = f"last_value({column} IGNORE NULLS) {over}UNBOUNDED PRECEDING AND CURRENT ROW)"
        after = f"first_value({column} IGNORE NULLS) {over}CURRENT ROW AND UNBOUNDED FOLLOWING)"
        return _PADDINGS[self.padding].format(value=column, last=last, next=after) + f" AS {column}"


def take_padding(tree: exp.Query) -> Padding | None:
    """Extracts the statement's `time_series`, or None. In the tree, the start of the window replaces it."""
    calls = [each for each in tree.find_all(exp.Anonymous) if each.name.lower() == NAME]
    if not calls:
        return None
    numbers = [n for n, each in enumerate(tree.selects) if each.unalias() is calls[0]]
    if len(calls) > 1 or not numbers or not isinstance(tree, exp.Select):
        raise sql_error(f"{NAME} must stand once, as a column of the statement")
    call, group, order = calls[0], tree.args.get("group"), tree.args.get("order")
    if group is None or order is None or any(each.args.get("desc") for each in order.expressions):
        raise sql_error(f"{NAME} must be used together with GROUP BY and with an ascending ORDER BY")
    if len(group.expressions) != 1:
        raise sql_error(f"{NAME} must be all that the statement is grouped by")
    if len(call.expressions) != 4:
        raise sql_error(f"Unexpected parameters for function {NAME}: expected 4, found {len(call.expressions)}")
    window_s = _window(functions.text_literal(call.expressions[1], "the window"))
    padding = functions.text_literal(call.expressions[3], "the padding").lower()
    if padding not in _PADDINGS:
        raise sql_error(f"'{padding}' is no padding: expected {', '.join(_PADDINGS)}")
    shown = functions.strftime_format(functions.text_literal(call.expressions[2], "the format"))
    call.replace(_start_of_window(call.expressions[0], window_s))
    limit = int(tree.args["limit"].expression.this)
    tree.set("order", None)
    tree.set("limit", None)
    return Padding(numbers[0], tuple(each.alias_or_name for each in tree.selects), window_s, shown, padding, limit)


def _window(text: str) -> int:
    found = _WINDOW.fullmatch(text)
    if found is None or int(found[1]) == 0:
        raise sql_error(f"'{text}' is no window: expected a number with s, m, h or d, as 5m")
    return int(found[1]) * _SECONDS[found[2]]


def _start_of_window(time: exp.Expression, window_s: int) -> exp.Expression:
    seconds = exp.cast(time.copy(), "bigint")
    local = exp.Paren(this=exp.Add(this=seconds.copy(), expression=exp.Literal.number(ZONE_OFFSET_S)))
    return exp.Sub(this=seconds, expression=exp.Mod(this=local, expression=exp.Literal.number(window_s)))
