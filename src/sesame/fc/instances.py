"""Finds the running instances of a function under a qualifier.

Used by the routes and by `fc.exec.endpoint`.
"""

from sesame.control.control import Control
from sesame.engine.interface import Engine, InstanceInfo
from sesame.model import limits


class Instances:
    def __init__(self, control: Control, engine: Engine) -> None:
        self._functions = control.functions
        self._aliases = control.aliases
        self._engine = engine

    async def of(self, service: str, qualifier: str, function: str) -> dict[str, InstanceInfo]:
        """The running instances by id. No qualifier means the latest state; an alias means all versions it refers to.

        Raises `NotFound` if the service, the qualifier or the function does not exist.
        """
        await self._functions.get(service, function, qualifier)
        versions = await self._versions(service, qualifier)
        return {
            instance.instance_id: instance
            for instance in await self._engine.instances(service, function)
            if instance.version_id in versions
        }

    async def _versions(self, service: str, qualifier: str) -> set[str]:
        if not qualifier:
            return {limits.LATEST}
        if qualifier.isdecimal():
            return {qualifier}
        alias = (await self._aliases.get(service, qualifier)).document
        return {alias.version_id, *(alias.additional_version_weight or {})}
