"""Compares the settings that must be the same on every node, without revealing secrets, and describes differences.

`_node` describes a node's settings with `told`. The writer compares them with those of a node that joins; a candidate
compares them with those that the database has of the last leader.
"""

import hmac
from collections.abc import Mapping
from typing import Any

import msgspec

# As much of a value is shown as fits into a line of a log.
_SHOWN_MAX = 120
_NAMED_MAX = 5


class Told(msgspec.Struct, frozen=True, array_like=True):
    """A setting's value: as it may be `shown`, "" for a secret, and a digest. Values are equal if their digests are."""

    shown: str
    digest: str


Same = Mapping[str, Told]
"""Values by the name of their setting."""

_codec = dict[str, Told]


def told(key: bytes, name: str, value: Any, *, shown: str | None = None) -> Told:
    """Describes the value of setting `name`. The digest reveals nothing about it without `key`, the cluster's."""
    text = msgspec.json.encode(value, order="deterministic", enc_hook=str)
    digest = hmac.digest(key, b"setting " + name.encode() + b"\0" + text, "sha256")
    return Told((text.decode() if shown is None else shown)[:_SHOWN_MAX], digest.hex())


def key_digest(key: bytes) -> str:
    """Identifies the cluster in its database, without revealing the key."""
    return hmac.digest(key, b"sesame cluster", "sha256").hex()


def difference(own: Same, others: Same, node: str, leader: str) -> str:
    """How `own`, the settings of `node`, differ from `others`, those of `leader`, and what to do; "" if they do not.

    Ignores settings that only one side knows: it runs another version of Sesame.
    """
    said = shown(own, others, node, leader)
    return (
        f"settings must be the same on every node: {said}. Start {node} with the settings of the others; "
        "to change them, stop every node first"
        if said
        else ""
    )


def shown(own: Same, others: Same, node: str, leader: str) -> str:
    """Like `difference`, without the next step."""
    names = [name for name in sorted(own.keys() & others.keys()) if own[name].digest != others[name].digest]
    said = [_said(name, own[name], others[name], node, leader) for name in names[:_NAMED_MAX]]
    if len(names) > _NAMED_MAX:
        said.append(f"and {len(names) - _NAMED_MAX} more differ")
    return "; ".join(said)


def encoded(same: Same) -> str:
    return msgspec.json.encode(same, order="deterministic").decode()


def decoded(text: str) -> Same | None:
    """The inverse of `encoded`. None if `text` is empty or was written by an incompatible version."""
    try:
        return msgspec.json.decode(text, type=_codec) if text else None
    except msgspec.DecodeError:
        return None


def _said(name: str, own: Told, others: Told, node: str, leader: str) -> str:
    if not own.shown and not others.shown:
        return f"{name}, a secret, is another one on {node} than on {leader}"
    return f"{name} is {own.shown or 'a secret'} on {node} and {others.shown or 'a secret'} on {leader}"
