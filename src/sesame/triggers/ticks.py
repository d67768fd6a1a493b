"""When a timer next ticks, which of several missed ticks is made up for, and what happens if the clock is set back.

Called by `triggers.timers`; pure functions. docs/triggers.md states the policy for users.
"""

import math

import msgspec

from sesame.model import schedules
from sesame.model.schedules import Cron, Every
from sesame.model.trigger import Trigger
from sesame.model.trigger_configs import TimerConfig
from sesame.store.timers import Key, TimerRow

# POLICY, as cron(8): a timer that ticks at least this often follows a clock that was set back at once. A less frequent
# one repeats no tick, unless the clock was set back so far that it must have been wrong before.
FREQUENT_S = 3600.0
CORRECTION_S = 3 * 3600.0
# A smaller step of the clock, as made by time servers, repeats no tick.
STEP_S = 60.0


class Tick(msgspec.Struct, frozen=True):
    """`at` is the scheduled time; `missed` is true if earlier ticks were skipped."""

    at: float
    missed: bool
    following: TimerRow


def first_row(key: Key, trigger: Trigger, config: TimerConfig, since: float) -> TimerRow | None:
    """The row of a timer that counts from `since`; None if it never comes due again."""
    next_at = schedules.next_time(schedules.timer(config.cron_expression), since)
    if next_at is None:
        return None
    return TimerRow(
        parent=key[0],
        name=key[1],
        trigger_id=trigger.trigger_id,
        schedule=config.cron_expression,
        since=since,
        next_at=next_at,
    )


def tick(row: TimerRow, schedule: Every | Cron, now: float) -> Tick:
    """The tick of a due row: the newest one due by now. Earlier ones are not made up for."""
    at = row.next_at
    next_at = schedules.next_time(schedule, at)
    if next_at is not None and next_at <= now:
        at = schedules.newest_due(schedule, at, now)
        next_at = schedules.next_time(schedule, at)
    following = msgspec.structs.replace(row, since=at, next_at=math.inf if next_at is None else next_at)
    return Tick(at, at > row.next_at, following)


def set_back(row: TimerRow, schedule: Every | Cron, now: float) -> TimerRow:
    """The row adjusted to a clock that shows `now`, which may be earlier than when the row was written."""
    if isinstance(schedule, Every):
        longest_s = math.floor(schedule.interval_s)
        return row if row.next_at - now <= longest_s else _counting_from(row, schedule, now)
    back_s = row.since - now
    frequent = row.next_at - row.since <= FREQUENT_S
    if back_s >= CORRECTION_S or (frequent and back_s >= STEP_S):
        return _counting_from(row, schedule, now)
    return row


def _counting_from(row: TimerRow, schedule: Every | Cron, since: float) -> TimerRow:
    next_at = schedules.next_time(schedule, since)
    return row if next_at is None else msgspec.structs.replace(row, since=since, next_at=next_at)
