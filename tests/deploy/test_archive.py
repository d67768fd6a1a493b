"""The zip of a function's code: the same bytes for the same files, without what is ignored."""

import io
import os
import zipfile
from pathlib import Path

import pytest

from sesame.deploy.archive import packed
from sesame.deploy.project import Code, left_out
from sesame.model.errors import ConfigurationError


def names(data: bytes) -> list[str]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return archive.namelist()


def tree(root: Path, *files: str) -> Path:
    for name in files:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return root


def test_the_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    one = packed(Code(path=tree(tmp_path / "a", "index.py", "lib/x.py")))
    os.utime(tmp_path / "a" / "index.py", (1, 1))
    assert packed(Code(path=tmp_path / "a")) == one
    assert packed(Code(path=tree(tmp_path / "b", "lib/x.py", "index.py"))) == one


def test_ignored_files_stay_out_and_exceptions_come_in(tmp_path: Path) -> None:
    root = tree(tmp_path / "code", "index.py", "a.log", "keep.log", "data/x.bin", ".git/config", "m/__pycache__/x.pyc")
    (root / ".fcignore").write_text("*.log\n!keep.log\ndata/\n")
    assert names(packed(Code(path=root, ignore_file=root / ".fcignore"))) == ["index.py", "keep.log"]


def test_what_was_built_for_a_template_inside_the_code_stays_out(tmp_path: Path) -> None:
    root = tree(tmp_path / "code", "index.py", "infra/s.yaml", "infra/.s/build/artifacts/f/x.py", "a/.fun/build/x.py")
    (root / ".fcignore").write_text("!*.py\n")
    assert names(packed(Code(path=root, ignore_file=root / ".fcignore"))) == ["index.py", "infra/s.yaml"]


def test_packages_of_node_belong_to_all_code_but_python_s(tmp_path: Path) -> None:
    root = tree(tmp_path / "code", "index.js", "node_modules/co/index.js", "a/node_modules/x.js")
    everything = ["a/node_modules/x.js", "index.js", "node_modules/co/index.js"]
    for runtime in ("nodejs14", "custom.debian10", ""):
        assert names(packed(Code(path=root, left_out=left_out(runtime)))) == everything
    assert names(packed(Code(path=root, left_out=left_out("python3.9")))) == ["index.js"]


def test_a_bootstrap_may_be_executed_wherever_it_was_written(tmp_path: Path) -> None:
    root = tree(tmp_path / "code", "bootstrap", "lib/bootstrap", "index.py")
    with zipfile.ZipFile(io.BytesIO(packed(Code(path=root)))) as archive:
        modes = {entry.filename: entry.external_attr >> 16 & 0o777 for entry in archive.infolist()}
    assert modes == {"bootstrap": 0o755, "lib/bootstrap": 0o644, "index.py": 0o644}


def test_the_executable_bit_is_kept(tmp_path: Path) -> None:
    root = tree(tmp_path / "code", "bootstrap")
    (root / "bootstrap").chmod(0o755)
    with zipfile.ZipFile(io.BytesIO(packed(Code(path=root)))) as archive:
        assert archive.getinfo("bootstrap").external_attr >> 16 & 0o777 == 0o755


def test_a_zip_is_sent_as_it_is_and_a_file_alone(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "code.zip", "w") as archive:
        archive.writestr("index.py", "x")
    assert packed(Code(path=tmp_path / "code.zip")) == (tmp_path / "code.zip").read_bytes()
    (tmp_path / "one.py").write_text("x")
    assert names(packed(Code(path=tmp_path / "one.py"))) == ["one.py"]


def test_what_cannot_be_packed_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="does not exist: expected a folder, a file or a zip"):
        packed(Code(path=tmp_path / "none"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigurationError, match="holds no files, or all are ignored"):
        packed(Code(path=tmp_path / "empty"))
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "x.py").symlink_to("nowhere")
    with pytest.raises(ConfigurationError, match="a link that leads nowhere"):
        packed(Code(path=tmp_path / "links"))
