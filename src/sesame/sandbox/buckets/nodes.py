"""The files and directories of one mounted bucket that the kernel currently references, by node number.

Kept by `buckets.filesystem`, whose threads share it. Does not know which objects exist.
"""

import errno
import os
from threading import RLock

from sesame.sandbox.buckets.drafts import Draft
from sesame.sandbox.buckets.fuse import ROOT_ID
from sesame.sandbox.buckets.moves import Moves
from sesame.sandbox.buckets.objects import Head

# The kernel drops references when the instance's memory is short; beyond this many, new lookups are refused.
NODES_MAX = 100_000


class Node:
    """`head` is the file's object as seen at `seen_at`. A `gone` node was deleted while still open.

    `lock` is held while the contents change: when a draft is created, uploaded, moved or discarded.
    """

    __slots__ = (
        "children", "draft", "gone", "head", "id", "is_directory", "lock", "lookups", "name", "opens", "parent",
        "seen_at", "writers",
    )  # fmt: skip

    def __init__(self, id: int, parent: "Node | None", name: str, *, is_directory: bool) -> None:
        self.id = id
        self.parent = parent
        self.name = name
        self.is_directory = is_directory
        self.children: dict[str, Node] = {}
        self.lookups = 0
        self.opens = 0
        self.writers = 0
        self.head: Head | None = None
        self.seen_at = 0.0
        self.draft: Draft | None = None
        self.gone = False
        self.lock = RLock()


class Tree:
    """`prefix` is the root's key: "" or a string ending in "/"."""

    def __init__(self, prefix: str) -> None:
        self.moves = Moves()
        self._prefix = prefix
        self._lock = RLock()
        self.root = Node(ROOT_ID, None, "", is_directory=True)
        self._nodes = {ROOT_ID: self.root}
        self._last_id = ROOT_ID

    def get(self, id: int) -> Node:
        node = self._nodes.get(id)
        if node is None:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return node

    def child(self, parent: Node, name: str) -> Node | None:
        return parent.children.get(name)

    def key(self, node: Node) -> str:
        """The object's key; for a directory that of its marker, ending in "/"; for the root the prefix."""
        with self._lock:
            parts: list[str] = []
            at: Node | None = node
            while at is not None and at.parent is not None:
                parts.append(at.name)
                at = at.parent
            key = self._prefix + "/".join(reversed(parts))
            return key + "/" if node.is_directory and parts else key

    def key_below(self, parent: Node, name: str) -> str:
        return self.key(parent) + name

    def enter(self, parent: Node, name: str, *, is_directory: bool) -> Node:
        """Returns the node of this name, creating it if necessary, and counts one more reference by the kernel."""
        with self._lock:
            node = parent.children.get(name)
            if node is not None and node.is_directory != is_directory:
                self.detach(node)
                node = None
            if node is None:
                if len(self._nodes) >= NODES_MAX:
                    raise OSError(errno.ENFILE, os.strerror(errno.ENFILE))
                self._last_id += 1
                node = Node(self._last_id, parent, name, is_directory=is_directory)
                self._nodes[node.id] = parent.children[name] = node
            node.lookups += 1
            return node

    def forget(self, id: int, lookups: int) -> None:
        with self._lock:
            node = self._nodes.get(id)
            if node is not None:
                node.lookups -= lookups
                self._drop_unused(node)

    def opened(self, node: Node) -> None:
        with self._lock:
            node.opens += 1

    def closed(self, node: Node) -> None:
        with self._lock:
            node.opens -= 1
            self._drop_unused(node)

    def detach(self, node: Node) -> None:
        """Removes the node's name; the node itself is kept while the kernel references it."""
        with self._lock:
            node.gone = True
            _take_name(node)

    def move(self, node: Node, parent: Node, name: str) -> None:
        """Renames the node, replacing any node of that name."""
        with self._lock:
            former, before = parent.children.get(name), node.parent
            if former is not None and former is not node:
                self.detach(former)
            _take_name(node)
            node.parent, node.name = parent, name
            parent.children[name] = node
            if before is not None:
                self._drop_unused(before)

    def drafts_below(self, directory: Node) -> list[str]:
        """The names of the directory's files that exist only as drafts."""
        with self._lock:
            return [name for name, each in directory.children.items() if each.draft is not None and each.draft.is_new]

    def all_with_drafts(self) -> list[Node]:
        with self._lock:
            return [node for node in self._nodes.values() if node.draft is not None]

    def _drop_unused(self, node: Node) -> None:
        at: Node | None = node
        while at is not None and at.id != ROOT_ID and at.lookups <= 0 and at.opens <= 0 and not at.children:
            self._nodes.pop(at.id, None)
            _take_name(at)
            at = at.parent


def _take_name(node: Node) -> None:
    """Removes the node from its parent, unless another node has taken its name."""
    if node.parent is not None and node.parent.children.get(node.name) is node:
        del node.parent.children[node.name]
