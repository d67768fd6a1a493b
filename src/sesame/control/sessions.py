"""Sessions of a function, created and ended by callers, and their requested snapshots (reference/api.md §5).

Called by the endpoint of 2023-03-30; returns records. The server sweeps expired ones.
"""

import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import msgspec

from sesame.control import checks
from sesame.control.inputs import Listing, Page, SessionInput
from sesame.control.listing import limit_of, page_from, page_of_all
from sesame.control.views import function_view
from sesame.model import limits, records
from sesame.model.conversion import described
from sesame.model.errors import AlreadyExists, Exhausted, Invalid, NotFound, Unusable
from sesame.model.function import Function
from sesame.model.invocation import Target
from sesame.model.records import Record
from sesame.model.session import ACTIVE, EXPIRED, PAUSED, Session, SessionKey, SessionSnapshot, is_over, session_parent
from sesame.model.session_affinity import AFFINITIES, GENERATED_COOKIE, NONE, SECONDS_MAX, SessionAffinity, affinity_of
from sesame.store.catalog import Catalog, Change, Transaction

_AUTO_RESUME = "enableAutoResume"
# POLICY: the maximum number of a function's sessions, because any caller may start one; the same number of expired
# sessions, the most recent, are remembered so that their ids are not reused.
SESSIONS_MAX = 10_000
# Other edits wait at most for this many deletions (0.2 ms each) of one transaction.
SWEPT_AT_ONCE = 100


class Sessions:
    """`wall_clock` returns Unix seconds."""

    def __init__(self, catalog: Catalog, wall_clock: Callable[[], float]) -> None:
        self._catalog = catalog
        self._wall_clock = wall_clock
        self._started_at = wall_clock()
        # By parent and name of the record: when the last call of a session ended, which is not stored.
        self._used: dict[tuple[str, str], float] = {}
        self._calls: Counter[tuple[str, str]] = Counter()
        catalog.on_change(self._forget)

    async def create(self, owner: str, function: str, qualifier: str, sent: SessionInput) -> Record:
        """Raises `Invalid` for a function without session affinity, `AlreadyExists` for an id in use."""
        affinity = _affinity(function_view(self._catalog, owner, function, qualifier).document)
        if affinity is None:
            expected = f"a function whose sessionAffinity is {' | '.join(AFFINITIES)}: set it by UpdateFunction"
            raise Invalid("session_affinity", expected, NONE)
        session = _merged(_new(affinity, sent.session_id or _made_id(), qualifier), sent)
        parent = session_parent(owner, function)
        if self._catalog.get(records.SESSION, parent, session.session_id) is None:
            self._require_room(parent, function)

        def edit(tx: Transaction) -> Record:
            if self._living(tx, parent, session.session_id) is not None:
                raise AlreadyExists(records.SESSION, session.session_id, (owner, function))
            return tx.put(records.SESSION, parent, session.session_id, session)

        return await self._catalog.edit(edit)

    async def of_call(self, target: Target, affinity: SessionAffinity, session_id: str) -> Record:
        """The session that a call names, or a new one; for "" an id is generated.

        Raises `Invalid` for an unusable id, `Unusable` for a paused session.
        """
        parent = session_parent(target.service, target.function)
        found = self._catalog.get(records.SESSION, parent, session_id) if session_id else None
        if found is None or self._is_over(found):
            if found is None and affinity.disable_id_reuse and affinity.kind == GENERATED_COOKIE:
                # `sweep` forgets ids of cookies, so this one may belong to an expired session.
                session_id = ""
            session = _new(affinity, session_id or _made_id(), target.qualifier)
            if found is None:
                self._require_room(parent, target.function)

            def edit(tx: Transaction) -> Record:
                present = self._living(tx, parent, session.session_id)
                return present or tx.put(records.SESSION, parent, session.session_id, session)

            found = await self._catalog.edit(edit)
        if found.document.qualifier != target.qualifier:
            expected = f"a session of qualifier {target.qualifier}, or another id"
            raise Invalid("session_id", expected, f"{found.name}, a session of {found.document.qualifier}")
        if found.document.status == PAUSED:
            if not found.document.settings.get(_AUTO_RESUME):
                raise Unusable(f"session '{found.name}' is paused: call ResumeSession first, or set {_AUTO_RESUME}")
            found = await self.set_paused(target, found.name, paused=False)
        return found

    @contextmanager
    def in_use(self, session: SessionKey) -> Iterator[None]:
        """During a call, and at its end, the session is not idle."""
        name = (session.parent, session.session_id)
        self._calls[name] += 1
        try:
            yield
        finally:
            self._calls[name] -= 1
            if not self._calls[name]:
                del self._calls[name]
            if self._catalog.get(records.SESSION, *name) is not None:
                self._used[name] = self._wall_clock()

    def is_there(self, session: SessionKey) -> bool:
        """Whether the same session still exists: not deleted, swept, or created again."""
        record = self._catalog.get(records.SESSION, session.parent, session.session_id)
        if record is None or record.document.status == EXPIRED:
            return False
        return record.created_at == session.created_at

    async def get(self, target: Target, session_id: str) -> Record:
        """Raises `NotFound` for a session that does not exist, has another qualifier, or has expired."""
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
        """The prefix applies to ids."""
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
        return page_from(found, limit, lambda record: record.name)

    async def sweep(self) -> int:
        """Deletes expired sessions, and returns their number.

        A session whose id may not be reused is kept, invisibly, until its function is deleted or `SESSIONS_MAX`
        others have expired since. A cookie's session is not kept, because nobody chooses that id.
        """
        over: list[Record] = []
        kept: dict[str, list[Record]] = {}
        for record in self._catalog.of_kind(records.SESSION):
            if record.document.status == EXPIRED:
                kept.setdefault(record.parent, []).append(record)
            elif self._is_over(record):
                over.append(record)
        for known in kept.values():
            known.sort(key=lambda record: record.modified_at, reverse=True)
            over += known[SESSIONS_MAX:]

        def edit(tx: Transaction, some: list[Record]) -> int:
            ended = 0
            for known in some:
                record = tx.get(records.SESSION, known.parent, known.name)
                if record is None or not self._is_over(record):
                    continue
                session: Session = record.document
                ended += session.status != EXPIRED
                if (
                    session.status == EXPIRED
                    or not session.disable_id_reuse
                    or session.affinity_type == GENERATED_COOKIE
                ):
                    tx.delete(records.SESSION, record.parent, record.name)
                else:
                    expired = msgspec.structs.replace(session, status=EXPIRED)
                    tx.put(records.SESSION, record.parent, record.name, expired)
            return ended

        ended = 0
        for first in range(0, len(over), SWEPT_AT_ONCE):
            ended += await self._catalog.edit(partial(edit, some=over[first : first + SWEPT_AT_ONCE]))
        return ended

    async def snapshot(self, target: Target, session_id: str, description: str) -> Record:
        """Records the request for a snapshot."""
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
        """POLICY: changing a session counts as using it, because the caller intends to continue."""
        name, now = (record.parent, record.name), self._wall_clock()
        used_at = now if name in self._calls else max(record.modified_at, self._used.get(name, self._started_at))
        return is_over(record.document, record.created_at, used_at, now)

    def _require_room(self, parent: str, function: str) -> None:
        if self._catalog.count(records.SESSION, parent) < SESSIONS_MAX:
            return
        living = sum(each.document.status != EXPIRED for each in self._catalog.children(records.SESSION, parent))
        if living >= SESSIONS_MAX:
            raise Exhausted(
                f"function '{function}' has {living} sessions, expected fewer than {SESSIONS_MAX} before another "
                "begins: delete some, or give them shorter times"
            )

    def _living(self, tx: Transaction, parent: str, session_id: str) -> Record | None:
        """The living session with this id; otherwise the id may be used. Raises `Invalid` if it may not."""
        present = tx.get(records.SESSION, parent, session_id)
        if present is None or not self._is_over(present):
            return present
        if present.document.disable_id_reuse:
            expected = "an id that no session of this function has had (disableSessionIdReuse)"
            raise Invalid("session_id", expected, session_id)
        tx.delete(records.SESSION, parent, session_id)
        return None

    def _forget(self, change: Change) -> None:
        if change.kind == records.SESSION and change.record is None:
            self._used.pop((change.parent, change.name), None)

    async def _change(self, target: Target, session_id: str, change: Callable[[Session], Session]) -> Record:
        present = await self.get(target, session_id)

        def edit(tx: Transaction) -> Record:
            former = tx.get(records.SESSION, present.parent, session_id)
            if former is None or self._is_over(former):
                raise NotFound(records.SESSION, session_id, (target.service, target.function))
            return tx.put(records.SESSION, present.parent, session_id, change(former.document))

        return await self._catalog.edit(edit)


def _affinity(function: Function) -> SessionAffinity | None:
    try:
        return affinity_of(function)
    except msgspec.ValidationError as error:
        # Stored by a version that did not check it.
        text = f"function '{function.function_name}' has settings that cannot be used: {described(error)}"
        raise Unusable(text) from error


def _made_id() -> str:
    return uuid.uuid4().hex


def _new(affinity: SessionAffinity, session_id: str, qualifier: str) -> Session:
    if not limits.SESSION_ID.match(session_id):
        allowed = "1 to 64 letters, digits, '_' or '-', beginning with a letter, a digit or '_'"
        raise Invalid("session_id", allowed, checks.shown(session_id))
    return Session(
        session_id=session_id,
        qualifier=qualifier or limits.LATEST,
        affinity_type=affinity.kind,
        idle_timeout_s=affinity.idle_timeout_s,
        ttl_s=affinity.ttl_s,
        disable_id_reuse=affinity.disable_id_reuse,
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
