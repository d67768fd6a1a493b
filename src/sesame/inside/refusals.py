"""Tells the operator what functions were refused, now and then: a function itself sees a reset, or nothing."""

import structlog

from sesame.model.clocks import SYSTEM_CLOCKS, Clocks

LOG_EVERY_S = 10.0

log = structlog.get_logger("sesame.network")


class Refusals:
    def __init__(self, clocks: Clocks = SYSTEM_CLOCKS) -> None:
        self._clocks = clocks
        self._said_at = float("-inf")

    def say(self, client: str, host: str, port: int) -> None:
        now = self._clocks.monotonic()
        if now - self._said_at >= LOG_EVERY_S:
            self._said_at = now
            log.warning(
                "a function may not reach an address: it is in a network of this machine's own; the setting "
                "network_allow names what functions may",
                client=client,
                address=host,
                port=port,
            )
