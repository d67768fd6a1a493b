"""Which Node.js `sesame layers get NodejsN` makes a layer of: the one that functions would run on."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from sesame.build import program_layer, programs
from sesame.cli import layers_of_cloud
from sesame.model.errors import ConfigurationError
from sesame.sandbox.runtimes import nodes
from sesame.settings import Settings

Laid = Callable[..., list[Path]]


@pytest.fixture
def laid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Laid:
    """The programs of which a layer is made, by a command with these interpreters and programs on PATH."""
    made: list[Path] = []

    def lay_out(entries: list[tuple[str, Path]], folder: Path) -> None:
        made.extend(program for _name, program in entries)
        (folder / "bin").mkdir()

    def laid(*on_path: str, **interpreters: Path) -> list[Path]:
        path, folder = tmp_path / "path", tmp_path / "layer"
        path.mkdir()
        folder.mkdir()
        for name in on_path:
            (path / name).touch(0o755)
        monkeypatch.setenv("PATH", str(path))
        monkeypatch.setattr(program_layer, "lay_out", lay_out)
        monkeypatch.setattr(programs, "read", lambda program: program)
        monkeypatch.setattr(nodes, "version_of", lambda _program: "20.0.0")
        session = SimpleNamespace(settings=Settings(interpreters=interpreters))
        assert layers_of_cloud.lay_out_node(cast(Any, session), "20", folder) == "Node.js 20.0.0 of this machine"
        assert (folder / "nodejs20" / "bin").is_dir()
        return made

    return laid


@pytest.mark.parametrize(
    ("on_path", "found"),
    [(("node20", "node"), "node20"), (("node", "nodejs", "node18"), "node"), (("nodejs",), "nodejs")],
)
def test_it_is_looked_for_as_runtimes_look_for_theirs(laid: Laid, on_path: tuple[str, ...], found: str) -> None:
    assert [program.name for program in laid(*on_path)] == [found]


def test_one_that_is_named_comes_first(laid: Laid, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.touch(0o755)
    assert laid("node20", nodejs20=own, nodejs18=Path("/nowhere")) == [own]


def test_one_that_is_named_and_is_no_program_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.touch(0o644)
    for named in (text, tmp_path / "nowhere"):
        session = SimpleNamespace(settings=Settings(interpreters={"nodejs20": named}))
        with pytest.raises(ConfigurationError, match=f"nodejs20 is set to {named}, which is no program"):
            layers_of_cloud.lay_out_node(cast(Any, session), "20", tmp_path)


def test_where_there_is_none_the_next_step_is_said(laid: Laid) -> None:
    with pytest.raises(ConfigurationError, match=r"there is no Node\.js on this machine: install Node\.js"):
        laid()
