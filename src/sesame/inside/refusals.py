"""Occasionally logs refused connections for the operator: the function itself sees only a reset, or nothing."""

import structlog

from sesame.model.clocks import SYSTEM_CLOCKS, Clocks
from sesame.model.seldom import Seldom

log = structlog.get_logger("sesame.network")


class Refusals:
    def __init__(self, clocks: Clocks = SYSTEM_CLOCKS) -> None:
        self._says = Seldom(clocks.monotonic)

    def say(self, client: str, host: str, port: int) -> None:
        if self._says.may():
            log.warning(
                "a function may not reach an address: it is in a network of this machine's own; the setting "
                "network_allow names what functions may",
                client=client,
                address=host,
                port=port,
            )
