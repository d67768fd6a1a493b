"""A client of the Debug Adapter Protocol, as editors have one: attaches, sets breakpoints, looks at stopped functions.

Used by the tests of debugging. Blocking; every wait ends after PATIENCE_S.
"""

import itertools
import json
import socket
from typing import Any

PATIENCE_S = 120.0


class DapClient:
    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
        self._socket.settimeout(PATIENCE_S)
        self._stream = self._socket.makefile("rb")
        self._numbers = itertools.count(1)
        self._unread: list[dict[str, Any]] = []

    def close(self) -> None:
        self._stream.close()
        self._socket.close()

    def attach(self, mappings: dict[str, str], breakpoints: dict[str, list[int]]) -> None:
        """`mappings` lead from local to remote folders; `breakpoints` are lines by local file."""
        self.ask("initialize", {"adapterID": "sesame", "clientID": "tests", "pathFormat": "path"})
        attaching = self.send(
            "attach",
            {
                "justMyCode": True,
                "pathMappings": [{"localRoot": local, "remoteRoot": remote} for local, remote in mappings.items()],
            },
        )
        self.event("initialized")
        for path, lines in breakpoints.items():
            source = {"path": path}
            self.ask("setBreakpoints", {"source": source, "breakpoints": [{"line": line} for line in lines]})
        self.ask("configurationDone")
        self.answer(attaching)

    def ask(self, command: str, arguments: dict[str, Any] | None = None) -> dict[str, Any]:
        return self.answer(self.send(command, arguments))

    def send(self, command: str, arguments: dict[str, Any] | None = None) -> int:
        number = next(self._numbers)
        request = {"seq": number, "type": "request", "command": command, "arguments": arguments or {}}
        body = json.dumps(request).encode()
        self._socket.sendall(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        return number

    def answer(self, number: int) -> dict[str, Any]:
        found = self._wait(lambda message: message["type"] == "response" and message["request_seq"] == number)
        assert found["success"], found
        return dict(found.get("body") or {})

    def event(self, name: str) -> dict[str, Any]:
        found = self._wait(lambda message: message["type"] == "event" and message["event"] == name)
        return dict(found.get("body") or {})

    def _wait(self, wanted: Any) -> dict[str, Any]:
        for message in self._unread:
            if wanted(message):
                self._unread.remove(message)
                return message
        while not wanted(message := self._read()):
            self._unread.append(message)
        return message

    def _read(self) -> dict[str, Any]:
        length = 0
        while (line := self._stream.readline().strip()) or not length:
            if not line and not length:
                raise AssertionError("the debugger closed the connection")
            if line.lower().startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        return dict(json.loads(self._stream.read(length)))
