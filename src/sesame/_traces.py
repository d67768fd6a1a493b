"""Builds the tracing of calls, if the settings enable it; otherwise OpenTelemetry is not imported.

Called by `app` before the engine and the endpoints, which it wraps.
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
    """Wrappers for the engine's `invoke` and for an endpoint, and the trace context stored with queued invocations."""

    around_calls: Callable[[Invoke], Invoke]
    around_endpoint: "Callable[[WebEndpoint], Endpoint]"
    continued: Continued


async def open_traces(settings: Settings, clocks: Clocks, teardown: AsyncExitStack) -> Tracers | None:
    """None if tracing is disabled. At the end, remaining spans are exported, for as long as OpenTelemetry tries.

    Raises `ConfigurationError` if the extra is not installed.
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
