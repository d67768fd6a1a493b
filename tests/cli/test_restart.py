"""`sesame restart`, of processes that pose as a running Sesame."""

import subprocess
import sys
import time
from pathlib import Path

from click.testing import CliRunner

from sesame.cli.restart import restart
from sesame.data_dir import Credentials, DataDir, Endpoints
from sesame.model.errors import ConfigurationError

WAITS_FOR_THE_SIGNAL = "import time; print('up', flush=True); time.sleep(600)"


def test_one_that_ends_instead_is_told_also_where_its_parent_does_not_care(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WAITS_FOR_THE_SIGNAL]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        endpoints = Endpoints(
            account_id="1", region="r", fc="http://127.0.0.1:1", sandbox="plain", pid=process.pid,
            started_at=time.time(), restarts=True,
        )  # fmt: skip
        # The signal ends it, and it stays a zombie until this process asks for its end.
        DataDir(tmp_path).announce(endpoints, Credentials("1", "id", "secret"))
        try:
            done = CliRunner().invoke(restart, ["--data-dir", str(tmp_path)])
        finally:
            process.kill()
    assert isinstance(done.exception, ConfigurationError), done.output
    assert "has ended instead of starting again" in str(done.exception)
