"""What functions did, told by themselves: a ledger in the process of the test, which no kill reaches.

Used by the kill test of the queue, so that it need not believe Sesame's own records. A report is answered once it is
in the file.
"""

import http.server
import json
import os
import socketserver
import threading
import time
from pathlib import Path
from typing import Any

import msgspec


class Report(msgspec.Struct, frozen=True):
    """`what` is began, ended or failed, of an execution; or arrived, of a record at its destination."""

    id: str
    what: str
    retry: int
    condition: str
    at: float


class Ledger:
    """Takes reports on one port, and records of destinations by HTTP on another; listens between enter and exit."""

    def __init__(self, path: Path, address: str = "127.0.0.1") -> None:
        self._file = path.open("wb", buffering=0)
        self._lock = threading.Lock()
        self._reports: list[Report] = []
        ledger = self

        class Reporter(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                line = self.rfile.readline()
                # Who was killed while it told, did not tell.
                if line.endswith(b"\n"):
                    ledger.take(json.loads(line))
                    self.wfile.write(b"+")

        class Destination(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                record = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                asked = record["requestPayload"]
                asked = asked if isinstance(asked, dict) else json.loads(asked)
                condition = record["requestContext"]["condition"]
                ledger.take({"id": asked["id"], "what": "arrived", "retry": 0, "condition": condition})
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_arguments: Any) -> None:
                """What arrived is in the ledger."""

        self._servers = [_Reports((address, 0), Reporter), _Records((address, 0), Destination)]
        self.port: int = self._servers[0].server_address[1]
        self.address = address
        self.url = f"http://{address}:{self._servers[1].server_address[1]}/records"

    def __enter__(self) -> "Ledger":
        for server in self._servers:
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_error: object) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()
        self._file.close()

    def reports(self) -> list[Report]:
        """In the order in which they came."""
        with self._lock:
            return list(self._reports)

    def take(self, told: dict[str, Any]) -> None:
        with self._lock:
            report = Report(told["id"], told["what"], told["retry"], told["condition"], time.monotonic())
            self._file.write(msgspec.json.encode(report) + b"\n")
            os.fdatasync(self._file.fileno())
            self._reports.append(report)


class _Reports(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 256


class _Records(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256
