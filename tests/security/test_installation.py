"""An interpreter that stands in a home shows functions nothing of the home but itself."""

import contextlib
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.runtime.conftest import Stage
from tests.support.interpreters import INTERPRETERS
from tests.support.jails import jail_only

from sesame.sandbox.interface import SandboxStartFailed, StartFailure
from sesame.sandbox.jail import plan
from sesame.sandbox.jail.driver import JailDriver, JailOptions
from sesame.sandbox.jail.installation import NotSeparable, files_of
from sesame.sandbox.launch import Launch

RUNTIME = "python3.12"
SECRET = "a private key"


@pytest.fixture
def home() -> Iterator[Path]:
    """With an interpreter at bin/python3.12, a key, and the data of a Sesame; not below /tmp, which instances have."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as made:
        # Others may pass, as ordinary users run these tests too.
        Path(made).chmod(0o755)
        yield furnished(Path(made))


def furnished(home: Path) -> Path:
    for folder in (".ssh", "bin", "lib/python3.12/encodings", "lib/python3.11", ".local/share/sesame"):
        (home / folder).mkdir(parents=True)
    (home / ".ssh" / "key").write_text(SECRET)
    (home / ".local" / "share" / "sesame" / "catalog.db").write_text(SECRET)
    for file in ("bin/python3.12", "lib/python3.12/os.py", "lib/python3.11/os.py", "lib/libpython3.12.so.1.0"):
        (home / file).touch()
    (home / "lib" / "mine.so").touch()
    return home


def test_of_a_home_the_interpreter_alone_is_shown(home: Path) -> None:
    found = {str(path.relative_to(home)) for path in files_of(home / "bin" / "python3.12")}
    assert found == {"bin/python3.12", "lib/python3.12", "lib/libpython3.12.so.1.0"}


def test_of_the_users_local_folder_too(home: Path) -> None:
    local = home / ".local"
    (home / "bin").rename(local / "bin")
    (home / "lib").rename(local / "lib")
    found = {str(path.relative_to(local)) for path in files_of(local / "bin" / "python3.12")}
    assert found == {"bin/python3.12", "lib/python3.12", "lib/libpython3.12.so.1.0"}


@pytest.mark.parametrize("beside", [".env", "share/sesame", "envs", "sesame-data"])
def test_whatever_is_not_known_is_somebodys_own(tmp_path: Path, beside: str) -> None:
    (tmp_path / "lib" / "python3.12").mkdir(parents=True)
    (tmp_path / "lib" / "python3.12" / "os.py").touch()
    interpreter = tmp_path / "bin" / "python3.12"
    assert files_of(interpreter) == [tmp_path]
    (tmp_path / beside).mkdir(parents=True)
    assert tmp_path not in files_of(interpreter)


def test_an_installation_of_its_own_is_shown_as_a_whole(tmp_path: Path) -> None:
    for folder in ("bin", "include", "lib/python3.12", "share/man", "share/doc"):
        (tmp_path / folder).mkdir(parents=True)
    assert files_of(tmp_path / "bin" / "python3.12") == [tmp_path]


def test_the_environments_beside_a_base_of_conda_are_not_shown(tmp_path: Path) -> None:
    for folder in ("bin", "conda-meta", "lib", "envs/mine", "pkgs"):
        (tmp_path / folder).mkdir(parents=True)
    assert files_of(tmp_path / "bin" / "python3.12") == [tmp_path / "bin", tmp_path / "lib"]


@pytest.mark.parametrize("interpreter", ["/usr/bin/python3.12", "/usr/local/bin/python3.12", "/bin/python3.12"])
def test_the_root_is_never_shown(interpreter: str) -> None:
    with contextlib.suppress(NotSeparable):
        assert not {Path("/"), Path("/usr"), Path("/usr/local")} & set(files_of(Path(interpreter)))


@asynccontextmanager
async def stage_on(interpreter: Path, state: Path) -> AsyncIterator[Stage]:
    driver = JailDriver(lambda _runtime: Launch(interpreter), state, JailOptions(ready_resources=1, ready_prewarmed=0))
    await driver.open()
    try:
        yield Stage(driver, RUNTIME)
    finally:
        await driver.close()


def linked_libraries() -> list[Path]:
    """What the program links by the path at which it was installed: the copy in the home does so too."""
    return sorted((INTERPRETERS[RUNTIME].path.resolve().parent.parent / "lib").glob("libpython*.so.*"))


async def sees_the_key(home: Path, state: Path) -> bool:
    """Asks a function that runs on the home's interpreter."""
    async with stage_on(home / "bin" / "python3.12", state) as stage:
        attacker = await stage.start("attacks", "index.host_path")
        seen: bool = await attacker.json(json.dumps({"path": str(home / ".ssh" / "key")}).encode())
        return seen


@pytest.fixture
def home_with_an_interpreter(home: Path) -> Path:
    """One that runs: the real program, whose libraries are links to the real ones."""
    if RUNTIME not in INTERPRETERS:
        pytest.skip(f"no interpreter found for {RUNTIME}")
    real = INTERPRETERS[RUNTIME].path.resolve()
    shutil.rmtree(home / "lib")
    (home / "lib").mkdir()
    shutil.copy(real, home / "bin" / "python3.12")
    (home / "lib" / RUNTIME).symlink_to(real.parent.parent / "lib" / RUNTIME)
    return home


@jail_only
@pytest.mark.asyncio
async def test_a_function_on_it_does_not_see_the_home(
    home_with_an_interpreter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "files_of", lambda interpreter: [*files_of(interpreter), *linked_libraries()])
    assert not await sees_the_key(home_with_an_interpreter, tmp_path / "state")


@jail_only
@pytest.mark.asyncio
async def test_if_the_prefix_were_shown_it_would(
    home_with_an_interpreter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = INTERPRETERS[RUNTIME].path.resolve().parent.parent
    monkeypatch.setattr(plan, "files_of", lambda interpreter: [interpreter.parent.parent, real])
    assert await sees_the_key(home_with_an_interpreter, tmp_path / "state")


@jail_only
@pytest.mark.asyncio
async def test_what_cannot_be_separated_is_refused(home: Path, tmp_path: Path) -> None:
    shutil.rmtree(home / "lib")
    shutil.copy("/bin/sh", home / "bin" / "python3.12")
    async with stage_on(home / "bin" / "python3.12", tmp_path / "state") as stage:
        for _ in range(2):
            with pytest.raises(SandboxStartFailed, match=r"has no standard library at .*sesame runtimes get") as failed:
                await stage.start("attacks", "index.host_path")
            assert failed.value.kind is StartFailure.REFUSED
