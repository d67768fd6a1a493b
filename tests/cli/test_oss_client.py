"""The client of `sesame buckets` says what to do where a bucket or an object does not exist. Run by pytest."""

from http.server import ThreadingHTTPServer
from typing import ClassVar

import pytest
from tests.support.web_servers import Quiet, serving

from sesame.cli.oss_client import OssClient, OssRefused
from sesame.cli.server import Key


class FakeStore(Quiet):
    code: ClassVar[str] = ""

    def do_PUT(self) -> None:
        text = f"<Error><Code>{self.code}</Code><Message>no</Message><RequestId>rid</RequestId></Error>".encode()
        self.rfile.read(int(self.headers["Content-Length"] or 0))
        self.send_response(404)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("NoSuchBucket", "; `sesame buckets make` makes it"),
        ("NoSuchKey", "; `sesame buckets list` with the bucket's name"),
        ("Another", ""),
    ],
)
def test_a_refusal_names_the_next_step_where_one_is_known(code: str, said: str) -> None:
    FakeStore.code = code
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), FakeStore)) as url:
        store = OssClient(url, Key("id", "secret", "the test"))
        with pytest.raises(OssRefused) as raised:
            store.make_bucket("photos")
    assert str(raised.value).startswith(f"{code}: no (HTTP 404, request rid){said}")
