"""Finds the running instances that a service, a qualifier and a function mean.

Used by the routes and by `fc.exec.endpoint`; reads what the engine has running.
Never starts or stops an instance.
"""

from collections.abc import Callable, Iterable

from sesame.fc.dependencies import Control, RunningInstance
from sesame.model import limits


class Instances:
    def __init__(self, control: Control, running: Callable[[], Iterable[RunningInstance]]) -> None:
        self._functions = control.functions
        self._aliases = control.aliases
        self._running = running

    async def of(self, service: str, qualifier: str, function: str) -> dict[str, RunningInstance]:
        """By their ids. An empty qualifier means the latest state; an alias every version that it sends calls to.

        Raises what is not found of the three.
        """
        await self._functions.get(service, function, qualifier)
        versions = await self._versions(service, qualifier)
        return {
            instance.instance_id: instance
            for instance in self._running()
            if instance.snapshot.version_id in versions
            and instance.snapshot.service.service_name == service
            and instance.snapshot.function.function_name == function
        }

    async def _versions(self, service: str, qualifier: str) -> set[str]:
        if not qualifier:
            return {limits.LATEST}
        if qualifier.isdecimal():
            return {qualifier}
        alias = (await self._aliases.get(service, qualifier)).document
        return {alias.version_id, *(alias.additional_version_weight or {})}
