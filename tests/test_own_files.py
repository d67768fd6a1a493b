"""A process notices that another Sesame was installed in the place of its own files, and says what to do."""

import os
from pathlib import Path
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from sesame.own_files import STEP, OwnFiles
from sesame.store.logs.logstores import query_processes
from sesame.store.logs.logstores.query_processes import QueryProcess, QueryProcessEnded
from sesame.store.logs.logstores.query_protocol import Place


@pytest.fixture
def package(tmp_path: Path) -> Path:
    (tmp_path / "__init__.py").write_text('__version__ = "1"')
    return tmp_path


def install(package: Path, text: str) -> None:
    """As installers do: a new file in the place of the old one."""
    (package / "new").write_text(text)
    (package / "new").rename(package / "__init__.py")


def warned(own: OwnFiles, helper: str = "a helper") -> list[str]:
    with capture_logs() as said:
        own.warn(helper)
    return [each["helper"] for each in said if STEP in each["event"]]


def test_once_for_each_kind_of_helper(package: Path) -> None:
    own = OwnFiles(package)
    # As by an installer that links the same file into another environment.
    os.link(package / "__init__.py", package / "elsewhere")
    assert (warned(own), own.hint) == ([], "")
    install(package, '__version__ = "2"')
    assert [warned(own), warned(own), warned(own, "another")] == [["a helper"], [], ["another"]]
    assert STEP in own.hint


def test_files_that_are_gone_or_new_are_noticed(package: Path) -> None:
    own = OwnFiles(package)
    (package / "commit.txt").write_text("0123")
    assert warned(own) == ["a helper"]
    without = OwnFiles(package)
    (package / "__init__.py").unlink()
    assert warned(without) == ["a helper"]


def test_a_helper_that_fails_then_says_what_to_do(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = OwnFiles(package)
    monkeypatch.setattr(query_processes, "OWN_FILES", own)
    for changed in (False, True):
        if changed:
            install(package, "")
        process = QueryProcess(["/bin/false"])
        with pytest.raises(QueryProcessEnded) as ended:
            process.ask(Place("", ""), cast(Any, None))
        assert (STEP in str(ended.value)) is changed
        process.close()
