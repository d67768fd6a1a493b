"""Reads and writes traces in the format of the Azure Functions traces of 2019 (github.com/Azure/AzurePublicDataset).

Three files for a day: how often each function was invoked in each minute, percentiles of its durations, and
percentiles of its application's memory. Used by the benchmark of keep-alive and by its test.
"""

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

MINUTES = 1440
_INVOCATIONS = "invocations_per_function_md.anon.d{:02d}.csv"
_DURATIONS = "function_durations_percentiles.anon.d{:02d}.csv"
_MEMORY = "app_memory_percentiles.anon.d{:02d}.csv"
_NAMES = ("HashOwner", "HashApp", "HashFunction")
_DURATION_SHARES = (0, 1, 25, 50, 75, 99, 100)
_MEMORY_SHARES = (1, 5, 25, 50, 75, 95, 99, 100)
# Of the published days, some functions have no durations, and some applications no memory.
_DURATION_S, _MEMORY_MB = 1.0, 128.0

Name = tuple[str, str, str]


class Function(msgspec.Struct, frozen=True):
    """One function over all days: `per_minute` has MINUTES counts for each day. `memory_mb` is its application's."""

    owner: str
    app: str
    name: str
    trigger: str
    per_minute: tuple[int, ...]
    duration_s: float
    memory_mb: float


def days(folder: Path) -> list[int]:
    """Those whose invocations are there, in order."""
    return sorted(int(path.name[-6:-4]) for path in folder.glob(_INVOCATIONS.replace("{:02d}", "[0-9][0-9]")))


def read(folder: Path) -> list[Function]:
    """Every function of every day that is there; on days on which it is not named it was not invoked."""
    found = days(folder)
    counts: dict[Name, list[int]] = {}
    triggers: dict[Name, str] = {}
    durations: dict[Name, float] = {}
    memory: dict[tuple[str, str], float] = {}
    for index, day in enumerate(found):
        for row in _rows(folder / _INVOCATIONS.format(day)):
            name = _name(row)
            of_all = counts.setdefault(name, [0] * (MINUTES * len(found)))
            of_all[index * MINUTES : (index + 1) * MINUTES] = [int(row[str(m)]) for m in range(1, MINUTES + 1)]
            triggers[name] = row["Trigger"]
        for row in _rows(folder / _DURATIONS.format(day)):
            # In milliseconds.
            durations[_name(row)] = float(row["Average"]) / 1000
        for row in _rows(folder / _MEMORY.format(day)):
            memory[row["HashOwner"], row["HashApp"]] = float(row["AverageAllocatedMb"])
    return [
        Function(*name, triggers[name], tuple(each), durations.get(name, _DURATION_S), memory.get(name[:2], _MEMORY_MB))
        for name, each in counts.items()
    ]


def write(folder: Path, functions: Iterable[Function]) -> None:
    """The files of each day."""
    functions = list(functions)
    for index in range(max((len(each.per_minute) // MINUTES for each in functions), default=0)):
        called = [(each, each.per_minute[index * MINUTES : (index + 1) * MINUTES]) for each in functions]
        called = [(each, counts) for each, counts in called if any(counts)]
        head = [*_NAMES, "Trigger", *map(str, range(1, MINUTES + 1))]
        _write(
            folder / _INVOCATIONS.format(index + 1),
            head,
            ([each.owner, each.app, each.name, each.trigger, *counts] for each, counts in called),
        )
        head = [*_NAMES, "Average", "Count", "Minimum", "Maximum"]
        _write(
            folder / _DURATIONS.format(index + 1),
            [*head, *(f"percentile_Average_{share}" for share in _DURATION_SHARES)],
            (_durations(each, sum(counts)) for each, counts in called),
        )
        of_apps = {(each.owner, each.app): each.memory_mb for each, _counts in called}
        head = ["HashOwner", "HashApp", "SampleCount", "AverageAllocatedMb"]
        _write(
            folder / _MEMORY.format(index + 1),
            [*head, *(f"AverageAllocatedMb_pct{share}" for share in _MEMORY_SHARES)],
            ([*app, MINUTES, *([f"{mb:.3f}"] * (1 + len(_MEMORY_SHARES)))] for app, mb in of_apps.items()),
        )


def _durations(function: Function, count: int) -> list[object]:
    shown = f"{function.duration_s * 1000:.3f}"
    return [function.owner, function.app, function.name, shown, count, *([shown] * (2 + len(_DURATION_SHARES)))]


def _name(row: dict[str, str]) -> Name:
    return row["HashOwner"], row["HashApp"], row["HashFunction"]


def _rows(path: Path) -> Iterator[dict[str, str]]:
    if path.exists():
        with path.open(newline="") as file:
            yield from csv.DictReader(file)


def _write(path: Path, head: list[str], rows: Iterable[list[object]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(head)
        writer.writerows(rows)
