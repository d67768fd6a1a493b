"""The values that actors and the command line exchange: what to run on every machine, and reports on each.

They are sent as plain values, because sender and receiver may run different versions: fields that one side does not
know are ignored. An `Order` contains secrets: Ray keeps it as long as the actors live, and reveals it only to those
who have Ray's token.
"""

import hashlib

import msgspec

from sesame.model.standing import Standing


class Order(msgspec.Struct, frozen=True, omit_defaults=True):
    """How to run a node. `command` are the interpreter's arguments; `environment` is added to that of Ray's process.

    `files` are written on each machine into a folder that only its user may read; the environment variable with the
    name of each gets its path. In `command`, `environment` and `files`, NODE and ADDRESS stand for the node's name and
    the machine's address. `version` is that of the Sesame that gave the order. `tells` is the path of a JSON file that
    the node writes once it serves, with its URL as `fc`; `stands` that of a `Standing`, which it writes from its start.
    `program` are the interpreter's first arguments for other Sesame commands. `drain_s` is how long (in seconds)
    running calls get to end.
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
    """A report on one node.

    `state` is a `node_process.State` or "refused"; if its actor does not answer, STARTING if it never did, else LOST.
    `starts` counts the starts of its process; `said` is how that last ended and what it wrote then. `url` is where it
    serves, if it does, `version` its Sesame, `since` when it began to serve (Unix seconds). `standing` is what the node
    reports about itself. `short` names a resource that its machine is short of. `wall` is its clock, `ahead_s` by how
    much that is ahead of the reader's, `heard_s` how long ago its actor last answered, all in seconds.
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
    """What is installed on a machine now, as it describes itself; the node's next start would run it.

    `build` and `speaks` are as in `Standing`. `knows` are the database migrations that it knows; `database` is the
    newest one that the database has, "" if it has no tables yet. `problem` is why a start would be refused, with the
    next step. `differs` names settings that are not those of the cluster, and must be.
    """

    version: str
    build: str = ""
    environment: str = ""
    ray: str = ""
    speaks: str = ""
    knows: tuple[str, ...] = ()
    database: str = ""
    problem: str = ""
    differs: str = ""


STARTING, LOST = "starting", "lost"
