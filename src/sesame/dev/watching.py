"""Waits for changes of a project's files: saved as a whole or in parts, renamed into place, deleted.

Used by `dev.development`. Gives nothing for files that do not belong to the code.
"""

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path

import watchfiles

from sesame.deploy.archive import ALWAYS_IGNORED, ignored_by
from sesame.deploy.project import Code

# POLICY: what is saved counts as complete once nothing has changed for so long; an editor writes a file in less.
SETTLE_MS = 30
# What never settles is taken as it is after so long.
SETTLE_MAX_MS = 500

# Whether a change of this file may change what is deployed.
Matters = Callable[[Path], bool]


def matters(root: Path, codes: Iterable[Code]) -> Matters:
    """`root` is the folder of the project: its template and whatever the template reads lie there."""
    folders = [(code.path, ignored_by(code)) for code in codes if code.path is not None and code.path.is_dir()]
    ignore_files = {code.ignore_file for code in codes if code.ignore_file is not None}
    editors = watchfiles.DefaultFilter()

    def decide(path: Path) -> bool:
        if path in ignore_files:
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
    """Belongs to one event loop; as a context manager it ends with the context. No change is lost while it watches."""

    def __init__(self, decide: Matters) -> None:
        """`decide` is asked on a thread of its own, for each file that changed."""
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
        """On return these folders are watched, and no others. True where they were not all watched before."""
        wanted = frozenset(folders)
        if wanted == self._folders and self._task is not None and not self._task.done():
            return False
        await self._end()
        self._folders = wanted
        self._task = asyncio.get_running_loop().create_task(self._run(wanted), name="sesame dev watching")
        # The first step of the task asks the kernel to watch.
        await asyncio.sleep(0)
        return True

    async def changed(self) -> list[Path]:
        """The files that have changed since the last call, once there are any and they have settled."""
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
