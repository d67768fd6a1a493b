"""Waits for changes of a project's files: written at once or in parts, renamed into place, deleted.

Used by `dev.development`. Ignores files that are not part of the code.
"""

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path

import watchfiles

from sesame.deploy.archive import ALWAYS_IGNORED, ignored_by
from sesame.deploy.project import Code

# POLICY: files count as completely saved once nothing has changed for this long; editors write faster.
SETTLE_MS = 30
# Files that keep changing are reported after this long.
SETTLE_MAX_MS = 500

# Whether a change of this file may change the deployment.
Matters = Callable[[Path], bool]


def matters(root: Path, codes: Iterable[Code], template: Path | None = None) -> Matters:
    """`root` is the project's folder, which has its template and all files that the template refers to.

    `template` counts also where it lies in a folder of code that ignores it.
    """
    folders = [(code.path, ignored_by(code)) for code in codes if code.path is not None and code.path.is_dir()]
    always = {template, *(code.ignore_file for code in codes)}
    editors = watchfiles.DefaultFilter()

    def decide(path: Path) -> bool:
        if path in always:
            return True
        if not editors(watchfiles.Change.modified, str(path)):
            return False
        holding = [
            (path.relative_to(folder).as_posix(), ignored) for folder, ignored in folders if path.is_relative_to(folder)
        ]
        if holding:
            return any(not ignored.match_file(inside) for inside, ignored in holding)
        below = path.relative_to(root).parts if path.is_relative_to(root) else path.parts
        return not any(part in ALWAYS_IGNORED for part in below)

    return decide


class Watcher:
    """Not thread-safe: belongs to one event loop. Use as a context manager. Loses no change while it watches."""

    def __init__(self, decide: Matters) -> None:
        """`decide` is called on a separate thread for each changed file."""
        self._decide = decide
        self._folders: frozenset[Path] = frozenset()
        self._task: asyncio.Task[None] | None = None
        self._changed: set[Path] = set()
        self._any = asyncio.Event()

    async def __aenter__(self) -> "Watcher":
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self._end()

    async def watch(self, folders: Iterable[Path]) -> bool:
        """Watches these folders and no others, from its return on. True if they were not all watched before."""
        wanted = frozenset(folders)
        if wanted == self._folders and self._task is not None and not self._task.done():
            return False
        await self._end()
        self._folders = wanted
        self._task = asyncio.get_running_loop().create_task(self._run(wanted), name="sesame dev watching")
        # The task's first step registers the folders with the kernel.
        await asyncio.sleep(0)
        return True

    async def changed(self) -> list[Path]:
        """The files changed since the last call; waits until there are some and they have settled."""
        waiting = asyncio.ensure_future(self._any.wait())
        assert self._task is not None
        try:
            await asyncio.wait({waiting, self._task}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        if not self._any.is_set():
            self._task.result()
        found, self._changed = sorted(self._changed), set()
        self._any.clear()
        return found

    async def _run(self, folders: frozenset[Path]) -> None:
        watching = watchfiles.awatch(
            *folders,
            watch_filter=lambda _change, path: self._decide(Path(path)),
            debounce=SETTLE_MAX_MS,
            step=SETTLE_MS,
            rust_timeout=500,
            ignore_permission_denied=True,
        )
        async for found in watching:
            self._changed |= {Path(path) for _change, path in found}
            self._any.set()

    async def _end(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
            self._task = None
