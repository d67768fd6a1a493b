"""Commands in one plain instance: processes of the warden's, with the instance's directory and environment.

Made by plain.py, one for each instance.
Never lets a command outlive its instance or whoever asked for it: the warden ends all that descends from it.
"""

import asyncio
import itertools

import msgspec

from sesame.sandbox import spawner as warden
from sesame.sandbox.exec_streams import Sessions, Streamed, Streams
from sesame.sandbox.interface import Command

TERMINAL = "xterm-256color"
_numbers = itertools.count(1)


class Commands:
    """`like` is how a program of the function's would be started: its directory, environment and limits."""

    def __init__(self, keeper: warden.Warden, like: warden.Start) -> None:
        self._keeper = keeper
        self._like = like
        self._sessions = Sessions()

    async def start(self, command: Command) -> Streamed:
        """As `seam.Sandbox.exec` says."""
        name = f"{self._like.instance_id}/{next(_numbers)}"
        environment = {**self._like.env, "SESAME_COMMAND_ID": name}
        if command.tty:
            environment["TERM"] = TERMINAL
        start = msgspec.structs.replace(
            self._like, instance_id=name, argv=command.argv, env=environment, command=True, tty=command.tty
        )
        streams, session = Streams(command), _Session()
        try:
            session.process = await self._keeper.spawn(start, streams.lent, session.exited)
        except BaseException:
            streams.close()
            raise
        finally:
            if streams.lent[0] >= 0:
                streams.started()
        if session.process.exited.is_set():
            session.end()
        return await self._sessions.begin(streams, session)

    async def close(self) -> None:
        """Ends all of them, and returns when they are gone."""
        ends = self._sessions.close()
        self._sessions.end()
        if ends:
            await asyncio.wait(ends)


class _Session:
    """One command: `ended` is known when no process that descends from it is left."""

    def __init__(self) -> None:
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.process: warden.Process | None = None
        self._ending: asyncio.Task[None] | None = None

    def exited(self) -> None:
        """Its own process did; what it left behind goes now."""
        self.end()

    def end(self) -> None:
        if self.process is not None and self._ending is None:
            self._ending = asyncio.get_running_loop().create_task(self._end(self.process))

    async def _end(self, process: warden.Process) -> None:
        await process.kill()
        self.ended.set_result(process.exit_code())
