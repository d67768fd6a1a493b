"""The values that actors and the command line exchange: what to run on every machine, and reports on each.

They are sent as plain values, because sender and receiver may run different versions: fields that one side does not
know are ignored. An `Order` contains secrets: Ray keeps it as long as the actors live, and reveals it only to those
who have Ray's token.
"""

import hashlib

import msgspec

from sesame.model.standing import Standing


class Order(msgspec.Struct, frozen=True, omit_defaults=True):
    """`command` follows the interpreter. `environment` is added to Ray's own.

    `files` are written on each machine into a folder that only its user may read; the variable that each is named by
    gets its path. In `command`, `environment` and `files`, NODE and ADDRESS stand for the node's name and the machine's
    address. `version` is the version of Sesame that gave the order. `tells` is a file of JSON that the node
    writes once it serves, with its URL as `fc`; `stands` one that it writes from its start on, a `Standing`. `program`
    follows the interpreter where another of Sesame's commands is run beside the node.
    """

    version: str
    command: tuple[str, ...]
    environment: dict[str, str] = {}
    files: dict[str, str] = {}
    tells: str = ""
    stands: str = ""
    program: tuple[str, ...] = ("-m", "sesame")
    drain_s: float = 10.0

    @property
    def digest(self) -> str:
        """Identifies the order without revealing it. Ignores the version, which may change while the cluster runs."""
        same = msgspec.structs.replace(self, version="")
        return hashlib.sha256(msgspec.msgpack.encode(same, order="deterministic")).hexdigest()


# Placeholders for the node's name and for the address at which other machines reach it.
NODE, ADDRESS = "{node}", "{address}"


def filled(text: str, node: str, address: str) -> str:
    return text.replace(NODE, node).replace(ADDRESS, address)


class Report(msgspec.Struct, frozen=True, omit_defaults=True):
    """Of one node: `state` is one of `node_process.State`; STARTING before its actor is heard of, then LOST.

    `starts` counts how often the process was started; `said` is how it ended last and what it said then; `url` is where
    it serves, if it does, `version` the Sesame that does, and `since` when that began (Unix seconds). `standing` is
    what the node says of itself. `short` says what its machine is short of. `ahead_s` is its clock, beyond that of
    whoever reads this; `heard_s` how long ago its actor was heard of.
    """

    machine: str
    address: str
    host: str
    state: str
    starts: int = 0
    said: str = ""
    url: str = ""
    version: str = ""
    since: float = 0.0
    standing: Standing = Standing()
    short: str = ""
    wall: float = 0.0
    ahead_s: float = 0.0
    heard_s: float = 0.0

    @property
    def where(self) -> str:
        return f"{self.address} ({self.host})"


class Ran(msgspec.Struct, frozen=True):
    """The exit code and output of a Sesame command that was run on a machine."""

    code: int
    out: str
    err: str


class Installed(msgspec.Struct, frozen=True, kw_only=True):
    """What is installed on a machine by now, as it says itself: a new start of the node would run that.

    `build` and `speaks` as in `Standing`. It `knows` migrations of the database, which stands at `database`, "" where
    it has no tables yet. `problem` is why a start would be refused, with the next step.
    """

    version: str
    build: str = ""
    environment: str = ""
    ray: str = ""
    speaks: str = ""
    knows: tuple[str, ...] = ()
    database: str = ""
    problem: str = ""


STARTING, LOST = "starting", "lost"
