"""Which span of which trace a call belongs to, as callers and functions write it: W3C's `traceparent`, Jaeger's form.

Used by `fc.tracing`, which reads headers, by `engine.environment`, which tells functions, and by `traces`.
"""

import re
import secrets

import msgspec

# W3C Trace Context, 3.2: of a later version, what follows the flags is for that version to say.
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
        """The form of the header `uber-trace-id`, which the cloud gives to functions; its parent span is deprecated."""
        return f"{self.trace_id}:{self.span_id}:0:{int(self.sampled)}"

    def as_traceparent(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{int(self.sampled):02x}"


def new_trace() -> SpanContext:
    """The first span of a trace of its own."""
    return SpanContext(secrets.token_hex(16), secrets.token_hex(8), sampled=True)


def from_traceparent(text: str) -> SpanContext | None:
    """None for what is not well-formed, which W3C has receivers ignore."""
    return _made(_TRACEPARENT.match(text))


def from_jaeger(text: str) -> SpanContext | None:
    """None for what is not in Jaeger's form."""
    return _made(_JAEGER.match(text))


def _made(match: re.Match[str] | None) -> SpanContext | None:
    if match is None:
        return None
    trace_id, span_id = match[1].lower().zfill(32), match[2].lower().zfill(16)
    if not trace_id.strip("0") or not span_id.strip("0"):
        return None
    return SpanContext(trace_id, span_id, sampled=bool(int(match[3], 16) & _SAMPLED))
