"""What agents of one machine say to each other, and to the supervisor that started them.

Carried by `agents.link`, descriptors beside their message. A field `n` numbers a question; its answer repeats it.
"""

import msgspec

from sesame.agents.catalog_record import CatalogRecord
from sesame.engine.invocation_log import LogSource
from sesame.http.moving import Arrived
from sesame.model.invocation import Invocation, Outcome, Target
from sesame.sandbox.network import Inside, Listen
from sesame.store.logs.logstores.metric_rows import Row

# The kind of a call that the follower does not run.
NOT_HERE = "NotHere"


class _Message(msgspec.Struct, frozen=True, tag=True, array_like=True):
    pass


# Between the supervisor and each agent.


class Peer(_Message, frozen=True):
    """With a descriptor: the connection to another agent. `held` agents have lived before, and may hold instances."""

    agent: int
    held: bool = False


class Ready(_Message, frozen=True):
    """The agent answers requests."""


class Hangs(_Message, frozen=True):
    """From the writer: this follower does not answer any more, and is to be killed."""

    agent: int


class Stop(_Message, frozen=True):
    """No new calls; the agent ends when those under way have ended, or after `drain_s`.

    With `replaced`, another process comes in its place: the agent leaves its connections to others (`Connections`).
    """

    replaced: bool = False


class Connections(_Message, frozen=True):
    """With descriptors: connections of an endpoint that wait for a request.

    To the supervisor they are left, and from it they come to an agent that goes on with them.
    """

    name: str


class RestartRefused(_Message, frozen=True):
    """To the writer: a restart was asked for, and does not come."""

    why: str


# From a follower to the writer.


class Held(msgspec.Struct, frozen=True, array_like=True):
    """An instance that a follower has, under a credit of the writer before.

    It is of the snapshot `key` of `target`, which may have another one by now, and has so much memory and disk.
    """

    instance_id: str
    target: Target
    key: str
    memory_mb: int
    disk_mb: int


class Hello(_Message, frozen=True):
    """The first message of a follower, with all that it holds; on the writer's machine with its process, else 0."""

    agent: int
    holds: tuple[Held, ...]
    pid: int = 0


class Seen(_Message, frozen=True):
    """The follower's catalog shows every change up to this one."""

    revision: int


class Ask(_Message, frozen=True):
    """For a credit to start one more of `key`, made from `target`; without `starts`, for an idle one elsewhere.

    `warm`: the call has an instance where it is, and goes only to one that is provisioned.
    """

    n: int
    target: Target
    key: str
    moves: int
    starts: bool = True
    warm: bool = False


class Place(_Message, frozen=True):
    """Answers `Ask`. With an `instance_id` the call has a credit, and starts that instance where it is.

    Else it goes to `agent`, on another machine at this `address`; 1: the writer, -1: who asks. `full`: why it has none.
    """

    n: int
    instance_id: str
    agent: int
    address: str = ""
    full: str = ""


class Leaving(_Message, frozen=True):
    """Another process comes in the follower's place: no more requests. Answered by `Looked`, after the last of them."""

    n: int


class UseNonces(_Message, frozen=True):
    """Of requests that came to the follower, which has not seen them before: digests of `identity.nonces` in a row.

    Answered by `NoncesUsed`. With `again`, the answer may have been given, and was lost with the link.
    """

    n: int
    nonces: bytes
    again: bool


class NoncesUsed(_Message, frozen=True):
    """Which of them were used before, by their numbers."""

    n: int
    used: tuple[int, ...]


class Gone(_Message, frozen=True):
    """Nothing is left of the instance, or it never was: its credit is given back."""

    instance_id: str


class Rests(_Message, frozen=True):
    """Which instances are idle that were not, and the other way round."""

    idle: tuple[str, ...]
    busy: tuple[str, ...]


class Counted(_Message, frozen=True):
    """What has happened in the follower's pool since it told last, by the fields of `engine.pool_parts.Counts`.

    `calls` wait there for an instance or run on one.
    """

    counts: dict[str, int]
    calls: int


class Wrote(_Message, frozen=True):
    """What a function wrote, as a log sink takes it."""

    source: LogSource
    request_id: str
    data: bytes
    more: bool


class Ended(_Message, frozen=True):
    """A call that ended, as an observer takes it, without its event. `kind` and `text` are of one that was not run."""

    invocation: Invocation
    outcome: Outcome | None
    kind: str
    text: str


class Measured(_Message, frozen=True):
    """Rows of metrics of the follower's calls or instances, which logstores get under this topic."""

    topic: str
    rows: tuple[Row, ...]


class LeasePackages(_Message, frozen=True):
    """Answered by `Leased`, or by `NotLeased`."""

    n: int
    sha256s: tuple[str, ...]
    runtime: str


class Leased(_Message, frozen=True):
    n: int
    code_dirs: tuple[str, ...]
    compiled: tuple[str, ...]


class NotLeased(_Message, frozen=True):
    n: int
    why: str
    passing: bool


class Release(_Message, frozen=True):
    """Of what was leased under this number."""

    n: int


class ServeInside(_Message, frozen=True):
    """With a descriptor: a socket in an instance's network, on which the writer answers until `EndInside`."""

    number: int
    listen: Listen
    instance: str


class EndInside(_Message, frozen=True):
    number: int


class Began(_Message, frozen=True):
    """The call `n` goes to this instance now, which is idle no more."""

    n: int
    instance_id: str


class Ran(_Message, frozen=True):
    """How the call `n` ended, as `Ended` says it; `idle` is whether its instance is so now.

    With the kind NOT_HERE nothing was called, as the follower does not run the function.
    """

    n: int
    outcome: Outcome | None
    kind: str
    text: str
    idle: bool


class Loaded(_Message, frozen=True):
    """How busy the follower is: its load as `engine.host_load` has it, on a machine with so many `cores`.

    `others` are the calls in flight that the writer has not handed over, and `ended` those that have ended.
    """

    load: float
    cores: int
    others: int
    ended: int


# From the writer to a follower.


class Run(_Message, frozen=True):
    """An asynchronous call of what `key` was made from. `instance_id` is a credit for it; "" where one is idle.

    Answered by `Began`, once an instance is found, and by `Ran`.
    """

    n: int
    key: str
    instance_id: str
    invocation: Invocation


class EndRun(_Message, frozen=True):
    """The call `n` is to end at once, and its instance with it; `stopped` where its invocation is stopped."""

    n: int
    stopped: bool


class Rest(_Message, frozen=True):
    """The writer is replaced: requests wait for the next one, for so long at most. It still answers questions."""

    within_s: float


class Spare(_Message, frozen=True):
    """A credit that was not asked for: so that calls of the snapshot find an instance while there is no writer."""

    key: str
    instance_id: str


class Welcome(_Message, frozen=True):
    """The first message of the writer. `trusted` is the file of certificates that functions trust, "" for none.

    With `ends`, it wants to be told of calls that ended.
    """

    trusted: str
    ends: bool


class Records(_Message, frozen=True):
    """Changes of the catalog in order. With `first`, all records follow, up to the message with `last`."""

    records: tuple[CatalogRecord, ...]
    revision: int
    first: bool = False
    last: bool = False


class Offered(_Message, frozen=True):
    """What every network of an instance has. Connections to `taken` may come from other machines through tunnels."""

    inside: Inside
    taken: tuple[Listen, ...] = ()


class CanTake(_Message, frozen=True):
    """Whether a place in an instance of this snapshot is kept for a call (`policies.takes_in`). Answered by `Takes`."""

    n: int
    key: str
    concurrency: int
    room: bool


class Takes(_Message, frozen=True):
    """With `kept`, an instance is kept for the call. `idle`: there is one besides those that are kept."""

    n: int
    kept: bool
    idle: bool


class LookIdle(_Message, frozen=True):
    """For `Rests` now, which is else told four times a second, and then `Looked`."""

    n: int


class Looked(_Message, frozen=True):
    """From either side: what was sent before has come."""

    n: int


class GiveUp(_Message, frozen=True):
    """Of these instances, those that are idle end, for others that start in their place. Answered by `GivenUp`."""

    n: int
    instance_ids: tuple[str, ...]


class GivenUp(_Message, frozen=True):
    """Those that end. The others serve calls, and are told of once they are idle again."""

    n: int
    instance_ids: tuple[str, ...]


class AreYouThere(_Message, frozen=True):
    """Answered by `Here`, in order, which follows all that was done with what was sent before."""


class Here(_Message, frozen=True):
    pass


class EndInstance(_Message, frozen=True):
    """The credit is revoked: the instance ends when its call has ended, or at once where that is to be aborted."""

    instance_id: str
    abort: bool


# Between any two.


class Request(_Message, frozen=True):
    """With a descriptor: a connection in the midst of a request, for `to`; 1 is the writer."""

    to: int
    arrived: Arrived


Message = (
    Peer | Ready | Hangs | Stop | Connections | RestartRefused | Hello | Seen | Ask | Place | Leaving | UseNonces
    | NoncesUsed | Gone | Rests | Counted | Wrote | Ended | LeasePackages | Leased | NotLeased | Release | ServeInside
    | EndInside | Rest | Spare | Welcome | Records | Offered | CanTake | Takes | LookIdle | Looked | AreYouThere | Here
    | EndInstance | Request | Run | EndRun | Began | Ran | Loaded | Measured | GiveUp | GivenUp
)  # fmt: skip
