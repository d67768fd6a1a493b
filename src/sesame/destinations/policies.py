"""Policies for deliveries: when and how often to retry, and how long one host may delay others.

Pure functions and numbers, used by `destinations.deliverer`.
"""

# POLICY: a record is sent up to eight times within 15 to 30 minutes, and then becomes a dead letter.
ATTEMPTS_MAX = 8
RETRY_FIRST_S, RETRY_FACTOR, RETRY_MAX_S = 1.0, 4.0, 600.0
# POLICY: a later answer counts as none.
SEND_TIMEOUT_S = 20.0
# POLICY: concurrent requests per host, and records that wait for it in memory; further ones return to the queue.
PER_HOST_MAX = 4
WAITING_PER_HOST_MAX = 4
AT_ONCE_MAX = 256
# POLICY: after this many requests in a row without an answer, a host gets no requests for a while. Records due
# meanwhile count as tried, so that a dead host keeps its records only as long as their retries last.
SILENT_MAX = 4
SILENT_REST_S = 10.0
# POLICY: records returned because their host is busy come back later, the more of them there are.
CROWDED_RETRY_S, CROWDED_RETRY_MAX_S, CROWD = 2.0, 60.0, 16


def retry_s(attempts: int, chance: float) -> float:
    """Seconds until the next attempt after `attempts` (at least one): half fixed, half random."""
    most_s = min(RETRY_FIRST_S * RETRY_FACTOR ** min(attempts - 1, 16), RETRY_MAX_S)
    return most_s * (0.5 + 0.5 * chance)


def crowded_s(gone_back: int, chance: float) -> float:
    """Seconds to put off a record whose host is busy, when `gone_back` others have been put off."""
    most_s = min(CROWDED_RETRY_S * (1 + gone_back / CROWD), CROWDED_RETRY_MAX_S)
    return most_s * (0.5 + 0.5 * chance)
