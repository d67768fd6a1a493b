"""Schedules: which are read, and when each comes due."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sesame.model import schedules
from sesame.model.schedules import At, Cron, Every, NotASchedule, next_time

NOON = datetime(2026, 11, 28, 12, 0, 0, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    "text",
    [
        "@every 5m", "@every 1h30m", "@every 0.5s", "@every 250ms", "0 2 * * * *", "0 0 4 * * *",
        "*/5 1-30 8,12 ? JAN MON-FRI", "CRON_TZ=Asia/Shanghai 0 0 4 * * *", "TZ=UTC 0 0 4 * * *", "0 0 0 L * ?",
        "0 0 0 1/2 12 0", "0 0 0 29 2 ?", "0 0 0 ? * MON#2", "0 0 0 * JUL/2 7", "0  0\t0 * * *",
    ],
)  # fmt: skip
def test_timers(text: str) -> None:
    due = next_time(schedules.timer(text), NOON)
    assert due is not None
    assert due > NOON


@pytest.mark.parametrize(
    "text",
    [
        "", "@every", "@every 5", "@every 0s", "@every 0.0h", "@every -5m", "@daily", "0 2 * * *", "0 2 * * * * *",
        "60 * * * * *", "* * 24 * * *", "* * * 0 * *", "* * * * 13 *", "* * * * * 8", "0s */30 * * * *", "? * * * * *",
        "5-1 * * * * *", "*/0 * * * * *", "a b c d e f", "1, * * * * *", "CRON_TZ=Asia/Shanghai", "² * * * * *",
        "٣ * * * * *", "0 0 0 ?/2 * *", "0 0 0 L/2 * ?", "0 0 0 L,1/2,LW/2 * ?", "0 0 0 * * MON#1/2", "0 0 0 ? * L",
        "CRON_TZ=Mars/Base 0 0 4 * * *", "CRON_TZ=../etc/passwd 0 0 4 * * *", "CRON_TZ=/etc/localtime 0 0 4 * * *",
        "CRON_TZ= 0 0 4 * * *", "CRON_TZ=America 0 0 4 * * *", "CRON_TZ=a\0b 0 0 4 * * *",
        "CRON_TZ=zone.tab 0 0 4 * * *", "CRON_TZ=posixrules 0 0 4 * * *", "CRON_TZ=localtime 0 0 4 * * *",
        "CRON_TZ=Factory 0 0 4 * * *", "TZ=right/Asia/Shanghai 0 0 4 * * *", "CRON_TZ=posix/UTC 0 0 4 * * *",
        "CRON_TZ=asia/shanghai 0 0 4 * * *",
        "CRON_TZ=Asia/Shanghai CRON_TZ=Asia/Shanghai 0 0 4 * * *",
        "0 0 0 31 2 ?", "0 0 0 30 FEB *", "0 0 0 31 4,6,9,11 *", "0 0 0 ? 2 */30,MON#6", "0 0 0 */30 2 MON#5",
        "0 0 0 LW 2 */7", "@every 500000h", "@every " + "9" * 240 + "h", "9" * 5000 + " * * * * *",
        "*," * 200 + "* * * * * *",
        "\0 * * * * *", "0 0 0 \0 * *",
    ],
)  # fmt: skip
def test_what_is_no_timer_or_never_comes_due(text: str) -> None:
    with pytest.raises(NotASchedule):
        schedules.timer(text)


@given(text=st.text(max_size=40) | st.text("0123456789*/,-?L#W MON@every=", max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    for read in (schedules.timer, schedules.action):
        try:
            schedule = read(text)
        except NotASchedule:
            continue
        assert isinstance(schedule, At) or next_time(schedule, NOON) is not None


def test_when_timers_come_due() -> None:
    assert next_time(Every(90.0), NOON) == NOON + 90
    assert next_time(schedules.timer("@every 0.2s"), NOON + 0.4) == NOON + 1
    assert next_time(schedules.timer("0 0 12 * * *"), NOON) == NOON + 86400
    shanghai = datetime(2026, 11, 29, 4, 0, 0, tzinfo=ZoneInfo("Asia/Shanghai"))
    assert next_time(schedules.timer("CRON_TZ=Asia/Shanghai 0 0 4 ? * SUN"), NOON) == shanghai.timestamp()
    leap = datetime(2028, 2, 29, 23, 59, 59, tzinfo=UTC)
    assert next_time(schedules.timer("59 59 23 29 2 ?"), NOON) == leap.timestamp()


def test_days_of_month_and_week_both_count_where_neither_is_a_star() -> None:
    due, days = NOON, []
    for _ in range(3):
        found = next_time(Cron("0 0 0 13 * FRI"), due)
        assert found is not None
        due = found
        days.append(datetime.fromtimestamp(due, UTC).strftime("%m-%d"))
    assert days == ["12-04", "12-11", "12-13"]


def test_a_skipped_hour_delays_no_further_than_the_next_day() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    before = datetime(2027, 3, 28, 0, 0, 0, tzinfo=berlin).timestamp()
    due = next_time(schedules.timer("CRON_TZ=Europe/Berlin 0 30 2 * * *"), before)
    assert due is not None
    assert before < due <= before + 2 * 86400


def test_actions() -> None:
    assert schedules.action("at(2026-11-28T12:00:00Z)") == At(NOON)
    assert next_time(At(NOON), NOON - 1) == NOON
    assert next_time(At(NOON), NOON) is None
    assert schedules.action("cron(0 */30 * * * *)") == Cron("0 */30 * * * *")
    for text in (
        "cron(0s */30 * * * *)", "at(2020-10-20)", "0 */30 * * * *", "at(0 */30 * * * *)", "cron(@every 5m)",
        "cron(0 0 0 31 2 *)", "cron(CRON_TZ=Asia/Shanghai 0 0 4 * * *)", "at(2020-02-30T10:10:10Z)", "at()\0", "cron()",
        "cron(" + "*," * 500 + "* * * * * *)",
    ):  # fmt: skip
        with pytest.raises(NotASchedule):
            schedules.action(text)


def test_utc_times() -> None:
    assert schedules.utc("2026-11-28T12:00:00Z") == NOON
    for text in ("2020-10-10T10:10:10", "2020-02-30T10:10:10Z", "2020-1-1T1:1:1Z", "", "now", "\0", "9" * 5000):
        with pytest.raises(NotASchedule):
            schedules.utc(text)
