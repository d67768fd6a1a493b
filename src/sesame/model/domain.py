"""A custom domain: a host name whose paths are routed to functions.

Created by `control.domains`, stored by `store.catalog`, served by `fc.web`.
Field names follow reference/api.md §3.6.
"""

from typing import Any

import msgspec


class RewriteRule(msgspec.Struct, frozen=True, rename="camel"):
    match: str = ""
    replacement: str = ""


class RewriteConfig(msgspec.Struct, frozen=True, rename="camel"):
    """The first matching rule applies: equal rules, then wildcard rules, then regular expressions."""

    equal_rules: tuple[RewriteRule, ...] = ()
    wildcard_rules: tuple[RewriteRule, ...] = ()
    regex_rules: tuple[RewriteRule, ...] = ()


class PathConfig(msgspec.Struct, frozen=True, rename="camel"):
    """One route. Empty `methods` mean all methods; a `qualifier` of None means LATEST."""

    path: str = ""
    service_name: str = ""
    function_name: str = ""
    qualifier: str | None = None
    methods: tuple[str, ...] = ()
    rewrite_config: RewriteConfig | None = None


class RouteConfig(msgspec.Struct, frozen=True, rename="camel"):
    routes: tuple[PathConfig, ...] = ()


class CertConfig(msgspec.Struct, frozen=True, rename="camel"):
    """Certificate chain and key as PEM text. The key is never returned to a caller."""

    cert_name: str = ""
    private_key: str = ""
    certificate: str = ""


class TlsConfig(msgspec.Struct, frozen=True, rename="camel"):
    min_version: str = ""
    max_version: str = ""
    cipher_suites: tuple[str, ...] = ()


class CustomDomain(msgspec.Struct, frozen=True, rename="camel"):
    """Kind `custom_domain`, parent "", name the domain as written. Unset fields are None."""

    domain_name: str
    protocol: str = "HTTP"
    route_config: RouteConfig = RouteConfig()
    cert_config: CertConfig | None = None
    tls_config: TlsConfig | None = None
    waf_config: dict[str, Any] | None = None
    auth_config: dict[str, Any] | None = None
    cors_config: dict[str, Any] | None = None
    is_e2b: bool = msgspec.field(default=False, name="isE2B")
