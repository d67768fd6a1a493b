"""Traces are asked for by a setting; without the extra the start says what is missing.

Run by pytest.
"""

import sys
from contextlib import AsyncExitStack
from typing import Any

import pytest
from tests.support.fakes import FakeClocks

from sesame._traces import open_traces
from sesame.model.errors import ConfigurationError
from sesame.settings import Settings


async def test_without_the_extra_the_start_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [each for each in sys.modules if each.startswith(("opentelemetry", "sesame.traces."))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    async with AsyncExitStack() as teardown:
        with pytest.raises(ConfigurationError, match=r"the extra `otel`.*start without --traces"):
            await open_traces(Settings(traces="otlp"), FakeClocks(), teardown)


async def test_without_the_setting_there_is_nothing_around_calls() -> None:
    async with AsyncExitStack() as teardown:
        assert await open_traces(Settings(), FakeClocks(), teardown) is None


@pytest.mark.parametrize(
    ("variables", "name"),
    [({}, "sesame"), ({"OTEL_SERVICE_NAME": "ours"}, "ours"), ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=a"}, "a")],
)
def test_the_standard_variables_name_the_service(
    variables: dict[str, str], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    from sesame.traces.provider import provider

    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    exporter = InMemorySpanExporter()
    made: Any = provider(exporter)
    made.get_tracer("test").start_span("one").end()
    made.shutdown()
    (span,) = exporter.get_finished_spans()
    assert span.resource.attributes["service.name"] == name
