"""Schedules: which are read, and when each comes due."""

from datetime import UTC, datetime, timedelta
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
        "٣ * * * * *", "0 0 0 ?/2 * *", "0 0 0 L/2 * ?", "0 0 0 L,1/2,LW/2 * ?", "0 0 0 * * MON#1/2",
        "0 0 5-5/0 * * *", "0 0 5-5/x * * *", "0 0 9-5/2 * * *", "0 0 5-5/2/2 * * *", "0 0 0 ? * L",
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


@pytest.mark.parametrize(
    ("stepped", "plain"),
    [
        ("0-0/5 9-09/1 4-4/4 * * *", "0 9 4 * * *"),
        ("0 0 0 5-5/2,20-22/2 * ?", "0 0 0 5,20,22 * ?"),
        ("0 0 0 1 MAR-MAR/2 ?", "0 0 0 1 3 ?"),
        ("0 0 0 ? * MON-1/3", "0 0 0 ? * 1"),
        ("0 0 1-3/9 * * *", "0 0 1 * * *"),
    ],
)
def test_a_range_of_one_value_has_no_further_ones_whatever_its_step(stepped: str, plain: str) -> None:
    due, expected = NOON, NOON
    for _ in range(5):
        found, wanted = next_time(schedules.timer(stepped), due), next_time(schedules.timer(plain), expected)
        assert found is not None
        assert found == wanted
        due = expected = found


def test_days_of_month_and_week_both_count_where_neither_is_a_star() -> None:
    due, days = NOON, []
    for _ in range(3):
        found = next_time(Cron("0 0 0 13 * FRI"), due)
        assert found is not None
        due = found
        days.append(datetime.fromtimestamp(due, UTC).strftime("%m-%d"))
    assert days == ["12-04", "12-11", "12-13"]


BERLIN = "Europe/Berlin"
# 2:00 becomes 3:00 on 28 March 2027; 3:00 becomes 2:00 on 31 October 2027. Asia/Shanghai has no such changes.
SPRING, AUTUMN = (2027, 3, 28), (2027, 10, 31)


def due_on(day: tuple[int, int, int], text: str, zone: str = BERLIN) -> list[str]:
    """The times of one day, and the offset from UTC where it changes that day: `02:30:00+0100`."""
    begin = datetime(*day, tzinfo=ZoneInfo(zone))
    at, end = begin.timestamp() - 1, (begin + timedelta(days=1)).timestamp()
    times = []
    while (found := next_time(schedules.timer(f"CRON_TZ={zone} {text}"), at)) is not None and found < end:
        assert found > at
        at = found
        times.append(datetime.fromtimestamp(found, ZoneInfo(zone)).strftime("%H:%M:%S%z"))
    return times


def test_a_time_of_day_comes_once_on_every_day() -> None:
    assert due_on(SPRING, "0 30 1,2,3 * * *") == ["01:30:00+0100", "03:00:00+0200", "03:30:00+0200"]
    assert due_on(SPRING, "0,20 15,30 2 * * *") == ["03:00:00+0200", "03:00:20+0200"]
    assert due_on(SPRING, "5 0 3 * * *") == ["03:00:05+0200"]
    assert due_on(AUTUMN, "0 30 1,2,3 * * *") == ["01:30:00+0200", "02:30:00+0200", "03:30:00+0100"]
    assert due_on(AUTUMN, "0,20 15 2 * * *") == ["02:15:00+0200", "02:15:20+0200"]


def test_what_comes_every_hour_or_minute_comes_at_every_such_moment_that_there_is() -> None:
    assert due_on(SPRING, "0 30 * * * *")[1:4] == ["01:30:00+0100", "03:30:00+0200", "04:30:00+0200"]
    assert len(due_on(SPRING, "0 30 * * * *")) == 23
    assert due_on(AUTUMN, "0 30 * * * *")[1:5] == ["01:30:00+0200", "02:30:00+0200", "02:30:00+0100", "03:30:00+0100"]
    assert len(due_on(AUTUMN, "0 30 * * * *")) == 25
    assert len(due_on(SPRING, "0 */10 * * * *")) == 23 * 6
    assert len(due_on(AUTUMN, "0 */10 2 * * *")) == 2 * 6


def test_changes_of_half_an_hour_and_at_no_whole_hour_pass_over_nothing() -> None:
    lord_howe, chatham = "Australia/Lord_Howe", "Pacific/Chatham"
    # 2:00 becomes 2:30 on 3 October 2027, and 2:00 becomes 1:30 on 4 April.
    spring, autumn = (2027, 10, 3), (2027, 4, 4)
    assert due_on(spring, "0 30 * * * *", lord_howe)[1:4] == ["01:30:00+1030", "02:30:00+1100", "03:30:00+1100"]
    assert due_on(spring, "0 0 * * * *", lord_howe)[1:3] == ["01:00:00+1030", "03:00:00+1100"]
    assert due_on(autumn, "0 30 * * * *", lord_howe)[1:4] == ["01:30:00+1100", "01:30:00+1030", "02:30:00+1030"]
    assert len(due_on(autumn, "0 */15 1 * * *", lord_howe)) == 4 + 2
    assert due_on(autumn, "0 */20 2 * * *", lord_howe) == ["02:00:00+1030", "02:20:00+1030", "02:40:00+1030"]
    # 2:45 becomes 3:45 on 26 September 2027, and 3:45 becomes 2:45 on 4 April.
    assert due_on((2027, 9, 26), "0 45 */3 * * *", chatham)[:3] == ["00:45:00+1245", "03:45:00+1345", "06:45:00+1345"]
    assert due_on(autumn, "0 50 * * * *", chatham)[2:5] == ["02:50:00+1345", "02:50:00+1245", "03:50:00+1245"]


def test_what_matches_seldom_is_found_across_all_changes_between() -> None:
    after = datetime(2024, 3, 1, tzinfo=UTC).timestamp()
    due = next_time(schedules.timer(f"CRON_TZ={BERLIN} 0 * 2 29 FEB *"), after)
    assert due is not None
    assert datetime.fromtimestamp(due, ZoneInfo(BERLIN)).isoformat() == "2028-02-29T02:00:00+01:00"


def test_a_zone_without_daylight_saving_time_and_utc_have_the_same_day_all_year() -> None:
    for day in (SPRING, AUTUMN):
        for zone, offset in (("Asia/Shanghai", "+0800"), ("UTC", "+0000")):
            assert due_on(day, "0 30 2 * * *", zone) == [f"02:30:00{offset}"]
            assert len(due_on(day, "0 30 * * * *", zone)) == 24


def test_an_interval_does_not_know_what_time_of_day_it_is() -> None:
    for day in (SPRING, AUTUMN):
        begin = datetime(*day, tzinfo=ZoneInfo(BERLIN)).timestamp()
        assert next_time(Every(3 * 3600.0), begin) == begin + 3 * 3600


@given(
    text=st.sampled_from(
        [
            "@every 1s", "@every 90s", "* * * * * *", "0 30 2 * * *", "CRON_TZ=Europe/Berlin 0 30 2 * * *",
            "CRON_TZ=Europe/Berlin */7 15,45 2,3 * * *", "CRON_TZ=Europe/Berlin 0 */5 2 * * *", "0 0 0 L * ?",
            "CRON_TZ=America/New_York 0 0 1,2 * * SUN", "0 0 12 29 2 ?",
        ]
    ),
    after=st.sampled_from([datetime(*day, tzinfo=UTC).timestamp() for day in (SPRING, AUTUMN, (2028, 2, 29))]),
    hours=st.floats(-40, 40),
    away_s=st.floats(0, 3 * 86400),
)  # fmt: skip
def test_the_newest_due_time_is_the_last_before_the_next(text: str, after: float, hours: float, away_s: float) -> None:
    schedule = schedules.timer(text)
    first = next_time(schedule, after + hours * 3600)
    assert first is not None
    now = first + away_s
    newest = schedules.newest_due(schedule, first, now)
    following = next_time(schedule, newest)
    assert first <= newest <= now
    assert following is not None
    assert following > now
    if newest > first:
        assert next_time(schedule, newest - 1) == newest or isinstance(schedule, Every)


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


def test_bounds_of_an_action_may_have_milliseconds() -> None:
    assert schedules.moment("2026-11-28T12:00:00.000Z") == NOON
    assert schedules.moment("2026-11-28T12:00:00.000Z", "Asia/Shanghai") == NOON
    for text in ("2026-11-28T12:00:00.0Z", "2026-11-28T12:00:00.000"):
        with pytest.raises(NotASchedule):
            schedules.moment(text)


def test_utc_times() -> None:
    assert schedules.utc("2026-11-28T12:00:00Z") == NOON
    for text in ("2020-10-10T10:10:10", "2020-02-30T10:10:10Z", "2020-1-1T1:1:1Z", "", "now", "\0", "9" * 5000):
        with pytest.raises(NotASchedule):
            schedules.utc(text)
