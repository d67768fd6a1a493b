"""How calls of a function name their session, and how long sessions live (reference/api.md §5.2).

Validated by `control`, read by `model.snapshot`.
"""

from collections.abc import Mapping
from typing import Annotated

import msgspec

from sesame.model.conversion import described
from sesame.model.function import Function
from sesame.model.web_server import is_web_server

NONE, HEADER_FIELD, GENERATED_COOKIE = "NONE", "HEADER_FIELD", "GENERATED_COOKIE"
SESSIONS_PER_INSTANCE_DEFAULT = 20
SECONDS_MAX = 21_600
IDLE_TIMEOUT_S_DEFAULT, TTL_S_DEFAULT = 1_800, 21_600
ONE_SESSION_AN_INSTANCE = "SESSION_EXCLUSIVE"
ISOLATION_MODES = ("SHARE", ONE_SESSION_AN_INSTANCE)


class _Config(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    session_concurrency_per_instance: Annotated[int, msgspec.Meta(ge=1, le=200)] = SESSIONS_PER_INSTANCE_DEFAULT
    session_idle_timeout_in_seconds: Annotated[int, msgspec.Meta(ge=0, le=SECONDS_MAX)] = IDLE_TIMEOUT_S_DEFAULT
    session_ttl_in_seconds: Annotated[int, msgspec.Meta(ge=1, le=SECONDS_MAX)] = msgspec.field(
        default=TTL_S_DEFAULT, name="sessionTTLInSeconds"
    )
    disable_session_id_reuse: bool = False


class _HeaderConfig(_Config, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    # Names that begin with `x-fc-` are reserved for the platform.
    affinity_header_field_name: Annotated[str, msgspec.Meta(pattern=r"^(?![Xx]-[Ff][Cc]-)[A-Za-z][A-Za-z0-9_-]{4,39}$")]


CONFIGS: Mapping[str, type[_Config]] = {HEADER_FIELD: _HeaderConfig, GENERATED_COOKIE: _Config}
AFFINITIES = tuple(CONFIGS)


class SessionAffinity(msgspec.Struct, frozen=True):
    """`header` is the header, as written, that names a call's session, or "" if a cookie does.

    Times are in seconds, as in `model.session.Session`.

    `isolated`: an instance serves only one session in its life.
    """

    kind: str
    sessions_per_instance: int
    idle_timeout_s: int
    ttl_s: int
    disable_id_reuse: bool
    header: str = ""
    isolated: bool = False


def affinity_of(function: Function) -> SessionAffinity | None:
    """Raises `msgspec.ValidationError` for unusable settings.

    As in the cloud, an instance has no more sessions than concurrent calls.
    """
    later = function.later
    if later.session_affinity in ("", NONE):
        return None
    config = _config_of(later.session_affinity, later.session_affinity_config)
    concurrency = function.instance_concurrency if is_web_server(function.runtime) else 1
    alone = later.instance_isolation_mode == ONE_SESSION_AN_INSTANCE
    return SessionAffinity(
        kind=later.session_affinity,
        sessions_per_instance=1 if alone else min(config.session_concurrency_per_instance, concurrency),
        idle_timeout_s=config.session_idle_timeout_in_seconds,
        ttl_s=config.session_ttl_in_seconds,
        disable_id_reuse=config.disable_session_id_reuse,
        header=config.affinity_header_field_name if isinstance(config, _HeaderConfig) else "",
        isolated=alone,
    )


def _config_of(affinity: str, text: str) -> _Config:
    if affinity not in AFFINITIES:
        raise msgspec.ValidationError(f"sessionAffinity is '{affinity}', expected {NONE} | {' | '.join(AFFINITIES)}")
    try:
        return msgspec.json.decode(text or "{}", type=CONFIGS[affinity])
    except msgspec.ValidationError as error:
        raise msgspec.ValidationError(f"sessionAffinityConfig: {described(error)}") from error
    except msgspec.DecodeError as error:
        raise msgspec.ValidationError(f"sessionAffinityConfig: {error}") from error
