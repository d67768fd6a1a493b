"""Keeps a project on a server equal to its files: deploys it, and again whenever they change.

Used by `cli.dev`. Each deployment uses one consistent state of the files; later changes are deployed next, so no call
sees a mixture. Errors in the files never end it.
"""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Protocol

import msgspec

from sesame.cli.client import Client
from sesame.deploy import archive
from sesame.deploy.apply import apply
from sesame.deploy.local_url import local_url
from sesame.deploy.plan import Plan, Step, plan, removal
from sesame.deploy.project import Code, Function, Place, Project
from sesame.dev.watching import Matters, matters
from sesame.model import limits
from sesame.model.errors import Exhausted, SesameError
from sesame.model.invocation import Invocation, Outcome, Target

# After this many attempts, files that keep changing are deployed as they are.
LOOKS_MAX = 5
SIGNS = {"create": "+", "update": "~", "replace": "±", "delete": "-"}

Name = tuple[str, str]


class Says(Protocol):
    """Shows events to the user; no method blocks."""

    def say(self, line: str) -> None: ...
    def failed(self, line: str) -> None: ...
    def loaded(self, invocation: Invocation, outcome: Outcome) -> None: ...


class Needs(msgspec.Struct, frozen=True, kw_only=True):
    """`read` reads the project's files in `root`. `load` starts an instance of a Sesame in this process and loads a
    function's handler, from the zip if one is given; None for another server, where only a call shows errors.
    `remembered` is a file with the names deployed last; None if nothing is to be deleted.
    """

    root: Path
    read: Callable[[], Project]
    client: Client
    says: Says
    load: Callable[[Invocation, bytes | None], Awaitable[Outcome | None]] | None = None
    keep_serving: bool = False
    remembered: Path | None = None


class _Prepared(msgspec.Struct, frozen=True):
    """A state of the files, and the plan to deploy it. `gone` are functions of the last deployment that it lacks."""

    project: Project
    plan: Plan
    files: frozenset[str]
    gone: tuple[Function, ...] = ()


class Development:
    """Not thread-safe: belongs to one event loop; one task calls `deploy`."""

    def __init__(self, given: Needs) -> None:
        self._given = given
        self.project: Project | None = None
        self._matters: Matters = matters(given.root, [])
        self._notes: tuple[str, ...] = ()
        # The code files of the last deployment.
        self._deployed: frozenset[str] = frozenset()

    async def deploy(self) -> bool:
        """Deploys the current state of the files; returns False, after showing why, if that failed."""
        says = self._given.says
        try:
            prepared = await asyncio.to_thread(self._prepare)
            self._tell_notes(prepared)
            if prepared.project.errors:
                says.failed("nothing was deployed")
                return False
            self.project = prepared.project
            self._deployed = prepared.files
            codes = [function.code for function in prepared.project.functions]
            self._matters = matters(self._given.root, codes, prepared.project.source)
            first = self._loaded_first(prepared)
            if not await self._may_replace(prepared, first):
                return False
            await asyncio.to_thread(self._apply, prepared, asyncio.get_running_loop())
        except (SesameError, OSError) as error:
            says.failed(str(error))
            return False
        for function in _changed(prepared):
            if _what(function) not in first:
                await self._load(function)
        return True

    def matters(self, path: Path) -> bool:
        """Whether a change of this file may change the deployment. Called on the watcher's thread."""
        return self._matters(path)

    def noticeable(self, changed: list[Path]) -> list[Path]:
        """`changed` without files that appeared and vanished, such as editors' temporary files."""
        return [path for path in changed if str(path) in self._deployed or path.exists()]

    def folders(self) -> set[Path]:
        """The folders to watch: the project's, and those of code elsewhere."""
        root = self._given.root
        found = {root}
        for function in self.project.functions if self.project else ():
            path = function.code.path
            if path is not None and path.exists() and not path.is_relative_to(root):
                found.add(path if path.is_dir() else path.parent)
        return found

    def _prepare(self) -> _Prepared:
        """Runs on a thread. Repeats if files change meanwhile, so that a zip holds files of one moment."""
        given = self._given
        for _ in range(LOOKS_MAX):
            project = given.read()
            before = _state_of(project)
            deployment = plan(project, given.client)
            if _state_of(project) == before:
                break
        files = frozenset(name for name, *_state in before)
        return _Prepared(project, deployment, files, tuple(self._gone(project)))

    def _gone(self, project: Project) -> Iterator[Function]:
        present = {(function.service, function.name) for function in project.functions}
        for service, name in self._deployed_last() - present:
            place = Place(str(project.source))
            yield Function(service=service, name=name, fields={}, code=Code(), place=place)

    def _apply(self, prepared: _Prepared, loop: asyncio.AbstractEventLoop) -> None:
        """Runs on a thread."""
        given = self._given

        def say(step: Step) -> None:
            if step.action != "unchanged":
                loop.call_soon_threadsafe(given.says.say, _line(step))

        apply(prepared.plan, given.client, say)
        if prepared.gone:
            removals = removal(Project(source=prepared.project.source, functions=prepared.gone), given.client)
            apply(removals, given.client, say)
        if given.remembered is not None:
            names = sorted({(function.service, function.name) for function in prepared.project.functions})
            given.remembered.write_bytes(msgspec.json.encode(names))

    def _loaded_first(self, prepared: _Prepared) -> dict[str, bytes]:
        """The new code of functions whose old code should keep serving on failure, by their names in the plan."""
        if not self._given.keep_serving or self._given.load is None:
            return {}
        return {step.what: step.code for step in prepared.plan.steps if step.action == "update" and step.code}

    async def _may_replace(self, prepared: _Prepared, first: dict[str, bytes]) -> bool:
        """Whether the new code may be deployed, that is, whether its handlers can be loaded."""
        sound = True
        for function in prepared.project.functions:
            code = first.get(_what(function))
            if code is not None and not await self._load(function, code):
                sound = False
        if not sound:
            self._given.says.failed("nothing was deployed: the code that was deployed last keeps serving")
        return sound

    async def _load(self, function: Function, code: bytes | None = None) -> bool:
        """Whether the function's handler can be loaded; shows why not."""
        load, says = self._given.load, self._given.says
        if load is None:
            return True
        invocation = Invocation(str(uuid.uuid4()), Target(function.service, limits.LATEST, function.name), b"")
        try:
            outcome = await load(invocation, code)
        except Exhausted:
            # Every allowed instance serves a call or is stopped in a debugger; the next call will show errors.
            return True
        except SesameError as error:
            says.failed(f"{function.label} cannot be started: {error}")
            return False
        if outcome is not None:
            says.loaded(invocation, outcome)
        return outcome is None or outcome.error is None

    def _deployed_last(self) -> set[Name]:
        if self._given.remembered is None:
            return set()
        try:
            return set(msgspec.json.decode(self._given.remembered.read_bytes(), type=list[Name]))
        except (OSError, msgspec.DecodeError):
            return set()

    def _tell_notes(self, prepared: _Prepared) -> None:
        """Shows the template's notes if they have changed, and its errors each time."""
        notes = tuple(f"{note.place}: {note.text}" for note in prepared.plan.notes if not note.error)
        for line in notes if notes != self._notes else ():
            self._given.says.say(f"note: {line}")
        self._notes = notes
        for note in prepared.project.errors:
            self._given.says.failed(f"{note.place}: {note.text}")


def urls(project: Project, port: int) -> Iterator[str]:
    """The local URL of each HTTP function, with its methods and whether requests must be signed."""
    for trigger in project.triggers:
        if (url := local_url(trigger, port)) is not None:
            config = trigger.fields["triggerConfig"]
            access = "" if config.get("authType") == "anonymous" else ", signed requests only"
            yield f"{url}  {' '.join(config.get('methods', ()))}{access}"


def _line(step: Step) -> str:
    changes = f"  {'; '.join(step.changes)}" if step.changes and step.changes != ("new",) else ""
    return f"{SIGNS[step.action]} {step.what}{changes}"


def _changed(prepared: _Prepared) -> list[Function]:
    changed = {step.what for step in prepared.plan.changing()}
    return [function for function in prepared.project.functions if _what(function) in changed]


def _what(function: Function) -> str:
    """The function's name in the steps of `deploy.plan`."""
    return f"function {function.label}"


def _state_of(project: Project) -> list[tuple[str, int, int, int]]:
    """The code's files, with attributes that change when a file is written."""
    found = []
    for path in sorted({path for function in project.functions for path in archive.files_of(function.code)}):
        try:
            stat = path.stat()
        except OSError:
            continue
        found.append((str(path), stat.st_ino, stat.st_size, stat.st_mtime_ns))
    return found
