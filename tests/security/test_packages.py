"""Packages that attack what unpacks them: each is refused, and does harm without the check that refuses it."""

import io
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from sesame.model import limits
from sesame.model.errors import Unusable
from sesame.store.packages import unpack as module
from sesame.store.packages.unpack import unpack


def packed(name: str, content: bytes, *, link: bool = False) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("index.py", "")
        info = zipfile.ZipInfo(name)
        info.external_attr = (stat.S_IFLNK | 0o777 if link else stat.S_IFREG | 0o644) << 16
        info.compress_type = zipfile.ZIP_DEFLATED
        archive.writestr(info, content)
    return target.getvalue()


class Yard:
    """A package's folder, and beside it what the attacker wants to read or write."""

    def __init__(self, top: Path) -> None:
        self.folder = top / "packages" / "one"
        self.folder.mkdir(parents=True)
        self.secret = top / "secret"
        self.secret.write_text("secret")
        self.planted = top / "packages" / "planted.py"


@pytest.fixture
def yard(tmp_path: Path) -> Yard:
    return Yard(tmp_path)


def no_check_of_names(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(module, "_safe_path", lambda info: info.orig_filename)
    # The folders that these paths imply are there already.
    patch.setattr(module, "_add_folders_above", lambda made, entry: None)


def no_check_of_links(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(module, "_check_link", lambda destination, entry: None)
    patch.setattr(module, "_link_target", lambda source, entry, budget: source.read(entry.info).decode())


def wrote_outside(yard: Yard) -> bool:
    return yard.planted.exists()


def reads_outside(yard: Yard) -> bool:
    return (yard.folder / "link").read_text() == "secret"


Remove = Callable[[pytest.MonkeyPatch], None]
ATTACKS: dict[str, tuple[Callable[[Yard], bytes], Remove, Callable[[Yard], bool]]] = {
    "up": (lambda yard: packed("../planted.py", b"x"), no_check_of_names, wrote_outside),
    "absolute": (lambda yard: packed(str(yard.planted), b"x"), no_check_of_names, wrote_outside),
    "link-up": (lambda yard: packed("link", b"../../secret", link=True), no_check_of_links, reads_outside),
    "link-absolute": (
        lambda yard: packed("link", str(yard.secret).encode(), link=True),
        no_check_of_links,
        reads_outside,
    ),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_the_package_is_refused(name: str, yard: Yard) -> None:
    make, _remove, harm = ATTACKS[name]
    with pytest.raises(Unusable):
        unpack(make(yard), yard.folder)
    assert not yard.planted.exists()
    if name.startswith("link"):
        # What was made until then is removed by the caller; nothing follows it before.
        (yard.folder / "link").unlink(missing_ok=True)
        with pytest.raises(FileNotFoundError):
            harm(yard)


@pytest.mark.parametrize("name", ATTACKS)
def test_without_the_check_it_does_harm(name: str, yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    make, remove, harm = ATTACKS[name]
    remove(monkeypatch)
    unpack(make(yard), yard.folder)
    assert harm(yard)


def bomb() -> bytes:
    """Says that it holds 10 bytes, and holds two megabytes."""
    data = bytearray(packed("bomb", b"\0" * 2_000_000))
    size = (2_000_000).to_bytes(4, "little")
    for at in (data.find(size), data.rfind(size)):
        data[at : at + 4] = (10).to_bytes(4, "little")
    return bytes(data)


def test_a_bomb_that_lies_about_its_size_is_refused(yard: Yard) -> None:
    with pytest.raises(Unusable):
        unpack(bomb(), yard.folder)


def test_a_bomb_is_counted_by_what_comes_out(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = packed("bomb", b"\0" * 2_000_000)
    monkeypatch.setattr(limits, "CODE_UNPACKED_BYTES", 1_000_000)
    with pytest.raises(Unusable):
        unpack(archive, yard.folder)
    monkeypatch.setattr(limits, "CODE_UNPACKED_BYTES", 1 << 30)
    other = yard.folder.with_name("two")
    other.mkdir()
    unpack(archive, other)
    assert (other / "bomb").stat().st_size == 2_000_000
