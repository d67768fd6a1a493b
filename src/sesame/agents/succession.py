"""What a supervisor keeps when it replaces its own program in place (`exec`): the living agents and the sockets.

Created by `agents.supervisor`, passed on by `cli.restarting` to the supervisor of the new program.
"""

import hashlib
from typing import Any, Protocol

import msgspec

from sesame.agents.messages import Message
from sesame.http.handover import Handed
from sesame.model.kinds import KINDS


class KeptAgent(msgspec.Struct, frozen=True):
    """`link` is a descriptor, -1 for none; `unread` are bytes received on it that are no complete message yet."""

    number: int
    pid: int
    link: int
    held: bool
    ready: bool
    unread: bytes


class Kept(msgspec.Struct, frozen=True):
    """`speaks` is the value of `spoken` in the program that started these agents. `handed` has the sockets."""

    speaks: str
    agents: tuple[KeptAgent, ...]
    handed: tuple[Handed, ...]

    def descriptors(self) -> list[int]:
        of_endpoints = [fd for each in self.handed for fd in (each.listening, *each.connections)]
        return [*of_endpoints, *(each.link for each in self.agents)]


class Trial(Protocol):
    """Tests in a separate process whether the program, as it is installed now, can start."""

    def problem(self) -> str | None:
        """Why it cannot start, with the next step to take; "" if it can start, None while the result is pending."""

    def close(self) -> None:
        """Ends the process."""


class Anew(Protocol):
    """Starts the supervisor's program again in the same process."""

    def attempt(self) -> Trial: ...

    def begin(self, kept: Kept) -> str:
        """Replaces this program. Returns only if the new one cannot be executed: why, with the next step."""


def spoken(agents: int, *others: Any) -> str:
    """A digest of what agents must have in common to work together: their number, messages and catalog records.

    `others` are the types of further messages. SHA-256, in hexadecimal.
    """
    kinds = [Message, *KINDS.values(), *others]
    schema = msgspec.json.schema_components(kinds, schema_hook=lambda kind: {"title": str(kind)})
    return hashlib.sha256(msgspec.json.encode((agents, schema), order="sorted")).hexdigest()
