"""The messages between the agents of one Sesame, and between an agent and the supervisor that started it.

Carried by `agents.link`, with descriptors next to their message. A field `n` numbers a question; its answer repeats it.
"""

import msgspec

from sesame.agents.catalog_record import CatalogRecord
from sesame.engine.invocation_log import LogSource
from sesame.http.moving import Arrived
from sesame.model.container import ImageConfig
from sesame.model.invocation import Invocation, Outcome, Target
from sesame.model.recording import Recording
from sesame.sandbox.network import Inside, Listen
from sesame.store.logs.logstores.metric_rows import Row

# The `kind` of a `Ran` whose call the follower declined to run.
NOT_HERE = "NotHere"


class _Message(msgspec.Struct, frozen=True, tag=True, array_like=True): ...


# Between the supervisor and each agent.


class Peer(_Message, frozen=True):
    """With a descriptor: the connection to another agent. With `held`, that agent may hold instances already."""

    agent: int
    held: bool = False


class Ready(_Message, frozen=True):
    """The agent serves requests."""


class Hangs(_Message, frozen=True):
    """From the writer: the follower `agent` hangs and must be killed."""

    agent: int


class Stop(_Message, frozen=True):
    """End once running calls have ended, or after `drain_s`. If `replaced`, leave connections to others."""

    replaced: bool = False


class Connections(_Message, frozen=True):
    """With descriptors: idle connections of the endpoint `name`, from an agent that ends to one that continues them."""

    name: str


class RestartRefused(_Message, frozen=True):
    """To the writer: a restart was requested but does not take place, for the reason `why`."""

    why: str


# From a follower to the writer.


class Held(msgspec.Struct, frozen=True, array_like=True):
    """Started with a credit of a previous writer; runs snapshot `key`, whatever `target` is now. Sizes are in MB."""

    instance_id: str
    target: Target
    key: str
    memory_mb: int
    disk_mb: int


class Hello(_Message, frozen=True):
    """The first message of a follower: all instances it holds. `pid` is 0 if the writer is on another machine."""

    agent: int
    holds: tuple[Held, ...]
    pid: int = 0


class Seen(_Message, frozen=True):
    """The follower's catalog shows every change up to and including `revision`."""

    revision: int


class Ask(_Message, frozen=True):
    """Asks where a call of `target`, snapshot `key`, shall run. Without `starts` it cannot start an instance here.

    `moves` is how often the call has moved. With `warm` it has an instance, and moves only to a provisioned one.
    """

    n: int
    target: Target
    key: str
    moves: int
    starts: bool = True
    warm: bool = False


class Place(_Message, frozen=True):
    """Answers `Ask`. An `instance_id` is a credit: the asking follower starts that instance for the call.

    Otherwise the call moves to `agent` (1 the writer, -1 the asker), in a cluster at `address`. `full`: why no credit.
    """

    n: int
    instance_id: str
    agent: int
    address: str = ""
    full: str = ""


class Leaving(_Message, frozen=True):
    """Another process replaces the follower: send it no more requests. Answered by `Looked` after the last of them."""

    n: int


class UseNonces(_Message, frozen=True):
    """Digests of nonces new to the follower, joined. Answered by `NoncesUsed`. `again`: sent before, unanswered."""

    n: int
    nonces: bytes
    again: bool


class NoncesUsed(_Message, frozen=True):
    """The indexes of those nonces that had been used before."""

    n: int
    used: tuple[int, ...]


class Gone(_Message, frozen=True):
    """Nothing is left of the instance, or it was never started: its credit is given back."""

    instance_id: str


class IdleChanges(_Message, frozen=True):
    """The instances that have become idle, and those that have become busy, since the previous report."""

    idle: tuple[str, ...]
    busy: tuple[str, ...]


class Counted(_Message, frozen=True):
    """What its pool has counted since the last report, by field of `engine.pool_parts.Counts`; the calls in flight."""

    counts: dict[str, int]
    calls: int


class Wrote(_Message, frozen=True):
    """Output of a function, with the parameters of a log sink."""

    source: LogSource
    request_id: str
    data: bytes
    more: bool


class Ended(_Message, frozen=True):
    """A call that ended, without its event. If it could not be run, `kind` and `text` say why instead of `outcome`."""

    invocation: Invocation
    outcome: Outcome | None
    kind: str
    text: str


class Measured(_Message, frozen=True):
    """Rows of metrics about the follower's calls or instances, to be written to logstores under `topic`."""

    topic: str
    rows: tuple[Row, ...]


class Record(_Message, frozen=True):
    """A recorded call. Answered by `Looked` once it is stored."""

    n: int
    recording: Recording


class LeasePackages(_Message, frozen=True):
    """Asks for a lease of these packages, for this runtime, or of an `image`. Answered by `Leased` or `NotLeased`."""

    n: int
    sha256s: tuple[str, ...]
    runtime: str
    image: str = ""


class Leased(_Message, frozen=True):
    n: int
    code_dirs: tuple[str, ...] = ()
    compiled: tuple[str, ...] = ()
    root: str = ""
    config: ImageConfig | None = None


class NotLeased(_Message, frozen=True):
    n: int
    why: str
    passing: bool


class Release(_Message, frozen=True):
    """Ends the lease that was granted under the number `n`."""

    n: int


class ServeInside(_Message, frozen=True):
    """With a descriptor: a socket in an instance's network, on which the writer answers until `EndInside`."""

    number: int
    listen: Listen
    instance: str


class EndInside(_Message, frozen=True):
    number: int


class ReachObjects(_Message, frozen=True):
    """With a descriptor: a connection to object storage."""

    client: str


class Began(_Message, frozen=True):
    """The call `n` now runs in this instance, which is no longer idle."""

    n: int
    instance_id: str


class Ran(_Message, frozen=True):
    """How the call `n` ended, as in `Ended`, or that it was declined (NOT_HERE). `idle`: its instance is idle now."""

    n: int
    outcome: Outcome | None
    kind: str
    text: str
    idle: bool


class Loaded(_Message, frozen=True):
    """How busy the follower is: the load as in `engine.host_load`, on a machine with `cores` processors.

    `others` is how many calls are in flight that the writer did not hand over, `ended` how many of that kind ended.
    """

    load: float
    cores: int
    others: int
    ended: int


# From the writer to a follower.


class Run(_Message, frozen=True):
    """Run an asynchronous call of snapshot `key`. `instance_id` is a credit, "" if an instance there should have room.

    Answered by `Began` once the call has an instance, and by `Ran`.
    """

    n: int
    key: str
    instance_id: str
    invocation: Invocation


class EndRun(_Message, frozen=True):
    """End the call `n` and its instance at once. `stopped` says that the reason is its invocation being stopped."""

    n: int
    stopped: bool


class WriterReplaced(_Message, frozen=True):
    """The writer is being replaced: requests wait up to `within_s` for the next. This one still answers questions."""

    within_s: float


class Spare(_Message, frozen=True):
    """A credit that was not asked for, so that a call of the snapshot can be served while there is no writer."""

    key: str
    instance_id: str


class Welcome(_Message, frozen=True):
    """The first message of the writer. `trusted` is the path of the certificates that functions trust, "" for none.

    With `ends`, the follower must report calls that ended (`Ended`).
    """

    trusted: str
    ends: bool


class Records(_Message, frozen=True):
    """Changes of the catalog, in order. `first` begins a complete copy of the catalog, `last` ends it."""

    records: tuple[CatalogRecord, ...]
    revision: int
    first: bool = False
    last: bool = False


class Offered(_Message, frozen=True):
    """What every instance's network offers. Connections to `taken` may come from other machines through tunnels."""

    inside: Inside
    taken: tuple[Listen, ...] = ()


class CanTake(_Message, frozen=True):
    """Asks to reserve a place in an instance of this snapshot (`kept_idle.KeptIdle.keep`). Answered by `Takes`."""

    n: int
    key: str
    concurrency: int
    room: bool


class Takes(_Message, frozen=True):
    """Whether a place is reserved for the call, and whether an idle instance remains besides those reserved."""

    n: int
    kept: bool
    idle: bool


class LookIdle(_Message, frozen=True):
    """Asks for `IdleChanges` now, which is otherwise sent every `follower.TELLS_EVERY_S`, followed by `Looked`."""

    n: int


class Looked(_Message, frozen=True):
    """From either side: everything sent before question `n` has been received."""

    n: int


class GiveUp(_Message, frozen=True):
    """End those of these instances that are idle, so that others can start. Answered by `GivenUp`."""

    n: int
    instance_ids: tuple[str, ...]


class GivenUp(_Message, frozen=True):
    """The instances that end. The others are busy; `IdleChanges` reports them once they are idle again."""

    n: int
    instance_ids: tuple[str, ...]


class AreYouThere(_Message, frozen=True):
    """Answered by `Here`, after everything that was sent before has been handled."""


class Here(_Message, frozen=True):
    pass


class EndInstance(_Message, frozen=True):
    """Revokes a credit: its instance ends once its calls have ended, or with `abort` at once."""

    instance_id: str
    abort: bool


# Between any two.


class Request(_Message, frozen=True):
    """With a descriptor: a connection, in the middle of a request, for the agent `to`; 1 is the writer."""

    to: int
    arrived: Arrived


Message = (
    Peer | Ready | Hangs | Stop | Connections | RestartRefused | Hello | Seen | Ask | Place | Leaving | UseNonces
    | NoncesUsed | Gone | IdleChanges | Counted | Wrote | Ended | LeasePackages | Leased | NotLeased | Release
    | ServeInside | EndInside | WriterReplaced | Spare | Welcome | Records | Offered | CanTake | Takes | LookIdle
    | Looked | AreYouThere | Here | EndInstance | Request | Run | EndRun | Began | Ran | Loaded | Measured | GiveUp
    | GivenUp | Record | ReachObjects
)  # fmt: skip
