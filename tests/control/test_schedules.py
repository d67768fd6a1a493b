"""Which schedules are written as the API reads them.

Run by pytest.
Never asks when one comes due.
"""

import pytest

from sesame.control import schedules


@pytest.mark.parametrize(
    "text",
    [
        "@every 5m", "@every 1h30m", "@every 0.5s", "0 2 * * * *", "0 0 4 * * *", "*/5 1-30 8,12 ? JAN MON-FRI",
        "CRON_TZ=Asia/Shanghai 0 0 4 * * *", "0 0 0 L * ?", "0 0 0 1/2 12 0",
    ],
)  # fmt: skip
def test_timers(text: str) -> None:
    assert schedules.is_timer(text)


@pytest.mark.parametrize(
    "text",
    [
        "", "@every", "@every 5", "@every 0s", "@every -5m", "@daily", "0 2 * * *", "0 2 * * * * *", "60 * * * * *",
        "* * 24 * * *", "* * * 0 * *", "* * * * 13 *", "* * * * * 8", "0s */30 * * * *", "? * * * * *", "5-1 * * * * *",
        "*/0 * * * * *", "a b c d e f", "1, * * * * *", "CRON_TZ=Asia/Shanghai", "² * * * * *",
    ],
)  # fmt: skip
def test_no_timers(text: str) -> None:
    assert not schedules.is_timer(text)


def test_wrapped_schedules() -> None:
    assert schedules.is_schedule("at(2020-10-20T10:10:10Z)")
    assert schedules.is_schedule("cron(0 */30 * * * *)")
    for text in ("cron(0s */30 * * * *)", "at(2020-10-20)", "0 */30 * * * *", "at(0 */30 * * * *)", "cron(@every 5m)"):
        assert not schedules.is_schedule(text), text


def test_utc_times() -> None:
    assert schedules.is_utc("2020-10-10T10:10:10Z")
    for text in ("2020-10-10T10:10:10", "2020-02-30T10:10:10Z", "2020-1-1T1:1:1Z", "", "now"):
        assert not schedules.is_utc(text), text
