"""How two nodes prove to each other that they have the key of the cluster, in one round trip and fixed sizes.

    who connects              line, purpose, challenge     →
                                                           ←   line, challenge, proof      who was connected to
                              proof                        →

A proof is an HMAC-SHA256 of everything that was said before it, with the side that makes it: it fits no other
connection, so nothing that was overheard can be used again, and not what the other side has said either. What follows
the handshake is neither signed nor encrypted. Used by `port`; knows no sockets.
"""

import enum
import hmac
import secrets

from sesame.model.errors import PlatformError

# Everything up to the number is the same in all versions, and so is its length.
_NAME = b"sesame-cluster "
VERSION = 1
LINE = b"%s%03d\n" % (_NAME, VERSION)
CHALLENGE_BYTES = PROOF_BYTES = 32
OPENING_BYTES = len(LINE) + 1 + CHALLENGE_BYTES
ANSWER_BYTES = len(LINE) + CHALLENGE_BYTES + PROOF_BYTES
_CONNECTS, _ANSWERS = b"connects", b"answers"


class Purpose(enum.IntEnum):
    """What an authenticated connection is for."""

    LINK = 1
    TUNNEL = 2


class NotOfCluster(PlatformError):
    """The other side has not proven that it has the key."""


class Opening:
    """The side that connects: sends `first`, reads ANSWER_BYTES, sends what `answered` returns."""

    def __init__(self, key: bytes, purpose: Purpose) -> None:
        self._key = key
        self.first = LINE + bytes((purpose,)) + secrets.token_bytes(CHALLENGE_BYTES)

    def answered(self, answer: bytes) -> bytes:
        """The proof; the other side has proven itself from here on. Raises `NotOfCluster`."""
        _check_line(answer)
        said, proof = answer[:-PROOF_BYTES], answer[-PROOF_BYTES:]
        if len(answer) != ANSWER_BYTES or not hmac.compare_digest(proof, _proof(self._key, _ANSWERS, self.first, said)):
            raise NotOfCluster("it has another key of the cluster: have every node use a copy of one key file")
        return _proof(self._key, _CONNECTS, self.first, answer)


class Answering:
    """The other side: reads OPENING_BYTES, sends what `opened` returns, reads PROOF_BYTES and has them `proved`."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._first = self._answer = b""

    def opened(self, first: bytes) -> bytes:
        """The answer. Raises `NotOfCluster`; to a node of another version, LINE may be said before the end."""
        _check_line(first)
        if len(first) != OPENING_BYTES or first[len(LINE)] not in tuple(Purpose):
            raise NotOfCluster("it wants what this version of Sesame does not know")
        said = LINE + secrets.token_bytes(CHALLENGE_BYTES)
        self._first, self._answer = first, said + _proof(self._key, _ANSWERS, first, said)
        return self._answer

    def proved(self, proof: bytes) -> Purpose:
        """What the connection is for; the other side has proven itself from here on. Raises `NotOfCluster`."""
        if not self._answer or not hmac.compare_digest(proof, _proof(self._key, _CONNECTS, self._first, self._answer)):
            raise NotOfCluster("it has not proven that it has the key of the cluster")
        return Purpose(self._first[len(LINE)])


def is_sesame(said: bytes) -> bool:
    """Whether this is the beginning of a handshake, of whatever version."""
    return said.startswith(_NAME)


def _check_line(said: bytes) -> None:
    line = said[: len(LINE)]
    if line == LINE:
        return
    if not is_sesame(line):
        raise NotOfCluster("it does not speak as a node of Sesame does: look whether the address is an agent port")
    version = line[len(_NAME) :].strip().decode("ascii", "replace")
    raise NotOfCluster(f"it speaks version {version} of the handshake, this node {VERSION}: install one Sesame on both")


def _proof(key: bytes, side: bytes, first: bytes, answer: bytes) -> bytes:
    # All of fixed sizes but the name of the side, which comes first and of which none begins another.
    return hmac.digest(key, side + first + answer, "sha256")
