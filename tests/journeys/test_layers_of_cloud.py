"""`sesame layers get` makes what functions name of the cloud's public list."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.build.test_build import make_wheel
from tests.journeys.conftest import Sesame, run, running
from tests.support.conda_channel import cut_files

from sesame.sandbox.runtimes import interpreters, places

ARN = "acs:fc:cn-hangzhou:official:layers/{}/versions/{}"
TEMPLATE = """\
edition: 3.0.0
name: app
resources:
  f:
    component: fc3
    props:
      region: cn-shanghai
      functionName: {name}
      runtime: python3.10
      handler: index.handler
      code: ./code
      layers: ['{arn}']
"""
CODE = """\
import os
import subprocess


def handler(event, context):
    if event == b"program":
        return subprocess.check_output(["/opt/nodejs16/bin/node", "-h"])
    if event == b"python":
        code = "import hashlib, json, ssl, sys; print(sys.executable, sys.version_info[:2])"
        return subprocess.check_output(["/opt/python3.8/bin/python3", "-c", code])
    import made_up

    return made_up.NAME
"""


@pytest.fixture(scope="module")
def sesame(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sesame]:
    with running(tmp_path_factory.mktemp("layers"), runtime="python3.10") as server:
        yield server


def project(folder: Path, name: str, arn: str) -> Path:
    (folder / "code").mkdir()
    (folder / "code/index.py").write_text(CODE)
    (folder / "s.yaml").write_text(TEMPLATE.format(name=name, arn=arn))
    return folder


def test_packages_become_the_version_that_a_function_names(
    sesame: Sesame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arn = ARN.format("Python310-PyTorch2x", 3)
    folder = project(tmp_path, "packed", arn)
    refused = run(sesame, "deploy", folder, expect=1).stderr
    assert f"`sesame layers get {arn}`" in refused.replace("\n", " ")
    unknown = run(sesame, "layers", "get", arn, expect=1).stderr
    assert "sesame layers get Python310-PyTorch2x PACKAGE…" in unknown

    (tmp_path / "index").mkdir()
    make_wheel(tmp_path / "index", "made_up")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    made = json.loads(run(sesame, "layers", "get", arn, "made-up", "--json").stdout)
    assert (made["layerName"], made["version"]) == ("Python310-PyTorch2x", 3)
    assert made["description"] == "made-up for python3.10"
    assert "version 3  already exists" in run(sesame, "layers", "get", arn).stdout
    run(sesame, "deploy", folder)
    assert run(sesame, "invoke", "packed").stdout.strip() == "made_up"

    run(sesame, "layers", "delete", "Python310-PyTorch2x", "--all")
    again = run(sesame, "layers", "get", arn, "made-up", expect=1).stderr.replace("\n", " ")
    assert "no number is given twice: it is version 4 now" in again


def test_the_node_of_this_machine_lies_where_the_clouds_layer_has_it(sesame: Sesame, tmp_path: Path) -> None:
    folder = project(tmp_path, "noded", ARN.format("Nodejs16", 1))
    # A small program in its place: what is tried is where it lies, and that it runs there.
    said = run(sesame, "layers", "get", "Nodejs16", "--interpreters", "nodejs16=/usr/bin/zip")
    assert "Nodejs16  version 1" in said.stdout
    run(sesame, "deploy", folder)
    assert "Info-ZIP" in run(sesame, "invoke", "noded", "-e", "program").stdout


def test_the_cpython_of_this_machine_lies_where_the_clouds_layer_has_it(
    sesame: Sesame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = interpreters.find((3, 8), os.environ, places.own_interpreters(places.default_root()))
    if found is None:
        pytest.skip("needs a CPython 3.8, which no runtime has")
    # Without what is not tried, which takes seconds to pack.
    for name, (data, mode) in cut_files(found.path, found.version).items():
        path = tmp_path / "pyenv/versions" / found.version / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(mode)
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    folder = project(tmp_path, "cpython", ARN.format("Python38", 1))
    assert "CPython 3.8." in run(sesame, "layers", "get", ARN.format("Python38", 1)).stdout
    run(sesame, "deploy", folder)
    assert run(sesame, "invoke", "cpython", "-e", "python").stdout.strip() == "/opt/python3.8/bin/python3 (3, 8)"


def test_a_cpython_that_is_not_there_is_told_with_the_next_step(sesame: Sesame) -> None:
    said = run(sesame, "layers", "get", "Python399", expect=1).stderr.replace("\n", " ")
    assert "there is no CPython 3.99 on this machine: `pyenv install 3.99` brings it" in said


@pytest.mark.parametrize("layer", ["Java8", "Unheard-Of"])
def test_what_is_not_known_is_told_with_the_next_step(sesame: Sesame, layer: str) -> None:
    said = run(sesame, "layers", "get", layer, expect=1).stderr
    assert f"`sesame layers publish {layer} FOLDER`" in said.replace("\n", " ")


def test_a_name_that_is_none(sesame: Sesame) -> None:
    assert "is neither the ARN of a layer nor a layer's name" in run(sesame, "layers", "get", "a b", expect=1).stderr
    far = run(sesame, "layers", "get", ARN.format("Nodejs20", 101), expect=1).stderr
    assert "versions up to 100 are made" in far
