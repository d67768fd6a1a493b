"""A trace from the caller through the server into the function, exported to a collector of OpenTelemetry.

Run by pytest, with the official SDK.
"""

import json
from collections.abc import Iterator
from http.server import HTTPServer
from pathlib import Path
from typing import Any

import fc2
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from tests.journeys.conftest import Deploy, Sesame, running, wait_until
from tests.support.interpreters import INTERPRETERS
from tests.support.web_servers import Quiet, serving

RUNTIME = next((name for name in ("python3.10", "python3.9", "python3.12") if name in INTERPRETERS), "python3")
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
JAEGER = "http://127.0.0.1:14268/api/traces"


class Collector:
    """Takes spans over OTLP, as any collector does."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        collector = self

        class Handler(Quiet):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                    for scope in resource.scope_spans:
                        collector.spans.extend(scope.spans)
                self.send_response(200)
                self.end_headers()

        self.server = HTTPServer(("127.0.0.1", 0), Handler)

    def of(self, trace: str) -> dict[str, Any]:
        """The spans of one trace by their names."""
        return {span.name: span for span in list(self.spans) if span.trace_id.hex() == trace}


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    made = Collector()
    with serving(made.server):
        yield made


@pytest.fixture(scope="module")
def traced(collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sesame]:
    folder: Path = tmp_path_factory.mktemp("traced")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.server.server_port}")
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        with running(folder, "--traces", "otlp", runtime=RUNTIME) as server:
            yield server


def told_of(client: fc2.Client, service: str, **headers: str) -> list[Any]:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    found: list[Any] = json.loads(client.invoke_function(service, "traced", headers=sent).data)
    return found


def test_a_trace_goes_from_the_caller_into_the_function_and_to_the_collector(
    traced: Sesame, collector: Collector
) -> None:
    client = traced.client()
    client.create_service("traced", tracingConfig={"type": "Jaeger", "params": {"endpoint": JAEGER}})
    Deploy(client, "traced", RUNTIME)("traced")
    context, _baggages, jaeger = told_of(client, "traced", traceparent=f"00-{TRACE}-{SPAN}-01")
    expected = {"POST", "traced/traced", "start", "handler"}
    # Spans come in batches, the request's last.
    spans = wait_until(lambda: (found := collector.of(TRACE)).keys() >= expected and found, "spans", 30)
    request, call = spans["POST"], spans["traced/traced"]
    assert request.parent_span_id.hex() == SPAN
    statuses = [each.value.int_value for each in request.attributes if each.key == "http.response.status_code"]
    assert statuses == [200]
    assert call.parent_span_id == request.span_id
    assert spans["handler"].parent_span_id == call.span_id
    assert context == f"{TRACE}:{call.span_id.hex()}:0:1"
    assert jaeger == JAEGER


def test_an_asynchronous_invocation_continues_the_trace_of_its_request(traced: Sesame, collector: Collector) -> None:
    client = traced.client()
    client.create_service("queued")
    Deploy(client, "queued", RUNTIME)("traced")
    trace = TRACE[::-1]
    headers = {"traceparent": f"00-{trace}-{SPAN}-01", "x-fc-invocation-type": "Async"}
    client.invoke_function("queued", "traced", headers=headers)
    spans = wait_until(
        lambda: (found := collector.of(trace)).keys() >= {"POST", "queued/traced"} and found, "spans", 30
    )
    assert spans["queued/traced"].parent_span_id == spans["POST"].span_id
