"""`sesame runtimes`: lists the runtimes with their interpreters and packages, and installs missing ones.

`get` installs interpreters, `install` the packages that come with each runtime; both may be repeated. `pack` and
`unpack` transfer interpreters to a machine without a network. `sandbox.runtimes` does the work.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from sesame.cli import output
from sesame.cli.json_option import with_json
from sesame.cli.options import settle, with_settings
from sesame.model import limits
from sesame.model.errors import ConfigurationError
from sesame.sandbox.runtimes import interpreters, node_packages, nodes
from sesame.sandbox.runtimes.lookup import Runtimes
from sesame.sandbox.runtimes.obtain import archive, conda, installed
from sesame.sandbox.runtimes.obtain import lock as locks
from sesame.sandbox.runtimes.obtain.obtain import Obtainer, Sources
from sesame.sandbox.runtimes.places import own_interpreters
from sesame.settings import Settings

NEED_NO_SEARCH = ("get", "pack", "unpack", "lock")
SOURCES = ("interpreters_channel", "interpreters_mirror", "interpreters_proxy")


class Invoked(msgspec.Struct, frozen=True):
    """What the group passes to its commands: its flags, and the runtimes found for commands that need them."""

    flags: dict[str, Any]
    known: Runtimes | None

    def settings(self, flags: dict[str, Any]) -> Settings:
        """The settings from the command's own flags, and from the group's for flags that the command lacks."""
        return settle({**self.flags, **{name: value for name, value in flags.items() if value is not None}})


@click.group(invoke_without_command=True)
@with_settings("interpreters", "runtimes_dir")
@click.option("--missing", is_flag=True, help="Print only the names of runtimes without their own interpreter.")
@with_json
@click.pass_context
def runtimes(context: click.Context, /, missing: bool, as_json: bool, **flags: Any) -> None:
    """Lists the runtimes and their interpreters."""
    if context.invoked_subcommand is not None and (missing or as_json):
        raise click.UsageError(
            f"--missing and --json before '{context.invoked_subcommand}' are of the list: leave them away"
        )
    if context.invoked_subcommand in NEED_NO_SEARCH:
        context.obj = Invoked(flags, None)
        return
    settings = settle(flags)
    known = Runtimes.look_up(settings.interpreters, settings.resolved_runtimes_dir())
    context.obj = Invoked(flags, known)
    if context.invoked_subcommand is not None:
        return
    shown = known.missing() if missing else known.known()
    if as_json:
        rows = [_described(known, runtime) for runtime in shown]
        output.json_document({"runtimes": rows if missing else [*rows, *(node.described() for node in _nodes(known))]})
        return
    if missing:
        for runtime in shown:
            click.echo(runtime)
        return
    for line in output.aligned(
        [
            ("runtime", "version", "packages", "interpreter"),
            *(_row(known, runtime) for runtime in shown),
            *(node.row() for node in _nodes(known)),
        ]
    ):
        click.echo(line)
    if any(known.packages.manifest(runtime) is None for runtime in known.found):
        output.note(f"To install the packages: {output.own_name()} runtimes install")


def _row(known: Runtimes, runtime: str) -> tuple[str, str, str, str]:
    interpreter = known.found.get(runtime)
    if interpreter is None:
        return runtime, "none", "", f"get it: {interpreters.how_to_get(runtime)}"
    version, path = interpreter.version, str(interpreter.path)
    if interpreter.notice:
        version += f" in place of {interpreter.substitute_for}"
        path += f" (get its own: {interpreters.how_to_get(runtime)})"
    manifest = known.packages.manifest(runtime)
    return runtime, version, f"{len(manifest.packages)} installed" if manifest else "not installed", path


class _Node(msgspec.Struct, frozen=True):
    """A Node.js runtime; `in_place_of` is the runtime's own version, if another one replaces it."""

    runtime: str
    version: str | None = None
    path: str | None = None
    in_place_of: str | None = None
    packages: int | None = None

    def row(self) -> tuple[str, str, str, str]:
        if self.path is None:
            return self.runtime, "none", "", nodes.HOW_TO_GET
        instead = f" in place of {self.in_place_of}" if self.in_place_of else ""
        installed = "not installed" if self.packages is None else f"{self.packages} installed"
        return self.runtime, f"{self.version}{instead}", installed, self.path

    def described(self) -> dict[str, Any]:
        return {
            "runtime": self.runtime,
            "version": self.version,
            "path": self.path,
            "inPlaceOf": self.in_place_of,
            "packages": self.packages,
        }


def _nodes(known: Runtimes, names: Sequence[str] = limits.NODE_RUNTIMES) -> list[_Node]:
    """One entry for each Node.js runtime; runs each program only once to get its version."""
    versions = {path: nodes.version_of(path) or "?" for path in set(known.nodes.values())}
    return [_node(known, runtime, versions) for runtime in names]


def _node(known: Runtimes, runtime: str, versions: Mapping[Path, str]) -> _Node:
    path = known.nodes.get(runtime)
    if path is None:
        return _Node(runtime)
    wanted, version = runtime.removeprefix("nodejs"), versions[path]
    instead = None if version.partition(".")[0] == wanted else wanted
    manifest = known.node_packages.manifest(runtime)
    return _Node(runtime, version, str(path), instead, None if manifest is None else len(manifest.packages))


def _described(known: Runtimes, runtime: str) -> dict[str, Any]:
    """A runtime as JSON. Without an interpreter, `path` is null; without the cloud's packages, `packages` is."""
    interpreter, manifest = known.found.get(runtime), known.packages.manifest(runtime)
    return {
        "runtime": runtime,
        "version": interpreter and interpreter.version,
        "path": interpreter and str(interpreter.path),
        "inPlaceOf": interpreter and interpreter.substitute_for,
        "packages": manifest and len(manifest.packages),
    }


@runtimes.command()
@click.argument("names", nargs=-1, metavar="[RUNTIME]…")
@click.option("--all", "every", is_flag=True, help="All runtimes, even those with another interpreter on this machine.")
@with_json
@with_settings("runtimes_dir", *SOURCES)
@click.pass_obj
def get(invoked: Invoked, /, names: tuple[str, ...], every: bool, as_json: bool, **flags: Any) -> None:
    """Installs interpreters of runtimes in Sesame's own directory: those named, or else those missing.

    CPython 3.8 and later are uv's builds, 2.7 and 3.6 come from conda-forge. Nothing outside the directory changes.
    """
    if names and every:
        raise click.UsageError("name runtimes, or give --all")
    settings = invoked.settings(flags)
    known = Runtimes.look_up(settings.interpreters, settings.resolved_runtimes_dir())
    _refuse_unknown(names)
    chosen = tuple(known.known()) if every else names or tuple(known.missing())
    sources = Sources(
        channel=settings.interpreters_channel,
        mirror=settings.interpreters_mirror,
        proxy=settings.interpreters_proxy,
    )
    if not chosen and not as_json:
        output.note(f"Every runtime has its interpreter: see {output.own_name()} runtimes")
        return
    own = own_interpreters(settings.resolved_runtimes_dir())
    require_writable(settings.resolved_runtimes_dir())
    try:
        Obtainer(own, sources).get_all(chosen, output.note)
    finally:
        now = Runtimes.look_up(settings.interpreters, settings.resolved_runtimes_dir(), chosen) if chosen else known
        brought = [name for name in chosen if (here := now.found.get(name)) and own in here.path.parents]
        if as_json:
            output.json_document({"runtimes": [_described(now, runtime) for runtime in brought]})
        else:
            for runtime in brought:
                interpreter = now.found[runtime]
                output.out.print(f"{runtime}: CPython {interpreter.version}, {interpreter.path}", markup=False)
    if any(now.packages.manifest(runtime) is None for runtime in chosen):
        output.note(f"To install the packages: {output.own_name()} runtimes install")


@runtimes.command()
@click.argument("names", nargs=-1, metavar="[RUNTIME]…")
@click.option("-o", "--output", "file", type=click.Path(path_type=Path), help="[default: sesame-runtimes-….tar.gz]")
@with_json
@with_settings("runtimes_dir")
@click.pass_obj
def pack(invoked: Invoked, /, names: tuple[str, ...], file: Path | None, as_json: bool, **flags: Any) -> None:
    """Writes interpreters that Sesame installed (all by default) to one file, for a machine without a network."""
    _refuse_unknown(names)
    target = (file or Path(f"sesame-runtimes-{installed.machine()}.tar.gz")).absolute()
    own = own_interpreters(invoked.settings(flags).resolved_runtimes_dir())
    digest = archive.pack(own, names, target, output.note)
    if as_json:
        output.json_document({"file": str(target), "sha256": digest})
        return
    output.out.print(f"{target}: SHA-256 {digest}", markup=False)
    output.note(f"On the other machine: sesame runtimes unpack {target.name} --sha256 {digest}")


@runtimes.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--sha256", metavar="DIGEST", help="The digest that `sesame runtimes pack` printed.")
@with_json
@with_settings("runtimes_dir")
@click.pass_obj
def unpack(invoked: Invoked, /, file: Path, sha256: str | None, as_json: bool, **flags: Any) -> None:
    """Installs the interpreters in a file written by `sesame runtimes pack` on a machine of the same kind."""
    root = invoked.settings(flags).resolved_runtimes_dir()
    require_writable(root)
    own = own_interpreters(root)
    names = archive.unpack(file, own, output.note, sha256)
    if as_json:
        output.json_document({"unpacked": names})
    else:
        output.out.print(f"unpacked: {', '.join(names)}", markup=False)
    output.note(f"To install the packages: {output.own_name()} runtimes install")


@runtimes.command()
@click.option("-o", "--output", "file", type=click.Path(path_type=Path), default=locks.COMMITTED, help="The lock.")
@with_json
@with_settings("runtimes_dir", "interpreters_channel")
@click.pass_obj
def lock(invoked: Invoked, /, file: Path, as_json: bool, **flags: Any) -> None:
    """Updates the lock of CPython 2.7 and 3.6 from the channel: exact builds and digests for every platform."""
    settings = invoked.settings(flags)
    cache = own_interpreters(settings.resolved_runtimes_dir()) / "cache"
    old = [name for name, minor in interpreters.MINOR_VERSIONS.items() if minor < (3, 8)]
    made = []
    for entry in conda.unresolved(old):
        made.append(conda.resolve(entry, settings.interpreters_channel, cache))
        output.note(f"{entry.runtime}, {entry.platform}: {made[-1].named()}, {len(made[-1].packages)} packages")
    note = f"Interpreters from {settings.interpreters_channel}, with the digests that its index gave."
    locks.write(locks.Lock(note=note, entries=tuple(made)), file)
    if as_json:
        output.json_document({"lock": str(file), "entries": [msgspec.to_builtins(each) for each in made]})
    else:
        output.out.print(str(file), markup=False)


@runtimes.command()
@click.argument("names", nargs=-1, metavar="[RUNTIME]…")
@with_json
@click.pass_obj
def install(invoked: Invoked, /, names: tuple[str, ...], as_json: bool) -> None:
    """Installs the packages that the cloud ships with each runtime (by default with all of Python that have an
    interpreter), and the runtime's debugger. `nodejs`, or a name such as nodejs20, installs those of Node.js with npm.
    """
    known = invoked.known
    assert known is not None
    of_node = tuple(name for name in limits.NODE_RUNTIMES if name in names or node_packages.ALL in names)
    asked = bool(names)
    names = tuple(name for name in names if name != node_packages.ALL and name not in of_node)
    _refuse_unknown(names, (node_packages.ALL, *limits.NODE_RUNTIMES))
    described: list[dict[str, Any]] = []
    if names or not asked:
        described += _install_python(known, names)
    if of_node:
        require_writable(known.packages.root)
        for name in of_node:
            known.node_packages.install(name, output.note)
        described += [node.described() for node in _nodes(known, of_node)]
    if as_json:
        output.json_document({"runtimes": described})


def _install_python(known: Runtimes, names: tuple[str, ...]) -> list[dict[str, Any]]:
    """The installed runtimes, described. Without names, all that have an interpreter."""
    for name in names:
        if name not in known.found:
            raise ConfigurationError(f"{name} has no interpreter here; get it: {interpreters.how_to_get(name)}")
    if not known.found:
        raise ConfigurationError("no interpreter was found for any runtime; `sesame runtimes` says how to get one")
    require_writable(known.packages.root)
    known.packages.install_all(names or tuple(known.found), output.note)
    for name in names or tuple(known.found):
        try:
            known.debuggers.install(name, output.note)
        except ConfigurationError as error:
            # Functions run without a debugger.
            output.note(f"{name}: it cannot be debugged yet (`sesame dev --debug` tries again): {error}")
    for name in known.missing():
        if not names:
            output.note(f"{name}: its own interpreter was not found; get it: {interpreters.how_to_get(name)}")
    return [_described(known, name) for name in names or known.found]


def require_writable(root: Path) -> None:
    """Raises `ConfigurationError` if this user may not create `root` or change its contents."""
    nearest = next(path for path in (root, *root.parents) if path.exists())
    if not os.access(nearest, os.W_OK):
        raise ConfigurationError(
            f"the runtimes' directory {root} cannot be written by this user: run the command as the owner of "
            f"{nearest}, or name another directory by SESAME_RUNTIMES_DIR, for this command and for `sesame start`"
        )


def _refuse_unknown(names: tuple[str, ...], more: tuple[str, ...] = ()) -> None:
    """`more` are names that the command knows besides Python's runtimes."""
    for name in names:
        if name not in interpreters.MINOR_VERSIONS:
            known = ", ".join((*interpreters.MINOR_VERSIONS, *more))
            raise ConfigurationError(f"there is no runtime '{name}'; expected one of {known}")
