"""Sessions of a function, made and ended by callers, and the snapshots asked for of them (reference/api.md §5).

Called by the endpoint of 2023-03-30; answers with records. The server sweeps out what has expired.
"""

import uuid
from collections.abc import Callable
from typing import Any

import msgspec

from sesame.control import checks
from sesame.control.inputs import Listing, Page, SessionInput
from sesame.control.listing import limit_of, page_of_all
from sesame.control.views import function_view
from sesame.model import limits, records
from sesame.model.errors import AlreadyExists, Invalid, NotFound
from sesame.model.invocation import Target
from sesame.model.records import Record
from sesame.model.session import ACTIVE, EXPIRED, PAUSED, Session, SessionSnapshot, is_over, session_parent
from sesame.store.catalog import Catalog, Transaction

SECONDS_MAX = 21_600
IDLE_TIMEOUT_S, TTL_S = 1_800, 21_600
AFFINITIES = ("HEADER_FIELD", "GENERATED_COOKIE", "MCP_SSE", "MCP_STREAMABLE")


class Sessions:
    """`wall_clock` gives Unix seconds."""

    def __init__(self, catalog: Catalog, wall_clock: Callable[[], float]) -> None:
        self._catalog = catalog
        self._wall_clock = wall_clock

    async def create(self, owner: str, function: str, qualifier: str, sent: SessionInput) -> Record:
        """Raises `Invalid` for a function without session affinity, `AlreadyExists` for an id that is in use."""
        affinity = function_view(self._catalog, owner, function, qualifier).document.later.session_affinity
        if affinity not in AFFINITIES:
            expected = f"a function whose sessionAffinity is {' | '.join(AFFINITIES)}: set it by UpdateFunction"
            raise Invalid("session_affinity", expected, affinity or "NONE")
        session_id = sent.session_id or uuid.uuid4().hex
        checks.name("session_id", session_id, limits.SESSION_ID, 64)
        session = Session(
            session_id=session_id,
            qualifier=qualifier or limits.LATEST,
            affinity_type=affinity,
            idle_timeout_s=IDLE_TIMEOUT_S,
            ttl_s=TTL_S,
        )
        session = _merged(session, sent)
        parent = session_parent(owner, function)

        def edit(tx: Transaction) -> Record:
            present = tx.get(records.SESSION, parent, session_id)
            if present is not None and not self._is_over(present):
                raise AlreadyExists(records.SESSION, session_id, (owner, function))
            if present is not None:
                _require_reusable(present)
                tx.delete(records.SESSION, parent, session_id)
            return tx.put(records.SESSION, parent, session_id, session)

        return await self._catalog.edit(edit)

    async def get(self, target: Target, session_id: str) -> Record:
        """Raises `NotFound` for what is not there, is under another qualifier, or whose time is over."""
        owner, function = target.service, target.function
        function_view(self._catalog, owner, function)
        found = self._catalog.get(records.SESSION, session_parent(owner, function), session_id)
        if found is None or found.document.qualifier != target.qualifier or self._is_over(found):
            raise NotFound(records.SESSION, session_id, (owner, function))
        return found

    async def update(self, target: Target, session_id: str, sent: SessionInput) -> Record:
        return await self._change(target, session_id, lambda session: _merged(session, sent))

    async def set_paused(self, target: Target, session_id: str, *, paused: bool) -> Record:
        status = PAUSED if paused else ACTIVE
        return await self._change(target, session_id, lambda session: msgspec.structs.replace(session, status=status))

    async def delete(self, target: Target, session_id: str) -> None:
        present = await self.get(target, session_id)
        await self._catalog.edit(lambda tx: tx.delete(records.SESSION, present.parent, session_id))

    async def list(self, owner: str, function: str, wanted: Listing, is_wanted: Callable[[Session], bool]) -> Page:
        """The prefix is one of ids."""
        function_view(self._catalog, owner, function)
        limit = limit_of(wanted)
        found = [
            record
            for record in self._catalog.children(records.SESSION, session_parent(owner, function))
            if record.name >= wanted.next_token
            and record.name.startswith(wanted.prefix)
            and not self._is_over(record)
            and is_wanted(record.document)
        ]
        return Page(tuple(found[:limit]), found[limit].name if len(found) > limit else None)

    async def sweep(self) -> int:
        """Deletes what has expired, and returns how many sessions that were.

        One whose id may not be used again is kept until its function is deleted, seen by nobody.
        """
        over = [
            record
            for record in self._catalog.of_kind(records.SESSION)
            if record.document.status != EXPIRED and self._is_over(record)
        ]
        if not over:
            return 0

        def edit(tx: Transaction) -> int:
            ended = 0
            for known in over:
                record = tx.get(records.SESSION, known.parent, known.name)
                if record is None or not self._is_over(record):
                    continue
                ended += 1
                if record.document.disable_id_reuse:
                    expired = msgspec.structs.replace(record.document, status=EXPIRED)
                    tx.put(records.SESSION, record.parent, record.name, expired)
                else:
                    tx.delete(records.SESSION, record.parent, record.name)
            return ended

        return await self._catalog.edit(edit)

    async def snapshot(self, target: Target, session_id: str, description: str) -> Record:
        """Keeps that a snapshot was asked for."""
        checks.description(description)
        session: Session = (await self.get(target, session_id)).document
        snapshot = SessionSnapshot(
            snapshot_id=str(uuid.uuid4()), session_id=session_id, qualifier=session.qualifier, description=description
        )
        parent = session_parent(target.service, target.function)
        return await self._catalog.edit(
            lambda tx: tx.put(records.SESSION_SNAPSHOT, parent, snapshot.snapshot_id, snapshot)
        )

    async def get_snapshot(self, owner: str, function: str, snapshot_id: str) -> Record:
        function_view(self._catalog, owner, function)
        found = self._catalog.get(records.SESSION_SNAPSHOT, session_parent(owner, function), snapshot_id)
        if found is None:
            raise NotFound(records.SESSION_SNAPSHOT, snapshot_id, (owner, function))
        return found

    async def delete_snapshot(self, owner: str, function: str, snapshot_id: str) -> None:
        present = await self.get_snapshot(owner, function, snapshot_id)
        await self._catalog.edit(lambda tx: tx.delete(records.SESSION_SNAPSHOT, present.parent, snapshot_id))

    async def list_snapshots(self, wanted: Listing, is_wanted: Callable[[Record], bool]) -> Page:
        """Of all functions."""
        return page_of_all(self._catalog, records.SESSION_SNAPSHOT, wanted, is_wanted)

    def _is_over(self, record: Record) -> bool:
        """POLICY: a change of a session counts as its use, since whoever changes it means to go on."""
        return is_over(record.document, record.created_at, record.modified_at, self._wall_clock())

    async def _change(self, target: Target, session_id: str, change: Callable[[Session], Session]) -> Record:
        present = await self.get(target, session_id)

        def edit(tx: Transaction) -> Record:
            former = tx.get(records.SESSION, present.parent, session_id)
            if former is None or self._is_over(former):
                raise NotFound(records.SESSION, session_id, (target.service, target.function))
            return tx.put(records.SESSION, present.parent, session_id, change(former.document))

        return await self._catalog.edit(edit)


def _require_reusable(expired: Record) -> None:
    if expired.document.disable_id_reuse:
        raise Invalid(
            "session_id", "an id that no session of this function has had (disableSessionIdReuse)", expired.name
        )


def _merged(session: Session, sent: SessionInput) -> Session:
    changes: dict[str, Any] = {"settings": {**session.settings, **sent.settings}}
    for field in ("idle_timeout_s", "ttl_s"):
        value = getattr(sent, field)
        if value is not None:
            checks.between(field, value, 0 if field == "idle_timeout_s" else 1, SECONDS_MAX)
            changes[field] = value
    if sent.disable_id_reuse is not None:
        changes["disable_id_reuse"] = sent.disable_id_reuse
    return msgspec.structs.replace(session, **changes)
