"""Parses a browser's form (multipart/form-data) as it arrives: first its fields, then the file's bytes.

Called by `oss.post_object`. Holds only the fields in memory, which are bounded; ignores everything after the file.
"""

from collections.abc import AsyncIterator
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from sesame.oss.body import Body
from sesame.oss.errors import OssError

FIELDS_MAX, FIELDS_BYTES_MAX, HEADER_BYTES_MAX = 200, 256 * 1024, 8 * 1024
_FILE = "file"


class Form:
    """`fields` are keyed by lower-case name; `filename` is the client's name of the file. Both are set by `open`."""

    def __init__(self, body: Body, content_type: str) -> None:
        kind, options = parse_options_header(content_type.encode("utf-8", "replace"))
        boundary = options.get(b"boundary", b"")
        if kind != b"multipart/form-data" or not 1 <= len(boundary) <= 256:
            raise OssError("MalformedPOSTRequest")
        self.fields: dict[str, str] = {}
        self.filename = ""
        self._chunks = aiter(body)
        self._parts = _Parts(boundary)
        self._file: list[bytes] = []
        self._ended = False

    async def open(self) -> None:
        """Reads up to the file. Raises OssError MalformedPOSTRequest, FieldItemTooLong, IncorrectNumberOfFiles…"""
        while not self._parts.in_file:
            if not await self._feed():
                raise OssError("IncorrectNumberOfFilesInPOSTRequest")
        self.fields, self.filename = self._parts.fields, self._parts.filename

    async def file(self) -> AsyncIterator[bytes]:
        """Yields the file's bytes. Raises OssError MalformedPOSTRequest if the form ends inside the file."""
        while True:
            for chunk in self._parts.take_file():
                yield chunk
            if self._parts.file_ended:
                return
            if not await self._feed():
                raise OssError("MalformedPOSTRequest")

    async def _feed(self) -> bool:
        chunk = await anext(self._chunks, None)
        if chunk is None:
            return False
        self._parts.feed(chunk)
        return True


class _Parts:
    """Collects the parser's events."""

    def __init__(self, boundary: bytes) -> None:
        self.fields: dict[str, str] = {}
        self.filename = ""
        self.in_file = False
        self.file_ended = False
        self._file: list[bytes] = []
        self._header_name, self._header_value = b"", b""
        self._headers: dict[bytes, bytes] = {}
        self._name = ""
        self._value = b""
        self._bytes = 0
        callbacks: Any = {
            "on_part_begin": self._begin,
            "on_header_field": self._add_header_name,
            "on_header_value": self._add_header_value,
            "on_header_end": self._end_header,
            "on_headers_finished": self._end_headers,
            "on_part_data": self._add_data,
            "on_part_end": self._end,
        }
        self._parser = MultipartParser(boundary, callbacks)

    def feed(self, chunk: bytes) -> None:
        if self.file_ended:
            return
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise OssError("MalformedPOSTRequest") from error

    def take_file(self) -> list[bytes]:
        taken, self._file = self._file, []
        return taken

    def _begin(self) -> None:
        self._headers, self._value = {}, b""

    def _add_header_name(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]
        self._check(end - start)

    def _add_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]
        self._check(end - start)

    def _end_header(self) -> None:
        self._headers[self._header_name.lower()] = self._header_value
        self._header_name, self._header_value = b"", b""

    def _end_headers(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        try:
            self._name = options.get(b"name", b"").decode().lower()
            filename = options.get(b"filename", b"").decode()
        except UnicodeDecodeError as error:
            raise OssError("MalformedPOSTRequest") from error
        if not self._name or self.in_file:
            return
        if self._name == _FILE:
            self.in_file, self.filename = True, filename
            if b"content-type" in self._headers and "content-type" not in self.fields:
                self.fields["content-type"] = self._headers[b"content-type"].decode("latin-1")

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        if self.file_ended:
            return
        if self.in_file:
            self._file.append(data[start:end])
            return
        self._value += data[start:end]
        self._check(end - start)

    def _end(self) -> None:
        if self.in_file:
            self.file_ended = True
            return
        if not self._name:
            raise OssError("MalformedPOSTRequest")
        if self._name in self.fields or len(self.fields) >= FIELDS_MAX:
            raise OssError("MalformedPOSTRequest")
        try:
            self.fields[self._name] = self._value.decode()
        except UnicodeDecodeError as error:
            raise OssError("MalformedPOSTRequest") from error

    def _check(self, more: int) -> None:
        self._bytes += more
        if self._bytes > FIELDS_BYTES_MAX:
            raise OssError("FieldItemTooLong")
