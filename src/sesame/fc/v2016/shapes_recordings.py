"""The answers of Sesame's own operations on recorded calls. Used by `fc.v2016.routes.own_recordings`."""

import msgspec


class RecordingConfigAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """`mode` is what counts; `own` says whether the function sets it itself; `server` is the server's setting."""

    mode: str
    own: bool
    server: str


class Deleted(msgspec.Struct, frozen=True):
    deleted: int
