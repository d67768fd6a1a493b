"""`sesame dev` as a real process: starts, serves what is saved, shows calls and logs, ends with Ctrl-C.

Run by pytest; one Sesame for all of it. What it does of each change is tested in `tests/dev`.
"""

import json
import signal
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.support.dap import DapClient
from tests.support.interpreters import DEBUGGERS, INTERPRETERS
from tests.support.pauses import Pauses
from tests.support.running_command import PATIENCE_S, RunningCommand

from sesame.cli import dev
from sesame.deploy.project import Code, Function, Place, Project

SOURCE = """
import os

def handler(environ, start_response):
    print('asked for ' + environ['PATH_INFO'])
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [b'NUMBER']
"""


def developing(folder: Path, *options: str) -> RunningCommand:
    """`sesame dev` of a project; what it shows and caches lies beside the project's folder."""
    command = ("-m", "sesame", "dev", str(folder), "--name", "demo/web", "--port", "0", "--oss-port", "0")
    return RunningCommand(folder.parent, *command, "--sandbox", "plain", *options)


def visit(port: int) -> bytes:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/a", headers={"Host": f"web.demo.localhost:{port}"})
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        return bytes(answer.read())


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--debug", "f", "--port", "1"], "--debug, --port"),
        (["--keep-serving", "--sandbox", "plain", "--oss-port", "1"], "--keep-serving, --oss-port, --sandbox"),
        (["--debug", "f", "--debug-port", "1"], "--debug, --debug-port"),
    ],
)
def test_what_a_server_that_runs_already_cannot_heed_is_refused(options: list[str], named: str) -> None:
    said = CliRunner().invoke(dev.dev, ["--endpoint", "http://127.0.0.1:1", *options])
    assert said.exit_code == 2
    assert f"--endpoint names a server that runs already: leave {named} away" in said.output


def test_an_option_is_no_function_to_debug() -> None:
    said = CliRunner().invoke(dev.dev, ["--debug", "--port", "9000"])
    assert (said.exit_code, "found --port, expected the name of the function" in said.output) == (2, True)


def test_a_port_for_no_debugger_is_refused() -> None:
    said = CliRunner().invoke(dev.dev, ["--debug-port", "1"])
    assert (said.exit_code, "without --debug there is no debugger: leave --debug-port away" in said.output) == (2, True)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[RunningCommand]:
    folder = tmp_path / "web"
    folder.mkdir()
    (folder / "main.py").write_text(SOURCE.replace("NUMBER", "one"))
    with developing(folder) as made:
        yield made


def test_a_saved_file_serves_with_the_next_call_until_ctrl_c(running: RunningCommand, tmp_path: Path) -> None:
    running.wait_for("Watching ")
    port = int(running.text.partition("http://web.demo.localhost:")[2].partition("/")[0])

    assert visit(port) == b"one"
    running.wait_for("demo/web | asked for /a")
    running.wait_for("demo/web  GET /a → 200  ok ")
    source = tmp_path / "web" / "main.py"
    source.write_text(SOURCE.replace("NUMBER", "two"))
    running.wait_for("new code, ")
    running.wait_for("changed: main.py")
    deadline, pauses = time.monotonic() + PATIENCE_S, Pauses(0.005)
    while visit(port) != b"two":
        assert time.monotonic() < deadline
        pauses.block()
    source.write_text("def handler(environ, start_response:\n")
    running.wait_for("SyntaxError")
    assert 'main.py", line 1' in running.text
    running.ends_well(signal.SIGINT)
    assert running.text.endswith("Stopped.\n")
    assert sorted(path.name for path in (tmp_path / "web").iterdir()) == ["main.py"], "the project is not written to"
    (data_dir,) = (tmp_path / "cache" / "sesame" / "dev").iterdir()
    assert json.loads((data_dir / dev.REMEMBERED).read_bytes()) == [["demo", "web"]]


def test_a_debugger_attaches_as_launch_json_says_and_nothing_else_can_be_reached(tmp_path: Path) -> None:
    folder = tmp_path / "web"
    folder.mkdir()
    (folder / "main.py").write_text(SOURCE.replace("NUMBER", "one"))
    runtime = next((name for name in INTERPRETERS if DEBUGGERS.installed(name)), None)
    if runtime is None:
        pytest.skip("no runtime's debugger is installed")
    with developing(folder, "--runtime", runtime, "--debug", "demo/web", "--debug-port", "0") as running:
        running.wait_for("In VS Code: ")
        (found,) = json.loads((folder / ".vscode" / "launch.json").read_text())["configurations"]
        assert found["connect"]["host"] == "127.0.0.1"
        (mapping,) = found["pathMappings"]
        debugger = DapClient(found["connect"]["port"])
        debugger.attach({str(folder): mapping["remoteRoot"]}, {str(folder / "main.py"): [5]})
        running.wait_for("A debugger is attached")
        port = int(running.text.partition("http://web.demo.localhost:")[2].partition("/")[0])
        answers: list[bytes] = []
        calling = threading.Thread(target=lambda: answers.append(visit(port)))
        calling.start()
        stopped = debugger.event("stopped")
        assert stopped["reason"] == "breakpoint"
        debugger.ask("continue", {"threadId": stopped["threadId"]})
        calling.join(PATIENCE_S)
        assert answers == [b"one"]
        debugger.close()
        running.wait_for("The debugger has left.")
        running.ends_well(signal.SIGINT)


def test_at_another_server_a_call_is_shown_with_its_address() -> None:
    place = Place("template.yml")
    project = Project(
        source=Path("template.yml"),
        functions=(Function(service="demo", name="f", fields={}, code=Code(), place=place),),
    )
    assert dev.how_to_call(project, dev.Reached(9000)) == ["  sesame invoke demo/f -e '{}'"]
    assert dev.how_to_call(project, dev.Reached(option=" --endpoint http://h:1")) == [
        "  sesame invoke demo/f -e '{}' --endpoint http://h:1"
    ]
