"""Builds a function with a requirements.txt or a Funfile: its code together with the installed packages.

Called by `sesame build` and `sesame deploy`. Packages are placed in the root of the code, where the cloud's runtimes
find them without any variable (reference/runtime.md §2.6); those of a Funfile go where Funcraft puts them, which
variables name. The function's own files take precedence over those of packages.
"""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from sesame.build import checks, requirements
from sesame.build.custom_python import custom_python, place_of_packages, with_programs
from sesame.build.installer import Installer
from sesame.deploy import archive, fun_install
from sesame.deploy.project import Code, Function, Project
from sesame.sandbox.runtimes.interpreters import MINOR_VERSIONS, Interpreter
from sesame.sandbox.runtimes.staging import staged

# Where tools install packages (reference/conventions.md §4.1, §4.4), and the root of the code.
VENDORED = ("", "python", ".fun/python/lib/python*/site-packages", ".s/python/lib/python*/site-packages")
# The output directories of the tools for each kind of project.
FUNCRAFT_ARTIFACTS = Path(".fun", "build", "artifacts")
OTHER_ARTIFACTS = Path(".s", "build", "artifacts")

Progress = Callable[[str], None]
_NO_PYTHON = "its code is no folder of a Python function"


class Built(msgspec.Struct, frozen=True):
    """The result for one function: the directory to deploy, or the reason why nothing was built; and warnings."""

    function: str
    folder: Path | None
    reason: str = ""
    warnings: tuple[str, ...] = ()


class Builder:
    """Builds the functions of one project; `installer` caches the packages."""

    def __init__(self, project: Project, installer: Installer, progress: Progress) -> None:
        self._project = project
        self._installer = installer
        self._progress = progress

    def build(self, function: Function) -> tuple[Function, Built]:
        """Returns the function with the code to deploy, and the result. Raises `ConfigurationError`."""
        name = function.label
        path = function.code.path
        if path is None or not path.is_dir():
            return function, Built(name, None, _NO_PYTHON)
        own = None
        if function.runtime not in MINOR_VERSIONS:
            own = custom_python(function)
            if own is None:
                return function, Built(name, None, _NO_PYTHON, tuple(checks.missing_node_modules(path)))
        wanted = requirements.read(path / requirements.FILE) if (path / requirements.FILE).is_file() else None
        of_fun = fun_install.read(path)
        not_done: tuple[str, ...] = ()
        if of_fun is not None:
            wanted = requirements.with_packages(wanted, of_fun.path, of_fun.packages)
            not_done = tuple(f"{of_fun.path.name}: not done: {each[:120]}" for each in of_fun.left_out)
            if of_fun.runtime not in ("", function.runtime):
                of_file = f"its runtime {of_fun.runtime[:40]} is not that of the function, {function.runtime}"
                not_done = (f"{of_fun.path.name}: {of_file}, which decides", *not_done)
        if wanted is None:
            reason = "no requirements.txt"
            return function, Built(name, None, reason, (*not_done, *self._looked_at(path, function, own)))
        missing = [each for each in wanted.names if each not in vendored(path)]
        if not missing and wanted.names:
            reason = f"what {wanted.path.name} names is in the folder"
            return function, Built(name, None, reason, (*not_done, *self._looked_at(path, function, own)))
        if isinstance(own, str):
            reason = f"its program starts {own}, which is not on this machine: install that, or the packages yourself"
            return function, Built(name, None, reason, (f"{wanted.path.name} is not installed: {reason}", *not_done))
        packages = self._installer.install(wanted, function.runtime, own)
        target = self._artifacts() / function.service / function.name
        if wanted.packages:
            function = _with_variables(function)
            minor = own.minor if own else MINOR_VERSIONS[function.runtime]
            _assemble_as_fun(packages.folder, function.code, target, minor)
        else:
            place = place_of_packages(function) if own else ""
            _assemble(packages.folder, function.code, target, place)
            if own and not place and (packages.folder / "bin").is_dir():
                function = with_programs(function)
        warnings = [f"{each} was built from source: its own code ran as you" for each in packages.from_source]
        built = Built(name, target, "", (*warnings, *not_done, *self._looked_at(target, function, own)))
        return msgspec.structs.replace(function, code=Code(path=target)), built

    def build_all(self) -> tuple[Project, list[Built]]:
        """Returns the project with the code to deploy, and the result for each function."""
        functions, done = [], []
        for function in self._project.functions:
            changed, built = self.build(function)
            functions.append(changed)
            done.append(built)
        return msgspec.structs.replace(self._project, functions=tuple(functions)), done

    def _looked_at(self, folder: Path, function: Function, own: Interpreter | str | None) -> tuple[str, ...]:
        minor = own.minor if isinstance(own, Interpreter) else MINOR_VERSIONS.get(function.runtime)
        return () if minor is None else tuple(checks.warnings(folder, function.runtime, minor))

    def _artifacts(self) -> Path:
        source = self._project.source.absolute()
        folder = source if source.is_dir() else source.parent
        of_funcraft = any((folder / name).is_file() for name in ("template.yml", "template.yaml"))
        return folder / (FUNCRAFT_ARTIFACTS if of_funcraft else OTHER_ARTIFACTS)


def vendored(folder: Path) -> set[str]:
    """The normalized names of the packages that the folder already contains."""
    places = [place for pattern in VENDORED for place in ([folder] if not pattern else folder.glob(pattern))]
    return set(_distributions(places))


def _distributions(places: list[Path]) -> Iterator[str]:
    for place in places:
        for path in place.glob("*-info"):
            name = path.name.removesuffix(".dist-info").removesuffix(".egg-info")
            yield requirements.normalized(name.partition("-")[0])


def _with_variables(function: Function) -> Function:
    given = function.fields.get("environmentVariables") or {}
    found = fun_install.variables(given) if isinstance(given, dict) else given
    return msgspec.structs.replace(function, fields={**function.fields, "environmentVariables": found})


def _assemble_as_fun(packages: Path, code: Code, target: Path, minor: tuple[int, int]) -> None:
    """Follows Funcraft's layout, where `PYTHONUSERBASE` has separate directories for modules and programs."""
    base = Path(fun_install.USER_BASE)
    inside = base / "lib" / f"python{minor[0]}.{minor[1]}" / "site-packages"
    _assemble(packages, code, target, str(inside), programs=base / "bin")


def _assemble(packages: Path, code: Code, target: Path, inside: str, programs: Path | None = None) -> None:
    """Replaces `target` by the code, with the packages at `inside`."""
    assert code.path is not None
    with staged(target) as staging:
        shutil.copytree(packages, staging / inside, symlinks=True, dirs_exist_ok=True)
        if programs is not None and (staging / inside / "bin").is_dir():
            (staging / inside / "bin").rename(staging / programs)
        for name, path in archive.files(code.path, code):
            place = staging / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.unlink(missing_ok=True)
            shutil.copy2(path, place)
