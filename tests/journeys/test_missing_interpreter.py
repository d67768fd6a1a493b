"""What callers hear of a function whose runtime has no interpreter on the server's machine."""

from pathlib import Path
from typing import Any

import pytest
from tests.journeys.conftest import AGENTS, failure, running

from sesame.sandbox.runtimes.interpreters import discover

FOLDER = str(Path(__file__).parents[1] / "functions" / "hello")


def test_the_caller_is_told_which_interpreter_is_missing_and_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = tmp_path / "bin"
    one.mkdir()
    (one / "python3.9").symlink_to(discover()["python3.9"].path)
    for name, value in (("PATH", one), ("HOME", tmp_path), ("PYENV_ROOT", tmp_path), ("SESAME_RUNTIMES_DIR", tmp_path)):
        monkeypatch.setenv(name, str(value))
    if "python2.7" in discover(own=tmp_path):
        pytest.skip("this machine has a python2.7 in its usual folders")
    with running(tmp_path) as sesame:
        client: Any = sesame.client()
        client.create_service("s")
        for runtime in ("python2.7", "python3.9"):
            client.create_function("s", f"on-{runtime[-1]}", runtime=runtime, handler="index.handler", codeDir=FOLDER)
        for _ in range(2):
            refused = failure(client.invoke_function, "s", "on-7", b"")
            assert (refused["status"], refused["code"]) == (412, "FunctionNotStarted")
            assert (
                "its interpreter was not found. Get it with `sesame runtimes get python2.7`" in refused["ErrorMessage"]
            )
        assert client.invoke_function("s", "on-9", b"").data == b"hello world"
        assert "Traceback" not in sesame.said()
        # Each agent says it once.
    assert 1 <= sesame.said().count("start failed") <= int(AGENTS)
