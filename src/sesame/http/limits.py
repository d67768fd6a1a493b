"""Every time limit and bound of an HTTP server, in one table.

Built by `app` for each endpoint and passed to `http.server`; tests pass their own.
"""

import msgspec

KIB = 1024
MIB = 1024 * KIB
# The share of the process's descriptors for connections; the rest is for files, instances and the database.
CONNECTIONS_SHARE = 0.5
CONNECTIONS_MAX = 16_384
CONNECTIONS_MIN = 16
# The share of an endpoint's connections that one address may hold.
PEER_SHARE = 0.75
# The share of the machine's memory for bodies under way.
BODIES_SHARE = 0.125
BODIES_MIN_BYTES, BODIES_MAX_BYTES = 256 * MIB, 2048 * MIB


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Times are in seconds, sizes in bytes. A client may be slower than a rate limit for `…_grace_s` seconds in all."""

    # How long a connection without a request stays open: a new one, and one whose last request was answered.
    first_request_s: float = 20.0
    # Longer than the keep-alive time of common clients, so that the client closes first.
    keep_alive_s: float = 75.0
    # From the first byte of a head to its end.
    head_s: float = 20.0
    tls_handshake_s: float = 20.0

    # The minimum rates at which bodies must arrive and answers must be read.
    body_grace_s: float = 30.0
    body_bytes_per_s: int = 1 * KIB
    answer_grace_s: float = 60.0
    answer_bytes_per_s: int = 1 * KIB

    # How often a client that has closed its side of the connection is probed. A client that cannot be probed counts as
    # disconnected when nothing has been sent to it for this long.
    half_closed_s: float = 10.0

    # After an answer that does not wait for the rest of the request's body, this much of the body is read and dropped,
    # so that the client can finish sending and read the answer.
    linger_s: float = 10.0
    linger_bytes: int = 160 * MIB
    # An unread rest of at most this size is skipped instead of closing the connection.
    skipped_body_bytes: int = 64 * KIB

    head_bytes: int = 256 * KIB
    header_lines: int = 1000
    trailer_bytes: int = 16 * KIB
    # How much of a body is buffered before the endpoint reads it; beyond that, reading pauses.
    unread_bytes: int = 64 * KIB
    # How many requests of one connection are read ahead.
    pipelined_requests: int = 8

    connections: int = 4096
    connections_per_peer: int = 3072
    # How many excess connections get an answer that there are too many; beyond that, new connections are closed at
    # once.
    refused_connections: int = 64
    refused_s: float = 2.0

    # All bodies of an endpoint that are in memory and not answered yet.
    bodies_bytes: int = BODIES_MIN_BYTES
    # All answers of an endpoint that were written but not read by their clients yet.
    unsent_bytes: int = BODIES_MIN_BYTES
    # Smaller bodies are not counted: the limit on connections bounds their total.
    uncounted_body_bytes: int = 16 * KIB

    websocket_message_bytes: int = 1 * MIB
    websocket_close_s: float = 10.0
    websocket_ping_s: float = 20.0

    # How long a request may ignore its cancellation when the server stops.
    cancelled_s: float = 5.0

    @property
    def tick_s(self) -> float:
        """How often connections are checked: often enough that no limit is exceeded by more than a quarter."""
        shortest = min(
            self.first_request_s,
            self.keep_alive_s,
            self.head_s,
            self.body_grace_s,
            self.answer_grace_s,
            self.linger_s,
            self.refused_s,
        )
        return max(min(shortest / 4, 1.0), 0.01)


def for_host(descriptors: int, memory_bytes: int, endpoints: int) -> Limits:
    """The limits of one of `endpoints` servers in a process that may open `descriptors` files."""
    share = int(descriptors * CONNECTIONS_SHARE) // endpoints
    connections = max(min(share, CONNECTIONS_MAX), CONNECTIONS_MIN)
    bodies = min(max(int(memory_bytes * BODIES_SHARE), BODIES_MIN_BYTES), BODIES_MAX_BYTES)
    return Limits(
        connections=connections,
        connections_per_peer=max(int(connections * PEER_SHARE), 1),
        refused_connections=min(64, connections),
        bodies_bytes=bodies,
        unsent_bytes=bodies,
    )
