"""What learned keep-alive saves: cold starts and memory beside a fixed time, on a trace in the format of Azure 2019.

Run by `make bench-keep-alive`; needs no server, as the engine's own decisions are replayed. `--trace` reads a folder of
published days instead of the made trace, `--write` keeps the made one, `--plot` draws what docs/scaling.md shows.
"""

import sys
from pathlib import Path

import click

from benchmarks.trace import azure2019
from benchmarks.trace.generator import generate
from benchmarks.trace.replay import Result, replay
from sesame.engine.keep_alive import KeepAlive

FIXED_S = 600.0
SEED = 2019
# Of the fixed time's.
COLD_MAX, MEMORY_MAX = 0.8, 1.0
# Fixed times that are drawn beside, in seconds.
BESIDE_S = (60.0, 300.0, 600.0, 1200.0, 2400.0, 3600.0)


def total(functions: list[azure2019.Function], policy: KeepAlive) -> Result:
    found = Result()
    for each in functions:
        found.add(replay(each, policy))
    return found


@click.command()
@click.option("--functions", default=200, show_default=True)
@click.option("--days", default=3, show_default=True)
@click.option("--seed", default=SEED, show_default=True)
@click.option("--trace", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--write", type=click.Path(file_okay=False, path_type=Path))
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path))
def main(functions: int, days: int, seed: int, trace: Path | None, write: Path | None, plot: Path | None) -> None:
    called = generate(functions, days, seed) if trace is None else azure2019.read(trace)
    if write is not None:
        write.mkdir(parents=True, exist_ok=True)
        azure2019.write(write, called)
    fixed, learned = total(called, KeepAlive(FIXED_S)), total(called, KeepAlive(FIXED_S, learned=True))
    for name, found in (("fixed", fixed), ("learned", learned)):
        print(
            f"{name:8} {found.calls:,} calls of {len(called)} functions: {found.cold:,} cold, "
            f"{found.memory_mb_s / 1024 / 3600:,.0f} GB·h, {found.prewarmed:,} started ahead"
        )
    cold, memory = learned.cold / fixed.cold, learned.memory_mb_s / fixed.memory_mb_s
    print(f"learned beside fixed {FIXED_S:.0f} s: cold starts {cold:.2f} ×, memory {memory:.2f} ×")
    if plot is not None:
        draw(plot, {each: total(called, KeepAlive(each)) for each in BESIDE_S}, learned)
    if cold > COLD_MAX or memory > MEMORY_MAX:
        sys.exit(f"expected at most {COLD_MAX} × the cold starts and {MEMORY_MAX} × the memory")


def draw(path: Path, fixed: dict[float, Result], learned: Result) -> None:
    """Cold starts over memory, a point for each fixed time and one for what is learned."""
    import matplotlib as mpl

    # The same picture gives the same file.
    mpl.rcParams["svg.hashsalt"] = "sesame"
    mpl.use("svg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.2))
    hours = [each.memory_mb_s / 1024 / 3600 for each in fixed.values()]
    axes.plot(hours, [each.cold for each in fixed.values()], "o-", color="tab:gray", label="fixed time")
    for seconds, hour, each in zip(fixed, hours, fixed.values(), strict=True):
        axes.annotate(f"{seconds / 60:g} min", (hour, each.cold), xytext=(6, 6), textcoords="offset points")
    axes.plot(
        [learned.memory_mb_s / 1024 / 3600], [learned.cold], "D", color="tab:orange", label="learned, from 10 min"
    )
    axes.set(xlabel="memory of all instances, GB·h", ylabel="cold starts", ylim=(0, None))
    axes.legend()
    axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
