"""Packages are compiled in the background, and a function cannot tell (docs/runtimes.md)."""

import json

import fc2
from tests.journeys.conftest import Deploy, Sesame, wait_until


def test_a_function_cannot_tell_whether_it_is_compiled(
    deploy: Deploy, client: fc2.Client, service: str, sesame: Sesame, runtime: str
) -> None:
    call = deploy("compiled", handler="index.handler", memorySize=256)
    before = json.loads(call().data)
    packages = sesame.data_dir / "packages"
    [code] = {path.parent for path in packages.glob("*/code/broken_late.py")}
    wait_until((code.parent / "compiled" / runtime).is_file, "the package is compiled", 60.0)
    client.update_function(service, "compiled", memorySize=320)
    after = json.loads(call().data)
    assert before.pop("loader") == after.pop("loader")
    assert after == before
    assert after["files"] == ["index.py", "parts/__init__.py", "parts/inner.py"]
    assert not [name for name in after["listing"] if name.endswith(".pyc") or name == "__pycache__"]
    assert not [path for path in code.rglob("*") if "pyc" in path.name]


def test_a_source_without_its_coding_line(deploy: Deploy, runtime: str) -> None:
    """What only the interpreter knows how to say, with the compiled package there or not."""
    call = deploy("compiled", handler="index.late")
    if runtime != "python2.7":
        assert call(b"no_coding").data == b"null"
        return
    for _ in range(2):
        try:
            call(b"no_coding")
        except fc2.FcError as error:
            body = json.loads(error.message)
            assert body["errorType"] == "SyntaxError"
            assert body["errorMessage"].startswith("Non-ASCII character '\\xe4' in file /code/no_coding.py on line 1")
        else:
            raise AssertionError("a source without a coding line was imported")
