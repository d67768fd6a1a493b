"""What a supervisor that starts anew in its process keeps: the agents that live, and the sockets.

Made by `agents.supervisor` before the `exec`, carried by `cli.restarting`, and given to the next one.
"""

import hashlib
from typing import Any, NoReturn, Protocol

import msgspec

from sesame.agents.messages import Message
from sesame.http.handover import Handed
from sesame.model.kinds import KINDS


class KeptAgent(msgspec.Struct, frozen=True):
    """`link` is a descriptor, and `unread` what has come on it."""

    number: int
    pid: int
    link: int
    held: bool
    ready: bool
    unread: bytes


class Kept(msgspec.Struct, frozen=True):
    """`speaks` is what `spoken` gave the supervisor that started these agents. `handed` has the sockets."""

    speaks: str
    agents: tuple[KeptAgent, ...]
    handed: tuple[Handed, ...]

    def descriptors(self) -> list[int]:
        of_endpoints = [fd for each in self.handed for fd in (each.listening, *each.connections)]
        return [*of_endpoints, *(each.link for each in self.agents)]


class Trial(Protocol):
    """The program as it is installed by now, which is tried in a process of its own."""

    def problem(self) -> str | None:
        """Why it cannot start, with the next step; "" where it can, None while that is not known."""

    def close(self) -> None:
        """Ends the process."""


class Anew(Protocol):
    """How the supervisor's program starts again."""

    def attempt(self) -> Trial: ...

    def begin(self, kept: Kept) -> NoReturn:
        """Raises `OSError` where it cannot."""


def spoken(agents: int, *others: Any) -> str:
    """What agents must have in common to be of one Sesame: their messages, the catalog's records, how many they are.

    `others` are what they say beside it.
    """
    kinds = [Message, *KINDS.values(), *others]
    schema = msgspec.json.schema_components(kinds, schema_hook=lambda kind: {"title": str(kind)})
    return hashlib.sha256(msgspec.json.encode((agents, schema), order="sorted")).hexdigest()
