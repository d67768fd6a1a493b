"""The span and trace of a call, as callers and functions write them: W3C's `traceparent`, Jaeger's form.

Used by `fc.tracing` to read headers, by `engine.environment` to pass the context to functions, and by `traces`.
"""

import re
import secrets

import msgspec

# W3C Trace Context, 3.2: text after the flags is defined by later versions, and ignored.
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?\Z")
# Trace, span, parent span, flags: leading zeros may be left out.
_JAEGER = re.compile(r"([0-9a-fA-F]{1,32}):([0-9a-fA-F]{1,16}):[0-9a-fA-F]{1,16}:([0-9a-fA-F]{1,2})\Z")
_SAMPLED = 1


class SpanContext(msgspec.Struct, frozen=True):
    """`trace_id` has 32 lower-case hexadecimal digits and `span_id` 16; neither is all zeros."""

    trace_id: str
    span_id: str
    sampled: bool

    def as_jaeger(self) -> str:
        """The value of header `uber-trace-id`, which the cloud passes to functions; the parent span is deprecated."""
        return f"{self.trace_id}:{self.span_id}:0:{int(self.sampled)}"

    def as_traceparent(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{int(self.sampled):02x}"


def new_trace() -> SpanContext:
    """The first span of a new trace."""
    return SpanContext(secrets.token_hex(16), secrets.token_hex(8), sampled=True)


def from_traceparent(text: str) -> SpanContext | None:
    """None for malformed text, which W3C tells receivers to ignore."""
    return _made(_TRACEPARENT.match(text))


def from_jaeger(text: str) -> SpanContext | None:
    """None for text that is not in Jaeger's form."""
    return _made(_JAEGER.match(text))


def _made(match: re.Match[str] | None) -> SpanContext | None:
    if match is None:
        return None
    trace_id, span_id = match[1].lower().zfill(32), match[2].lower().zfill(16)
    if not trace_id.strip("0") or not span_id.strip("0"):
        return None
    return SpanContext(trace_id, span_id, sampled=bool(int(match[3], 16) & _SAMPLED))
