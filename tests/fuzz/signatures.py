"""Signed requests of every scheme, FC, ACS3, OSS V1, V2 and V4, RPC 1.0 and the Log Service's two: accepted or refused.

The first byte of an input is odd where every signature counts as right, so that what follows the comparison is tried
with heads that nobody signed. The rest goes through the HTTP server, as a request would.
"""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import itertools
from collections.abc import Callable, Iterator
from unittest import mock
from urllib.parse import urlencode

from fc2.auth import Auth
from tests.fc import test_acs_signature, test_auth
from tests.http.wire import Talk
from tests.oss import test_signature
from tests.support.fuzzing import Kind, Try

from sesame.fc.auth.request_head import head_of
from sesame.fc.auth.verifier import Verifier
from sesame.fc.links import CodeLinks
from sesame.fc.refusals import ApiError
from sesame.http.asgi import scope_of
from sesame.http.interface import BodyTooLarge, Disconnected, Exchange
from sesame.http.request import Request
from sesame.identity.authentication import Authentication
from sesame.model.function import Package
from sesame.oss import post_policy
from sesame.oss import request as oss_request
from sesame.oss.errors import OssError
from sesame.sls import auth as sls_auth
from sesame.sls import request as sls_request
from sesame.sls.errors import SlsError
from sesame.sts import auth as sts_auth
from sesame.sts import request as sts_request
from sesame.sts.errors import StsError

NOW, KEY = test_auth.NOW, test_auth.KEY
AUTHENTICATION = Authentication(test_auth.Keys(), test_auth.TOKENS)
LINKS = CodeLinks(b"secret", lambda: NOW)
STS_DATE = "2023-11-14T22:13:20Z"


def by_fc(request: Request, _body: bytes) -> None:
    verifier = Verifier(AUTHENTICATION, lambda: NOW)
    for prove in (
        lambda: verifier.verify(head_of(request), request.query),
        lambda: verifier.verify_trigger(head_of(request), request.query),
    ):
        with contextlib.suppress(ApiError):
            assert prove().account_id == test_auth.ACCOUNT
    LINKS.package(request.path.rpartition("/")[2], request.query.decode("ascii"))


def by_oss(request: Request, _body: bytes) -> None:
    parsed = oss_request.parse(scope_of(request), ("oss.test",))
    test_signature.AUTHENTICATOR.authenticate(parsed)


def by_sls(request: Request, body: bytes) -> None:
    parsed = sls_request.parse(request, ("127.0.0.1",))
    sls_auth.Authenticator(AUTHENTICATION, lambda: NOW).authenticate(parsed)
    sls_auth.check_body(parsed, body)


def by_sts(request: Request, body: bytes) -> None:
    sts_request.wants_xml(request, body)
    parsed = sts_request.parse(request, body)
    sts_auth.Authenticator(AUTHENTICATION, lambda: NOW).authenticate(parsed)


def by_form(request: Request, body: bytes) -> None:
    """A form upload's fields; here they are those of the query."""
    fields = {name.lower(): value for name, value in sts_request.parse(request, body).parameters.items()}
    proof = post_policy.signed(fields)
    if proof is not None:
        post_policy.check_signature(fields, proof, KEY.secret)


SCHEMES: tuple[Callable[[Request, bytes], None], ...] = (by_fc, by_oss, by_sls, by_sts, by_form)


async def prove(exchange: Exchange) -> None:
    """Tries every scheme on the request. What is refused must be text that can be answered."""
    try:
        body = bytes(await exchange.read_body(64 * 1024))
    except (BodyTooLarge, Disconnected):
        return
    for scheme in SCHEMES:
        try:
            scheme(exchange.request, body)
        except (ApiError, OssError, SlsError, StsError) as refused:
            str(refused).encode("utf-8", "replace")
    exchange.send_whole(200, (), b"", b"")


@contextlib.contextmanager
def opened() -> Iterator[Try]:
    with asyncio.Runner() as runner:

        async def talk(data: bytes) -> None:
            failed: list[BaseException] = []

            async def serve(exchange: Exchange) -> None:
                try:
                    await prove(exchange)
                except Exception as error:
                    failed.append(error)
                    raise

            talking = Talk(serve)
            talking.say(data)
            await talking.turns()
            await talking.end()
            talking.close()
            if failed:
                raise failed[0]

        def take(data: bytes) -> None:
            with contextlib.ExitStack() as stack:
                if data[:1] and data[0] % 2:
                    stack.enter_context(mock.patch.object(hmac, "compare_digest", return_value=True))
                runner.run(talk(data[1:]))

        yield take


def request_of(method: str, target: str, headers: dict[str, str], body: bytes = b"") -> bytes:
    lines = {"host": "127.0.0.1:9000", **{name.lower(): value for name, value in headers.items()}}
    if body:
        lines["content-length"] = str(len(body))
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode() + body


def seeds() -> Iterator[bytes]:
    fc, acs = test_auth, test_acs_signature
    yield request_of("GET", fc.PATH, fc.signed(headers={"x-fc-account-id": fc.ACCOUNT, "content-md5": "x"}))
    yield request_of("GET", fc.PATH, fc.signed(headers={"x-fc-security-token": fc.LENT.security_token}))
    link = fc.link(Auth(KEY.access_key_id, KEY.secret), "/2016-08-15/proxy/s/f/", {"x-fc-invocation-type": "Async"})
    yield request_of("GET", "/2016-08-15/proxy/s/f/?" + link.decode(), {})
    yield request_of("GET", acs.PATH + "?prefix=%E4%B8%AD~&a=x%20y", acs.signed(query={"prefix": "中~", "a": "x y"}))
    yield request_of("GET", acs.PATH, acs.signed_some("host;x-acs-date", x_acs_signature_nonce="n"))
    code = LINKS.url("", Package("a" * 64, "1", 5))
    yield request_of("GET", code, {})
    for version, kind in itertools.product(("v1", "v2", "v4"), ("root", "role")):
        oss = test_signature
        said, asked = {"x-oss-meta-a": "b", "Range": "bytes=0-1"}, {"acl": "", "prefix": "a b"}
        for wire in (
            oss.signed_by_oss2(version, kind, "GET", "dir/k b", headers=said, params=asked),
            oss.link_by_oss2(version, kind, "k", params=asked),
        ):
            target = (wire["raw_path"] + b"?" + wire["query_string"]).decode()
            yield request_of(wire["method"], target, {n.decode(): v.decode("latin-1") for n, v in wire["headers"]})
    body = b"action=x"
    sls = {
        "x-log-apiversion": "0.6.0", "x-log-signaturemethod": "hmac-sha1", "date": fc.DATE, "x-log-date": fc.DATE,
        "content-md5": hashlib.md5(body).hexdigest().upper(), "x-log-bodyrawsize": str(len(body)),
        "authorization": f"LOG {KEY.access_key_id}:c2ln", "x-acs-security-token": "",
    }  # fmt: skip
    yield request_of("POST", "/logstores/l?type=log&query=a%20b", sls, body)
    v4 = {
        "x-log-apiversion": "0.6.0", "x-log-date": "20231114T221320Z",
        "x-log-content-sha256": hashlib.sha256(body).hexdigest(), "content-type": "application/json",
        "authorization": f"SLS4-HMAC-SHA256 Credential={KEY.access_key_id}/20231114/cn-hangzhou/sls/aliyun_v4_request,"
        f"Signature={'a' * 64}",
    }  # fmt: skip
    yield request_of("POST", "/logstores/l", v4, body)
    rpc = {
        "Version": "2015-04-01", "AccessKeyId": KEY.access_key_id, "SignatureMethod": "HMAC-SHA1",
        "Timestamp": STS_DATE, "SignatureVersion": "1.0", "SignatureNonce": "once", "Action": "GetCallerIdentity",
        "Format": "JSON", "Signature": "c2ln",
    }  # fmt: skip
    yield request_of("GET", "/?" + urlencode(rpc), {})
    form = {"content-type": "application/x-www-form-urlencoded"}
    yield request_of("POST", "/", form, urlencode(rpc).encode())
    sts = acs.signed(x_acs_action="AssumeRole", x_acs_version="2015-04-01", x_acs_signature_nonce="n", path="/")
    yield request_of("GET", "/", sts)
    policy = base64.b64encode(b'{"expiration": "2026-12-01T12:00:00.000Z", "conditions": []}').decode()
    fields = {
        "Action": "post", "Version": "2015-04-01", "policy": policy, "x-oss-signature-version": "OSS4-HMAC-SHA256",
        "x-oss-credential": f"{KEY.access_key_id}/20260102/cn-hangzhou/oss/aliyun_v4_request",
        "x-oss-date": "20260102T030405Z", "x-oss-signature": "a" * 64, "OSSAccessKeyId": "k", "Signature": "s",
    }  # fmt: skip
    yield request_of("GET", "/?" + urlencode(fields), {})


KIND = Kind(
    seeds=[way + seed for way in (b"\0", b"\1") for seed in seeds()],
    words=[
        b"authorization: ", b"x-fc-date: ", b"date: ", b"x-acs-date: ", b"x-log-date: ", b"x-oss-date: ", b"FC ",
        b"OSS ", b"LOG ", b"OSS4-HMAC-SHA256 ", b"SLS4-HMAC-SHA256 ",
        b"ACS3-HMAC-SHA256 ", b"Credential=", b"SignedHeaders=",
        b"AdditionalHeaders:", b"Signature=", b"x-fc-expires=", b"x-fc-signature=", b"x-oss-signature=", b"Expires=",
        b"x-acs-signature-nonce: ", b"x-fc-security-token: ", b"STS.x", b"LTAIkey", b"LTAIroot", b"\r\n", b"%2F", b"+",
        b"Thu, 01 Jan 1970 00:00:00 GMT", b"Mon, 99 Feb 99999 99:99:99 GMT", b"20230230T256199Z",
        b"0000-00-00T00:00:00Z",
        b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b";host;host;", b"&a=&a=", b"\xe9",
    ],
    opened=opened,
)  # fmt: skip
