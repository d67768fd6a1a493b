"""How two nodes prove to each other that they have the key of the cluster, in one round trip and fixed sizes.

    who connects              line, purpose, challenge     →
                                                           ←   line, challenge, proof      who was connected to
                              proof                        →

A proof is an HMAC-SHA256 of everything sent before it and of the name of the side that makes it. It is therefore valid
for one connection and one side only: an overheard proof cannot be replayed, nor can one be reflected to its sender.
What follows the handshake is neither signed nor encrypted. Used by `port`; knows no sockets.
"""

import enum
import hmac
import secrets

from sesame.model.errors import PlatformError

# In all versions, the text before the number is the same and the line has the same length.
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
    """The connecting side: sends `first`, reads ANSWER_BYTES, sends what `answered` returns."""

    def __init__(self, key: bytes, purpose: Purpose) -> None:
        self._key = key
        self.first = LINE + bytes((purpose,)) + secrets.token_bytes(CHALLENGE_BYTES)

    def answered(self, answer: bytes) -> bytes:
        """Returns the proof to send. On return the other side has proven itself. Raises `NotOfCluster`."""
        _check_line(answer)
        said, proof = answer[:-PROOF_BYTES], answer[-PROOF_BYTES:]
        if len(answer) != ANSWER_BYTES or not hmac.compare_digest(proof, _proof(self._key, _ANSWERS, self.first, said)):
            raise NotOfCluster("it has another key of the cluster: have every node use a copy of one key file")
        return _proof(self._key, _CONNECTS, self.first, answer)


class Answering:
    """The accepting side: reads OPENING_BYTES, sends what `opened` returns, passes PROOF_BYTES to `proved`."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._first = self._answer = b""

    def opened(self, first: bytes) -> bytes:
        """Returns the answer to send. Raises `NotOfCluster`; LINE may then be sent to a node of another version."""
        _check_line(first)
        if len(first) != OPENING_BYTES or first[len(LINE)] not in tuple(Purpose):
            raise NotOfCluster("it wants what this version of Sesame does not know")
        said = LINE + secrets.token_bytes(CHALLENGE_BYTES)
        self._first, self._answer = first, said + _proof(self._key, _ANSWERS, first, said)
        return self._answer

    def proved(self, proof: bytes) -> Purpose:
        """Returns what the connection is for. On return the other side has proven itself. Raises `NotOfCluster`."""
        if not self._answer or not hmac.compare_digest(proof, _proof(self._key, _CONNECTS, self._first, self._answer)):
            raise NotOfCluster("it has not proven that it has the key of the cluster")
        return Purpose(self._first[len(LINE)])


def is_sesame(said: bytes) -> bool:
    """Whether these bytes begin a handshake of any version."""
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
    # Unambiguous: all parts have fixed sizes except the side's name, and neither name is a prefix of the other.
    return hmac.digest(key, side + first + answer, "sha256")
