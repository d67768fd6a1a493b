"""Commands in one plain instance: processes of the spawner with the instance's directory and environment.

Created by `process.driver`, one per instance. A command ends with its instance or with the context that started it: the
spawner then ends all its descendants.
"""

import asyncio
import itertools

import msgspec

from sesame.model.command import Command
from sesame.sandbox.exec_streams import CommandExecution, Sessions, Streams
from sesame.sandbox.process.spawner import Process, Spawner, Start

TERMINAL = "xterm-256color"
_numbers = itertools.count(1)


class Commands:
    """`template` describes how a program started by the function would run: directory, environment and limits."""

    def __init__(self, spawner: Spawner, template: Start) -> None:
        self._spawner = spawner
        self._template = template
        self._sessions = Sessions()

    async def start(self, command: Command) -> CommandExecution:
        """See `Sandbox.exec`."""
        name = f"{self._template.instance_id}/{next(_numbers)}"
        environment = {**self._template.env, "SESAME_COMMAND_ID": name}
        if command.tty:
            environment["TERM"] = TERMINAL
        start = msgspec.structs.replace(
            self._template, instance_id=name, argv=command.argv, env=environment, command=True, tty=command.tty
        )
        streams, session = Streams(command), _Session()
        try:
            session.process = await self._spawner.spawn(start, streams.lent, session.exited)
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
        """Ends all commands and returns when their processes are gone."""
        ends = self._sessions.close()
        self._sessions.end()
        if ends:
            await asyncio.wait(ends)


class _Session:
    """One command: `ended` yields its exit code once none of its descendants is left."""

    def __init__(self) -> None:
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.process: Process | None = None
        self._ending: asyncio.Task[None] | None = None

    def exited(self) -> None:
        """The command's own process has ended: end what it left behind."""
        self.end()

    def end(self) -> None:
        if self.process is not None and self._ending is None:
            self._ending = asyncio.get_running_loop().create_task(self._end(self.process))

    async def _end(self, process: Process) -> None:
        await process.kill()
        self.ended.set_result(process.exit_code())
