"""What the catalog keeps: a typed document under a kind, a parent and a name, with its etag and its times.

Written by `control` inside a catalog transaction; read by everyone from the catalog's memory.
Kinds are listed here so that no room invents one.
"""

from typing import Any

import msgspec

SERVICE = "service"
FUNCTION = "function"
ACCESS_KEY = "access_key"
ACCOUNT = "account"
ROLE = "role"
POLICY = "policy"
SEED = "seed"
MASTER_KEY = "master_key"
BUCKET = "bucket"


class Record(msgspec.Struct, frozen=True):
    """One document. `parent` is "" for the account's own, the service's name for functions, and so on.

    `etag` is 32 hex digits, new with every change; times are Unix seconds, `modified_at` rises with every change.
    """

    kind: str
    parent: str
    name: str
    document: Any
    etag: str
    created_at: float
    modified_at: float
