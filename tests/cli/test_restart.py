"""`sesame restart` and `sesame upgrade`, of processes that pose as a running Sesame."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from sesame._installed import ENVIRONMENT
from sesame.cli import restart as module
from sesame.cli.restart import restart, upgrade
from sesame.data_dir import ENDPOINTS_FILE, Credentials, DataDir, Endpoints
from sesame.model.errors import ConfigurationError

# One that ends by the signal, and one that answers nowhere any more. `sigwait` takes also a signal that came before it;
# a handler runs too late if its signal comes just before a `sleep`.
ENDS = "signal.pause()"
AWAY = """
signal.sigwait({signal.SIGUSR2})
os.unlink(sys.argv[1])
signal.pause()
"""


@contextlib.contextmanager
def posing(data_dir: Path, program: str, *, restarts: bool = True, environment: str = "") -> Iterator[DataDir]:
    blocked = "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})\n" if program == AWAY else ""
    program = f"import os, signal, sys\n{blocked}print('up', flush=True)\n{program}"
    command = [sys.executable, "-c", program, str(data_dir / ENDPOINTS_FILE)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"up\n"
            endpoints = Endpoints(
                account_id="1", region="r", fc="http://127.0.0.1:1", sandbox="plain", pid=process.pid,
                started_at=time.time(), restarts=restarts, version="0.1.9", environment=environment,
            )  # fmt: skip
            DataDir(data_dir).announce(endpoints, Credentials("1", "id", "secret"))
            yield DataDir(data_dir)
        finally:
            process.kill()


def refusal(command: click.Command, data_dir: Path) -> str:
    done = CliRunner().invoke(command, ["--data-dir", str(data_dir)])
    assert isinstance(done.exception, ConfigurationError), done.output
    return str(done.exception)


@pytest.mark.parametrize("command", [restart, upgrade])
def test_one_that_ends_instead_is_told_also_where_its_parent_does_not_care(
    command: click.Command, tmp_path: Path
) -> None:
    # It stays a zombie until this process asks for its end.
    with posing(tmp_path, ENDS):
        assert "has ended instead of starting again" in refusal(command, tmp_path)


def test_one_that_ends_before_it_is_asked_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kill = os.kill

    def gone(pid: int, _number: int) -> None:
        kill(pid, signal.SIGKILL)
        raise ProcessLookupError

    with posing(tmp_path, ENDS), monkeypatch.context() as late:
        late.setattr(os, "kill", gone)
        assert "has ended instead of starting again" in refusal(upgrade, tmp_path)


def test_one_that_is_not_ready_again_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AWAY_MAX_S", 0.3)
    with posing(tmp_path, AWAY):
        assert "has not been ready again for 0.3 s, and goes on trying" in refusal(upgrade, tmp_path)


def test_another_installation_is_not_taken_for_an_upgrade(tmp_path: Path) -> None:
    with posing(tmp_path, ENDS, environment="/opt/sesame") as data_dir:
        said = refusal(upgrade, tmp_path)
        assert f"(0.1.9) runs from /opt/sesame, and this command is of {ENVIRONMENT}" in said
        assert "/opt/sesame/bin/sesame upgrade" in said
        assert data_dir.running() is not None


def test_one_that_does_not_start_again_is_left_alone(tmp_path: Path) -> None:
    with posing(tmp_path, ENDS, restarts=False) as data_dir:
        assert "stop it, and start it again" in refusal(upgrade, tmp_path)
        assert data_dir.running() is not None
