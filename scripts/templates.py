"""Deploys every template below a folder and calls its Python functions; prints one line for each and the sums.

Run by scripts/templates. Errors of a template are counted; what can be deployed is deployed, called and removed.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import msgspec

NAMES = ("template.yml", "template.yaml", "s.yaml", "s.yml")
COMMAND_TIMEOUT_S = 120.0
READY_TIMEOUT_S = 60.0


def sesame(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "sesame", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=COMMAND_TIMEOUT_S)


def one(template: Path, data_dir: Path) -> str:
    """deployed, refused by the template's own errors, or failed; and how its Python functions answered."""
    where = ("--data-dir", str(data_dir))
    done = sesame("deploy", "-t", str(template), str(template.parent), "--json", *where)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else ""
        return f"refused  {last}"
    steps = msgspec.json.decode(done.stdout)["steps"]
    answers = []
    for step in steps:
        made = step["answer"] or {}
        if step["what"].startswith("function ") and str(made.get("runtime", "")).startswith("python"):
            service, _, function = step["what"].removeprefix("function ").partition("/")
            called = sesame("invoke", "--service", service, "--function", function, "-e", "{}", *where)
            kind = next(
                (line for line in called.stderr.splitlines() if line.startswith(("X-Fc-Error-Type", "error:"))), ""
            )
            answers.append(f"{function}: {kind or 'answered'}")
    removed = sesame("remove", "-t", str(template), str(template.parent), *where)
    trouble = "" if removed.returncode == 0 else f"  NOT REMOVED {removed.stderr.strip().splitlines()[-1:]}"
    return f"deployed  {len(steps)} steps  {'; '.join(answers)}{trouble}"


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
def main(folder: Path) -> None:
    templates = sorted(path for path in folder.rglob("*") if path.name in NAMES)
    sums: dict[str, int] = {}
    with tempfile.TemporaryDirectory(prefix="sesame-templates-") as scratch:
        data_dir = Path(scratch) / "data"
        command = [
            sys.executable,
            "-m",
            "sesame",
            "start",
            "--data-dir",
            str(data_dir),
            "--port",
            "0",
            "--oss-port",
            "0",
        ]
        log = (Path(scratch) / "log").open("wb")
        with log, subprocess.Popen(command, stdout=log, stderr=log) as server:
            try:
                began = time.monotonic()
                while not (data_dir / "endpoints.json").exists():
                    if server.poll() is not None or time.monotonic() - began > READY_TIMEOUT_S:
                        raise click.ClickException("Sesame did not start")
                    time.sleep(0.05)
                for template in templates:
                    said = one(template, data_dir)
                    kind = said.split()[0]
                    sums[kind] = sums.get(kind, 0) + 1
                    click.echo(f"{template.relative_to(folder)}  {said}")
            finally:
                server.terminate()
    click.echo(f"{len(templates)} templates: " + ", ".join(f"{count} {kind}" for kind, count in sorted(sums.items())))


if __name__ == "__main__":
    main()
