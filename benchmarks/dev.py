"""The developer's loop: from the save of a file until the new code answers a call, at a `sesame dev`.

Run by `make bench-dev`. Calls go over HTTP to the function's local URL, until the new code answers.
"""

import http.client
import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import click

SAVES = 20
LIMIT_MS = 300.0
PATIENCE_S = 60.0
# Between a save and the one before, so that each finds a quiet watcher, as one who types does.
PAUSE_S = 0.3
SOURCE = """
def handler(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [b'NUMBER']
"""


def visit(port: int) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    try:
        connection.request("GET", "/", headers={"Host": f"web.demo.localhost:{port}"})
        return connection.getresponse().read()
    finally:
        connection.close()


def ready(shown: Path, process: "subprocess.Popen[bytes]") -> int:
    """The port, once the project is deployed."""
    deadline = time.monotonic() + PATIENCE_S
    while "Watching " not in (text := shown.read_text(errors="replace")):
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"sesame dev does not come up:\n{text}")
        time.sleep(0.02)
    return int(text.partition("http://web.demo.localhost:")[2].partition("/")[0])


def measure(saves: int, files: int) -> list[float]:
    """Milliseconds from each save until its code answers; the project has `files` modules beside the handler's."""
    with TemporaryDirectory(prefix="sesame-bench-dev-") as folder:
        root = Path(folder)
        project, shown = root / "web", root / "shown"
        project.mkdir()
        source = project / "main.py"
        source.write_text(SOURCE.replace("NUMBER", "first"))
        for number in range(files):
            (project / f"module_{number}.py").write_text(f"VALUE = {number}\n" * 50)
        command = [
            sys.executable,
            "-m",
            "sesame",
            "dev",
            str(project),
            "--name",
            "demo/web",
            "--port=0",
            "--oss-port=0",
        ]
        with shown.open("wb") as out:
            process = subprocess.Popen(
                command, stdout=out, stderr=out, env={**os.environ, "XDG_CACHE_HOME": str(root / "cache")}
            )
        try:
            port = ready(shown, process)
            return [_save(source, port, number) for number in range(saves)]
        finally:
            process.send_signal(signal.SIGINT)
            process.wait()


def _save(source: Path, port: int, number: int) -> float:
    time.sleep(PAUSE_S)
    wanted = f"save {number}"
    began = time.monotonic()
    source.write_text(SOURCE.replace("NUMBER", wanted))
    while visit(port) != wanted.encode():
        if time.monotonic() - began > PATIENCE_S:
            raise SystemExit(f"the code of {wanted} never answered")
    return (time.monotonic() - began) * 1000


@click.command()
@click.option("--saves", default=SAVES, show_default=True)
@click.option("--files", default=100, show_default=True, help="Modules of the project beside the handler's.")
def main(saves: int, files: int) -> None:
    took = sorted(measure(saves, files))
    median = statistics.median(took)
    print(
        f"from save to served, {files + 1} files: median {median:.0f} ms (min {took[0]:.0f}, max {took[-1]:.0f}, "
        f"n={saves}); limit {LIMIT_MS:.0f} ms"
    )
    if median > LIMIT_MS:
        raise SystemExit(f"the median is above {LIMIT_MS:.0f} ms")


if __name__ == "__main__":
    main()
