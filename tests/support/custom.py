"""Puts functions that are programs of their own on the stage of tests/runtime.

Used by the tests of what holds for them as for Python's.
"""

from pathlib import Path
from typing import Any

from tests.runtime.conftest import Actor, Stage

from sesame.model.web_server import PORT_DEFAULT, WebServer
from sesame.sandbox.interface import SandboxDriver

PATH = "/usr/local/bin:/usr/bin:/bin"


class CustomStage:
    """As `Stage`, for the runtime `custom`: what a handler's name ends with is in the variable ATTACK."""

    def __init__(self, driver: SandboxDriver) -> None:
        self._stage = Stage(driver, "custom")

    async def start(self, case: str | Path, handler: str = "index.handler", **more: Any) -> Actor:
        variables = {
            "FC_SERVER_PORT": str(PORT_DEFAULT),
            "PATH": PATH,
            "ATTACK": handler.partition(".")[2],
            "HOME": "/tmp",
        }
        variables |= more.pop("variables", {})
        server = more.pop("web_server", WebServer())
        return await self._stage.start(case, handler, environment=variables, web_server=server, **more)

    async def clear(self) -> None:
        await self._stage.clear()
