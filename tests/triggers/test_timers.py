"""Timer triggers: every tick once, whatever happens to the process, the clock or the trigger; and idle ones for free.

Run by pytest. Time is virtual: nothing waits.
"""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from tests.support import forked
from tests.support.databases import ONE_DATABASE
from tests.triggers.timer_harness import ACCOUNT, Clockwork

from sesame.identity.roles import new_role, role_arn, trust_of_service
from sesame.model import records
from sesame.model.alarm import LOOK_EVERY_S
from sesame.model.configs import AsyncConfig, Destination, DestinationConfig, async_config_name
from sesame.model.role import Policy
from sesame.model.trigger_firing import why_silent
from sesame.store import timers as rows
from sesame.store.sql.database import Database
from sesame.triggers.timers import TICKS_AT_ONCE

# 22 seconds before the minute.
START = datetime(2027, 1, 15, 10, 0, 38, tzinfo=UTC)
KILLS = 6


@pytest.fixture
async def work(place: Path | str) -> AsyncIterator[Clockwork]:
    made = Clockwork(place, START.timestamp())
    await made.open()
    yield made
    await made.close()


async def test_the_event_is_the_clouds(work: Clockwork) -> None:
    await work.put("0 * * * * *", "every-minute", payload='{"a": "ä"}', qualifier="prod")
    await work.clocks.pass_time(30)
    (new,) = await work.queued()
    assert json.loads(new.payload) == {
        "triggerTime": "2027-01-15T10:01:00Z", "triggerName": "every-minute", "payload": '{"a": "ä"}'
    }  # fmt: skip
    assert (new.target.service, new.target.qualifier, new.target.function) == ("s", "prod", "f")
    assert new.source == "timer:every-minute"
    assert new.not_before == datetime(2027, 1, 15, 10, 1, tzinfo=UTC).timestamp()
    assert work.queue.notified == 1


async def test_seconds_zones_and_intervals_tick_at_their_times(work: Clockwork) -> None:
    await work.put("*/20 * * * * *", "seconds")
    await work.put("CRON_TZ=Asia/Shanghai 0 2 18 * * *", "shanghai")
    await work.put("@every 1m30s", "interval")
    await work.clocks.pass_time(190)
    assert await work.times("seconds") == [
        f"2027-01-15T10:{at}Z" for at in ("00:40", "01:00", "01:20", "01:40", "02:00", "02:20", "02:40", "03:00",
                                          "03:20", "03:40")
    ]  # fmt: skip
    assert await work.times("shanghai") == ["2027-01-15T10:02:00Z"]
    assert await work.times("interval") == ["2027-01-15T10:02:08Z", "2027-01-15T10:03:38Z"]


async def test_a_trigger_without_a_qualifier_calls_the_latest_state_for_as_long_as_the_function_says(
    work: Clockwork,
) -> None:
    config = AsyncConfig(
        "s", "f", "LATEST", max_async_event_age_in_seconds=77, stateful_invocation=True,
        max_async_retry_attempts=1, destination_config=DestinationConfig(on_failure=Destination("http://h/no")),
    )  # fmt: skip
    name = async_config_name("f", "LATEST")
    await work.catalog.edit(lambda tx: tx.put(records.ASYNC_CONFIG, "s", name, config))
    await work.put("@every 1s")
    await work.clocks.pass_time(1)
    (new,) = await work.queued()
    assert new.target.qualifier == "LATEST"
    assert new.expires_at - new.not_before == 77
    assert new.stateful
    assert (new.meta.max_retries, new.meta.on_failure) == (1, "http://h/no")


async def test_changes_take_effect_at_once(work: Clockwork) -> None:
    await work.put("0 * * * * *", enable=False)
    await work.clocks.pass_time(60)
    assert await work.times() == []
    await work.put("0 * * * * *", enable=True)
    await work.clocks.pass_time(60)
    assert await work.times() == ["2027-01-15T10:02:00Z"]
    await work.put("30 * * * * *")
    await work.clocks.pass_time(60)
    assert await work.times() == ["2027-01-15T10:02:00Z", "2027-01-15T10:03:30Z"]
    await work.put("30 * * * * *", payload="new")
    await work.clocks.pass_time(60)
    assert json.loads((await work.queued())[-1].payload)["payload"] == "new"
    assert len(await work.times()) == 3
    await work.delete()
    await work.clocks.pass_time(3600)
    assert len(await work.times()) == 3
    assert await work.database.read(rows.load) == []


async def test_an_interval_that_is_paused_or_replaced_counts_anew_and_one_that_keeps_its_schedule_goes_on(
    work: Clockwork,
) -> None:
    await work.put("@every 1h")
    await work.clocks.pass_time(3000)
    await work.put("@every 1h", payload="the schedule stays")
    await work.clocks.pass_time(600)
    assert len(await work.times()) == 1
    await work.put("@every 1h", enable=False)
    await work.clocks.pass_time(7200)
    await work.put("@every 1h")
    await work.clocks.pass_time(3599)
    assert len(await work.times()) == 1
    await work.delete()
    await work.put("@every 1h", trigger_id="another of the same name")
    await work.clocks.pass_time(3599)
    assert len(await work.times()) == 1
    await work.clocks.pass_time(1)
    assert len(await work.times()) == 2


async def test_a_change_that_commits_before_a_tick_prevents_it(work: Clockwork) -> None:
    """The tick is prepared when the change is already on its way to the writer."""
    await work.put("@every 10s")
    await work.clocks.pass_time(9)
    changing = asyncio.ensure_future(work.put("@every 10s", enable=False))
    await asyncio.sleep(0)
    work.clocks.advance(5)
    await changing
    await work.clocks.pass_time(60)
    assert await work.times() == []


async def test_other_types_of_triggers_have_no_timers(work: Clockwork) -> None:
    await work.put("@every 1s", trigger_type="log")
    await work.clocks.pass_time(10)
    assert await work.queued() == []


async def test_ticks_missed_while_down_are_made_up_for_by_the_newest(place: Path | str, work: Clockwork) -> None:
    await work.put("0 */10 * * * *", "often")
    await work.put("0 0 4 * * *", "daily")
    await work.put("@every 7m", "interval")
    await work.clocks.pass_time(600)
    await work.close()
    later = Clockwork(place, (START + timedelta(days=3, hours=1)).timestamp())
    with capture_logs() as logs:
        await later.open()
        await later.clocks.pass_time(5)
    assert await later.times("often") == ["2027-01-15T10:10:00Z", "2027-01-18T11:00:00Z"]
    assert await later.times("daily") == ["2027-01-18T04:00:00Z"]
    interval = [datetime.fromisoformat(at) for at in await later.times("interval")]
    assert len(interval) == 2
    assert (interval[1] - interval[0]) % timedelta(minutes=7) == timedelta()
    assert timedelta() <= later_now(later) - interval[1] < timedelta(minutes=7)
    told = {entry["trigger"]: entry for entry in logs if "missed ticks" in entry["event"]}
    assert told.keys() == {"s/f/often", "s/f/daily", "s/f/interval"}
    assert (told["s/f/daily"]["first"], told["s/f/daily"]["newest"]) == ("2027-01-16T04:00:00Z", "2027-01-18T04:00:00Z")
    await later.close()


def later_now(work: Clockwork) -> datetime:
    return datetime.fromtimestamp(work.clocks.wall(), UTC)


async def test_a_trigger_that_was_made_just_before_a_crash_ticks_as_if_there_had_been_none(tmp_path: Path) -> None:
    """Its row was not written yet."""
    before = Clockwork(tmp_path / "db", START.timestamp())
    await before.database.open()
    await before.catalog.open()
    await before.put("@every 1m")
    await before.database.close()
    after = Clockwork(tmp_path / "db", START.timestamp() + 30)
    await after.open()
    await after.clocks.pass_time(30)
    assert await after.times() == ["2027-01-15T10:01:38Z"]
    await after.close()


async def test_no_tick_is_lost_or_repeated_over_kills(tmp_path: Path) -> None:
    """The child's clock is virtual, so a tick a second falls due every few milliseconds."""
    work = Clockwork(tmp_path / "db", START.timestamp())
    await work.open()
    await work.put("* * * * * *", "a")
    await work.put("@every 2s", "b")
    await work.clocks.settle()
    await work.close()
    chance, wall = random.Random(4), START.timestamp()
    for _ in range(KILLS):
        said = await asyncio.to_thread(run_and_kill, tmp_path / "db", wall, chance.randrange(1, 60))
        # The machine goes on where it died, so no tick is missed by being down.
        newest = await last_ticks(tmp_path / "db")
        wall = max([wall, *said, *newest])
    database = Clockwork(tmp_path / "db", wall)
    await database.database.open()
    for name, step in (("a", 1), ("b", 2)):
        times = [datetime.fromisoformat(at) for at in await database.times(name)]
        assert len(times) > KILLS
        assert times == [times[0] + number * timedelta(seconds=step) for number in range(len(times))]
        assert times[0] == START + timedelta(seconds=step)
    await database.database.close()


def run_and_kill(place: Path, wall: float, after: int) -> list[float]:
    said = forked.call_and_kill("tests.triggers.timer_harness:main", str(place), str(wall), after=after)
    return [float(line) for line in said]


async def last_ticks(place: Path) -> list[float]:
    database = Database(place)
    await database.open()
    found = await database.read(rows.load)
    await database.close()
    return [row.since for row in found]


async def test_a_queue_that_fails_loses_no_tick(work: Clockwork) -> None:
    await work.put("@every 1m")
    await work.clocks.settle()
    work.queue.fails = True
    await work.clocks.pass_time(61)
    assert isinstance(await work.failure(), RuntimeError)
    work.queue.fails = False
    work.start()
    await work.clocks.pass_time(5)
    assert await work.times() == ["2027-01-15T10:01:38Z"]
    await work.clocks.pass_time(60)
    assert len(await work.times()) == 2


@ONE_DATABASE
async def test_a_clock_set_back_an_hour_repeats_no_rare_tick_and_silences_no_frequent_one(work: Clockwork) -> None:
    await work.put("0 30 10 * * *", "daily")
    await work.put("0 */5 * * * *", "often")
    await work.put("@every 5m", "interval")
    await work.clocks.pass_time(3000)
    assert await work.times("daily") == ["2027-01-15T10:30:00Z"]
    before = {name: len(await work.times(name)) for name in ("often", "interval")}
    work.clocks.set_wall(work.clocks.wall() - 3600)
    with capture_logs() as logs:
        await work.clocks.pass_time(660)
    assert "the clock was set back" in " ".join(entry["event"] for entry in logs)
    # It is noticed within a minute; an interval counts from there.
    assert [len(await work.times(name)) - before[name] for name in ("often", "interval")] == [2, 2]
    await work.clocks.pass_time(86400 + 3600)
    assert await work.times("daily") == ["2027-01-15T10:30:00Z", "2027-01-16T10:30:00Z"]


@ONE_DATABASE
async def test_a_clock_that_was_wrong_by_a_year_is_forgotten(work: Clockwork) -> None:
    work.clocks.set_wall(work.clocks.wall() + 365 * 86400)
    await work.put("0 30 10 * * *")
    await work.clocks.pass_time(86400)
    assert len(await work.times()) == 1
    work.clocks.set_wall(START.timestamp())
    await work.clocks.pass_time(86400)
    assert (await work.times())[1:] == ["2027-01-15T10:30:00Z"]


async def test_a_clock_that_was_set_back_while_down_is_noticed_at_the_start(place: Path | str, work: Clockwork) -> None:
    await work.put("0 */5 * * * *")
    await work.clocks.pass_time(3600)
    await work.close()
    later = Clockwork(place, START.timestamp())
    await later.open()
    await later.clocks.pass_time(300)
    assert (await later.times())[-1] == "2027-01-15T10:05:00Z"
    await later.close()


@ONE_DATABASE
@pytest.mark.parametrize("step_s", [0.4, 5, 59])
async def test_a_small_step_back_repeats_no_tick(work: Clockwork, step_s: float) -> None:
    await work.put("0 * * * * *")
    await work.clocks.pass_time(23)
    work.clocks.set_wall(work.clocks.wall() - step_s)
    await work.clocks.pass_time(120 + step_s)
    assert await work.times() == ["2027-01-15T10:01:00Z", "2027-01-15T10:02:00Z", "2027-01-15T10:03:00Z"]


@ONE_DATABASE
async def test_a_clock_set_forward_makes_up_for_the_newest_tick(work: Clockwork) -> None:
    await work.put("0 0 * * * *")
    await work.clocks.pass_time(10)
    work.clocks.set_wall(work.clocks.wall() + 5 * 3600)
    await work.clocks.pass_time(LOOK_EVERY_S)
    assert await work.times() == ["2027-01-15T15:00:00Z"]


async def test_daylight_saving_time_in_berlin_moves_no_tick_of_the_day_away(tmp_path: Path) -> None:
    work = Clockwork(tmp_path / "db", datetime(2027, 3, 27, 12, tzinfo=UTC).timestamp())
    await work.open()
    await work.put("CRON_TZ=Europe/Berlin 0 30 2 * * *", "berlin")
    await work.put("CRON_TZ=Asia/Shanghai 0 30 2 * * *", "shanghai")
    await work.clocks.pass_time(2 * 86400)
    work.clocks.set_wall(datetime(2027, 10, 30, 12, tzinfo=UTC).timestamp())
    await work.clocks.pass_time(2 * 86400)
    assert await work.times("berlin") == [
        "2027-03-28T01:00:00Z",
        "2027-03-29T00:30:00Z",
        # Made up for, as the clock was set forward by seven months.
        "2027-10-30T00:30:00Z",
        "2027-10-31T00:30:00Z",
        "2027-11-01T01:30:00Z",
    ]
    assert (await work.times("shanghai"))[-2:] == ["2027-10-30T18:30:00Z", "2027-10-31T18:30:00Z"]
    await work.close()


@ONE_DATABASE
async def test_a_thousand_idle_timers_cost_one_timer_of_the_event_loop(work: Clockwork) -> None:
    """Counts wake-ups in a day."""
    await work.put_many({f"t{number}": f"{number % 60} {number // 60} 10 16 1 ?" for number in range(1000)})
    await work.clocks.settle()
    woken, before = work.clocks.wakes, await work.database.read(rows.load)
    until = datetime(2027, 1, 16, 9, 59, tzinfo=UTC).timestamp()
    await work.clocks.pass_time(until - work.clocks.wall())
    assert len(work.clocks.timers) == 1
    assert work.clocks.wakes - woken <= 86400 / LOOK_EVERY_S
    assert await work.database.read(rows.load) == before
    assert await work.queued() == []
    await work.clocks.pass_time(3600)
    assert len(await work.queued()) == 1000


async def test_many_ticks_at_once_share_commits(work: Clockwork) -> None:
    await work.put_many({f"t{number}": "0 * * * * *" for number in range(600)})
    await work.clocks.settle()
    await work.clocks.pass_time(60)
    # One for each further commit.
    await work.clocks.settle()
    await work.clocks.settle()
    assert len({new.source for new in await work.queued()}) == 600
    assert work.queue.commits == -(-600 // TICKS_AT_ONCE)


async def test_a_timer_needs_no_role_and_one_that_has_a_role_needs_its_permission(work: Clockwork) -> None:
    await work.roles.seed(ACCOUNT, {})
    for name, action in (("may", "fc:InvokeFunction"), ("may-not", "fc:GetFunction")):
        statement = {"Effect": "Allow", "Action": action, "Resource": "acs:fc:*:*:services/s/functions/f"}
        document = json.dumps({"Version": "1", "Statement": [statement]})
        await work.roles.put_policy(ACCOUNT, Policy(name, document))
        role = new_role(name, [name], trust=trust_of_service("fc.aliyuncs.com"))
        await work.roles.put(ACCOUNT, role)
        await work.put("0 * * * * *", name, invocation_role=role_arn(ACCOUNT, name))
    await work.put("0 * * * * *", "without")
    with capture_logs() as logs:
        await work.clocks.pass_time(60)
    assert [len(await work.times(name)) for name in ("without", "may", "may-not")] == [1, 1, 0]
    (told,) = [entry for entry in logs if "did not call its function" in entry["event"]]
    assert told["trigger"] == "s/f/may-not"
    assert "fc:InvokeFunction" in told["reason"]


async def test_a_schedule_that_is_none_any_more_stops_no_other_timer_and_no_start(work: Clockwork) -> None:
    """A zone may leave the IANA database, and an earlier version may have accepted what this one refuses."""
    await work.put("@every 10s")
    gone = "CRON_TZ=Mars/Base 0 0 4 * * *"
    with capture_logs() as logged:
        await work.put(gone, "gone")
        await work.put("@every 1s", "payload", payload=["of another type"])
        await work.clocks.pass_time(20)
        await work.stop()
        await work.timers.open()
        work.start()
        await work.clocks.pass_time(10)
    assert len(await work.times()) == 3
    assert await work.times("gone") == []
    assert [json.loads(new.payload)["payload"] for new in await work.queued() if new.source == "timer:payload"][:1] == [
        ""
    ]
    (line, *_) = [each for each in logged if each["log_level"] == "error"]
    assert (line["trigger"], line["schedule"]) == ("s/f/gone", gone)
    assert "a time zone that exists" in line["reason"]
    assert "a time zone that exists" in why_silent("timer", {"cronExpression": gone})
