"""What finding and counting logs costs: the Log Service's queries beside zgrep over the same lines, interleaved.

Run by `make bench-logs-query`; `--lines` tries it with fewer than the ten million. The lines are a day's output of
functions: queries read them from sealed segments, zgrep from a compressed file for each hour. Never compares figures of
different rounds: each ratio is of two neighbours in time, and who goes first alternates. No index of words stands
behind a search, so a rare word and a common one are both measured.
"""

import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click

from benchmarks.ratios import over, spread
from sesame.model.logstore import DEFAULT_DELIMITERS, KeyIndex, LineIndex, LogIndex
from sesame.store.logs.query.database import Interrupt
from sesame.store.logs.query.engine import Limits, LogQueries, Page, Search
from sesame.store.logs.query.grammar import parse
from sesame.store.logs.query.relation import Source
from sesame.store.logs.query.rows import LogRow
from sesame.store.logs.query.segments import Segment, write_segment

START_S = 1_700_006_400
HOUR_S = 3600
HOURS = 24
SEARCHED_HOUR = 13
FUNCTIONS = 40
# One line in so many has the common word.
ERROR_EVERY = 1000
SEARCH_LIMIT = 0.5
COUNT_LIMIT = 0.1

_TEXT = KeyIndex("text", DEFAULT_DELIMITERS, doc_value=True)
INDEX = LogIndex(line=LineIndex(DEFAULT_DELIMITERS), keys=dict.fromkeys(("functionName", "instanceID"), _TEXT))


@click.command()
@click.option("--lines", default=10_000_000, show_default=True, help="How many lines the day has.")
@click.option("--rounds", default=15, show_default=True, help="Interleaved rounds for each case.")
def main(lines: int, rounds: int) -> None:
    with tempfile.TemporaryDirectory(prefix="bench-logs-query-") as folder:
        began = time.perf_counter()
        day = Day(Path(folder), lines)
        click.echo(f"{lines} lines written in {time.perf_counter() - began:.0f} s: {day.sizes()}")
        hour, whole = [day.text_files[SEARCHED_HOUR]], day.text_files
        failed = [
            compared(
                "search of an hour, a rare word", day.searching(day.rare), zgrep(day.rare, hour), rounds, SEARCH_LIMIT
            ),
            compared(
                "search of an hour, a common word", day.searching("ERROR"), zgrep("ERROR", hour), rounds, SEARCH_LIMIT
            ),
            compared("count by function of a day", day.counting, zgrep("ERROR", whole), rounds, COUNT_LIMIT),
        ]
        day.queries.close()
    if any(failed):
        raise click.ClickException("a query takes longer than is allowed, as a ratio of zgrep's time")


class Day:
    """A day of logs, as segments and as compressed text."""

    def __init__(self, folder: Path, lines: int) -> None:
        self._folder = folder
        self.segments: list[Segment] = []
        self.text_files: list[Path] = []
        self.rare = ""
        self.queries = LogQueries(folder, Limits())
        an_hour = lines // HOURS
        for hour in range(HOURS):
            rows = [row(hour * an_hour + number, an_hour) for number in range(an_hour)]
            self.segments.append(write_segment(folder / f"{hour}.parquet", rows))
            text = folder / f"{hour}.log"
            with text.open("w") as file:
                file.writelines(text_line(each) for each in rows)
            subprocess.run(["gzip", str(text)], check=True)
            self.text_files.append(folder / f"{hour}.log.gz")
            if hour == SEARCHED_HOUR:
                self.rare = dict(rows[len(rows) // 2].contents)["message"].split()[1]

    def sizes(self) -> str:
        kinds = {"segments": "*.parquet", "text": "*.gz"}
        return ", ".join(
            f"{kind} {sum(file.stat().st_size for file in self._folder.glob(glob)) / 1e6:.0f} MB"
            for kind, glob in kinds.items()
        )

    def searching(self, word: str) -> Callable[[], None]:
        start_s = START_S + SEARCHED_HOUR * HOUR_S

        def search() -> None:
            asked = Search(parse(word), INDEX, start_s, start_s + HOUR_S, start_s)
            segments = tuple(
                each for each in self.segments if start_s <= each.last_s and each.first_s < start_s + HOUR_S
            )
            found = self.queries.search(asked, Source(segments), Page(reverse=True), Interrupt())
            assert found.rows

        return search

    def counting(self) -> None:
        text = "* | SELECT functionName, count(*) AS calls GROUP BY functionName ORDER BY calls DESC"
        asked = Search(parse(text), INDEX, START_S, START_S + HOURS * HOUR_S, START_S)
        table = self.queries.select(asked, Source(tuple(self.segments)), Interrupt())
        assert len(table.rows) == FUNCTIONS


def row(number: int, an_hour: int) -> LogRow:
    time_s = START_S + number * HOUR_S // an_hour
    request = f"{number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128:032x}"
    level = "ERROR" if number % ERROR_EVERY == 0 else "INFO"
    message = f"2023-11-15T00:00:00.000Z {request} [{level}] took order {number * 7919 % 100_000} in {number % 997} ms"
    contents = (
        ("message", message),
        ("functionName", f"function-{number * 31 % FUNCTIONS}"),
        ("serviceName", "shop"),
        ("qualifier", "LATEST"),
        ("instanceID", f"c-{number * 17 % 500:08x}"),
    )
    return LogRow(number, time_s, 0, "shop", "127.0.0.1", (), contents)


def text_line(log: LogRow) -> str:
    return f"{log.time_s} {' '.join(value for _name, value in log.contents)}\n"


def zgrep(word: str, files: list[Path]) -> Callable[[], None]:
    def run() -> None:
        subprocess.run(["zgrep", "-h", word, *map(str, files)], stdout=subprocess.DEVNULL, check=True)

    return run


def compared(name: str, query: Callable[[], None], peer: Callable[[], None], rounds: int, limit: float) -> bool:
    """Prints the ratios; whether the query takes longer than `limit` allows beyond doubt."""
    seconds: dict[Callable[[], None], list[float]] = {query: [], peer: []}
    for each in (query, peer):
        each()
    for number in range(rounds):
        for each in (query, peer) if number % 2 else (peer, query):
            began = time.perf_counter()
            each()
            seconds[each].append(time.perf_counter() - began)
    ratios = [a / b for a, b in zip(seconds[query], seconds[peer], strict=True)]
    middle = {each: sorted(times)[len(times) // 2] * 1000 for each, times in seconds.items()}
    click.echo(f"{name}: {middle[query]:.0f} ms, zgrep {middle[peer]:.0f} ms; query / zgrep: {spread(ratios)}")
    return over(ratios, limit)


if __name__ == "__main__":
    main()
