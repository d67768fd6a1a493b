"""Every number and name pattern that the API promises, in one place.

Used by `control` to validate and by the endpoints to truncate.
Sources: reference/api.md §2, reference/runtime.md §12. If API generations differ, the newest 2.0 value applies.
"""

import re

MIB = 1024 * 1024

SERVICE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,127}\Z")
FUNCTION_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}\Z")
TRIGGER_NAME = SERVICE_NAME
ALIAS_NAME = SERVICE_NAME
VERSION_ID = re.compile(r"[1-9][0-9]{0,17}\Z")
# The id of a stateful invocation, chosen by the caller.
INVOCATION_ID = SERVICE_NAME
SESSION_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}\Z")
# No key begins with one of these.
OBJECT_KEY_BYTES, NOT_FIRST_IN_KEY = 1023, ("/", "\\")
BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]\Z")
ENVIRONMENT_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*\Z")
RESERVED_ENVIRONMENT_PREFIX = "FC_"
RESERVED_ENVIRONMENT_NAMES = frozenset({"accessKeyID", "accessKeySecret", "securityToken", "topic"})
ENVIRONMENT_TOTAL_BYTES = 4096
DESCRIPTION_CHARS = 256
HANDLER_CHARS = 128

MEMORY_MB_MIN, MEMORY_MB_MAX, MEMORY_MB_STEP, MEMORY_MB_DEFAULT = 128, 32768, 64, 128
TIMEOUT_S_MIN, TIMEOUT_S_MAX, TIMEOUT_S_DEFAULT = 1, 86400, 3
INITIALIZATION_TIMEOUT_S_MIN, INITIALIZATION_TIMEOUT_S_MAX, INITIALIZATION_TIMEOUT_S_DEFAULT = 1, 300, 3
LIFECYCLE_HOOK_TIMEOUT_S_MAX = 90
INSTANCE_CONCURRENCY_MIN, INSTANCE_CONCURRENCY_MAX, INSTANCE_CONCURRENCY_DEFAULT = 1, 200, 1
DISK_MB_CHOICES, DISK_MB_DEFAULT = (512, 10240), 512
CPU_MIN, CPU_MAX, CPU_STEP = 0.05, 16, 0.05
PORT_MIN, PORT_MAX = 1, 65535
NAS_ID_MIN, NAS_ID_MAX = -1, 65534
ASYNC_RETRIES_MAX = 8
ASYNC_RETRIES_DEFAULT = 3
ASYNC_EVENT_AGE_S_MAX = 7 * 24 * 3600
ASYNC_EVENT_AGE_S_DEFAULT = 24 * 3600
ASYNC_DELAY_S_MAX = 3600
PROVISION_TARGET_MAX = 10_000
ON_DEMAND_INSTANCES_MAX = 100_000
# For idle instances; 0 selects the server's default.
IDLE_TIMEOUT_S_MAX = 86_400
DOMAIN_PROTOCOLS = ("HTTP", "HTTPS", "HTTP,HTTPS")

SYNC_PAYLOAD_BYTES = 32 * MIB
ASYNC_PAYLOAD_BYTES = 128 * 1024
RESPONSE_PAYLOAD_BYTES = 32 * MIB
CODE_ZIP_BYTES = 100 * MIB
CODE_UNPACKED_BYTES = 500 * MIB
CODE_ENTRIES = 100_000
# An unpacked container image.
IMAGE_UNPACKED_BYTES = 10 * 1024 * MIB
IMAGE_ENTRIES = 1_000_000
# A management body without code, and the rest of a body that contains code.
DOCUMENT_BYTES = MIB
# A management body is a JSON object around a base64 package: 4/3 of the package plus the rest of the object.
MANAGEMENT_BODY_BYTES = CODE_ZIP_BYTES * 4 // 3 + DOCUMENT_BYTES
# The JSON size of settings that are stored as sent, for runtimes that Sesame does not run.
KEPT_SETTINGS_BYTES = 64 * 1024
LAYER_ARN_CHARS = 256
# The ARN of an event source.
SOURCE_ARN_CHARS = 512
# Names and ids of resources of other services, such as a log project, a VPC or a resource group.
FOREIGN_NAME_CHARS = 128
# Of a route of a custom domain: longer requests are refused (reference/api.md §2).
ROUTE_PATH_CHARS = 4096

LOG_TAIL_BYTES = 4096
PROCESSES = 1024
FILE_DESCRIPTORS = 100_000

LIST_LIMIT_DEFAULT, LIST_LIMIT_MAX = 20, 100
CLOCK_SKEW_S = 15 * 60

LATEST = "LATEST"
SANDBOXED_RUNTIMES = ("python2.7", "python3", "python3.9", "python3.10", "python3.12")
# Sesame's shim turns these functions into web servers (runtime/node).
NODE_RUNTIMES = ("nodejs6", "nodejs8", "nodejs10", "nodejs12", "nodejs14", "nodejs16", "nodejs18", "nodejs20")
# Functions that are web servers themselves (model/web_server.py).
# The last runtime's code is a container image (model/container.py).
IMAGE_RUNTIME = "custom-container"
CUSTOM_RUNTIMES = ("custom", "custom.debian10", "custom.debian11", "custom.debian12", IMAGE_RUNTIME)
# Accepted and stored, because templates name them; refused at the call (reference/conventions.md §4.5).
FOREIGN_RUNTIMES = (
    "nodejs4.4", "java8", "java11", "php7.2", "dotnetcore2.1", "dotnetcore3.1", "go1",
)  # fmt: skip
RUNNABLE_RUNTIMES = SANDBOXED_RUNTIMES + NODE_RUNTIMES + CUSTOM_RUNTIMES
RUNTIMES = RUNNABLE_RUNTIMES + FOREIGN_RUNTIMES
