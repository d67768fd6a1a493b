"""The catalog's records: a typed document under a kind, a parent and a name, with an etag and times.

Written by `control` in a catalog transaction; read from the catalog's memory. Every kind is listed here.
"""

from typing import Any

import msgspec

SERVICE = "service"
FUNCTION = "function"
VERSION = "version"
FROZEN_FUNCTION = "frozen_function"
VERSION_COUNTER = "version_counter"
ALIAS = "alias"
TRIGGER = "trigger"
CUSTOM_DOMAIN = "custom_domain"
LAYER = "layer"
LAYER_VERSION = "layer_version"
TAGS = "tags"
ASYNC_CONFIG = "async_config"
PROVISION_CONFIG = "provision_config"
ON_DEMAND_CONFIG = "on_demand_config"
RECORDING_CONFIG = "recording_config"
FUNCTION_STATE = "function_state"
SCALING_CONFIG = "scaling_config"
SESSION = "session"
SESSION_SNAPSHOT = "session_snapshot"
VPC_BINDING = "vpc_binding"
EVENT_SOURCE = "event_source"
ACCESS_KEY = "access_key"
ACCOUNT = "account"
ROLE = "role"
POLICY = "policy"
SEED = "seed"
MASTER_KEY = "master_key"
BUCKET = "bucket"
CODE_UPLOAD = "code_upload"
OSS_ACCOUNT = "oss_account"


class Record(msgspec.Struct, frozen=True):
    """One document. `parent` is "" for the account's own records, the service's name for functions, and so on.

    `etag` is 32 hex digits, new with every change; times are in Unix seconds, and `modified_at` rises with every
    change.
    """

    kind: str
    parent: str
    name: str
    document: Any
    etag: str
    created_at: float
    modified_at: float
