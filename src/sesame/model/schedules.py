"""Parses schedules (`@every 5m`, six cron fields, `at(…)`) and computes when each comes due next.

`control` validates timer triggers and provisioned instances with this module, and the parts that fire them compute the
next time with it, so every accepted schedule comes due: one that does not within `HORIZON_YEARS` is refused.
docs/triggers.md describes changes between standard and daylight-saving time.
"""

import functools
import math
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib import resources
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from cronsim import CronSim, CronSimError

from sesame.model.natural import natural
from sesame.model.utc import FORMAT as UTC_FORMAT

CHARS_MAX = 256
# How far cronsim looks ahead.
HORIZON_YEARS = 50
HORIZON_S = HORIZON_YEARS * 365.25 * 86400
INTERVAL_S_MIN = 1.0

TIMERS = "'@every 5m' or six cron fields such as '0 0 4 * * *'"

_EVERY = re.compile(r"@every[ \t]+((?:[0-9]+(?:\.[0-9]+)?(?:h|ms|m|s))+)\Z")
_PART = re.compile(r"([0-9.]+)(h|ms|m|s)")
_MINUTE_S, _DAY_S = 60.0, 86400.0
_UNIT_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_ZONE = re.compile(r"(?:CRON_TZ|TZ)=(\S*)\s+(\S.*)\Z", re.DOTALL)
_WRAPPED = re.compile(r"(at|cron)\((.*)\)\Z", re.DOTALL)
_FIELDS = 6
# The names under which cronsim has the values of the fields.
_NAMES = ("seconds", "minutes", "hours", "days", "months", "weekdays")
# Day of month and day of week: they accept `?`, and `L`, `LW` and `#`, which take no step.
_DAY_FIELDS = (3, 5)
# Leap years and weekdays repeat every 28 years: a schedule that ever comes due does so within the horizon of this date.
_REFERENCE = datetime(2000, 1, 1, tzinfo=UTC)
_MILLISECONDS = re.compile(r"\.[0-9]{3}Z\Z")


class NotASchedule(ValueError):
    """The message states what was expected."""


class Every(msgspec.Struct, frozen=True, tag=True):
    """Comes due every `interval_s`, counted from the previous time."""

    interval_s: float


class Cron(msgspec.Struct, frozen=True, tag=True):
    """Six fields, seconds first, in the time zone's local time. Both day fields apply if neither begins with `*`.

    If neither minutes nor hours begin with `*`, the schedule names times of day. Each comes due once a day: in a
    repeated hour it counts once, and in a skipped hour it comes due right after the gap.
    """

    fields: str
    zone: str = "UTC"


class At(msgspec.Struct, frozen=True, tag=True):
    """Comes due once, at `unix_s`."""

    unix_s: float


def timer(text: str) -> Every | Cron:
    """Parses `@every` with hours, minutes, seconds or milliseconds, or cron fields, optionally after `CRON_TZ=…`.

    Raises `NotASchedule`.
    """
    if len(text) > CHARS_MAX:
        raise NotASchedule(f"at most {CHARS_MAX} characters")
    if found := _EVERY.match(text):
        return Every(_interval_s(found[1]))
    if zoned := _ZONE.match(text):
        return _cron(zoned[2], zoned[1])
    return _cron(text, "UTC")


def action(text: str, zone: str = "") -> At | Cron:
    """Parses `at(2020-10-10T10:10:10Z)` or `cron(0 */30 * * * *)` in the zone (default UTC). Raises `NotASchedule`."""
    found = _WRAPPED.match(text[: CHARS_MAX + 1])
    if found is None:
        raise NotASchedule("at(…) or cron(…)")
    return At(moment(found[2], zone)) if found[1] == "at" else _cron(found[2], zone or "UTC")


def moment(text: str, zone: str = "") -> float:
    """Unix seconds of a UTC time or, with a zone, of a local time without the `Z`. Raises `NotASchedule`.

    A local time that occurs twice means the first. A UTC time may have milliseconds, as in JavaScript and in the
    component fc3's own templates.
    """
    text = _MILLISECONDS.sub("Z", text)
    if not zone or text.endswith("Z"):
        return utc(text)
    check_zone(zone)
    return datetime.fromtimestamp(utc(text + "Z"), UTC).replace(tzinfo=ZoneInfo(zone)).timestamp()


def utc(text: str) -> float:
    """Unix seconds of `2020-10-10T10:10:10Z`. Raises `NotASchedule` for any other form and for impossible times."""
    try:
        moment = datetime.strptime(text, UTC_FORMAT)
    except ValueError:
        moment = None
    if moment is None or moment.strftime(UTC_FORMAT) != text:
        raise NotASchedule("a time in UTC such as '2020-10-10T10:10:10Z'")
    return moment.replace(tzinfo=UTC).timestamp()


def next_time(schedule: Every | Cron | At, after: float) -> float | None:
    """The first due time later than `after`, in Unix seconds; None if there is none.

    Intervals count from `after`, the previous time, in whole seconds.
    """
    match schedule:
        case Every():
            return float(math.floor(after + schedule.interval_s))
        case At():
            return schedule.unix_s if schedule.unix_s > after else None
        case Cron():
            zone = ZoneInfo(schedule.zone)
            minutes, hours = schedule.fields.split()[1:3]
            if not (minutes.startswith("*") or hours.startswith("*")):
                return _next_time_of_day(schedule.fields, zone, after)
            return _next_match(schedule.fields, zone, after)


def newest_due(schedule: Every | Cron | At, first: float, now: float) -> float:
    """The newest due time not later than `now`. `first` is a due time that is not later than `now`."""
    if isinstance(schedule, Every):
        step_s = math.floor(schedule.interval_s)
        return first + (now - first) // step_s * step_s
    # Due times are whole seconds, so the search ends once `newest` and `until` are that close.
    newest, until = first, now
    while until - newest >= 1:
        middle = (newest + until) / 2
        found = next_time(schedule, middle)
        if found is not None and found <= now:
            newest = found
        else:
            until = middle
    return newest


def _next_time_of_day(fields: str, zone: ZoneInfo, after: float) -> float | None:
    """cronsim follows Debian's cron only for five fields, which begin with minutes."""
    minutes = CronSim(fields.partition(" ")[2], datetime.fromtimestamp(after - _MINUTE_S, zone))
    seconds = sorted(CronSim(fields, datetime.fromtimestamp(after, zone)).seconds)
    for minute in minutes:
        for second in seconds:
            if (due := minute.timestamp() + second) > after:
                return due
    return None


def _next_match(fields: str, zone: ZoneInfo, after: float) -> float | None:
    """The next moment whose local time matches.

    cronsim receives local times without a zone: with one, it skips matches after a change that is not a whole hour, or
    that does not happen on one. Until the zone's next change, each moment has one local time.
    """
    at, offset_s = after, _offset_s(zone, after)
    while True:
        found = next(CronSim(fields, datetime.fromtimestamp(at + offset_s, UTC).replace(tzinfo=None)), None)
        if found is None:
            return None
        due = found.replace(tzinfo=UTC).timestamp() - offset_s
        day_after = min(due, at + _DAY_S)
        if _offset_s(zone, day_after) != offset_s:
            change = _first_change(zone, at, day_after)
            if due < change:
                return due
            at, offset_s = change - 1, _offset_s(zone, change)
        elif due == day_after:
            return due
        else:
            # Nothing matches up to a day before `due`, however clocks change on the way.
            at = max(day_after, due - 2 * _DAY_S)
            offset_s = _offset_s(zone, at)


def _first_change(zone: ZoneInfo, before: float, after: float) -> float:
    """The first whole second whose offset differs from that at `before`, at most a day later."""
    offset_s, earlier, later = _offset_s(zone, before), math.floor(before), math.ceil(after)
    while later - earlier > 1:
        middle = (earlier + later) // 2
        if _offset_s(zone, middle) == offset_s:
            earlier = middle
        else:
            later = middle
    return later


def _offset_s(zone: ZoneInfo, at: float) -> float:
    offset = datetime.fromtimestamp(at, zone).utcoffset()
    assert offset is not None
    return offset.total_seconds()


def _interval_s(text: str) -> float:
    interval_s = sum(float(number) * _UNIT_S[unit] for number, unit in _PART.findall(text))
    if not 0 < interval_s <= HORIZON_S:
        raise NotASchedule(f"an interval of more than 0 and at most {HORIZON_YEARS} years")
    return max(interval_s, INTERVAL_S_MIN)


def _cron(text: str, zone: str) -> Cron:
    fields = text.split()
    if len(text) > CHARS_MAX or not text.isascii() or len(fields) != _FIELDS:
        raise NotASchedule(TIMERS)
    for index in _DAY_FIELDS:
        if fields[index] == "?":
            fields[index] = "*"
        elif any("/" in item and ("L" in item.upper() or "#" in item) for item in fields[index].split(",")):
            raise NotASchedule(TIMERS)
    check_zone(zone)
    try:
        cron = Cron(" ".join(_without_idle_steps(fields)).upper(), zone)
        due = next_time(cron, _REFERENCE.timestamp())
    except CronSimError as error:
        raise NotASchedule(TIMERS) from error
    if due is None:
        raise NotASchedule(f"a time that comes within {HORIZON_YEARS} years")
    return cron


def _without_idle_steps(fields: Sequence[str]) -> Iterator[str]:
    """The fields with `9` for `9-9/2`, which cronsim reads as `9/2`: every second value from 9 on.

    Raises `CronSimError`.
    """
    for index, field in enumerate(fields):
        yield ",".join(_without_idle_step(index, item) for item in field.split(","))


def _without_idle_step(index: int, item: str) -> str:
    values, _slash, step = item.partition("/")
    first, hyphen, _last = values.partition("-")
    if not (hyphen and natural(step)):
        return item
    schedule = CronSim(" ".join([*"*" * index, values, *"*" * (_FIELDS - index - 1)]), _REFERENCE)
    return first if len(getattr(schedule, _NAMES[index])) == 1 else item


def check_zone(zone: str) -> None:
    """Accepts names of the IANA database only, because a machine's additional files differ between machines.

    Raises `NotASchedule` for others. Such files are `localtime`, `posixrules`, `posix/…` and `right/…` (which counts
    leap seconds).
    """
    expected = "a time zone that exists, such as 'CRON_TZ=Asia/Shanghai'"
    if zone not in _zones():
        raise NotASchedule(expected)
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise NotASchedule(expected) from error


@functools.cache
def _zones() -> frozenset[str]:
    # The IANA database has "Factory" for systems without a configured zone.
    return frozenset(resources.files("tzdata").joinpath("zones").read_text().split()) - {"Factory"}
