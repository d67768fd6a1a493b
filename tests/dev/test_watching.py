"""Which files matter to a project, and that their changes are told once they have settled.

Run by pytest. The watcher gets real files: the kernel tells of their changes.
"""

import asyncio
from pathlib import Path

import pytest

from sesame.deploy.project import Code
from sesame.dev.watching import Watcher, matters

PATIENCE_S = 60.0


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("template.yml", True),
        ("code/main.py", True),
        ("code/data/table.bin", True),
        ("code/.fcignore", True),
        ("code/notes.md", False),
        ("code/tests/test_main.py", False),
        ("code/tests/keep.py", True),
        ("code/__pycache__/main.cpython-312.pyc", False),
        ("code/.main.py.swp", False),
        ("code/main.py~", False),
        (".git/index", False),
        ("code/.vscode/launch.json", False),
        (".vscode/launch.json", False),
        ("other/variables.json", True),
        ("sesame-data/logs.db", False),
    ],
)
def test_what_matters(tmp_path: Path, name: str, counts: bool) -> None:
    code = tmp_path / "code"
    code.mkdir()
    (code / ".fcignore").write_text("*.md\n/tests/*\n!/tests/keep.py\n")
    decide = matters(tmp_path, [Code(path=code, ignore_file=code / ".fcignore")])
    assert decide(tmp_path / name) == counts


def test_a_template_matters_where_its_code_ignores_it(tmp_path: Path) -> None:
    code = Code(path=tmp_path, patterns=("/serverless.*",))
    template = tmp_path / "serverless.yml"
    assert matters(tmp_path, [code], template)(template)
    assert not matters(tmp_path, [code], tmp_path / "s.yaml")(template)


async def test_changes_are_told_wherever_they_come_from_and_none_is_lost(tmp_path: Path) -> None:
    code = tmp_path / "code"
    code.mkdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    async with Watcher(matters(code, [])) as watcher:
        assert await watcher.watch({code})
        assert not await watcher.watch({code})
        (code / "main.py").write_text("1")
        async with asyncio.timeout(PATIENCE_S):
            assert await watcher.changed() == [code / "main.py"]
            # As editors save: a new file is renamed over the old one.
            (elsewhere / "new").write_text("2")
            (elsewhere / "new").rename(code / "main.py")
            assert await watcher.changed() == [code / "main.py"]
            (code / "main.py").unlink()
            assert await watcher.changed() == [code / "main.py"]
            assert await watcher.watch({code, elsewhere})
            (elsewhere / "b.py").write_text("3")
            assert await watcher.changed() == [elsewhere / "b.py"]
