"""What must be the same on every node: told without secrets, compared, and said in words where it is not.

Made by `_node` of a node's settings; compared by the writer with what a node says that joins, and by a candidate with
what the database has of the node that led last.
"""

import hmac
from collections.abc import Mapping
from typing import Any

import msgspec

# As much of a value is shown as fits into a line of a log.
_SHOWN_MAX = 120
_NAMED_MAX = 5


class Told(msgspec.Struct, frozen=True, array_like=True):
    """A value as it may be `shown`, "" for a secret; two are the same where their digests are."""

    shown: str
    digest: str


Same = Mapping[str, Told]
"""By the names of settings."""

_codec = dict[str, Told]


def told(key: bytes, name: str, value: Any, *, shown: str | None = None) -> Told:
    """Of the setting `name`. Without the key of the cluster, the digest says nothing of the value."""
    text = msgspec.json.encode(value, order="deterministic", enc_hook=str)
    digest = hmac.digest(key, b"setting " + name.encode() + b"\0" + text, "sha256")
    return Told((text.decode() if shown is None else shown)[:_SHOWN_MAX], digest.hex())


def key_digest(key: bytes) -> str:
    """By which a database knows its cluster, and nobody the key."""
    return hmac.digest(key, b"sesame cluster", "sha256").hex()


def difference(own: Same, others: Same, node: str, leader: str) -> str:
    """In what `own`, of `node`, differs from `others`, of the `leader`, and what to do; "" where it does not.

    A setting that one of them does not know is one of another version of Sesame, and no difference.
    """
    names = [name for name in sorted(own.keys() & others.keys()) if own[name].digest != others[name].digest]
    if not names:
        return ""
    said = [_said(name, own[name], others[name], node, leader) for name in names[:_NAMED_MAX]]
    if len(names) > _NAMED_MAX:
        said.append(f"and {len(names) - _NAMED_MAX} more differ")
    return (
        f"settings must be the same on every node: {'; '.join(said)}. Start {node} with the settings of the others; "
        "to change them, stop every node first"
    )


def encoded(same: Same) -> str:
    return msgspec.json.encode(same, order="deterministic").decode()


def decoded(text: str) -> Same | None:
    """None where nothing was kept, or not by this version."""
    try:
        return msgspec.json.decode(text, type=_codec) if text else None
    except msgspec.DecodeError:
        return None


def _said(name: str, own: Told, others: Told, node: str, leader: str) -> str:
    if not own.shown and not others.shown:
        return f"{name}, a secret, is another one on {node} than on {leader}"
    return f"{name} is {own.shown or 'a secret'} on {node} and {others.shown or 'a secret'} on {leader}"
