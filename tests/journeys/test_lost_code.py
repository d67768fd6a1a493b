"""Code that disappears from the data directory: what can be mended mends itself, the rest is that function's alone."""

import shutil
from pathlib import Path

import pytest
from fc2.fc_exceptions import FcError
from tests.journeys.conftest import FUNCTIONS, Sesame

RUNTIME = "python3"
HELLO, ECHO = (str(FUNCTIONS / name) for name in ("journey_hello", "journey_echo"))


def packages(sesame: Sesame) -> set[Path]:
    return {path for path in (sesame.data_dir / "packages").iterdir() if len(path.name) == 64}


def test_code_that_is_gone(own_sesame: Sesame) -> None:
    client = own_sesame.client()
    client.create_service("s")
    client.create_function("s", "hello", RUNTIME, "index.my_handler", codeDir=HELLO)
    (hello,) = packages(own_sesame)
    client.create_function("s", "echo", RUNTIME, "index.my_handler", codeDir=ECHO)
    assert client.invoke_function("s", "hello").data == b"hello world"

    shutil.rmtree(hello / "code")
    client.update_function("s", "hello", timeout=5)
    assert client.invoke_function("s", "hello").data == b"hello world"

    shutil.rmtree(hello)
    client.update_function("s", "hello", timeout=6)
    for _ in range(2):
        with pytest.raises(FcError) as refused:
            client.invoke_function("s", "hello")
        assert refused.value.status_code == 412
        assert f"The code package {hello.name} is gone" in str(refused.value)
        assert "deploy the function or layer again" in str(refused.value)
    own_sesame.stop()
    own_sesame.start()
    client = own_sesame.client()
    with pytest.raises(FcError, match="deploy the function or layer again"):
        client.invoke_function("s", "hello")
    assert client.invoke_function("s", "echo", payload=b"others work").data == b"others work"
    client.update_function("s", "hello", codeDir=HELLO)
    assert client.invoke_function("s", "hello").data == b"hello world"
