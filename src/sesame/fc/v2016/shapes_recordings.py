"""The answers of Sesame's own operations on recorded calls. Used by `fc.v2016.routes.own_recordings`."""

import msgspec


class RecordingConfigAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """`mode` is the effective setting; `own` is true if the function has its own; `server` is the server's."""

    mode: str
    own: bool
    server: str


class Deleted(msgspec.Struct, frozen=True):
    deleted: int
