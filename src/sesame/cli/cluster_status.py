"""Formats `sesame cluster status` for a terminal."""

import datetime
from collections.abc import Iterator, Sequence

from sesame.on_ray.cluster import described
from sesame.on_ray.health import Finding, leaders, serves, shown_build
from sesame.on_ray.order import Report

# Enough characters of the protocol's digest to distinguish two.
_SHOWN = 8


def lines(reports: Sequence[Report], found: Sequence[Finding], now: float, upgrader: str = "") -> Iterator[str]:
    """Lines for each node, then for the cluster. `found` is what is wrong; `now` is in Unix seconds.

    `upgrader` is who upgrades nodes now, "" for nobody.
    """
    leading = {each.machine for each in leaders(reports)}
    for report in reports:
        first, *rest = described(report).splitlines()
        yield f"{first}, {'leads' if report.machine in leading else 'follows'}" if serves(report) else first
        if report.version:
            yield f"    {', '.join(_facts(report, now))}"
        yield from rest
        yield from _wrong([each for each in found if each.machine == report.machine], "    ")
    yield from _wrong([each for each in found if not each.machine], "")
    if upgrader:
        yield f"An upgrade is under way, by {upgrader}: nodes start again one after the other."
    serving = sum(1 for each in reports if serves(each))
    yield f"{serving} of {len(reports)} nodes serve{'' if found else ', and nothing is wrong'}."


def _facts(report: Report, now: float) -> Iterator[str]:
    standing = report.standing
    yield f"Sesame {report.version}"
    if standing.build:
        yield f"build {shown_build(standing.build)}"
    if report.since:
        began = datetime.datetime.fromtimestamp(report.since).astimezone()
        up = datetime.timedelta(seconds=max(int(now - report.since), 0))
        yield f"serves since {began:%Y-%m-%d %H:%M:%S %z} ({up})"
    if standing.speaks:
        yield f"protocol {standing.speaks[:_SHOWN]}"
    if standing.epoch:
        yield f"linked in epoch {standing.epoch}"
    yield f"heard {report.heard_s:.0f} s ago"


def _wrong(found: Sequence[Finding], indent: str) -> Iterator[str]:
    for each in found:
        yield f"{indent}wrong: {each.wrong}"
        yield f"{indent}next:  {each.step}"
