"""Builds what traces calls, where the settings ask for it; else nothing of OpenTelemetry is imported.

Called by `app` before the engine and the endpoints, which it is put around.
"""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import msgspec

from sesame.engine.interface import Invoke
from sesame.fc.tracing import Continued
from sesame.http.interface import Endpoint
from sesame.model.clocks import Clocks
from sesame.model.errors import ConfigurationError
from sesame.settings import Settings

if TYPE_CHECKING:
    from sesame.traces.endpoint import WebEndpoint


class Tracers(msgspec.Struct, frozen=True):
    """What is put around the engine's `invoke` and an endpoint, and what queued invocations keep of a request."""

    around_calls: Callable[[Invoke], Invoke]
    around_endpoint: "Callable[[WebEndpoint], Endpoint]"
    continued: Continued


async def open_traces(settings: Settings, clocks: Clocks, teardown: AsyncExitStack) -> Tracers | None:
    """None where no traces are asked for. At the end, what was not exported is, for as long as OpenTelemetry tries.

    Raises `ConfigurationError` where the extra is not installed.
    """
    if settings.traces == "none":
        return None
    try:
        from sesame.traces.calls import TracedCalls
        from sesame.traces.endpoint import TracedEndpoint, continued
        from sesame.traces.provider import NAME, provider
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("opentelemetry"):
            raise
        raise ConfigurationError(
            f"--traces {settings.traces} needs what the extra `otel` brings ({error.name} is not installed): install "
            "the wheel as `sesame_fc-….whl[otel]`, or start without --traces"
        ) from error
    provides = await asyncio.to_thread(provider)
    teardown.push_async_callback(asyncio.to_thread, provides.shutdown)
    tracer = provides.get_tracer(NAME)
    return Tracers(
        around_calls=lambda invoke: TracedCalls(invoke, tracer, clocks).invoke,
        around_endpoint=lambda endpoint: TracedEndpoint(endpoint, tracer),
        continued=continued,
    )
