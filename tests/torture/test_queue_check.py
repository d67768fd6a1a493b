"""The judge of the kill test sees each kind of loss and repetition that it is there to see."""

import time

import pytest
from tests.torture.async_callers import FAILS, STEADY, Sent
from tests.torture.ledger import Report
from tests.torture.queue_check import TOLD_MAX, Kill, Records, judge, missing_arrivals

RECORD = {"invocationId": "a", "status": "Succeeded"}
EVENT = Sent("a", STEADY, b"{}", accepted=True)
KILL = Kill("sesame", 1.5, 1.8)


def reports(*what: str, retries: tuple[int, ...] = ()) -> list[Report]:
    """One second after the other, all of the event `a`."""
    numbers = dict(enumerate(retries))
    return [Report("a", name, numbers.get(at, 0), "Success", float(at)) for at, name in enumerate(what)]


SOUND = reports("began", "ended", "arrived")


def test_a_sound_run_is_counted() -> None:
    verdict = judge([EVENT], {"a": RECORD}, SOUND, [KILL])
    assert (verdict.accepted, verdict.executions, verdict.duplicates.total()) == (1, 1, 0)


def test_what_was_not_answered_may_be_there_or_not() -> None:
    unanswered = Sent("a", STEADY, b"{}")
    assert judge([unanswered], {}, [], []).accepted == 0
    assert judge([unanswered], {"a": RECORD}, SOUND, []).executions == 1


@pytest.mark.parametrize(
    ("found", "told", "says"),
    [
        ({}, [], "accepted and lost"),
        ({"a": RECORD}, [], "recorded, but not executed"),
        ({"a": RECORD}, reports("began"), "recorded, but not executed to its end"),
        ({"a": {**RECORD, "status": "Failed"}}, SOUND, "not Succeeded"),
        ({"a": {**RECORD, "status": "Running"}}, SOUND, "not Succeeded"),
        ({"a": RECORD, "b": RECORD}, SOUND, "recorded, but never sent"),
        ({"a": RECORD}, [*SOUND, Report("b", "began", 0, "", 9.0)], "executed, but never sent"),
        ({"a": RECORD}, reports("began", "ended", "began", "ended"), "nothing was killed in between"),
        ({"a": RECORD}, reports("began", "began", "ended"), "nothing was killed in between"),
    ],
)
def test_a_fault_is_seen(found: Records, told: list[Report], says: str) -> None:
    with pytest.raises(AssertionError, match=says):
        judge([EVENT], found, told, [])


def test_an_execution_without_an_accepted_event_is_seen() -> None:
    with pytest.raises(AssertionError, match="executed without a record"):
        judge([Sent("a", STEADY, b"{}")], {}, SOUND, [])


def test_a_second_execution_is_a_duplicate_only_after_an_end() -> None:
    after_an_end = judge([EVENT], {"a": RECORD}, reports("began", "ended", "began", "ended"), [KILL])
    assert after_an_end.duplicates == {"sesame": 1}
    assert str(after_an_end).count("1 of them duplicates (1 by a kill of sesame)") == 1
    cut_off = judge([EVENT], {"a": RECORD}, reports("began", "began", "ended"), [Kill("sesame", 0.5, 0.8)])
    assert cut_off.duplicates.total() == 0


def test_a_kill_long_before_explains_nothing() -> None:
    with pytest.raises(AssertionError, match="nothing was killed in between"):
        judge([EVENT], {"a": RECORD}, reports("began", "ended", "began", "ended"), [Kill("sesame", -9.0, -8.0)])


def test_a_retry_is_no_repetition() -> None:
    event, record = Sent("a", FAILS, b"{}", accepted=True), {**RECORD, "status": "Failed"}
    told = reports("began", "failed", "began", "failed", retries=(0, 0, 1, 1))
    assert judge([event], {"a": record}, told, []).duplicates.total() == 0
    with pytest.raises(AssertionError, match="nothing was killed in between"):
        judge([event], {"a": record}, reports("began", "failed", "began", "failed"), [])


def failed_at(began: float) -> dict[str, object]:
    """The record of an event whose last attempt ran for 40 ms from this moment of the monotonic clock on."""
    began_ms = int((began + time.time() - time.monotonic()) * 1000)
    events = [{"status": "Running", "timestamp": began_ms}, {"status": "Failed", "timestamp": began_ms + 40}]
    why = "UnhandledInvocationError: Process exited unexpectedly before completing request"
    return {**RECORD, "status": "Failed", "endTime": began_ms + 40, "invocationErrorMessage": why, "events": events}


def test_only_a_kill_explains_an_attempt_that_told_no_end() -> None:
    event, record = Sent("a", FAILS, b"{}", accepted=True), failed_at(1.1)
    told = reports("began", "began", "arrived", retries=(0, 1, 0))
    kills = [Kill("instance", 0.1, 0.1), Kill("instance", 1.1, 1.1)]
    assert judge([event], {"a": record}, told, kills).executions == len(kills)
    for missing in ([], kills[:1], [kills[0], Kill("instance", 9.0, 9.0)]):
        with pytest.raises(AssertionError, match="recorded, but not executed to its end"):
            judge([event], {"a": record}, told, missing)
    with pytest.raises(AssertionError, match="recorded, but not executed to its end"):
        judge([event], {"a": {**record, "invocationErrorMessage": "no"}}, told, kills)


def test_a_kill_explains_an_attempt_that_could_not_tell_that_it_began() -> None:
    event, record, told = Sent("a", FAILS, b"{}", accepted=True), failed_at(3.0), reports("arrived")
    assert judge([event], {"a": record}, told, [Kill("instance", 3.02, 3.02)]).accepted == 1
    with pytest.raises(AssertionError, match="recorded, but not executed to its end"):
        judge([event], {"a": record}, told, [Kill("instance", 1.0, 1.0)])


def test_every_faulty_event_is_counted() -> None:
    sent = [Sent(name, STEADY, b"{}", accepted=True) for name in "abcdefgh"]
    with pytest.raises(AssertionError, match="7 of 8 events: accepted and lost") as raised:
        judge(sent, {"a": RECORD}, SOUND, [])
    assert str(raised.value).count("accepted and lost") == TOLD_MAX


def test_a_destination_that_heard_of_another_outcome_was_left_out() -> None:
    assert missing_arrivals([EVENT], {"a": RECORD}, SOUND) == []
    assert missing_arrivals([EVENT], {"a": RECORD}, SOUND[:2]) == ["a"]
    assert missing_arrivals([EVENT], {"a": {**RECORD, "status": "Failed"}}, SOUND) == ["a"]
