"""Operations that search: GetLogs in its versions, histograms, contexts, topics, and SQL over a project.

Called by `sls.app` through the table of operations. The store runs the queries, within its limits of time and memory.
"""

from typing import Any

import msgspec

from sesame.sls.answers import HEADER_CHARS_MAX, JSON_TYPE, Answer, json_answer
from sesame.sls.bodies import off_loop, packed
from sesame.sls.calls import Call, Document
from sesame.sls.errors import SlsError, parameter_invalid
from sesame.sls.writing import NEWEST_S
from sesame.store.logs.logstores.interface import QUERY_LINES_MAX, Query, Result

COMPLETE, INCOMPLETE = "Complete", "Incomplete"
TOPICS_MAX = 100
CONTEXT_LINES_MAX = 100
_SCAN = "mode=scan"
_NO_OFFSET = (
    "ErrorType:OLSQueryParseError.ErrorMessage:offset is not available for pagination in sql query, please use limit "
    "x,y syntax for pagination"
)
# Log times are 32-bit numbers, so all are earlier.
TIMES_END_S = 2**32
OFFSET_MAX = 1_000_000_000


class _Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """The body of GetLogs versions 2 and 3. `powerSql`, `accurate` and `session` select how the cloud computes and do
    not change results.
    """

    from_s: int = msgspec.field(name="from")
    to_s: int = msgspec.field(name="to")
    line: int = QUERY_LINES_MAX
    offset: int = 0
    reverse: bool = False
    query: str = ""
    topic: str = ""
    from_ns: int = 0
    to_ns: int = 0
    power_sql: bool = False
    accurate: bool = True
    session: str = ""
    # Continues a scan in the cloud; an answer of Sesame is always complete.
    forward: Any = True
    highlight: bool = False
    is_accurate: bool = True


async def get_logs(call: Call) -> Answer:
    """GetLogs versions 2 and 3: the body is the query, and the answer has its metadata beside the rows."""
    asked = call.json(_Asked)
    result = await _found(call, asked)

    def encoded() -> tuple[bytes, dict[str, str]]:
        document = {"meta": _meta(asked, result), "data": msgspec.Raw(result.rows)}
        return packed(call.request, msgspec.json.encode(document))

    body, headers = await off_loop(len(result.rows), encoded)
    return Answer(headers={"Content-Type": JSON_TYPE, **headers}, body=body)


async def get_logs_v1(call: Call) -> Answer:
    """GetLogs version 1: the query string is the query, and the answer has its metadata in headers."""
    return _rows_answer(await _found(call, _asked_by_query(call)))


async def get_histograms(call: Call) -> Answer:
    asked = _asked_by_query(call)
    bars = await call.store.histogram(call.project, call.logstore, _query(asked))
    total = sum(bar.count for bar in bars)
    return json_answer(
        [{"from": bar.from_s, "to": bar.to_s, "count": bar.count, "progress": COMPLETE} for bar in bars],
        {"x-log-progress": COMPLETE, "x-log-count": str(total)},
    )


async def get_context(call: Call) -> Answer:
    back, forward = call.number("back_lines", 0), call.number("forward_lines", 0)
    if not (0 <= back <= CONTEXT_LINES_MAX and 0 <= forward <= CONTEXT_LINES_MAX and back + forward):
        raise SlsError(
            "InvalidParameter",
            f"back_lines or forward_lines must be postive: expected up to {CONTEXT_LINES_MAX} each, found {back} and "
            f"{forward}",
        )
    found = await call.store.context(
        call.project, call.logstore, call.text("pack_id"), call.text("pack_meta"), back, forward
    )
    rows = [{**row, "__index_number__": str(at - found.back)} for at, row in enumerate(found.rows)]
    return json_answer(
        {
            "progress": COMPLETE,
            "total_lines": len(rows),
            "back_lines": found.back,
            "forward_lines": found.forward,
            "logs": rows,
        }
    )


async def list_topics(call: Call) -> Answer:
    """`token` is the topic after which the page starts."""
    line = call.number("line", TOPICS_MAX, "InvalidLine")
    if not 0 < line <= TOPICS_MAX:
        raise SlsError("InvalidLine", f"line is {line}: expected 1 to {TOPICS_MAX}")
    token = call.text("token")
    found = await call.store.topics(call.project, call.logstore, after=token or None, most=line + 1)
    page = found[:line]
    following = page[-1] if len(found) > line else ""
    return json_answer(page, {"x-log-count": str(len(page)), "x-log-nexttoken": following})


async def get_project_logs(call: Call) -> Answer:
    """SQL whose FROM names a logstore of the project, and whose WHERE has the time range."""
    logstore, text = await call.store.project_sql(call.text("query"))
    call.require("log:GetLogStoreLogs", f"project/{call.project}/logstore/{logstore}")
    until_s = int(call.dependencies.clock()) + NEWEST_S
    return _rows_answer(await call.store.query(call.project, logstore, Query(text, 0, until_s)))


def _asked_by_query(call: Call) -> _Asked:
    return _Asked(
        from_s=_seconds(call, "from"),
        to_s=_seconds(call, "to"),
        line=call.number("line", QUERY_LINES_MAX, "InvalidLine"),
        offset=call.number("offset", 0, "InvalidOffset"),
        reverse=call.flag("reverse", default=False, code="InvalidReverse"),
        query=call.text("query"),
        topic=call.text("topic"),
        from_ns=call.number("fromNs", 0),
        to_ns=call.number("toNs", 0),
        power_sql=call.flag("powerSql", default=False),
        accurate=call.flag("accurate", default=True),
        session=call.text("session"),
        forward=call.flag("forward", default=True),
    )


def _seconds(call: Call, name: str) -> int:
    if not call.text(name):
        raise SlsError("InvalidTimeRange", f"parameter {name} is missing: expected Unix seconds")
    return call.number(name, 0, "InvalidTimeRange")


def _query(asked: _Asked) -> Query:
    """Raises SlsError for an invalid query."""
    if not 0 <= asked.from_s < min(asked.to_s, TIMES_END_S):
        raise SlsError(
            "InvalidTimeRange",
            f"request time range is invalid: from {asked.from_s} must be before to {asked.to_s} and {TIMES_END_S}",
        )
    if asked.from_ns or asked.to_ns:
        raise parameter_invalid("fromNs and toNs", "0, as times are whole seconds", f"{asked.from_ns}, {asked.to_ns}")
    if asked.session not in ("", _SCAN):
        raise parameter_invalid("session", _SCAN, asked.session[:64])
    if asked.highlight:
        raise parameter_invalid("highlight", "false", "true")
    if not 0 <= asked.offset <= OFFSET_MAX:
        raise SlsError("InvalidOffset", f"offset is {asked.offset}: expected 0 to {OFFSET_MAX}")
    return Query(
        text=asked.query,
        from_s=asked.from_s,
        to_s=min(asked.to_s, TIMES_END_S),
        topic=asked.topic,
        line=min(max(asked.line, 0), QUERY_LINES_MAX),
        offset=asked.offset,
        reverse=asked.reverse,
    )


async def _found(call: Call, asked: _Asked) -> Result:
    result = await call.store.query(call.project, call.logstore, _query(asked))
    if result.has_sql and asked.offset:
        raise SlsError("ParameterInvalid", _NO_OFFSET)
    if not result.has_sql and not 0 <= asked.line <= QUERY_LINES_MAX:
        raise SlsError("InvalidLine", f"line is {asked.line}: expected 0 to {QUERY_LINES_MAX}")
    return result


def _meta(asked: _Asked, result: Result) -> Document:
    return {
        "progress": COMPLETE if result.complete else INCOMPLETE,
        "count": result.count,
        "processedRows": result.processed_rows,
        "elapsedMillisecond": result.elapsed_ms,
        "hasSQL": result.has_sql,
        "whereQuery": result.where,
        "aggQuery": result.aggregate,
        "keys": result.columns,
        "terms": [{"key": key, "term": term} for key, term in result.terms],
        "mode": 0,
        "powerSql": asked.power_sql,
        "isAccurate": True,
        "telementryType": "None",
    }


def _rows_answer(result: Result) -> Answer:
    headers = {
        "x-log-progress": COMPLETE if result.complete else INCOMPLETE,
        "x-log-count": str(result.count),
        "x-log-processed-rows": str(result.processed_rows),
        "x-log-elapsed-millisecond": str(result.elapsed_ms),
        "x-log-has-sql": "true" if result.has_sql else "false",
        "x-log-where-query": result.where[:HEADER_CHARS_MAX],
        "x-log-agg-query": result.aggregate[:HEADER_CHARS_MAX],
        "x-log-query-info": msgspec.json.encode({"mode": 0, "keys": result.columns[:100]}).decode(),
    }
    return Answer(headers={"Content-Type": JSON_TYPE, **headers}, body=result.rows)
