"""Recordings for tests, with what matters to each given by name."""

from typing import Any

from sesame.model.recording import RecordedOutcome, Recording


def recorded_outcome(**given: Any) -> RecordedOutcome:
    outcome = {
        "error_type": "", "error_reason": "", "result": b"done", "result_bytes": 4, "http_result": b"", "log": b"",
        "duration_ms": 1.5, "memory_mb": 20.0, "cold": False,
    }  # fmt: skip
    return RecordedOutcome(**(outcome | given))  # type: ignore[arg-type]


def recording(request_id: str = "r", at: float = 1000.0, **given: Any) -> Recording:
    call = {
        "request_id": request_id, "recorded_at": at, "service": "demo", "function": "f", "qualifier": "LATEST",
        "version_id": "LATEST", "runtime": "python3.12", "handler": "index.handler", "initializer": "",
        "timeout_s": 10, "memory_size_mb": 128, "code": "c" * 64, "code_checksum": "1", "layers": (),
        "environment": (), "event": b"{}", "event_bytes": 2, "http_params": b"", "retry_count": 0,
        "outcome": recorded_outcome(),
    }  # fmt: skip
    return Recording(**(call | given))  # type: ignore[arg-type]
