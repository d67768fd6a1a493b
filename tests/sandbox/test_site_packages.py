"""The packages of each runtime: pinned completely, installed as a whole or not at all, importable, out of the way."""

import re
import subprocess
from pathlib import Path

import pytest
from tests.support.interpreters import BETWEEN, INTERPRETERS

from sesame.model.errors import ConfigurationError
from sesame.sandbox.runtimes import site_packages
from sesame.sandbox.runtimes.interpreters import MINOR_VERSIONS, Interpreter
from sesame.sandbox.runtimes.pip_bootstrap import PipFailed
from sesame.sandbox.runtimes.places import default_root
from sesame.sandbox.runtimes.site_packages import CONSTRAINTS, SitePackages, lock_files

FOUND = INTERPRETERS
# Where one import of every package that was asked for lies.
MODULES = {
    "oss2": "oss2", "tablestore": "tablestore", "aliyun-fc": "fc", "aliyun-fc2": "fc2", "requests": "requests",
    "aliyun-log-python-sdk": "aliyun.log", "aliyun-mns": "mns", "elasticsearch": "elasticsearch", "redis": "redis",
    "protobuf": "google.protobuf", "cryptography": "cryptography", "lxml": "lxml.etree", "Pillow": "PIL",
    "PyMySQL": "pymysql", "regex": "regex", "cbor": "cbor", "chardet": "chardet", "pip": "pip", "numpy": "numpy",
    "setuptools": "pkg_resources", "scipy": "scipy.linalg", "matplotlib": "matplotlib", "Scrapy": "scrapy",
    "pyOpenSSL": "OpenSSL", "Wand": "wand", "simplejson": "simplejson", "lz4": "lz4.frame", "aiohttp": "aiohttp",
    "alibabacloud-ecs20140526": "alibabacloud_ecs20140526.client", "Twisted": "twisted.internet.defer",
}  # fmt: skip
OSS2_PINS = {
    "python2.7": "2.9.1", "python3": "2.9.1", "python3.9": "2.15.0", "python3.10": "2.16.0", "python3.12": "2.18.6",
}  # fmt: skip


def an_interpreter(version: str = "3.9.18", runtime: str = "python3.9") -> Interpreter:
    return Interpreter(runtime, Path("/fake/python"), version, Path("/fake"))


@pytest.mark.parametrize("runtime", MINOR_VERSIONS)
def test_every_lock_pins_exact_versions_of_all_required_packages(runtime: str) -> None:
    pins = site_packages.lines_of(CONSTRAINTS / f"{runtime}.txt")
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9][0-9A-Za-z.]*", pin) for pin in pins)
    asked = {line.lower() for line in site_packages.lines_of(CONSTRAINTS / f"{runtime}.in")}
    assert asked <= {pin.lower() for pin in pins}
    assert f"oss2=={OSS2_PINS[runtime]}" in pins
    assert {pin.partition("==")[0] for pin in site_packages.lines_of(CONSTRAINTS / f"{runtime}.build.txt")} == {
        "pip", "setuptools", "wheel",
    }  # fmt: skip


@pytest.mark.parametrize("runtime", ["python2.7", "python3", "python3.9", "python3.10"])
def test_what_published_applications_import_is_there(runtime: str) -> None:
    """start-unzip-oss of the vendor's gallery runs under each of them."""
    pins = site_packages.lines_of(CONSTRAINTS / f"{runtime}.in")
    assert any(pin.startswith("chardet==") for pin in pins)


@pytest.mark.parametrize(
    "runtime",
    [pytest.param(each, marks=pytest.mark.thorough if each in BETWEEN else ()) for each in MINOR_VERSIONS],
)
def test_installed_packages_import_under_their_interpreter(runtime: str) -> None:
    interpreter = FOUND[runtime]
    folder = SitePackages(default_root(), FOUND).path(runtime)
    assert folder is not None, "run `make install`"
    names = [line.partition("==")[0] for line in site_packages.lines_of(lock_files(interpreter)[0].with_suffix(".in"))]
    modules = [MODULES[name] for name in names if name in MODULES]
    code = f"import sys; sys.path.append({str(folder)!r}); import oss2; print(oss2.__file__)\n"
    code += "".join(f"import {module}\n" for module in modules)
    done = subprocess.run(
        [str(interpreter.path), "-E", "-s", "-S", "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(folder))
    assert list(folder.rglob("*.pyc")), "byte-compiled ahead of use"


def test_an_installed_runtime_is_not_installed_again(tmp_path: Path) -> None:
    packages = SitePackages(default_root(), FOUND)
    said: list[str] = []
    packages.install_all(tuple(FOUND), said.append)
    assert said == []


def test_there_is_no_path_without_an_installation_or_an_interpreter(tmp_path: Path) -> None:
    packages = SitePackages(tmp_path, {"python3.9": an_interpreter()})
    assert packages.path("python3.9") is None
    assert packages.path("python2.7") is None


def test_another_interpreter_or_lock_is_another_directory(tmp_path: Path) -> None:
    one = SitePackages(tmp_path, {"python3.9": an_interpreter("3.9.18")})
    other = SitePackages(tmp_path, {"python3.9": an_interpreter("3.9.19")})
    assert one.folder("python3.9") != other.folder("python3.9")


class FakePip:
    """Stands in for pip: writes one module, or fails as told."""

    fails_with: tuple[str, ...] = ()

    def __init__(self, interpreter: Interpreter, folder: Path) -> None:
        self._folder = folder

    def fetch(self, pins: list[str]) -> None:
        assert any(pin.startswith("pip==") for pin in pins)

    def run(self, arguments: list[str], progress: object) -> None:
        target = Path(arguments[arguments.index("--target") + 1])
        (target / "oss2.py").write_text("")
        if self.fails_with:
            raise PipFailed("pip ended with 1", self.fails_with)


@pytest.fixture
def fake_pip(monkeypatch: pytest.MonkeyPatch) -> type[FakePip]:
    monkeypatch.setattr(site_packages, "BootstrappedPip", FakePip)
    monkeypatch.setattr(site_packages, "prove", lambda interpreter, folder: None)
    monkeypatch.setattr(FakePip, "fails_with", ())
    return FakePip


def test_installing_leaves_a_read_only_directory_with_a_manifest(tmp_path: Path, fake_pip: type[FakePip]) -> None:
    packages = SitePackages(tmp_path, {"python3.9": an_interpreter()})
    packages.install("python3.9", lambda line: None)
    folder = packages.path("python3.9")
    assert folder is not None
    assert (folder / "oss2.py").stat().st_mode & 0o222 == 0
    assert folder.stat().st_mode & 0o222 == 0
    manifest = packages.manifest("python3.9")
    assert manifest is not None
    assert "oss2==2.15.0" in manifest.packages
    assert manifest.python == "3.9.18"


@pytest.mark.parametrize(
    ("last_words", "advice"),
    [
        ("error: command 'gcc' failed with exit status 1", "C compiler is needed"),
        ("ERROR: No matching distribution found for oss2==2.15.0", "index lacks some of them"),
        ("ConnectionError: Name or service not known", "index cannot be reached"),
        ("something else", "last lines say why"),
    ],
)
def test_a_failed_installation_says_why_and_leaves_nothing(
    tmp_path: Path, fake_pip: type[FakePip], monkeypatch: pytest.MonkeyPatch, last_words: str, advice: str
) -> None:
    monkeypatch.setattr(fake_pip, "fails_with", ("line one", last_words))
    packages = SitePackages(tmp_path, {"python3.9": an_interpreter()})
    with pytest.raises(ConfigurationError, match=advice) as raised:
        packages.install_all(["python3.9"], lambda line: None)
    assert last_words in str(raised.value)
    assert "sesame runtimes install python3.9" in str(raised.value)
    assert packages.path("python3.9") is None
    assert list((tmp_path / "python3.9").iterdir()) == []


def test_a_substitute_uses_the_constraints_of_the_nearest_older_version() -> None:
    assert lock_files(an_interpreter("3.8.1", "python3"))[0].name == "python3.txt"
    assert lock_files(an_interpreter("3.11.2", "python3"))[0].name == "python3.10.txt"
    assert lock_files(an_interpreter("3.6.15", "python3"))[0].name == "python3.txt"
    assert lock_files(an_interpreter("2.7.18", "python2.7"))[0].name == "python2.7.txt"
