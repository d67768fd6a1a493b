"""What functions require is installed by their own interpreter beside their code, once, whole or not at all."""

import json
import os
import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest
from tests.support import forked
from tests.support.interpreters import INTERPRETERS

from sesame.build import checks, installer, requirements
from sesame.build.builder import Builder
from sesame.build.installer import Installer
from sesame.deploy.project import Code, Function, Place, Project, Service
from sesame.model.errors import ConfigurationError
from sesame.sandbox.runtimes.interpreters import MINOR_VERSIONS

FOUND = INTERPRETERS


def make_wheel(folder: Path, name: str, tag: str = "py2.py3-none-any", files: dict[str, str] | None = None) -> None:
    info = f"{name}-1.0.dist-info"
    content = {
        f"{name}.py": f"NAME = {name!r}\n",
        **(files or {}),
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n",
    }
    listed = "".join(f"{path},,\n" for path in [*content, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / f"{name}-1.0-{tag}.whl", "w") as wheel:
        for path, text in {**content, f"{info}/RECORD": listed}.items():
            wheel.writestr(path, text)


def make_source(folder: Path, name: str) -> None:
    """A package that comes as source: what it is made of is decided by its own code."""
    root = folder / f"{name}-1.0"
    root.mkdir()
    (root / "setup.py").write_text(
        f"from setuptools import setup\nsetup(name={name!r}, version='1.0', py_modules=[{name!r}])\n"
    )
    (root / f"{name}.py").write_text("import sys\nNAME = 'source'\n")
    (root / "PKG-INFO").write_text(f"Metadata-Version: 1.0\nName: {name}\nVersion: 1.0\n")
    with tarfile.open(folder / f"{name}-1.0.tar.gz", "w:gz") as tar:
        tar.add(root, root.name)
    shutil.rmtree(root)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def index(tmp_path: Path) -> Path:
    folder = tmp_path / "index"
    folder.mkdir()
    make_wheel(folder, "made_up")
    make_source(folder, "sourced")
    return folder


def project(folder: Path, index: Path, lines: str, runtime: str = "python3.12") -> Project:
    code = folder / "code"
    code.mkdir(exist_ok=True)
    (code / "main.py").write_text("import made_up\ndef handler(event, context):\n    return made_up.NAME\n")
    (code / "requirements.txt").write_text(f"--no-index\n--find-links {index}\n{lines}\n")
    place = Place(str(folder))
    function = Function(
        service="s", name="f", fields={"runtime": runtime, "handler": "main.handler"}, code=Code(path=code), place=place
    )
    return Project(source=folder, services=(Service(name="s", fields={}, place=place),), functions=(function,))


def built(made: Project, cache: Path, *, fresh: bool = False, said: list[str] | None = None) -> Path:
    progress = (lambda line: None) if said is None else said.append
    done, [one] = Builder(made, Installer(cache, FOUND, progress, fresh=fresh), progress).build_all()
    assert one.folder is not None, one.reason
    assert done.functions[0].code.path == one.folder
    return one.folder


@pytest.mark.parametrize("runtime", ["python2.7", pytest.param("python3.12", marks=pytest.mark.thorough)])
def test_packages_lie_beside_the_code_and_import_under_the_functions_interpreter(
    tmp_path: Path, index: Path, cache: Path, runtime: str
) -> None:
    made = project(tmp_path, index, "made-up\nsourced==1.0", runtime)
    progress: list[str] = []
    _project, [one] = Builder(made, Installer(cache, FOUND, progress.append, fresh=False), progress.append).build_all()
    assert one.folder == tmp_path / ".s/build/artifacts/s/f"
    assert "sourced was built from source: its own code ran as you" in one.warnings
    assert any("installing requirements.txt for CPython" in line for line in progress)
    code = f"import sys; sys.path.insert(0, {str(one.folder)!r}); import main, sourced; print(main.handler(0, 0))"
    done = subprocess.run([FOUND[runtime].path, "-S", "-E", "-c", code], capture_output=True, text=True, check=True)
    assert "made_up" in done.stdout


def test_packages_of_a_funfile_lie_where_funcraft_puts_them(
    tmp_path: Path, index: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = project(tmp_path, index, "made-up")
    built(made, cache)  # With this pip itself is there, and no index is needed any more.
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    (tmp_path / "code/requirements.txt").unlink()
    (tmp_path / "code/Funfile").write_text("RUN fun-install pip install made-up\nRUN fun-install apt-get install x\n")
    done, [one] = Builder(made, Installer(cache, FOUND, lambda _line: None, fresh=False), print).build_all()
    assert one.folder is not None, one.reason
    assert "Funfile: not done: RUN fun-install apt-get install x" in one.warnings
    assert (one.folder / ".fun/python/lib/python3.12/site-packages/made_up.py").is_file()
    base = done.functions[0].fields["environmentVariables"]["PYTHONUSERBASE"]
    environ = {"PYTHONUSERBASE": base.replace("/code", str(one.folder))}
    code = f"import sys; sys.path.insert(0, {str(one.folder)!r}); import main; print(main.handler(0, 0))"
    run = subprocess.run(
        [FOUND["python3.12"].path, "-c", code], capture_output=True, text=True, check=True, env=environ
    )
    assert run.stdout == "made_up\n"
    make_wheel(index, "other")
    (tmp_path / "code/requirements.txt").write_text("other\n")
    both = built(made, cache)
    assert {path.name for path in (both / ".fun/python/lib/python3.12/site-packages").glob("*.py")} >= {
        "made_up.py", "other.py",
    }  # fmt: skip


def test_a_second_build_takes_the_packages_from_the_cache(tmp_path: Path, index: Path, cache: Path) -> None:
    made = project(tmp_path, index, "made-up")
    built(made, cache)
    said: list[str] = []
    (tmp_path / "code/main.py").write_text("changed = 1\n")
    assert (built(made, cache, said=said) / "main.py").read_text() == "changed = 1\n"
    assert said == []
    built(made, cache, fresh=True, said=said)
    assert said != []


def test_a_build_that_fails_says_why_and_leaves_what_was_there(tmp_path: Path, index: Path, cache: Path) -> None:
    folder = built(project(tmp_path, index, "made-up"), cache)
    with pytest.raises(
        ConfigurationError, match=r"requirements.txt could not be installed by pip under (.|\n)*no-such"
    ):
        built(project(tmp_path, index, "made-up\nno-such-thing"), cache)
    assert (folder / "made_up.py").exists()
    assert [path.name for path in folder.parent.iterdir()] == ["f"]
    assert not [path for path in cache.iterdir() if path.name.startswith(".")]


def test_a_file_of_ones_own_goes_over_a_packages(tmp_path: Path, index: Path, cache: Path) -> None:
    made = project(tmp_path, index, "made-up")
    (tmp_path / "code/made_up.py").write_text("NAME = 'mine'\n")
    assert (built(made, cache) / "made_up.py").read_text() == "NAME = 'mine'\n"


def test_without_the_interpreter_wheels_for_its_version_are_taken(
    tmp_path: Path, index: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{forked.REPOSITORY / '.venv/bin'}:{os.environ['PATH']}")
    make_wheel(index, "other", "cp39-cp39-manylinux_2_17_x86_64")
    made = project(tmp_path, index, "made-up\nother ; python_version == '3.9'", "python3.9")
    wanted = requirements.read(tmp_path / "code/requirements.txt")
    assert wanted is not None
    if os.uname().machine == "x86_64":
        folder = Installer(cache, {}, lambda line: None, fresh=False).install(wanted, "python3.9").folder
        assert (folder / "other.py").exists()
    with pytest.raises(
        ConfigurationError, match=r"needs the interpreter of python2\.7, .* `sesame runtimes get python2"
    ):
        Installer(cache, {}, lambda line: None, fresh=False).install(wanted, "python2.7")
    wanted = requirements.read(made.source / "code/requirements.txt")
    (tmp_path / "code/requirements.txt").write_text(f"--no-index\n--find-links {index}\nsourced\n")
    wanted = requirements.read(tmp_path / "code/requirements.txt")
    assert wanted is not None
    with pytest.raises(ConfigurationError, match="Only wheels can be taken without the interpreter"):
        Installer(cache, {}, lambda line: None, fresh=False).install(wanted, "python3.9")


@pytest.mark.parametrize(
    "place", ["", "python", ".fun/python/lib/python3.9/site-packages", ".s/python/lib/python3.9/site-packages"]
)
def test_what_is_in_the_folder_already_is_not_installed(tmp_path: Path, index: Path, cache: Path, place: str) -> None:
    made = project(tmp_path, index, "Made.Up >= 1")
    (tmp_path / "code" / place / "made_up-1.0.dist-info").mkdir(parents=True)
    _project, [one] = Builder(made, Installer(cache, {}, print, fresh=False), print).build_all()
    assert (one.folder, one.reason) == (None, "what requirements.txt names is in the folder")


def test_requirements_are_read_with_what_they_include(tmp_path: Path) -> None:
    file = tmp_path / "requirements.txt"
    file.write_text("-r more.txt\nFlask[async]>=2 # a comment\n")
    (tmp_path / "more.txt").write_text("ruamel.yaml\\\n==1.0\n")
    read = requirements.read(file)
    assert read is not None
    assert (read.names, read.cacheable) == (("ruamel-yaml", "flask"), True)
    (tmp_path / "more.txt").write_text("ruamel.yaml==1.1\n")
    again = requirements.read(file)
    assert again is not None
    assert again.digest != read.digest
    for line in ("-e .", "./mine", "x @ git+https://example.com/x", "git+https://example.com/x#egg=x", "x @ file:///x",
                 "wheels/x-1.whl", "x-1.whl", "mine/x", "~/x"):  # fmt: skip
        file.write_text(line)
        changing = requirements.read(file)
        assert changing is not None
        assert not changing.cacheable, line
    for line in ("x @ https://example.com/x-1.whl", "https://example.com/x-1.whl", "x==1.0 ; python_version > '3'"):
        file.write_text(line)
        lasting = requirements.read(file)
        assert lasting is not None
        assert lasting.cacheable, line
    file.write_text("# nothing\n--index-url https://example.com\n")
    assert requirements.read(file) is None
    (tmp_path / "more.txt").write_text("-r requirements.txt\n")
    file.write_text("-r more.txt\n")
    with pytest.raises(ConfigurationError, match="include each other"):
        requirements.read(file)


@pytest.mark.parametrize(
    ("tag", "runtime", "fits"),
    [
        ("py3-none-any", "python3", True),
        ("py2.py3-none-any", "python2.7", True),
        ("py3-none-any", "python2.7", False),
        ("cp39-cp39-manylinux_2_17_x86_64", "python3.9", True),
        ("cp39-cp39-manylinux_2_17_x86_64", "python3.10", False),
        ("cp36-abi3-manylinux2010_x86_64", "python3.12", True),
        ("cp310-abi3-manylinux2010_x86_64", "python3.9", False),
        ("cp39-cp39-macosx_11_0_arm64", "python3.9", False),
        ("py38-none-any", "python3", False),
    ],
)
def test_wheels_for_another_python_are_named(tmp_path: Path, tag: str, runtime: str, fits: bool) -> None:
    (tmp_path / "x-1.0.dist-info").mkdir()
    (tmp_path / "x-1.0.dist-info/WHEEL").write_text(f"Wheel-Version: 1.0\nTag: {tag}\n")
    found = checks.warnings(tmp_path, runtime, MINOR_VERSIONS[runtime])
    assert bool(found) != fits
    assert fits or "x 1.0 was made for" in found[0]


def test_modules_compiled_for_another_python_are_named(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/fast.cpython-311-x86_64-linux-gnu.so").write_bytes(b"\x7fELF broken")
    [said] = checks.warnings(tmp_path, "python3.9", (3, 9))
    assert "deep/fast.cpython-311-x86_64-linux-gnu.so: a module compiled for another Python than CPython 3.9" in said


def test_what_needs_a_newer_c_library_than_the_clouds_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = next(iter((FOUND["python3.12"].prefix / "lib/python3.12/lib-dynload").glob("math.*.so")))
    (tmp_path / "package").mkdir()
    shutil.copy(library, tmp_path / "package/math.so")
    needs = checks.glibc_needed(library)
    assert needs > (2, 0)
    assert f"GLIBC_{needs[0]}.{needs[1]}".encode() in library.read_bytes()
    monkeypatch.setitem(checks.CLOUD_GLIBC, "python3.12", needs)
    assert checks.warnings(tmp_path, "python3.12", (3, 12)) == []
    monkeypatch.setitem(checks.CLOUD_GLIBC, "python3.12", (2, 1))
    assert checks.warnings(tmp_path, "python3.12", (3, 12))[0].startswith(
        f"package needs the C library {needs[0]}.{needs[1]}; "
    )


@pytest.mark.thorough
def test_the_command_builds_a_folder_and_its_json_is_all_there_is(tmp_path: Path, index: Path, cache: Path) -> None:
    project(tmp_path, index, "made-up")
    environ = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "XDG_CACHE_HOME": str(cache)}
    for name in ("PYENV_ROOT", "PIP_INDEX_URL", "PIP_CERT", "PIP_FIND_LINKS"):
        environ |= {name: os.environ[name]} if name in os.environ else {}
    (cache / "sesame").mkdir(exist_ok=True)
    if not (cache / "sesame/build").exists():
        (cache / "sesame/build").symlink_to(cache)
    done = forked.run("build", "code", "--runtime=python3.12", "--json", environ=environ, directory=tmp_path)
    assert done.returncode == 0, done.stderr.decode()
    [one] = json.loads(done.stdout)
    assert one["function"] == "default/code"
    assert (Path(one["folder"]) / "made_up.py").exists()
    again = forked.run("build", "code", "--runtime=python3.12", environ=environ, directory=tmp_path)
    assert again.stdout.decode() == f"default/code: {one['folder']}\n"


def test_the_cache_is_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert installer.default_cache() == tmp_path / "sesame" / "build"


@pytest.mark.parametrize("runtime", ["python2.7", pytest.param("python3.12", marks=pytest.mark.thorough)])
def test_no_module_of_the_users_folder_is_imported_by_pip(
    tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch, runtime: str
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    for name in ("pip", "tempfile", "compileall", "setuptools", "logging"):
        (folder / f"{name}.py").write_text(f"open({str(tmp_path / 'imported')!r}, 'a').write(__name__)\n")
    made = project(tmp_path, index, "made-up", runtime)
    for name in ("pip", "logging"):
        shutil.copy(folder / f"{name}.py", tmp_path / "code")
    monkeypatch.chdir(folder)
    # A cache of its own: pip is fetched for it, too.
    built(made, tmp_path / "cache")
    assert not (tmp_path / "imported").exists()


def test_paths_of_requirements_begin_at_their_folder(tmp_path: Path, index: Path, cache: Path) -> None:
    """As for `pip install -r requirements.txt` in that folder, wherever `sesame build` is run."""
    made = project(tmp_path, index, "./wheels/beside-1.0-py2.py3-none-any.whl")
    (tmp_path / "code/wheels").mkdir()
    make_wheel(tmp_path / "code/wheels", "beside")
    assert (built(made, cache) / "beside.py").exists()
