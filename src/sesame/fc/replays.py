"""Runs recorded calls again, and tries functions under other runtimes, each in a sandbox of its own.

Called by the operations on recordings. A replayed call has its side effects again: event, variables, code and role are
the function's own.
"""

import asyncio
import io
import uuid
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import msgspec

from sesame.control.code import CodeSource
from sesame.control.inputs import CodeInput
from sesame.control.recorder import Recorder, outcome_of
from sesame.engine.interface import Trials
from sesame.identity.authorization import Requester
from sesame.model import limits
from sesame.model.errors import Invalid, PlatformError, Unusable
from sesame.model.function import Package
from sesame.model.invocation import Invocation, Target
from sesame.model.recording import PART_BYTES_MAX, RecordedOutcome, Recording
from sesame.model.snapshot import Snapshot
from sesame.sandbox import checking

CHECK_MEMORY_MB = 512
CHECK_TIMEOUT_S = 300


class Archives(Protocol):
    """The part of `store.packages.packages.Packages` that is used here."""

    def archive(self, package: Package) -> Path: ...


class Replayed(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A recorded call and the outcome of its replay, with the function's current role.

    `missing` names variables that the function no longer has, `changed` those whose values differ now.
    """

    recorded: Recording
    runtime: str
    code: str
    outcome: RecordedOutcome
    missing: tuple[str, ...]
    changed: tuple[str, ...]
    role: str


class Tried(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    runtime: str
    request_id: str
    outcome: RecordedOutcome


class Finding(msgspec.Struct, frozen=True):
    """An error or a warning by an interpreter about a source that it compiled."""

    file: str
    line: int
    kind: str
    text: str


class Findings(msgspec.Struct, frozen=True):
    runtime: str
    findings: list[Finding]


class Replays:
    """`resolve` returns the current state of a function."""

    def __init__(
        self, recorder: Recorder, resolve: Callable[[Target], Snapshot], trials: Trials, code: CodeSource,
        archives: Archives,
    ) -> None:  # fmt: skip
        self._recorder = recorder
        self._resolve = resolve
        self._trials = trials
        self._code = code
        self._archives = archives

    async def replay(self, recording: Recording, runtime: str, code: CodeInput | None, by: Requester) -> Replayed:
        """`runtime` "" means the recorded runtime, `code` None the recorded package.

        Raises `Unusable` if the event or the code was not kept.
        """
        runtime = _known(runtime or recording.runtime)
        if recording.event is None:
            raise Unusable(
                f"the event of this call was not kept: it has {recording.event_bytes} bytes, and at most "
                f"{PART_BYTES_MAX} are recorded"
            )
        now = self._resolve(Target(recording.service, limits.LATEST, recording.function))
        sha256 = recording.code if code is None else (await self._code.package(code, runtime, by=by)).sha256
        await self._require_kept(sha256)
        variables = {
            name: now.launch.environment[name] for name in recording.environment if name in now.launch.environment
        }
        snapshot = msgspec.structs.replace(
            now,
            key=f"replay-{uuid.uuid4()}",
            version_id=recording.version_id,
            runtime=runtime,
            limits=msgspec.structs.replace(
                now.limits, memory_mb=recording.memory_size_mb, timeout_s=recording.timeout_s, instances=None
            ),
            launch=msgspec.structs.replace(
                now.launch, handler=recording.handler, initializer=recording.initializer, environment=variables
            ),
            code=sha256,
            layers=recording.layers,
        )
        invocation = Invocation(
            request_id=str(uuid.uuid4()),
            target=Target(recording.service, recording.qualifier, recording.function),
            event=recording.event,
            retry_count=recording.retry_count,
            http_params=msgspec.json.decode(recording.http_params) if recording.http_params else None,
        )
        missing = tuple(name for name in recording.environment if name not in variables)
        outcome = await self._run(snapshot, invocation)
        return Replayed(
            recorded=recording,
            runtime=runtime,
            code=sha256,
            outcome=outcome,
            missing=missing,
            changed=self._recorder.changed_variables(recording, variables),
            role=now.role,
        )

    async def attempt(self, target: Target, event: bytes, runtime: str) -> Tried:
        """Calls the current function once under another runtime."""
        snapshot = self._under(target, runtime)
        request_id = str(uuid.uuid4())
        outcome = await self._run(snapshot, Invocation(request_id, target, event))
        return Tried(runtime=snapshot.runtime, request_id=request_id, outcome=outcome)

    async def check(self, target: Target, runtime: str, by: Requester) -> Findings:
        """The findings of a runtime's interpreter about all sources in a function's code, imported or not."""
        snapshot = self._under(target, runtime)
        await self._require_kept(snapshot.code)
        archive = await asyncio.to_thread(_with_check, self._archives.archive(_package(snapshot.code)))
        package = await self._code.package(CodeInput(zip_file=archive), snapshot.runtime, by=by)
        snapshot = msgspec.structs.replace(
            snapshot,
            code=package.sha256,
            role="",
            layers=(),
            limits=msgspec.structs.replace(
                snapshot.limits, memory_mb=max(snapshot.limits.memory_mb, CHECK_MEMORY_MB), timeout_s=CHECK_TIMEOUT_S
            ),
            launch=msgspec.structs.replace(
                snapshot.launch,
                handler=checking.HANDLER,
                initializer="",
                environment={},
                pre_stop=None,
                pre_freeze=None,
            ),
        )
        trial = await self._trials.run(snapshot, Invocation(str(uuid.uuid4()), target, b""))
        payload = trial.outcome.payload
        if trial.outcome.error is not None:
            raise PlatformError(f"the sources could not be checked: {payload[:500].decode('utf-8', 'replace')}")
        return Findings(snapshot.runtime, msgspec.json.decode(payload, type=list[Finding]))

    def _under(self, target: Target, runtime: str) -> Snapshot:
        snapshot = self._resolve(target)
        limits_ = msgspec.structs.replace(snapshot.limits, instances=None)
        return msgspec.structs.replace(
            snapshot, key=f"trial-{uuid.uuid4()}", runtime=_known(runtime or snapshot.runtime), limits=limits_
        )

    async def _run(self, snapshot: Snapshot, invocation: Invocation) -> RecordedOutcome:
        trial = await self._trials.run(snapshot, invocation)
        return outcome_of(trial.outcome, snapshot, trial.credentials)

    async def _require_kept(self, sha256: str) -> None:
        if not await asyncio.to_thread(self._archives.archive(_package(sha256)).is_file):
            raise Unusable(
                f"the code that this call ran (package {sha256}) is not kept any more: run it with other code, by "
                "`sesame replay --code DIR`"
            )


def _known(runtime: str) -> str:
    if runtime not in limits.SANDBOXED_RUNTIMES:
        raise Invalid("runtime", " | ".join(limits.SANDBOXED_RUNTIMES), runtime)
    return runtime


def _package(sha256: str) -> Package:
    return Package(sha256=sha256, checksum="", size_bytes=0)


def _with_check(archive: Path) -> bytes:
    """A copy of an archive with the checking handler added."""
    buffer = io.BytesIO(archive.read_bytes())
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr(f"{checking.MODULE}.py", checking.SOURCE.read_bytes())
    return buffer.getvalue()
