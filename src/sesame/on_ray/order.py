"""What is run on every machine of a cluster, and what is told of each: values that actors and the command exchange.

An `Order` holds secrets: Ray keeps it for as long as the actors live, and shows it to nobody without Ray's token.
"""

import hashlib

import msgspec


class Order(msgspec.Struct, frozen=True):
    """`command` follows the interpreter. `environment` is added to Ray's own.

    `files` are written on each machine into a folder that only its user may read; the variable that each is named by
    gets its path. In `command`, `environment` and `files`, NODE and ADDRESS stand for the node's name and the machine's
    address. `version` is the version of Sesame that gave the order. `tells` is a file of JSON that the node
    writes once it serves, with its URL as `fc`.
    """

    version: str
    command: tuple[str, ...]
    environment: dict[str, str] = {}
    files: dict[str, str] = {}
    tells: str = ""
    drain_s: float = 10.0

    @property
    def digest(self) -> str:
        """Tells two orders apart without telling what they hold. The version may change while the cluster runs."""
        same = msgspec.structs.replace(self, version="")
        return hashlib.sha256(msgspec.msgpack.encode(same, order="deterministic")).hexdigest()


# What stands for the node's name, and for the address at which other machines reach it.
NODE, ADDRESS = "{node}", "{address}"


def filled(text: str, node: str, address: str) -> str:
    return text.replace(NODE, node).replace(ADDRESS, address)


class Report(msgspec.Struct, frozen=True):
    """Of one node: `state` is one of `node_process.State`; STARTING before its actor is heard of, then LOST.

    `starts` counts how often the process was started; `said` is how it ended last and what it said then; `url` is where
    it serves, if it does.
    """

    machine: str
    address: str
    host: str
    state: str
    starts: int = 0
    said: str = ""
    url: str = ""


STARTING, LOST = "starting", "lost"
