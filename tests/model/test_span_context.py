"""Spans as callers and functions write them: what is well-formed is read, what is not is ignored."""

import pytest

from sesame.model.span_context import SpanContext, from_jaeger, from_traceparent, new_trace

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize(
    ("text", "sampled"),
    [(f"00-{TRACE}-{SPAN}-01", True), (f"00-{TRACE}-{SPAN}-00", False), (f"cc-{TRACE}-{SPAN}-03-what-comes", True)],
)
def test_a_traceparent_is_read(text: str, sampled: bool) -> None:
    assert from_traceparent(text) == SpanContext(TRACE, SPAN, sampled)


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01\n",
    ],
)
def test_what_is_no_traceparent_is_ignored(text: str) -> None:
    assert from_traceparent(text) is None


def test_jaegers_form_may_leave_out_leading_zeros() -> None:
    assert from_jaeger("124ed43254b54966:124ed43254b54966:0:1") == SpanContext(
        "0000000000000000124ed43254b54966", "124ed43254b54966", sampled=True
    )
    assert from_jaeger("1:2:0:0") == SpanContext("1".zfill(32), "2".zfill(16), sampled=False)
    assert from_jaeger("0:2:0:1") is None
    assert from_jaeger("a trace") is None


def test_both_forms_are_written_as_they_are_read() -> None:
    span = new_trace()
    assert from_jaeger(span.as_jaeger()) == from_traceparent(span.as_traceparent()) == span
