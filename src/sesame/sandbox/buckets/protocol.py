"""What Sesame and its process for buckets tell each other: messages of JSON on a socket that keeps them apart.

Sesame asks for a mount to be served (with its /dev/fuse), gives newer keys, ends it. The process answers how serving
began and that it has ended, hands over its ends of connections to object storage, and says what went wrong where nobody
waits for it.
"""

from typing import Any

import msgspec

MESSAGE_BYTES_MAX = 64 * 1024
SERVE, KEYS, END = "serve", "keys", "end"
SERVED, ENDED, CONNECT, LOG = "served", "ended", "connect", "log"

decode = msgspec.json.Decoder(dict[str, Any]).decode
encode = msgspec.json.Encoder().encode
