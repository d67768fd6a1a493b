"""`sesame start` of an ordinary user asks systemd for cgroups of its own, once, and goes on where there are none."""

import os
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from sesame.cli import delegated


class Became(Exception):
    """In place of the program that the process would have become."""


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's own manager, an ordinary user, and no cgroups yet. Its exit status is in the file that is returned."""
    status = tmp_path / "status"
    status.write_text("0")
    runner = tmp_path / "systemd-run"
    runner.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/tried\nexit $(cat {status})\n')
    runner.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv(delegated.MARK, raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr("sesame.sandbox.jail.sweep.hierarchies", NoCgroups)

    def become(program: str, command: list[str], environment: dict[str, str]) -> NoReturn:
        raise Became(program, command, environment[delegated.MARK])

    monkeypatch.setattr(os, "execve", become)
    return status


class NoCgroups:
    bases: dict[str, Path] = {}  # noqa: RUF012


def test_the_command_starts_again_in_a_scope_of_its_own(systemd: Path) -> None:
    with pytest.raises(Became) as became:
        delegated.enter_scope("auto")
    program, command, mark = became.value.args
    assert program == str(systemd.parent / "systemd-run")
    assert command[1:] == [
        "--user", "--scope", "--quiet", "--collect", "--property=Delegate=yes", sys.executable, *sys.orig_argv[1:],
    ]  # fmt: skip
    assert mark == "1"


def test_where_systemd_gives_none_it_goes_on_without(systemd: Path) -> None:
    systemd.write_text("1")
    delegated.enter_scope("auto")
    assert (systemd.parent / "tried").read_text().endswith("Delegate=yes true\n")


@pytest.mark.parametrize(
    "why", ["root", "again", "plain", "no manager", "cgroups already", "a part of another program"]
)
def test_it_is_not_asked_for_where_it_is_not_needed(systemd: Path, monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    if why == "root":
        monkeypatch.setattr(os, "geteuid", lambda: 0)
    elif why == "again":
        monkeypatch.setenv(delegated.MARK, "1")
    elif why == "no manager":
        monkeypatch.delenv("XDG_RUNTIME_DIR")
    elif why == "a part of another program":
        monkeypatch.setattr(sys, "argv", ["sesame", "start", "--port", "0"])
    elif why == "cgroups already":
        monkeypatch.setattr(NoCgroups, "bases", {"memory": systemd.parent})
    delegated.enter_scope("plain" if why == "plain" else "auto")
    assert not (systemd.parent / "tried").exists()
