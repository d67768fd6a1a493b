"""What a function's environment and setup look like where /code and /opt are somewhere else."""

from pathlib import Path

import pytest

from sesame.sandbox.addresses import environment, setup
from sesame.sandbox.interface import SandboxSpec

PYTHON = Path("/python/bin/python3.9")
TEMPORARY = Path("/scratch/tmp")


def spec(*layers: str, runtime: str = "python3.9", notice: str = "", **variables: str) -> SandboxSpec:
    return SandboxSpec(
        instance_id="c-1",
        runtime=runtime,
        code_dir=Path("/data/package"),
        layer_dirs=tuple(map(Path, layers)),
        environment=variables,
        memory_mb=128,
        disk_mb=512,
        setup={"region": "r", "notice": notice},
    )


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("/code", "/data/package"),
        ("/code/", "/data/package/"),
        ("/code/:/code//lib:/usr/lib", "/data/package/:/data/package//lib:/usr/lib"),
        ("/codex:/usr/code", "/codex:/usr/code"),
        ("/opt/lib:/lib", "/first/lib:/second/lib:/lib"),
        ("/optional", "/optional"),
        ("", ""),
    ],
)
def test_search_paths_are_translated(given: str, expected: str) -> None:
    for name in ("LD_LIBRARY_PATH", "NODE_PATH"):
        variables = environment(spec("/first", "/second", **{name: given}), PYTHON, TEMPORARY)
        assert variables[name] == expected


def test_without_layers_their_paths_vanish() -> None:
    assert environment(spec(LD_LIBRARY_PATH="/opt/lib:/lib"), PYTHON, TEMPORARY)["LD_LIBRARY_PATH"] == "/lib"


def test_the_users_variables_arrive_as_they_were_set() -> None:
    assert environment(spec(CONFIG="/code/a:/opt/b"), PYTHON, TEMPORARY)["CONFIG"] == "/code/a:/opt/b"


def test_what_the_driver_adds() -> None:
    made = environment(spec(), PYTHON, TEMPORARY)
    assert made == {
        "PATH": "/python/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "TMPDIR": "/scratch/tmp",
        "FC_INSTANCE_ID": "c-1",
        "PYTHONIOENCODING": "utf-8:surrogateescape",
    }


def test_pythonpath_is_the_setups_so_that_the_shim_is_imported_first() -> None:
    given = spec("/first", PYTHONPATH="/code/vendor:/opt/more:/else")
    assert "PYTHONPATH" not in environment(given, PYTHON, TEMPORARY)
    assert setup(given, notice="")["sys_path"] == [
        "/data/package",
        "/first/python/lib/python3.9/site-packages",
        "/first/python",
        "/data/package/vendor",
        "/first/more",
        "/else",
    ]


def test_the_setup_keeps_what_the_engine_said() -> None:
    made = setup(spec(runtime="python3"), notice="stands in")
    assert made["region"] == "r"
    assert (made["code_dir"], made["code_root"], made["runtime"]) == ("/data/package", "/code", "python3")
    assert made["notice"] == "stands in"
    assert setup(spec(notice="the engine's"), notice="stands in")["notice"] == "the engine's"
