"""`--json`: every command that prints has it, a document comes out, and what goes wrong is a document too."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from tests.support import command_line

from sesame.cli.main import cli
from sesame.cli.output import json_value

# What has no `--json`, and why.
FOR_PEOPLE = {
    "start": "a server runs until it is stopped; programs ask it by `status`, `env` and `logs`",
    "dev": "the same",
    "demo": "shows people that everything works; its exit status says whether it does",
    "completion": "prints a script for a shell",
}


def commands(group: click.Group, before: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, (*before, name))
        if not isinstance(command, click.Group) or command.invoke_without_command:
            yield " ".join((*before, name)), command


COMMANDS = dict(commands(cli))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_that_prints_has_it(name: str) -> None:
    has = any("--json" in parameter.opts for parameter in COMMANDS[name].params)
    assert has != (name in FOR_PEOPLE)


def test_the_list_of_exceptions_names_commands_that_exist() -> None:
    assert COMMANDS.keys() >= FOR_PEOPLE.keys()


SOURCES = [name for name in COMMANDS if name.startswith("events ")]


@pytest.mark.parametrize("arguments", [*SOURCES, "runtimes", "runtimes --missing", "events mns --stream"])
def test_what_needs_no_server_prints_one_document(arguments: str) -> None:
    json.loads(command_line.sesame(*arguments.split(), "--json").stdout)


def test_a_payload_is_its_value_its_text_or_base64() -> None:
    assert json_value(b'{"a": 1}') == {"a": 1}
    assert json_value("grüße".encode()) == "grüße"
    assert json_value(b"\xff\x00") == {"base64": base64.b64encode(b"\xff\x00").decode()}


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ("list --json --data-dir {}", 1, "no Sesame runs on the data directory {}"),
        ("alias set shop --json", 2, "Missing argument 'NAME'"),
        ("alias set shop prod 1 --wait --json", 2, "No such option"),
        ("runtimes install python9 --json", 1, "there is no runtime 'python9'"),
        ("runtimes --json get", 2, "before 'get'"),
        ("runtimes install \udcff --json", 1, "there is no runtime '\\udcff'"),
    ],
)
def test_what_goes_wrong_is_a_document_on_stderr(arguments: str, code: int, said: str, tmp_path: Path) -> None:
    done = command_line.sesame(*(each.format(tmp_path) for each in arguments.split()), expect=code)
    assert done.stdout == ""
    assert said.format(tmp_path) in json.loads(done.stderr.splitlines()[-1])["error"]["message"]


def test_doctor_tells_what_is_wrong_in_its_document(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = command_line.sesame("doctor", "--json", "--data-dir", tmp_path / "file", "--sandbox", "plain", expect=1)
    found = json.loads(done.stdout)["findings"]
    assert {each["state"] for each in found} <= {"ok", "note", "wrong"}
    assert any(str(tmp_path / "file") in each["what"] for each in found if each["state"] == "wrong")


def test_a_local_call_is_a_document_whether_the_function_fails_or_not(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(
        "def handler(event, context):\n    print('said')\n    return {'n': 1 / int(event)}\n"
    )
    call = ("invoke", "main.handler", "--code", tmp_path, "--runtime", "python3.12", "--sandbox", "plain", "--json")
    well = json.loads(command_line.sesame(*call, "-e", "2").stdout)
    assert (well["result"], well["errorType"]) == ({"n": 0.5}, "")
    assert "said" in well["log"]
    failed = json.loads(command_line.sesame(*call, "-e", "0", expect=1).stdout)
    assert failed["result"]["errorType"] == "ZeroDivisionError"
    assert failed["errorType"] == "UnhandledInvocationError"
