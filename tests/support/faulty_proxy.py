"""Stands between a client and an HTTP server and plays a server that fails, is slow or says nothing.

Used by the tests of objects elsewhere. Each request goes over a connection of its own, so that a change counts at once.
"""

import contextlib
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator

PATIENCE_S = 60.0
ERROR = (
    "HTTP/1.1 {status} Error\r\nContent-Length: {length}\r\nContent-Type: application/xml\r\n"
    "Connection: close\r\n\r\n{body}"
)


class FaultyProxy:
    """`status`: what is answered instead of asking the server; 0 asks it. `silent`: nothing is answered.

    `failing` chooses the requests, by method and path, that this is for. `seen` are those of all requests.
    """

    def __init__(self, upstream_port: int) -> None:
        self.status = 0
        self.silent = False
        self.failing: Callable[[str, str], bool] = lambda _method, _path: True
        self.seen: list[tuple[str, str]] = []
        self._upstream_port = upstream_port
        self._ended = threading.Event()
        proxy = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(OSError):
                    proxy.serve(self.request)

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def heal(self) -> None:
        self.status, self.silent = 0, False
        self.failing = lambda _method, _path: True

    def run(self) -> None:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def end(self) -> None:
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()

    def serve(self, client: socket.socket) -> None:
        client.settimeout(PATIENCE_S)
        head, body = _request(client)
        method, path, _version = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
        self.seen.append((method, path))
        if self.failing(method, path):
            if self.silent:
                self._ended.wait(PATIENCE_S)
                return
            if self.status:
                text = "<Error><Code>Fault</Code><Message>played</Message></Error>"
                answer = ERROR.format(status=self.status, length=len(text), body=text)
                client.sendall(answer.encode())
                return
        with socket.create_connection(("127.0.0.1", self._upstream_port), timeout=PATIENCE_S) as server:
            first, rest = head.split(b"\r\n", 1)
            server.sendall(first + b"\r\nConnection: close\r\n" + rest + b"\r\n\r\n" + body)
            while chunk := server.recv(65536):
                client.sendall(chunk)


def _request(client: socket.socket) -> tuple[bytes, bytes]:
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = client.recv(65536)
        if not chunk:
            raise ConnectionError
        data += chunk
    head, _separator, body = data.partition(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n")[1:]:
        name, _colon, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            length = int(value)
    while len(body) < length:
        chunk = client.recv(65536)
        if not chunk:
            raise ConnectionError
        body += chunk
    return head, body


@contextlib.contextmanager
def faulty_proxy(upstream_port: int) -> Iterator[FaultyProxy]:
    proxy = FaultyProxy(upstream_port)
    proxy.run()
    try:
        yield proxy
    finally:
        proxy.end()
