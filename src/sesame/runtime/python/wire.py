"""The frames of docs/wire-protocol.md on the shim's side of the socket, for Python 2.7 and 3.6+.

Used by bootstrap.py, which owns the single connection of an instance. Sizes are checked before memory is allocated.
"""

import _socket
import errno
import json
import select
import struct

MAX_FRAME_BYTES = 33 * 1024 * 1024
MAX_HEADER_BYTES = 1024 * 1024

_SIZES = struct.Struct(">II")
_quote = json.encoder.encode_basestring_ascii
_scan = json.JSONDecoder().scan_once
_READ_BYTES = 64 * 1024
# Header and payload up to this size are joined, to send them with one system call.
_JOIN_BYTES = 64 * 1024


class EndOfStream(Exception):
    """The host closed its end: the process exits."""


class ProtocolError(Exception):
    """The host violated the frame format; what follows cannot be parsed."""


def arrival_at(sock):
    """A poll object that waits for input; None if the system has none.

    A thread waiting in `recv` would also be woken when the host reads the previous answer: once per call, in vain.
    """
    if not hasattr(select, "poll"):
        return None
    arrival = select.poll()
    arrival.register(sock.fileno(), select.POLLIN)
    return arrival


class Connection(object):
    """Frames over a connected stream socket."""

    def __init__(self, sock, arrival=None):
        """`arrival` is the result of `arrival_at` for the socket."""
        self._sock = sock
        self._arrival = arrival
        self._rest = b""

    def fileno(self):
        return self._sock.fileno()

    def receive(self):
        """The next frame as (header: dict, payload: bytes). Raises EndOfStream or ProtocolError."""
        data, self._rest = self._rest, b""
        while len(data) < 8:
            data += self._some()
        size, header_size = _SIZES.unpack_from(data)
        if size > MAX_FRAME_BYTES or header_size > MAX_HEADER_BYTES or header_size + 4 > size:
            raise ProtocolError("a frame of %d bytes with a header of %d" % (size, header_size))
        end = size + 4
        if len(data) < end:
            data = self._fill(data, end)
        elif len(data) > end:
            self._rest = data[end:]
        start = 8 + header_size
        try:
            # Like json.loads, but without its search for white space around the value.
            text = bytes(data[8:start]).decode("utf-8")
            header, end_of_text = _scan(text, 0)
            if end_of_text != len(text):
                raise ValueError("more than one value")
        except (ValueError, StopIteration) as error:
            raise ProtocolError("the header is not JSON: %s" % error)
        if not isinstance(header, dict):
            raise ProtocolError("the header is not an object")
        return header, (bytes(data[start:end]) if end > start else b"")

    def send(self, header, payload=b""):
        """Writes one complete frame."""
        self._send(json.dumps(header).encode("utf-8"), payload)

    def send_result(self, request_id, ok, http, payload, trace):
        """Writes the answer to a call. `http` is the result of wsgi.respond, or None; `trace` is text, "" for none."""
        # Composed by hand, which takes half the time of json.dumps for the whole header.
        head = '{"type": "result", "id": %s, "ok": %s' % (_quote(request_id), "true" if ok else "false")
        if http is not None:
            head += ', "http": ' + json.dumps(http)
        if trace:
            head += ', "trace": ' + _quote(trace)
        self._send((head + "}").encode("utf-8"), payload)

    def _send(self, head, payload):
        prefix = _SIZES.pack(4 + len(head) + len(payload), len(head)) + head
        if len(payload) <= _JOIN_BYTES:
            self._write(prefix + payload)
        else:
            self._write(prefix)
            self._write(payload)

    def _some(self):
        while True:
            try:
                if self._arrival is not None:
                    self._arrival.poll()
                data = self._sock.recv(_READ_BYTES)
            except (_socket.error, select.error) as error:
                self._survive(error)
                continue
            if not data:
                raise EndOfStream()
            return data

    def _fill(self, data, end):
        buffer = bytearray(end)
        buffer[: len(data)] = data
        got = len(data)
        view = memoryview(buffer)
        while got < end:
            try:
                count = self._sock.recv_into(view[got:])
            except _socket.error as error:
                self._survive(error)
                continue
            if not count:
                raise EndOfStream()
            got += count
        return buffer

    def _write(self, data):
        left = data
        while left:
            try:
                sent = self._sock.send(left)
            except _socket.error as error:
                self._survive(error)
                continue
            if sent == len(left):
                return
            left = memoryview(left)[sent:]

    @staticmethod
    def _survive(error):
        """Returns if the call may be repeated: Python 2 does not repeat interrupted calls (PEP 475)."""
        # In Python 2's select.error, args is the only place for the number.
        if error.args[0] in (errno.EPIPE, errno.ECONNRESET):
            raise EndOfStream()
        if error.args[0] != errno.EINTR:
            raise error
