"""Custom domains: creates, reads, changes and deletes them (reference/api.md §3.6).

Called by the endpoints; returns records. `fc.web` serves the domains and their certificates.
"""

import re
from functools import partial
from typing import Any

import msgspec
from msgspec import UNSET

from sesame.control import checks, cors_checks, jwt_auth, rewrites, rules
from sesame.control.inputs import CustomDomainInput, Listing, Page
from sesame.control.listing import page_of
from sesame.control.own_hosts import OwnHosts
from sesame.control.requester import Requester, require_pass_role
from sesame.control.rules import Rule
from sesame.control.stored_cors import StoredCors
from sesame.control.trigger_checks import HTTP_METHODS
from sesame.model import limits, records
from sesame.model.cors_rules import CorsRules
from sesame.model.domain import CertConfig, CustomDomain, PathConfig, TlsConfig
from sesame.model.errors import AlreadyExists, Invalid, Missing, NotFound
from sesame.model.owner import stands_alone
from sesame.model.records import Record
from sesame.store.catalog import Catalog, Change, Transaction

TLS_VERSIONS = ("", "TLSv1.0", "TLSv1.1", "TLSv1.2", "TLSv1.3")
ROUTES_MAX = 500
_DOMAIN = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_]([A-Za-z0-9_-]{0,62})(\.[A-Za-z0-9_-]{1,63})*\Z")


class Domains:
    """Names are compared like hosts, case-insensitively. The server's own names are not allowed."""

    def __init__(self, catalog: Catalog, own_hosts: OwnHosts) -> None:
        self._catalog = catalog
        self._own_hosts = own_hosts
        self._cors = StoredCors("a custom domain")
        self._names = {record.name.lower(): record.name for record in catalog.of_kind(records.CUSTOM_DOMAIN)}
        catalog.on_change(self._note)

    async def create(self, sent: CustomDomainInput, *, by: Requester) -> Record:
        """Routes may name services and functions that do not exist yet (reference/api.md §3.6).

        Raises `Forbidden` for a role that the caller may not pass.
        """
        require_pass_role(by, sent)
        name = "" if sent.domain_name is UNSET else sent.domain_name
        if not name:
            raise Missing("domain_name")
        if not _DOMAIN.match(name):
            raise Invalid("domain_name", "a host name", checks.shown(name))
        if self._own_hosts.owns(name):
            raise Invalid("domain_name", "a name that is not the server's own, and no address", name)
        domain = _merged(CustomDomain(domain_name=name), sent)
        rules.apply(_RULES, domain)
        await _check_certificate(sent)
        await _check_tokens(sent)
        if self.find(name) is not None:
            raise AlreadyExists(records.CUSTOM_DOMAIN, name)

        def edit(tx: Transaction) -> Record:
            if any(record.name.lower() == name.lower() for record in tx.children(records.CUSTOM_DOMAIN, "")):
                raise AlreadyExists(records.CUSTOM_DOMAIN, name)
            return tx.put(records.CUSTOM_DOMAIN, "", name, domain)

        return await self._catalog.edit(edit)

    async def get(self, domain: str) -> Record:
        record = self._catalog.get(records.CUSTOM_DOMAIN, "", self._names.get(domain.lower(), domain))
        if record is None:
            raise NotFound(records.CUSTOM_DOMAIN, domain)
        return record

    async def update(
        self, domain: str, sent: CustomDomainInput, if_match: str | None = None, *, by: Requester
    ) -> Record:
        """Fields that were not sent stay; a sent field replaces the whole former value.

        Raises `Forbidden` for a role that the caller may not pass.
        """
        require_pass_role(by, sent)
        record = await self.get(domain)
        name, present = record.name, record.document
        if sent.cert_config != present.cert_config:
            await _check_certificate(sent)
        if sent.auth_config != present.auth_config:
            await _check_tokens(sent)

        def edit(tx: Transaction) -> Record:
            former = tx.get(records.CUSTOM_DOMAIN, "", name)
            if former is None:
                raise NotFound(records.CUSTOM_DOMAIN, domain)
            checks.precondition(former, if_match)
            merged = _merged(former.document, sent)
            rules.apply(_RULES, merged, former.document)
            return tx.put(records.CUSTOM_DOMAIN, "", name, merged)

        return await self._catalog.edit(edit)

    async def delete(self, domain: str, if_match: str | None = None) -> None:
        name = (await self.get(domain)).name

        def edit(tx: Transaction) -> None:
            record = tx.get(records.CUSTOM_DOMAIN, "", name)
            if record is None:
                raise NotFound(records.CUSTOM_DOMAIN, domain)
            checks.precondition(record, if_match)
            tx.delete(records.CUSTOM_DOMAIN, "", name)

        await self._catalog.edit(edit)

    async def list(self, wanted: Listing) -> Page:
        return page_of(self._catalog, records.CUSTOM_DOMAIN, "", wanted)

    def find(self, host: str) -> Record | None:
        """The domain for a request with this host (without port); reads memory, because it is called for every request.

        None for names of the server itself, which earlier versions accepted.
        """
        record = self._catalog.get(records.CUSTOM_DOMAIN, "", self._names.get(host.lower(), host))
        return None if record is None or self._own_hosts.owns(record.name) else record

    def cors_of(self, domain: CustomDomain) -> CorsRules:
        """Which web pages may read answers of this domain's functions; called for every request."""
        return self._cors.of(domain.domain_name, domain.cors_config)

    def _note(self, change: Change) -> None:
        if change.kind != records.CUSTOM_DOMAIN:
            return
        self._cors.forget(change.name)
        if change.record is None:
            self._names.pop(change.name.lower(), None)
        else:
            self._names[change.name.lower()] = change.name


def _merged(domain: CustomDomain, sent: CustomDomainInput) -> CustomDomain:
    changes = {field: value for field in sent.__struct_fields__ if (value := getattr(sent, field)) is not UNSET}
    changes.pop("domain_name", None)
    if changes.get("protocol") == "":
        del changes["protocol"]
    for field, empty in (
        ("cert_config", CertConfig()),
        ("tls_config", TlsConfig()),
        ("waf_config", {}),
        ("auth_config", {}),
        ("cors_config", {}),
    ):
        if field in changes and changes[field] == empty:
            changes[field] = None
    return msgspec.structs.replace(domain, **changes)


async def _check_certificate(sent: CustomDomainInput) -> None:
    if sent.cert_config is not UNSET and sent.cert_config != CertConfig():
        # Imported here because few requests need it, and every start would wait for x.509.
        from sesame.control import certificates

        await certificates.check(sent.cert_config)


async def _check_tokens(sent: CustomDomainInput) -> None:
    if sent.auth_config is not UNSET and sent.auth_config.get("authType") == jwt_auth.JWT:
        await jwt_auth.read_in_thread(sent.auth_config.get("authInfo"), "auth_config.auth_info")


def _check_cors(config: dict[str, Any] | None) -> None:
    if config is not None:
        cors_checks.read("cors_config", config)


def _check_has_certificate(protocol: str, certificate: CertConfig | None) -> None:
    if certificate is None and "HTTPS" in protocol:
        raise Missing("cert_config")


def _check_tls(config: TlsConfig | None) -> None:
    if config is not None:
        checks.one_of("tls_config.min_version", config.min_version, TLS_VERSIONS)
        checks.one_of("tls_config.max_version", config.max_version, TLS_VERSIONS)
        versions = (config.min_version, config.max_version)
        if all(versions) and TLS_VERSIONS.index(versions[0]) > TLS_VERSIONS.index(versions[1]):
            raise Invalid("tls_config.max_version", f"{versions[0]} or later, as minVersion is", versions[1])
        checks.kept("tls_config", config)


def _check_routes(routes: tuple[PathConfig, ...]) -> None:
    if len(routes) > ROUTES_MAX:
        raise Invalid("route_config.routes", f"at most {ROUTES_MAX} routes", f"{len(routes)} routes")
    paths = set()
    for route in routes:
        if not route.path.startswith("/"):
            raise Invalid("route_config.routes.path", "a path that begins with '/'", checks.shown(route.path))
        if route.path in paths:
            raise Invalid("route_config.routes.path", "every path once", checks.shown(route.path))
        paths.add(route.path)
        checks.length("route_config.routes.path", route.path, limits.ROUTE_PATH_CHARS)
        if "?" in route.path or "#" in route.path:
            allowed = "a path without '?' and '#': routes are chosen by the path alone, whatever the query"
            raise Invalid("route_config.routes.path", allowed, checks.shown(route.path))
        if not stands_alone(route.service_name):
            checks.name("route_config.routes.service_name", route.service_name, limits.SERVICE_NAME, 128)
        checks.name("route_config.routes.function_name", route.function_name, limits.FUNCTION_NAME, 64)
        checks.qualifier("route_config.routes.qualifier", route.qualifier or "")
        for method in route.methods:
            checks.one_of("route_config.routes.methods", method, HTTP_METHODS)
        if route.rewrite_config is not None:
            rewrites.check(route.rewrite_config)


def _check_auth_size(config: dict[str, Any] | None) -> None:
    """What verifies tokens has a limit of its own."""
    kept = config or {}
    if kept.get("authType") == jwt_auth.JWT:
        kept = {name: value for name, value in kept.items() if name != "authInfo"}
    checks.kept("auth_config", kept)


_RULES = (
    Rule(("protocol",), lambda protocol: checks.one_of("protocol", protocol, limits.DOMAIN_PROTOCOLS)),
    Rule(("route_config.routes",), _check_routes),
    Rule(("protocol", "cert_config"), _check_has_certificate),
    Rule(("tls_config",), _check_tls),
    Rule(("cors_config",), _check_cors),
    Rule(("waf_config",), partial(checks.kept, "waf_config")),
    Rule(("auth_config",), _check_auth_size),
)
