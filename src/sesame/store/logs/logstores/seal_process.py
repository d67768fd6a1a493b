"""The process that writes one segment: reads groups from the file of the logstores, and writes a Parquet file.

Started by `sealing`. It is a separate process so that no call waits for the interpreter's lock, and gives calls
priority for the processor. It prints the result on stdout as the JSON of a `Segment`; `null` if there is no group.
"""

import os
import sys
from pathlib import Path

import msgspec

from sesame.store.logs.logstores.reading import Reader
from sesame.store.logs.logstores.rows import rows_of
from sesame.store.logs.logstores.segment_files import checksum_of
from sesame.store.logs.query.segments import write_segment

NICENESS = 10


def main(file: str, logstore: str, first: str, end: str, path: str) -> int:
    os.nice(NICENESS)
    rows = list(rows_of(Reader(Path(file)).range(int(logstore), int(first), int(end))))
    segment = write_segment(Path(path), rows) if rows else None
    if segment is not None:
        segment = msgspec.structs.replace(segment, checksum=checksum_of(Path(path)))
    sys.stdout.buffer.write(msgspec.json.encode(segment))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
