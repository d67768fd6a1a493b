"""HTTP servers that tests answer for, each on a free port of this machine and in a thread.

Used by tests of what asks servers of others.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer


class Quiet(BaseHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Says nothing of requests: the test's output is its own."""


@contextmanager
def serving(server: HTTPServer) -> Iterator[str]:
    """Its URL, without a path; on return it is closed and its thread has ended."""
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
