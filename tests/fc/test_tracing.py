"""The caller's trace is read from the cloud's headers, else from W3C's."""

from sesame.fc.auth.request_head import RequestHead, read_request
from sesame.fc.tracing import tracing_of

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
W3C = (b"traceparent", f"00-{TRACE}-{SPAN}-01".encode())


def head(*headers: tuple[bytes, bytes]) -> RequestHead:
    return read_request("POST", b"/", headers)


def test_the_clouds_headers_are_passed_on_as_they_are() -> None:
    context = (b"x-fc-tracing-opentracing-span-context", b"1:2:0:1")
    baggage = (b"x-fc-tracing-opentracing-span-context-baggage-user", b"ann")
    assert tracing_of(head(context, baggage, W3C)) == {"span_context": "1:2:0:1", "span_baggages": {"user": "ann"}}


def test_a_traceparent_becomes_what_functions_of_the_cloud_read() -> None:
    assert tracing_of(head(W3C)) == {"span_context": f"{TRACE}:{SPAN}:0:1", "span_baggages": {}}


def test_without_either_nothing_is_traced() -> None:
    assert tracing_of(head()) is None
    assert tracing_of(head((b"traceparent", b"nonsense"))) is None
