"""Custom domains as reference/api.md §3.6 says.

Run by pytest.
Never serves one.
"""

import base64
import time
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from tests.control.conftest import Account
from tests.support.certificates import pair
from tests.support.refusals import refused
from tests.support.requesters import THE_ACCOUNT

from sesame.control.domains import Domains
from sesame.control.inputs import CustomDomainInput, Listing
from sesame.control.own_hosts import OwnHosts
from sesame.model import records
from sesame.model.domain import CertConfig, CustomDomain, PathConfig, RewriteConfig, RewriteRule, RouteConfig, TlsConfig

NAME = "pythonSDK.cn-hongkong.123.cname-test.fc.aliyun-inc.com"


OWN_HOSTS = OwnHosts.of(("127.0.0.1", "Build-Host"), ("oss.localhost",))
PAIR, OTHER_PAIR = pair(), pair()
ROUTES = RouteConfig((PathConfig("/a", "s1", "f1"), PathConfig("/b", "s2", "f2", "v1", ("GET",))))


@pytest.fixture
def domains(account: Account) -> Domains:
    return Domains(account.catalog, OWN_HOSTS)


async def test_life_of_a_domain(domains: Domains) -> None:
    created = await domains.create(CustomDomainInput(domain_name=NAME), by=THE_ACCOUNT)
    assert (created.document.protocol, created.document.route_config.routes) == ("HTTP", ())
    assert created.document.cert_config is None
    sent = CustomDomainInput(protocol="HTTP,HTTPS", route_config=ROUTES, cert_config=PAIR)
    updated = await domains.update(NAME, sent, by=THE_ACCOUNT)
    assert updated.document.route_config == ROUTES
    assert updated.document.cert_config == PAIR
    plain = await domains.update(NAME, CustomDomainInput(protocol="HTTP"), by=THE_ACCOUNT)
    assert (plain.document.protocol, plain.document.route_config) == ("HTTP", ROUTES)
    replaced = await domains.update(
        NAME, CustomDomainInput(cert_config=OTHER_PAIR, route_config=RouteConfig()), by=THE_ACCOUNT
    )
    assert replaced.document.cert_config == OTHER_PAIR
    assert replaced.document.route_config.routes == ()
    removed = await domains.update(
        NAME,
        CustomDomainInput(cert_config=CertConfig(), tls_config=TlsConfig(), waf_config={}, protocol=""),
        by=THE_ACCOUNT,
    )
    assert (removed.document.cert_config, removed.document.tls_config, removed.document.waf_config) == (None,) * 3
    assert await domains.get(NAME) == removed
    assert (await domains.list(Listing(prefix="pythonSDK"))).items == (removed,)
    await domains.delete(NAME)
    with refused("DomainNameNotFound", match=f"domain name '{NAME}' does not exist"):
        await domains.get(NAME)
    await domains.create(CustomDomainInput(domain_name=NAME, protocol="HTTPS", cert_config=PAIR), by=THE_ACCOUNT)


async def test_hosts_are_found_without_regard_to_case(account: Account, domains: Domains) -> None:
    created = await domains.create(CustomDomainInput(domain_name=NAME), by=THE_ACCOUNT)
    assert domains.find(NAME.upper()) == created
    assert Domains(account.catalog, OWN_HOSTS).find(NAME.lower()) == created
    assert domains.find("other.com") is None
    for name in (NAME, NAME.lower()):
        with refused("DomainNameAlreadyExists", match=f"domain name {name} already exists"):
            await domains.create(CustomDomainInput(domain_name=name), by=THE_ACCOUNT)
    await domains.delete(NAME.upper())
    assert domains.find(NAME) is None


@pytest.mark.parametrize(
    "name",
    [
        "localhost", "LocalHost", "ip6-localhost", "IP6-Loopback", "localhost.localdomain", "localhost4",
        "localhost6.localdomain6", "oss.localhost", "bucket.oss.localhost", "build-host", "127.0.0.1", "10.1.2.3",
        "127.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.01", "1.2.3.4.5",
        "123.cn-shanghai.fc.aliyuncs.com",
        "bucket.oss-cn-shanghai-internal.aliyuncs.com",
    ],
)  # fmt: skip
async def test_the_server_s_own_names_and_addresses_are_refused(domains: Domains, name: str) -> None:
    with refused("InvalidArgument", match="a name that is not the server's own, and no address"):
        await domains.create(CustomDomainInput(domain_name=name), by=THE_ACCOUNT)


@pytest.mark.parametrize("name", ["shop.localhost", "a.com", "10.a", "0xyz", "build-host.example.com", "ossolocalhost"])
async def test_other_names_may_be_custom_domains(domains: Domains, name: str) -> None:
    created = await domains.create(CustomDomainInput(domain_name=name), by=THE_ACCOUNT)
    assert domains.find(name) == created


async def test_a_kept_domain_that_is_the_server_s_own_can_be_deleted_and_serves_nothing(account: Account) -> None:
    before = Domains(account.catalog, OwnHosts())
    await before.create(CustomDomainInput(domain_name="Build-Host"), by=THE_ACCOUNT)
    after = Domains(account.catalog, OWN_HOSTS)
    assert after.find("build-host") is None
    await after.delete("build-host")
    assert before.find("build-host") is None


def routes(*paths: PathConfig) -> dict[str, Any]:
    return {"route_config": RouteConfig(paths)}


def rewritten(**rules: Any) -> dict[str, Any]:
    return routes(PathConfig("/a", "s", "f", rewrite_config=RewriteConfig(**rules)))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"domain_name": ""}, "DomainName is required"),
        ({"domain_name": "a b"}, "DomainName is set to an invalid value"),
        ({"domain_name": "a/b"}, "DomainName is set to an invalid value"),
        ({"domain_name": "a..b"}, "DomainName is set to an invalid value"),
        ({"domain_name": "a" * 254}, "DomainName is set to an invalid value"),
        ({"protocol": "FTP"}, r"Protocol .*HTTP | HTTPS | HTTP,HTTPS"),
        ({"protocol": "HTTPS"}, "CertConfig is required"),
        ({"cert_config": CertConfig(cert_name="n")}, "CertConfig.Certificate is required"),
        ({"cert_config": CertConfig("n", PAIR.private_key, "no PEM")}, "CertConfig.Certificate cannot be read"),
        ({"cert_config": CertConfig("n", "no PEM", PAIR.certificate)}, "CertConfig.PrivateKey cannot be read"),
        ({"cert_config": CertConfig("n", OTHER_PAIR.private_key, PAIR.certificate)}, "key of another certificate"),
        ({"tls_config": TlsConfig("SSLv3")}, "TLSConfig.MinVersion"),
        ({"tls_config": TlsConfig("TLSv1.3", "TLSv1.2")}, "TLSConfig.MaxVersion"),
        ({"waf_config": {"k": "v" * 2**16}}, "at most 65536 bytes of JSON"),
        ({"auth_config": {"k": "v" * 2**16}}, "at most 65536 bytes of JSON"),
        (routes(PathConfig("/" + "a" * 4096, "s", "f")), "at most 4096 characters"),
        (routes(PathConfig("/a", "s" * 129, "f")), "ServiceName .*1 to 128 letters"),
        (routes(PathConfig("/a", "a/b", "f")), "ServiceName is set to an invalid value"),
        (routes(PathConfig("/a", "s", "f" * 65)), "FunctionName .*1 to 64 letters"),
        (routes(PathConfig("/a", "s", "$f")), "FunctionName is set to an invalid value"),
        (routes(PathConfig("/a", "$a/b", "a/b")), "FunctionName is set to an invalid value"),
        (routes(PathConfig("/a", "s", "f", "a/b")), "Routes.Qualifier .*the number of a version"),
        (routes(PathConfig("/a", "s", "f", "01")), "Routes.Qualifier"),
        (routes(PathConfig("/a?b=1", "s", "f")), "Routes.Path .*a path without"),
        (routes(PathConfig("/a#b", "s", "f")), "Routes.Path .*a path without"),
        (routes(PathConfig("a", "s", "f")), "Routes.Path"),
        (routes(PathConfig("/a", "s", "f"), PathConfig("/a", "s", "g")), "every path once"),
        (routes(PathConfig("/a", "", "f")), "ServiceName is required"),
        (routes(PathConfig("/a", "s", "")), "FunctionName is required"),
        (routes(PathConfig("/a", "s", "f", methods=("FETCH",))), "Routes.Methods"),
        (rewritten(equal_rules=(RewriteRule("/x", ""),)), "Replacement is required"),
        (rewritten(regex_rules=(RewriteRule("(", "/"),)), "no regular expression"),
        (routes(*(PathConfig(f"/{n}", "s", "f") for n in range(501))), "at most 500 routes"),
    ],
)
async def test_bad_values_are_refused(domains: Domains, values: dict[str, Any], message: str) -> None:
    with refused("InvalidArgument", match=message):
        await domains.create(CustomDomainInput(**{"domain_name": NAME} | values), by=THE_ACCOUNT)
    assert (await domains.list(Listing())).items == ()


async def test_a_certificate_that_no_tls_is_spoken_with_is_refused(domains: Domains) -> None:
    weak = pair(key=rsa.generate_private_key(65537, 1024))
    with refused("InvalidArgument", match=r"cannot be served over TLS \(EE_KEY_TOO_SMALL\): expected .* 2048 bits"):
        await domains.create(CustomDomainInput(domain_name=NAME, cert_config=weak), by=THE_ACCOUNT)
    await domains.create(CustomDomainInput(domain_name=NAME, cert_config=pair(days=1)), by=THE_ACCOUNT)
    with refused("InvalidArgument", match="the key of another certificate"):
        await domains.update(
            NAME, CustomDomainInput(cert_config=CertConfig("n", PAIR.private_key, weak.certificate)), by=THE_ACCOUNT
        )


def rsa_pem(**numbers: int) -> str:
    """An RSA key with these numbers, whether they belong together or not; those not given are 0."""
    names = ("n", "e", "d", "p", "q", "dp", "dq", "qinv")
    body = b"\x02\x01\x00" + b"".join(_integer(numbers.get(name, 0)) for name in names)
    der = b"\x30" + _length(body) + body
    text = base64.encodebytes(der).decode()
    return f"-----BEGIN RSA PRIVATE KEY-----\n{text}-----END RSA PRIVATE KEY-----\n"


def _integer(value: int) -> bytes:
    data = value.to_bytes(value.bit_length() // 8 + 1, "big")
    return b"\x02" + _length(data) + data


def _length(data: bytes) -> bytes:
    size = len(data)
    return bytes([size]) if size < 128 else b"\x81%c" % size if size < 256 else b"\x82" + size.to_bytes(2, "big")


async def test_a_key_whose_numbers_do_not_belong_together_is_refused(domains: Domains) -> None:
    key = rsa.generate_private_key(65537, 2048)
    good = pair(key=key)
    public = key.public_key().public_numbers()
    private = key.private_numbers()
    numbers = {
        "n": public.n, "e": public.e, "d": private.d, "p": private.p, "q": private.q,
        "dp": private.dmp1, "dq": private.dmq1, "qinv": private.iqmp,
    }  # fmt: skip
    whole = CertConfig("n", rsa_pem(**numbers), good.certificate)
    assert (
        await domains.create(CustomDomainInput(domain_name=NAME, cert_config=whole), by=THE_ACCOUNT)
    ).document.cert_config == whole
    forged = CertConfig("n", rsa_pem(**numbers | {"p": private.p + 2}), good.certificate)
    with refused("InvalidArgument", match=r"CertConfig\.PrivateKey is not valid: expected a key whose numbers"):
        await domains.update(NAME, CustomDomainInput(cert_config=forged), by=THE_ACCOUNT)


async def test_an_rsa_key_that_takes_seconds_to_validate_is_refused_at_once(domains: Domains) -> None:
    large = pair(public=rsa.RSAPublicNumbers(65537, 2**8191 + 1).public_key())
    began = time.process_time()
    with refused("InvalidArgument", match="RSA keys of at most 4096 bits, actual: '8192 bits'"):
        await domains.create(CustomDomainInput(domain_name=NAME, cert_config=large), by=THE_ACCOUNT)
    assert time.process_time() - began < 0.5


async def test_absences_and_preconditions(domains: Domains) -> None:
    for step in (domains.update(NAME, CustomDomainInput(), by=THE_ACCOUNT), domains.delete(NAME)):
        with refused("DomainNameNotFound"):
            await step
    etag = (await domains.create(CustomDomainInput(domain_name=NAME), by=THE_ACCOUNT)).etag
    for step in (domains.update(NAME, CustomDomainInput(), "bad", by=THE_ACCOUNT), domains.delete(NAME, "bad")):
        with refused("PreconditionFailed"):
            await step
    await domains.delete(NAME, etag)


async def test_a_cors_config_from_before_it_was_checked_stays_while_others_change(
    domains: Domains, account: Account
) -> None:
    await domains.create(CustomDomainInput(domain_name=NAME), by=THE_ACCOUNT)
    kept = {"allowOrigins": ["example.com"], "maxAge": 10**6}
    stored = CustomDomain(domain_name=NAME, cors_config=kept)
    await account.catalog.edit(lambda tx: tx.put(records.CUSTOM_DOMAIN, "", NAME, stored))
    renewed = await domains.update(NAME, CustomDomainInput(protocol="HTTP,HTTPS", cert_config=PAIR), by=THE_ACCOUNT)
    assert (renewed.document.cert_config, renewed.document.cors_config) == (PAIR, kept)
    # Tools send all that they have read.
    await domains.update(NAME, CustomDomainInput(cors_config=kept), by=THE_ACCOUNT)
    with refused("InvalidArgument", match="example.com"):
        await domains.update(NAME, CustomDomainInput(cors_config=kept | {"maxAge": 1}), by=THE_ACCOUNT)
