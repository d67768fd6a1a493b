"""Every decision about deliveries: how often and when one is tried again, and how long one host may hold up others.

Pure functions and numbers, used by `destinations.deliverer`.
"""

# POLICY: a record is sent up to eight times over 15 to 30 minutes, and is a dead letter then.
ATTEMPTS_MAX = 8
RETRY_FIRST_S, RETRY_FACTOR, RETRY_MAX_S = 1.0, 4.0, 600.0
# POLICY: an answer that takes longer counts as none.
SEND_TIMEOUT_S = 20.0
# POLICY: one host gets so many requests at a time, and as many records wait for it; for others it takes the queue.
PER_HOST_MAX = 4
WAITING_PER_HOST_MAX = 4
AT_ONCE_MAX = 256
# POLICY: a host that did not answer so often in a row gets no requests for a while. What is due for it meanwhile counts
# as tried, so that a host that is gone does not keep its records for longer than their retries last.
SILENT_MAX = 4
SILENT_REST_S = 10.0
# POLICY: what goes back to the queue because its host has enough comes again the later, the more has gone back.
CROWDED_RETRY_S, CROWDED_RETRY_MAX_S, CROWD = 2.0, 60.0, 16


def retry_s(attempts: int, chance: float) -> float:
    """Seconds until the next attempt after so many (at least one): half of it fixed, half by chance."""
    most_s = min(RETRY_FIRST_S * RETRY_FACTOR ** min(attempts - 1, 16), RETRY_MAX_S)
    return most_s * (0.5 + 0.5 * chance)


def crowded_s(gone_back: int, chance: float) -> float:
    """Seconds for which a record goes back whose host has enough, while so many others have gone back."""
    most_s = min(CROWDED_RETRY_S * (1 + gone_back / CROWD), CROWDED_RETRY_MAX_S)
    return most_s * (0.5 + 0.5 * chance)
