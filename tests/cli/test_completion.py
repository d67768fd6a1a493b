"""Shells complete commands, options and names of functions; fast, within a time limit, and in silence on failure."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from tests.support import command_line
from tests.support.web_servers import Quiet, serving

from sesame.cli import completing

TREE = {"shop": ["buy", "bye"], "shed": ["dig"], "": []}


class Api(Quiet):
    """Lists the services and functions of `TREE`."""

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        prefix = parse_qs(url.query).get("prefix", [""])[0]
        parts = url.path.split("/")
        if parts[1:3] == ["sesame", "triggers"]:
            found = {"triggers": [{"serviceName": "shop", "functionName": "buy", "triggerName": "t"}]}
        elif len(parts) == 3:
            found = {"services": [{"serviceName": name} for name in TREE if name and name.startswith(prefix)]}
        else:
            names = TREE.get(parts[3], [])
            found = {"functions": [{"functionName": name} for name in names if name.startswith(prefix)]}
        body = json.dumps(found).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def api() -> Iterator[str]:
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Api)) as url:
        yield url


# A busy machine may take longer than a person waits.
PATIENT = "import sesame.cli.completing as completing\ncompleting.ANSWER_WITHIN_S = 60.0"


def completed(
    words: str, endpoint: str = "http://127.0.0.1:1", check: str = "", before: str = ""
) -> "subprocess.CompletedProcess[str]":
    """What bash is answered for this line, whose last word is being typed.

    `before` and `check` run in the same process, ahead of it and after it.
    """
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith("SESAME_")},
        "COMP_WORDS": words.replace(" ", "\n"), "COMP_CWORD": str(words.count(" ")),
        "_SESAME_COMPLETE": "bash_complete", "FC_ENDPOINT": endpoint, "ACCESS_KEY_ID": "id", "ACCESS_KEY_SECRET": "s",
    }  # fmt: skip
    program = (
        f"{before}\nimport sys\nfrom sesame.__main__ import main\ntry:\n    main()\nfinally:\n    {check or 'pass'}"
    )
    command = [sys.executable, "-c", program]
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)


def named(words: str, endpoint: str) -> list[str]:
    done = completed(words, endpoint, before=PATIENT)
    assert (done.returncode, done.stderr) == (0, "")
    return [line.partition(",")[2] for line in done.stdout.split("\n") if line]


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("sesame invoke sh", ["shop/buy", "shop/bye", "shed/dig"]),
        ("sesame invoke shop/bu", ["shop/buy"]),
        ("sesame logs shed/", ["shed/dig"]),
        ("sesame show sho", ["shop", "shop/buy", "shop/bye"]),
        ("sesame alias list sho", ["shop"]),
        ("sesame triggers fire shop", ["shop/buy/t"]),
        ("sesame invoke nothing/", []),
    ],
)
def test_names_come_from_the_server(api: str, words: str, names: list[str]) -> None:
    assert named(words, api) == names


def test_commands_and_options_need_neither_a_server_nor_what_the_commands_need() -> None:
    heavy = "rich", "asyncio", "msgspec", "ssl", "sesame.cli.server"
    check = f"assert not set({heavy!r}) & set(sys.modules), set(sys.modules)"
    done = completed("sesame de", check=check)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(done.stdout.split()) == ["plain,delete", "plain,demo", "plain,deploy", "plain,dev"]
    done = completed("sesame invoke --ev", check="assert not {'rich', 'asyncio', 'structlog'} & set(sys.modules)")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == ["plain,--event", "plain,--event-file"]


def test_a_server_that_is_not_there_or_says_nothing_names_nothing_in_silence() -> None:
    done = completed("sesame invoke sh", "http://127.0.0.1:1")
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "", "")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        done = completed("sesame invoke sh", f"http://127.0.0.1:{silent.getsockname()[1]}")
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "", "")
    assert completing.ANSWER_WITHIN_S <= 1.0


@pytest.mark.parametrize("words", ["sesame invoke --endpoint nonsense:// sh", "sesame invoke --config /nowhere sh"])
def test_what_is_wrong_on_the_line_is_told_when_the_command_runs(words: str) -> None:
    done = completed(words)
    assert (done.stdout.strip(), done.stderr) == ("", "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_each_shell(shell: str) -> None:
    said = command_line.sesame("completion", shell)
    assert f"_SESAME_COMPLETE={shell}_complete" in said.stdout
    if found := shutil.which(shell):
        subprocess.run([found, "-n"], input=said.stdout, text=True, check=True, timeout=60)


def test_bash_completes_with_the_script() -> None:
    """As bash itself calls it: through the function that the script registers."""
    program = """
        eval "$(sesame completion bash)"
        COMP_WORDS=(sesame depl) COMP_CWORD=1
        _sesame_completion sesame depl sesame
        echo "${COMPREPLY[@]}"
    """
    environ = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = ["bash", "--norc", "-c", program]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.strip() == "deploy", done.stderr
