"""What idle instances cost: memory (PSS of every process of Sesame) and processor time, for 200 of them.

Run by `make bench-idle`; prints what one more idle instance adds, frozen as it is after its grace.
Never calls them again while it measures.
"""

import statistics
import time

import click
import psutil

from benchmarks.cold import Caller, deploy
from benchmarks.servers import sesame

SETTLE_S = 5.0
WATCHED_S = 20.0


def pss_mb(processes: list[psutil.Process]) -> float:
    return sum(process.memory_full_info().pss for process in processes) / 2**20


def cpu_s(processes: list[psutil.Process]) -> float:
    return sum(process.cpu_times().user + process.cpu_times().system for process in processes)


@click.command()
@click.option("--instances", default=200, show_default=True)
@click.option("--sandbox", default="jail", show_default=True)
@click.option("--runtime", default="python3.12", show_default=True)
def main(instances: int, sandbox: str, runtime: str) -> None:
    # Enough for all of them at 128 MB each, whatever the host has: they use a fraction of it.
    flags = ("--sandbox", sandbox, "--max-memory-mb", str(instances * 128 + 1024))
    with sesame(*flags) as endpoint:
        names = deploy(endpoint, "idle", runtime, instances)
        everything = psutil.Process().children(recursive=True)
        before_mb = pss_mb(everything)
        caller = Caller(endpoint)
        took_ms = [caller.first_call_ms("idle", name)[0] for name in names]
        time.sleep(SETTLE_S)
        everything = psutil.Process().children(recursive=True)
        after_mb = pss_mb(everything)
        began_s = cpu_s(everything)
        time.sleep(WATCHED_S)
        busy = (cpu_s(everything) - began_s) / WATCHED_S
        click.echo(
            f"{instances} idle instances ({sandbox}, {runtime}): {after_mb:.0f} MB PSS in all with Sesame itself "
            f"({before_mb:.0f} MB before them), {(after_mb - before_mb) / instances:.2f} MB for each; "
            f"{busy * 100:.1f} % of one processor; {len(everything)} processes; "
            f"median first call {statistics.median(took_ms):.1f} ms"
        )


if __name__ == "__main__":
    main()
