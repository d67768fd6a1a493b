"""Checks values and combinations of settings that already have the right types.

Called by `settings.load`.
"""

import math
import re

from sesame.inside.rules import parse
from sesame.model import limits
from sesame.model.destinations import is_web_url, without_password
from sesame.model.errors import ConfigurationError
from sesame.settings_fields import CHOICES, PORT_MAX, Settings
from sesame.store.blobs.location import parse_location

CREDENTIALS_VALIDITY_S_MIN = 900
LOG_MAX_MB_MIN = 16
AGENTS_MAX = 64
LOG_BYTES_PER_CALL_MIN = 4096
ALLOWED_SERVICES_MAX = 100
DATABASE_SCHEMES = ("postgresql://", "postgres://")
# The region becomes part of ARNs and host names.
_REGION = re.compile(r"[a-z0-9][a-z0-9-]{0,63}\Z")


def check(settings: Settings) -> None:
    """Raises `ConfigurationError` with the setting, its value and what was expected."""
    for name in ("port", "https_port", "oss_port", "sls_port", "sts_port", "metrics_port"):
        if not 0 <= (getattr(settings, name) or 0) <= PORT_MAX:
            raise ConfigurationError(f"{name} is {getattr(settings, name)}; expected 0 to {PORT_MAX}")
    for name in ("host", "metrics_host"):
        if not getattr(settings, name):
            raise ConfigurationError(
                f"{name} is empty; expected an address, such as 127.0.0.1, or 0.0.0.0 for all of them"
            )
    _check_agents(settings)
    if (settings.tls_cert is None) != (settings.tls_key is None):
        given, missing = ("tls_cert", "tls_key") if settings.tls_key is None else ("tls_key", "tls_cert")
        raise ConfigurationError(f"{given} is set without {missing}; TLS takes the certificate and its key")
    for name, choices in CHOICES.items():
        if getattr(settings, name) not in choices:
            raise ConfigurationError(f"{name} is '{getattr(settings, name)}'; expected one of {', '.join(choices)}")
    # The URL may contain a password, so it is not repeated.
    if settings.database is not None and not settings.database.startswith(DATABASE_SCHEMES):
        raise ConfigurationError(
            "database is no URL of PostgreSQL; expected postgresql://USER:PASSWORD@HOST:PORT/NAME, or nothing for the "
            "database in the data directory"
        )
    if settings.objects is not None:
        parse_location(settings.objects)
    if not _REGION.match(settings.region):
        raise ConfigurationError(
            f"region is '{settings.region}'; expected lower-case letters, digits and '-', such as cn-shanghai"
        )
    for prefix, url in settings.destinations.items():
        if not prefix.startswith("acs:") or not is_web_url(url):
            raise ConfigurationError(
                f"destinations has '{prefix}' = '{without_password(url)}'; expected the beginning of an ARN, such as "
                "acs:mns:, and a URL that begins with http:// or https://, without user name and password"
            )
    _check_network_allow(settings)
    days = ("async_retention_days", "dead_letter_retention_days", "log_retention_days", "record_retention_days")
    for name in ("keep_alive_s", "keep_alive_min_s", "keep_alive_max_s", "drain_s", *days):
        if not math.isfinite(getattr(settings, name)):
            raise ConfigurationError(f"{name} is {getattr(settings, name)}; expected a number that ends")
    least_s = CREDENTIALS_VALIDITY_S_MIN
    if settings.credentials_validity_s < least_s:
        raise ConfigurationError(
            f"credentials_validity_s is {settings.credentials_validity_s}; expected at least {least_s}"
        )
    for name in ("keep_alive_s", "keep_alive_min_s"):
        if getattr(settings, name) <= 0:
            raise ConfigurationError(f"{name} is {getattr(settings, name)}; expected more than 0")
    if settings.keep_alive_max_s < settings.keep_alive_min_s:
        raise ConfigurationError(
            f"keep_alive_max_s is {settings.keep_alive_max_s}; expected at least keep_alive_min_s, which is "
            f"{settings.keep_alive_min_s}"
        )
    if settings.max_instances < 1:
        raise ConfigurationError(f"max_instances is {settings.max_instances}; expected at least 1")
    least: dict[str, float] = {
        "drain_s": 0, "log_retention_days": 0, "async_retention_days": 0, "dead_letter_retention_days": 0,
        "dead_letters_max": 0, "record_retention_days": 0, "record_max_mb": 1, "recursion_limit": 0,
        "log_max_mb": LOG_MAX_MB_MIN, "log_bytes_per_call": LOG_BYTES_PER_CALL_MIN,
    }  # fmt: skip
    for name, minimum in least.items():
        if not getattr(settings, name) >= minimum:
            raise ConfigurationError(f"{name} is {getattr(settings, name)}; expected at least {minimum}")
    for name, minimum in (("max_memory_mb", limits.MEMORY_MB_MIN), ("max_disk_mb", limits.DISK_MB_CHOICES[0])):
        if (value := getattr(settings, name)) is not None and value < minimum:
            raise ConfigurationError(f"{name} is {value}; expected at least {minimum}")


def _check_agents(settings: Settings) -> None:
    text = settings.agents
    if text != "auto" and not (
        text.isascii() and text.isdigit() and 1 <= int(text[:4]) <= AGENTS_MAX and len(text) < 4
    ):
        raise ConfigurationError(f"agents is '{text}'; expected auto, or a number from 1 to {AGENTS_MAX}")
    if text != "1" and settings.tls_cert is not None:
        raise ConfigurationError(
            f"agents is '{text}', and tls_cert is set; expected one agent, as a connection that speaks TLS cannot go "
            "from one process to another, or no tls_cert behind a proxy that speaks TLS"
        )


def _check_network_allow(settings: Settings) -> None:
    try:
        services = [parse(allowed).is_one_service for allowed in settings.network_allow]
    except ValueError as error:
        raise ConfigurationError(f"network_allow: {error}") from error
    if services and settings.network == "host":
        raise ConfigurationError(
            "network_allow is set, and functions share the host's network; expected --network egress or none, or no "
            "network_allow"
        )
    if sum(services) > ALLOWED_SERVICES_MAX:
        raise ConfigurationError(
            f"network_allow names {sum(services)} services; expected at most {ALLOWED_SERVICES_MAX}, as each takes a "
            "socket in every instance: name a network instead, NETWORK/BITS, which is reached without one"
        )
    if settings.network == "none" and not all(services):
        wider = settings.network_allow[services.index(False)]
        raise ConfigurationError(
            f"network_allow has '{wider}', which is reached by the way to the outside, and with --network none there "
            "is none; expected ADDRESS:PORT, or --network egress"
        )
