"""Deploys every template below a folder and calls its functions; prints a line for each, and the sums.

Run by scripts/templates. What a template says wrong is its own; what can be deployed is deployed, called and removed.
Functions of HTTP triggers are called by GET, others with the event {}. A bucket that a trigger names is made.
Functions of Python, Node.js and custom runtimes are called; the code of others is only kept by Sesame.
"""

import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import click
import msgspec

NAMES = ("template.yml", "template.yaml", "s.yaml", "s.yml")
COMMAND_TIMEOUT_S = 300.0
READY_TIMEOUT_S = 60.0
SHOWN_CHARS_MAX = 160
FAMILIES = {"python": "Python", "nodejs": "Node.js", "custom": "custom"}
NOT_RUN = ("custom-container", "nodejs4", "nodejs6", "nodejs8", "nodejs10")
MISSING_BUCKET = re.compile(r"Bucket '([^']+)' was not found")


def sesame(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "sesame", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, errors="replace", check=False, timeout=COMMAND_TIMEOUT_S
    )


def last_line(text: str) -> str:
    return (text.strip().splitlines() or ["?"])[-1][:SHOWN_CHARS_MAX]


def one(template: Path, data_dir: Path, sums: Counter[str]) -> str:
    """What became of a template and of its Python functions, which `sums` counts."""
    where = ("--data-dir", str(data_dir))
    deploy = ("deploy", "-t", str(template), str(template.parent), "--json", *where)
    done = sesame(*deploy)
    if done.returncode and (bucket := MISSING_BUCKET.search(done.stderr)):
        sesame("buckets", "make", bucket[1], *where)
        # Once more from the start, so that each step has its answer.
        sesame("remove", "-t", str(template), str(template.parent), *where)
        done = sesame(*deploy)
    if done.returncode:
        sums["templates not deployed"] += 1
        return f"not deployed  {last_line(done.stderr)}"
    sums["templates deployed"] += 1
    steps = msgspec.json.decode(done.stdout)["steps"]
    http = {
        step["what"].split()[1].rpartition("/")[0]
        for step in steps
        if step["what"].startswith("trigger ") and (step["answer"] or {}).get("triggerType") == "http"
    }
    answers = []
    for step in steps:
        made: dict[str, Any] = step["answer"] or {}
        family = family_of(str(made.get("runtime", "")))
        if step["what"].startswith("function ") and family:
            name = step["what"].removeprefix("function ")
            failed = by_http(name, data_dir) if name in http else by_event(name, data_dir)
            sums[f"{family} functions called"] += 1
            sums[f"{family} functions that answered"] += not failed
            answers.append(f"{name}: {failed or 'answered'}")
    removed = sesame("remove", "-t", str(template), str(template.parent), *where)
    if removed.returncode:
        sums["templates not removed"] += 1
        answers.append(f"NOT REMOVED: {last_line(removed.stderr)}")
    return f"deployed  {len(steps)} steps  {'; '.join(answers)}"


def by_event(name: str, data_dir: Path) -> str:
    """Why a call did not succeed; "" where it did."""
    called = sesame("invoke", name, "-e", "{}", "--data-dir", str(data_dir))
    answer = " ".join(called.stdout.split())[:SHOWN_CHARS_MAX]
    return "" if called.returncode == 0 else f"{last_line(called.stderr)} {answer}"


def family_of(runtime: str) -> str:
    """What is counted together; "" for what is not called."""
    if runtime in NOT_RUN:
        return ""
    return next((family for prefix, family in FAMILIES.items() if runtime.startswith(prefix)), "")


def by_http(name: str, data_dir: Path) -> str:
    """Why a request did not succeed; "" where it did."""
    fc = msgspec.json.decode((data_dir / "endpoints.json").read_bytes())["fc"]
    if "/" in name:
        request = urllib.request.Request(f"{fc}/2016-08-15/proxy/{name}/")
    else:
        # A host under localhost, which not every resolver knows.
        request = urllib.request.Request(f"{fc}/", headers={"Host": f"{name}.localhost:{fc.rpartition(':')[2]}"})
    try:
        with urllib.request.urlopen(request, timeout=COMMAND_TIMEOUT_S):
            return ""
    except urllib.error.HTTPError as error:
        return f"HTTP {error.code} {error.read(SHOWN_CHARS_MAX)!r}"


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
def main(folder: Path) -> None:
    templates = sorted(path for path in folder.rglob("*") if path.name in NAMES)
    sums: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="sesame-templates-") as scratch:
        data_dir = Path(scratch) / "data"
        command = [sys.executable, "-m", "sesame", "start", "--data-dir", str(data_dir), "--port=0", "--oss-port=0"]
        log = (Path(scratch) / "log").open("wb")
        with log, subprocess.Popen(command, stdout=log, stderr=log) as server:
            try:
                began = time.monotonic()
                while not (data_dir / "endpoints.json").exists():
                    if server.poll() is not None or time.monotonic() - began > READY_TIMEOUT_S:
                        raise click.ClickException("Sesame did not start")
                    time.sleep(0.05)
                for template in templates:
                    click.echo(f"{template.relative_to(folder)}  {one(template, data_dir, sums)}")
            finally:
                server.terminate()
    click.echo(f"{len(templates)} templates; " + ", ".join(f"{what}: {count}" for what, count in sorted(sums.items())))


if __name__ == "__main__":
    main()
