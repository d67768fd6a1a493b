"""A custom domain: a host name whose paths are routed to functions.

Made by `control.domains`, kept by `store.catalog`, read by `fc.web`, which serves it.
Field names follow reference/api.md §3.6.
"""

from typing import Any

import msgspec


class RewriteRule(msgspec.Struct, frozen=True, rename="camel"):
    match: str = ""
    replacement: str = ""


class RewriteConfig(msgspec.Struct, frozen=True, rename="camel"):
    """The first rule that matches counts: equal rules before wildcard rules before regular expressions."""

    equal_rules: tuple[RewriteRule, ...] = ()
    wildcard_rules: tuple[RewriteRule, ...] = ()
    regex_rules: tuple[RewriteRule, ...] = ()


class PathConfig(msgspec.Struct, frozen=True, rename="camel"):
    """One route. An empty `methods` means all; `qualifier` None means the present state."""

    path: str = ""
    service_name: str = ""
    function_name: str = ""
    qualifier: str | None = None
    methods: tuple[str, ...] = ()
    rewrite_config: RewriteConfig | None = None


class RouteConfig(msgspec.Struct, frozen=True, rename="camel"):
    routes: tuple[PathConfig, ...] = ()


class CertConfig(msgspec.Struct, frozen=True, rename="camel"):
    """Certificate chain and key as PEM text. The key is never shown to a caller."""

    cert_name: str = ""
    private_key: str = ""
    certificate: str = ""


class TlsConfig(msgspec.Struct, frozen=True, rename="camel"):
    min_version: str = ""
    max_version: str = ""
    cipher_suites: tuple[str, ...] = ()


class CustomDomain(msgspec.Struct, frozen=True, rename="camel"):
    """Kind `custom_domain`, parent "", name the domain as it was written. None where nothing was set."""

    domain_name: str
    protocol: str = "HTTP"
    route_config: RouteConfig = RouteConfig()
    cert_config: CertConfig | None = None
    tls_config: TlsConfig | None = None
    waf_config: dict[str, Any] | None = None
    auth_config: dict[str, Any] | None = None
    cors_config: dict[str, Any] | None = None
    is_e2b: bool = msgspec.field(default=False, name="isE2B")
