"""Archives are downloaded once, continued where they broke off, and kept only with the right digest."""

import hashlib
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.support.web_servers import Quiet, serving

from sesame.sandbox.runtimes.obtain.downloads import DownloadFailed, Downloads, Wanted

DATA = bytes(range(256)) * 4096


class Server(ThreadingHTTPServer):
    """Serves DATA; each of the first `breaks` answers ends after a part of it."""

    def __init__(self, breaks: int, *, ranges: bool) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.breaks, self.ranges = breaks, ranges
        self.asked: list[str] = []

    def wanted(self, name: str = "archive", sha256: str = hashlib.sha256(DATA).hexdigest()) -> Wanted:
        return Wanted(f"http://127.0.0.1:{self.server_port}/{name}", sha256, len(DATA))


class Handler(Quiet):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.headers.get("Range", ""))
        begin = int(self.headers["Range"][6:-1]) if "Range" in self.headers and self.server.ranges else 0
        if self.path.startswith("/missing"):
            self.send_error(404)
            return
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(DATA) - begin))
        self.end_headers()
        broken = len(self.server.asked) <= self.server.breaks
        self.wfile.write(DATA[begin : begin + 300_000] if broken else DATA[begin:])


@pytest.fixture
def served(request: pytest.FixtureRequest) -> Iterator[Server]:
    breaks, ranges = getattr(request, "param", (0, True))
    server = Server(breaks, ranges=ranges)
    with serving(server):
        yield server


@pytest.mark.parametrize("served", [(1, True), (2, True), (1, False)], indirect=True)
def test_a_broken_download_is_continued(served: Server, tmp_path: Path) -> None:
    path = Downloads(tmp_path).get(served.wanted(), lambda line: None)
    assert path.read_bytes() == DATA
    assert served.asked == ["", *(f"bytes={300_000 * each}-" for each in range(1, served.breaks + 1))]
    assert Downloads(tmp_path).get(served.wanted(), lambda line: None) == path
    assert len(served.asked) == served.breaks + 1


@pytest.mark.parametrize("served", [(3, True)], indirect=True)
def test_the_next_command_continues_where_the_last_gave_up(served: Server, tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed, match="the next try continues from there"):
        Downloads(tmp_path).get(served.wanted(), lambda line: None)
    assert Downloads(tmp_path).get(served.wanted(), lambda line: None).read_bytes() == DATA
    assert served.asked[-1] == "bytes=900000-"


def test_what_has_another_digest_is_not_kept(served: Server, tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed, match="is not what was expected"):
        Downloads(tmp_path).get(served.wanted(sha256="0" * 64), lambda line: None)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_was_changed_is_downloaded_again(served: Server, tmp_path: Path) -> None:
    path = Downloads(tmp_path).get(served.wanted(), lambda line: None)
    path.write_bytes(b"changed")
    assert Downloads(tmp_path).get(served.wanted(), lambda line: None).read_bytes() == DATA


def test_what_is_not_there_is_asked_for_once(served: Server, tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed, match="cannot be had: HTTP Error 404"):
        Downloads(tmp_path).get(served.wanted("missing"), lambda line: None)
    assert len(served.asked) == 1


def test_a_proxy_by_setting_is_used(served: Server, tmp_path: Path) -> None:
    wanted = Wanted("http://archive.invalid/archive", hashlib.sha256(DATA).hexdigest(), len(DATA))
    proxy = f"http://127.0.0.1:{served.server_port}"
    assert Downloads(tmp_path, proxy).get(wanted, lambda line: None).read_bytes() == DATA
