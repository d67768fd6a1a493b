"""Records calls, as set for the server or for a function; secrets are masked before anything is stored.

The engine calls `wants` and `record` for each call only while something is to be recorded. The
operations on recordings use it to set and read what is recorded.
"""

import asyncio
import hashlib
import hmac
from collections.abc import Callable, Iterable, Mapping

import msgspec
import structlog

from sesame.control import checks
from sesame.model import limits, records
from sesame.model.errors import Invalid, NotFound
from sesame.model.invocation import Credentials, HeldLog, Invocation, Outcome
from sesame.model.recording import (
    ALL,
    MASK,
    MODES,
    NONE,
    PART_BYTES_MAX,
    RecordedOutcome,
    Recording,
    RecordingConfig,
    RecordingSummary,
)
from sesame.model.snapshot import Snapshot
from sesame.store.catalog import Catalog, Change, Transaction
from sesame.store.recordings import Recordings, RecordingsOf

# POLICY: a shorter value of a variable, such as `1` or `prod`, is not a secret, and masking it would spoil the text.
SECRET_CHARS_MIN = 8
# POLICY: a call is answered once its recording is on the disk, but waits no longer than this for a slow disk or
# database.
WRITTEN_WITHIN_S = 1.0
# Larger data are masked on a thread, because searching for secrets takes a while.
MASKED_HERE_BYTES_MAX = 64 * 1024
# Enough to detect a changed value.
DIGEST_CHARS = 16
# Headers of HTTP functions that authenticate the caller.
SECRET_HEADERS = frozenset(
    {"authorization", "proxy-authorization", "cookie", "set-cookie", "x-fc-security-token", "x-api-key"}
)

log = structlog.get_logger(__name__)

Switch = Callable[[bool], None]


class Recorder:
    """Belongs to the event loop. `switch` turns the engine's calls of `record` on and off."""

    def __init__(
        self, catalog: Catalog, store: Recordings, mode: str, wall: Callable[[], float], digest_key: bytes
    ) -> None:
        """`mode` is the server's, one of `model.recording.MODES`.

        `take`, if set to something else than that of `store`, stores recordings elsewhere.
        """
        self._catalog = catalog
        self._store = store
        self.take: Callable[[Recording], asyncio.Future[None]] = store.take
        self._wall = wall
        self._digest_key = digest_key
        self._switch: Switch = lambda _on: None
        self.mode = mode

    def start(self, switch: Switch) -> None:
        self._switch = switch
        self._catalog.on_change(self._changed)
        self._decide()

    def wants(self, snapshot: Snapshot) -> bool:
        """Whether calls of it are recorded, even if only failed ones."""
        return self.mode_of(snapshot.service, snapshot.function) != NONE

    async def record(
        self, invocation: Invocation, snapshot: Snapshot, credentials: Credentials, outcome: Outcome
    ) -> None:
        """Returns when the recording is on the disk, after WRITTEN_WITHIN_S at the latest.

        Raises nothing: a call must not fail because it could not be recorded.
        """
        mode = self.mode_of(snapshot.service, snapshot.function)
        if mode == NONE or (mode != ALL and outcome.error is None):
            return
        now = self._wall()

        def made() -> Recording:
            return recording_of(invocation, snapshot, credentials, outcome, self._environment(snapshot), now)

        size = len(outcome.payload) + (len(outcome.log.data) if outcome.log else 0)
        try:
            recording = made() if size <= MASKED_HERE_BYTES_MAX else await asyncio.to_thread(made)
            written = self.take(recording)
        except Exception:
            log.exception("a call cannot be recorded", request=invocation.request_id)
            return
        await asyncio.wait([written], timeout=WRITTEN_WITHIN_S)

    def changed_variables(self, recording: Recording, now: Mapping[str, str]) -> tuple[str, ...]:
        """The variables of a recorded call whose value has changed; deleted variables are not included."""
        before = zip(recording.environment, recording.environment_digests, strict=False)
        return tuple(
            name for name, digest in before if name in now and digest != _digest(self._digest_key, name, now[name])
        )

    def _environment(self, snapshot: Snapshot) -> dict[str, str]:
        """The names of its variables in order, each with its digest."""
        found = snapshot.launch.environment
        return {name: _digest(self._digest_key, name, found[name]) for name in sorted(found)}

    def mode_of(self, service: str, function: str) -> str:
        """The function's own setting, otherwise the server's."""
        record = self._catalog.get(records.RECORDING_CONFIG, service, function)
        return self.mode if record is None else str(record.document.mode)

    def is_set(self, service: str, function: str) -> bool:
        return self._catalog.get(records.RECORDING_CONFIG, service, function) is not None

    async def set(self, service: str, function: str, mode: str | None) -> None:
        """None removes the function's own setting. Raises `Invalid`, and `NotFound` if there is no such function."""
        if mode is not None and mode not in MODES:
            raise Invalid("mode", " | ".join(MODES), mode)
        checks.name("function_name", function, limits.FUNCTION_NAME, 64)

        def edit(tx: Transaction) -> None:
            if tx.get(records.FUNCTION, service, function) is None:
                raise NotFound(records.FUNCTION, function, (service,))
            if mode is not None:
                tx.put(records.RECORDING_CONFIG, service, function, RecordingConfig(mode))
            elif tx.get(records.RECORDING_CONFIG, service, function) is not None:
                tx.delete(records.RECORDING_CONFIG, service, function)

        await self._catalog.edit(edit)

    async def find(self, request_id: str) -> Recording:
        """The newest recording of this request. Raises `NotFound`."""
        return await self._store.find(request_id)

    async def list(self, service: str, function: str, before: int | None, limit: int) -> "list[RecordingSummary]":
        """The newest first; empty names mean all."""
        return await self._store.list(RecordingsOf(service, function, before, limit))

    async def delete(self, service: str, function: str) -> int:
        return await self._store.delete(RecordingsOf(service, function))

    def _changed(self, change: Change) -> None:
        if change.kind == records.RECORDING_CONFIG:
            self._decide()

    def _decide(self) -> None:
        own = (record.document.mode for record in self._catalog.of_kind(records.RECORDING_CONFIG))
        self._switch(self.mode != NONE or any(mode != NONE for mode in own))


def recording_of(
    invocation: Invocation,
    snapshot: Snapshot,
    credentials: Credentials,
    outcome: Outcome,
    environment: Mapping[str, str],
    now: float,
) -> Recording:
    """What is stored of a call, without the values of its variables and credentials. `environment` has digests."""
    event, target = invocation.event, invocation.target
    return Recording(
        request_id=invocation.request_id,
        recorded_at=now,
        service=snapshot.service,
        function=snapshot.function,
        qualifier=target.qualifier,
        version_id=snapshot.version_id,
        runtime=snapshot.runtime,
        handler=snapshot.launch.handler,
        initializer=snapshot.launch.initializer,
        timeout_s=snapshot.limits.timeout_s,
        memory_size_mb=snapshot.limits.memory_mb,
        code=snapshot.code,
        code_checksum=snapshot.code_checksum,
        layers=snapshot.layers,
        role=snapshot.role,
        environment=tuple(environment),
        environment_digests=tuple(environment.values()),
        event=event if len(event) <= PART_BYTES_MAX else None,
        event_bytes=len(event),
        http_params=_http(invocation.http_params),
        retry_count=invocation.retry_count,
        outcome=outcome_of(outcome, snapshot, credentials),
    )


def outcome_of(outcome: Outcome, snapshot: Snapshot, credentials: Credentials) -> RecordedOutcome:
    """The outcome as it is stored, and as two of them are compared."""
    secrets = _secrets(snapshot.launch.environment.values(), credentials)
    result = _masked(outcome.payload, secrets) if len(outcome.payload) <= PART_BYTES_MAX else None
    held = outcome.log or HeldLog(outcome.log_tail)
    return RecordedOutcome(
        error_type=outcome.error.type if outcome.error else "",
        error_reason=outcome.error.reason if outcome.error else "",
        result=result,
        result_bytes=len(outcome.payload),
        http_result=_masked(_http(outcome.http_params), secrets),
        log=_masked(held.data, secrets),
        log_cut_bytes=held.cut_bytes,
        duration_ms=outcome.duration_ms,
        memory_mb=outcome.memory_mb,
        cold=outcome.cold,
    )


def _secrets(values: Iterable[str], credentials: Credentials) -> list[bytes]:
    """The longest first, because one may be part of another."""
    given = [*values, credentials.access_key_id, credentials.access_key_secret, credentials.security_token]
    return sorted({value.encode() for value in given if len(value) >= SECRET_CHARS_MIN}, key=len, reverse=True)


def _digest(key: bytes, name: str, value: str) -> str:
    return hmac.digest(key, f"{name}\0{value}".encode(), hashlib.sha256).hex()[:DIGEST_CHARS]


def _masked(data: bytes, secrets: list[bytes]) -> bytes:
    for secret in secrets:
        if secret in data:
            data = data.replace(secret, MASK.encode())
    return data


def _http(params: dict[str, object] | None) -> bytes:
    """As JSON, with secret headers masked; empty for an event function."""
    if params is None:
        return b""
    headers = params.get("headers")
    if isinstance(headers, list):
        shown = [
            [pair[0], MASK] if isinstance(pair[0], str) and pair[0].lower() in SECRET_HEADERS else pair
            for pair in headers
            if isinstance(pair, list | tuple) and len(pair) == 2
        ]
        params = {**params, "headers": shown}
    return msgspec.json.encode(params)
