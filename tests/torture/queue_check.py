"""Judges a run of the kill test: every accepted event has one final record, a sound execution behind it, and arrived.

Executions and arrivals come from the ledger, records from the API; neither is believed without the other.
"""

import collections
import itertools
import time
from typing import Any
from urllib.parse import quote

import msgspec
from tests.support.signer import Api
from tests.torture.async_callers import FAILS, FUNCTIONS, SERVICE, Sent
from tests.torture.ledger import Report

SUCCEEDED, FAILED = "Succeeded", "Failed"
FINAL = (SUCCEEDED, FAILED)
ENDS = ("ended", "failed")
UNDER_WAY = ("Enqueued", "Dequeued", "Running", "Retrying", "Stopping")
# What a record at a destination calls a success; of a failure it tells the code.
SUCCESS = "Success"
PROCESS_EXITED = "Process exited unexpectedly"
PAGE = 100
# An execution that was under way when something was killed may tell so late that it began.
LATE_S = 0.5
# How many faulty events a judgement tells in whole; it counts them all.
TOLD_MAX = 5


class Kill(msgspec.Struct, frozen=True):
    """What was killed, and between which moments of the monotonic clock it could interrupt what began.

    For a database all the time that it was gone, for what runs functions the moment of the kill.
    """

    what: str
    began: float
    ended: float


class Verdict(msgspec.Struct):
    accepted: int = 0
    executions: int = 0
    duplicates: collections.Counter[str] = msgspec.field(default_factory=collections.Counter)
    repeated_arrivals: int = 0

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} by a kill of {what}" for what, count in sorted(self.duplicates.items()))
        return (
            f"{self.accepted} events accepted, each with one final record and its record at its destination; "
            f"{self.executions} executions, {self.duplicates.total()} of them duplicates ({kinds or 'none'}); "
            f"{self.repeated_arrivals} records arrived more than once"
        )


Records = dict[str, dict[str, Any]]


def records(api: Api, function: str, status: str = "", most: int | None = None) -> Records:
    """By invocation id, as the API lists them; of a status, and not more than asked for. No id is listed twice."""
    found: Records = {}
    token = ""
    while most is None or len(found) < most:
        query = f"?limit={min(PAGE, most or PAGE)}" + (f"&status={status}" if status else "")
        query += f"&nextToken={quote(token)}" if token else ""
        answer = api("GET", f"/services/{SERVICE}/functions/{function}/stateful-async-invocations{query}")
        assert answer.status_code == 200, answer.text
        page = answer.json()
        for record in page.get("invocations") or ():
            assert record["invocationId"] not in found, f"listed twice: {record}"
            found[record["invocationId"]] = record
        token = page.get("nextToken") or ""
        if not token:
            break
    return found


def under_way(api: Api) -> int:
    """How many have no final record yet; at most one of each function and state is counted."""
    return sum(len(records(api, function, status, 1)) for function in FUNCTIONS for status in UNDER_WAY)


def all_records(api: Api) -> Records:
    return {key: value for function in FUNCTIONS for key, value in records(api, function).items()}


def missing_arrivals(sent: list[Sent], found: Records, reports: list[Report]) -> list[str]:
    """Final records that did not reach the destination of their outcome."""
    arrived = {(report.id, report.condition == SUCCESS) for report in reports if report.what == "arrived"}
    missing = []
    for event in sent:
        record = found.get(event.id)
        if record is None or record["status"] not in FINAL:
            continue
        if (event.id, record["status"] == SUCCEEDED) not in arrived:
            missing.append(event.id)
    return missing


def judge(sent: list[Sent], found: Records, reports: list[Report], kills: list[Kill]) -> Verdict:
    """Raises `AssertionError` with the event and everything that is known of it."""
    told = collections.defaultdict(list)
    for report in reports:
        told[report.id].append(report)
    verdict = Verdict()
    known = {event.id for event in sent}
    assert told.keys() <= known, f"executed, but never sent: {sorted(told.keys() - known)[:5]}"
    assert found.keys() <= known, f"recorded, but never sent: {sorted(found.keys() - known)[:5]}"
    # Records have the time of day, kills that of the monotonic clock.
    day_s = time.time() - time.monotonic()
    faults = []
    for event in sent:
        try:
            _add_event(verdict, event, found.get(event.id), told[event.id], kills, day_s)
        except AssertionError as fault:
            faults.append(str(fault))
    assert not faults, f"{len(faults)} of {len(sent)} events: " + "\n".join(faults[:TOLD_MAX])
    return verdict


def _add_event(
    verdict: Verdict,
    event: Sent,
    record: dict[str, Any] | None,
    happened: list[Report],
    kills: list[Kill],
    day_s: float,
) -> None:
    everything = f"{event}\n{record}\n" + "\n".join(str(report) for report in happened)
    if record is None:
        assert not event.accepted, f"accepted and lost: {everything}"
        assert not happened, f"executed without a record: {everything}"
        return
    expected, last = (FAILED, "failed") if event.function == FAILS else (SUCCEEDED, "ended")
    assert record["status"] == expected, f"not {expected}: {everything}"
    ended = any(report.what == last for report in happened) or _was_killed(record, kills, day_s)
    assert ended, f"recorded, but not executed to its end: {everything}"
    verdict.accepted += event.accepted
    _add_executions(verdict, happened, kills, everything)
    arrivals = sum(report.what == "arrived" for report in happened)
    verdict.repeated_arrivals += max(0, arrivals - 1)


def _was_killed(record: dict[str, Any], kills: list[Kill], day_s: float) -> bool:
    """Whether a kill met the last attempt. It counts as a function error, and the function could report no end.

    By the record's own times: an instance may be killed before its function could report that it began.
    """
    running = [event["timestamp"] for event in record.get("events", ()) if event["status"] == "Running"]
    if not running or PROCESS_EXITED not in record.get("invocationErrorMessage", ""):
        return False
    began, until = running[-1] / 1000 - day_s - LATE_S, record["endTime"] / 1000 - day_s + LATE_S
    return any(began <= kill.ended and kill.began <= until for kill in kills)


def _add_executions(verdict: Verdict, happened: list[Report], kills: list[Kill], everything: str) -> None:
    """An execution that follows another is a retry of one that failed, or there was a kill in between."""
    begun = [report for report in happened if report.what == "began"]
    verdict.executions += len(begun)
    for before, after in itertools.pairwise(begun):
        ends = [report for report in happened if before.at <= report.at <= after.at and report.what in ENDS]
        if after.retry > before.retry and any(report.what == "failed" for report in ends):
            continue
        within = [kill for kill in kills if before.at <= kill.ended + LATE_S and kill.began <= after.at]
        assert within, f"executed again, though nothing was killed in between: {everything}"
        if ends:
            verdict.duplicates[_cause(within)] += 1


def _cause(kills: list[Kill]) -> str:
    """What most likely kept a result from being recorded: it is in Sesame's memory until the database has it."""
    kinds = {kill.what for kill in kills}
    return next((kind for kind in ("sesame", "postgresql") if kind in kinds), kills[0].what)
