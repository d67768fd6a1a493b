"""The settings: name, type, default and meaning of each.

Read through `settings`, which derives the flags, environment variables and keys of `sesame.toml` from them.
"""

from pathlib import Path
from typing import Annotated, Any

import msgspec

from sesame.sandbox.runtimes import places

CHOICES: dict[str, tuple[str, ...]] = {
    "sandbox": ("auto", "jail", "plain"),
    "cpu": ("shares", "cloud"),
    "cloud_names": ("on", "off"),
    "keep_alive": ("fixed", "learned"),
    "network": ("auto", "host", "egress", "none"),
    "calls": ("all", "failed", "none"),
    "record": ("none", "failed", "all"),
    "traces": ("none", "otlp"),
}
PORT_MAX = 65535
# Ports that default to `--oss-port` plus an offset.
_AFTER_OSS = {"sls_port": 1, "sts_port": 2}


def _meta(meaning: str, *, shown_default: str = "", file_only: bool = False) -> msgspec.Meta:
    return msgspec.Meta(description=meaning, extra={"shown_default": shown_default, "file_only": file_only})


class Settings(msgspec.Struct, frozen=True):
    """All settings. A field `data_dir` is the flag `--data-dir`, `SESAME_DATA_DIR` and the key `data_dir`."""

    port: Annotated[int, _meta("Port of the Function Compute endpoint; 0 takes any free one.")] = 9000
    host: Annotated[
        str,
        _meta(
            "Address that every endpoint listens on. Any other than a loopback address is open to other machines: add "
            "TLS (`--tls-cert`)."
        ),
    ] = "127.0.0.1"
    agents: Annotated[
        str,
        _meta(
            "Number of processes that serve synchronous calls on the same port, or `auto` for one per processor "
            "(docs/agents.md)."
        ),
    ] = "1"
    https_port: Annotated[
        int | None,
        _meta(
            "Port of the Function Compute endpoint over TLS, for custom domains with certificates; 0 takes any free "
            "one.",
            shown_default="no TLS",
        ),
    ] = None
    tls_cert: Annotated[
        Path | None,
        _meta(
            "Certificate chain (PEM): the endpoints then serve only TLS on their ports.",
            shown_default="no TLS",
        ),
    ] = None
    tls_key: Annotated[
        Path | None, _meta("Private key (PEM, without a password) of `--tls-cert`.", shown_default="no TLS")
    ] = None
    oss_port: Annotated[int, _meta("Port of the OSS endpoint; 0 takes any free one.")] = 9001
    sls_port: Annotated[
        int | None,
        _meta(
            "Port of the Log Service endpoint; 0 takes any free one.",
            shown_default="the one after `--oss-port`, or any free one if that is 0",
        ),
    ] = None
    sts_port: Annotated[
        int | None,
        _meta(
            "Port of the STS endpoint; 0 takes any free one.",
            shown_default="two after `--oss-port`, or any free one if that is 0",
        ),
    ] = None
    metrics_port: Annotated[
        int | None,
        _meta(
            "Port that serves `/metrics` in the Prometheus format; 0 takes any free one.",
            shown_default="no metrics",
        ),
    ] = None
    metrics_host: Annotated[
        str,
        _meta(
            "Address that `--metrics-port` listens on. Anyone who can reach it can read the names and numbers of all "
            "functions; no signature is needed."
        ),
    ] = "127.0.0.1"
    traces: Annotated[
        str,
        _meta(
            "Where spans of calls are sent: nowhere (`none`), or by OpenTelemetry over `otlp`, configured by the "
            "variables `OTEL_…`; needs the extra `otel`."
        ),
    ] = "none"
    data_dir: Annotated[
        Path, _meta("Directory that holds everything deployed; created if missing, used by one Sesame at a time.")
    ] = Path("sesame-data")
    database: Annotated[
        str | None,
        _meta(
            "URL of a PostgreSQL database for the records of the data directory: "
            "`postgresql://USER:PASSWORD@HOST:PORT/NAME`. Files stay in the directory.",
            shown_default="`sesame.db` in the data directory",
        ),
    ] = None
    objects: Annotated[
        str | None,
        _meta(
            "Place in an S3-compatible store for the bytes of objects and code packages: "
            "`s3://BUCKET/PREFIX?endpoint=URL&region=REGION`; needs the extra `s3`; keys come from the variables "
            "`AWS_…`.",
            shown_default="`objects` and `packages` in the data directory",
        ),
    ] = None
    sandbox: Annotated[
        str,
        _meta(
            "How functions are isolated: `jail` (Linux), `plain` (an ordinary process), or `auto`, the strongest "
            "available."
        ),
    ] = "auto"
    cpu: Annotated[
        str,
        _meta(
            "Processor time in a jail: `shares` of the available time, or a quota by memory size as in the `cloud`, or "
            "by the function's `cpu`."
        ),
    ] = "shares"
    network: Annotated[
        str,
        _meta(
            "Network of functions in a jail: the `host`'s; one per instance that reaches Sesame's endpoints and the "
            "internet (`egress`), or only the endpoints (`none`); or `auto`: `egress` if the machine can enforce it."
        ),
    ] = "auto"
    network_allow: Annotated[
        tuple[str, ...],
        _meta(
            "Addresses on this machine and its private networks that functions with a network of their own may reach, "
            "and HTTP destinations: ADDRESS:PORT, ADDRESS or NETWORK/BITS, separated by commas, such as "
            "`127.0.0.1:5432`.",
            shown_default="nothing",
        ),
    ] = ()
    cloud_names: Annotated[
        str,
        _meta(
            "Whether the cloud's host names (`oss-<region>.aliyuncs.com` and the like) resolve to this Sesame, over "
            "HTTP and HTTPS, for functions with a network of their own: `on` or `off`."
        ),
    ] = "on"
    account_id: Annotated[str | None, _meta("Id of the built-in account.", shown_default="made on first start")] = None
    region: Annotated[str, _meta("Region that functions see in `context.region`.")] = "cn-shanghai"
    access_key_id: Annotated[
        str | None, _meta("Access key id of the built-in account.", shown_default="made on first start")
    ] = None
    access_key_secret: Annotated[
        str | None, _meta("Access key secret of the built-in account.", shown_default="made on first start")
    ] = None
    interpreters: Annotated[
        dict[str, Path], _meta("Interpreters to use instead of those found, as RUNTIME=PATH, separated by commas.")
    ] = {}
    runtimes_dir: Annotated[
        Path | None,
        _meta(
            "Directory of the packages that come with each runtime.",
            shown_default="share/sesame/runtimes in the virtual environment, otherwise in the user's data directory",
        ),
    ] = None
    interpreters_channel: Annotated[
        str,
        _meta(
            "Conda channel from which `sesame runtimes get` downloads CPython 2.7 and 3.6: `https://…` or `file://…`, "
            "such as a mirror of conda-forge."
        ),
    ] = "https://conda.anaconda.org/conda-forge"
    interpreters_mirror: Annotated[
        str | None,
        _meta(
            "Mirror of uv's builds, from which `sesame runtimes get` downloads CPython 3.8 and later.",
            shown_default="uv's own source",
        ),
    ] = None
    interpreters_proxy: Annotated[
        str | None,
        _meta("Proxy through which `sesame runtimes get` downloads.", shown_default="the environment's proxies"),
    ] = None
    roles: Annotated[
        dict[str, Any],
        _meta("Roles to create at start unless they exist: one table each, see below.", file_only=True),
    ] = {}
    mounts: Annotated[
        dict[str, Path], _meta("Directories that stand for NAS file servers: see below.", file_only=True)
    ] = {}
    layers: Annotated[
        dict[str, str], _meta("Replacements for the cloud's layers, by ARN: see below.", file_only=True)
    ] = {}
    image_root: Annotated[
        Path | None,
        _meta(
            "Directory of container images: functions may name images below it as `file:///…`.",
            shown_default="no such images",
        ),
    ] = None
    images: Annotated[
        dict[str, Path], _meta("Paths of container images, by reference: see below.", file_only=True)
    ] = {}
    credentials_validity_s: Annotated[int, _meta("Seconds for which a function's temporary credentials are valid.")] = (
        6 * 3600
    )
    keep_alive: Annotated[
        str,
        _meta(
            "How long an idle instance is kept: a `fixed` time (`--keep-alive-s`), or a time `learned` from the "
            "intervals between each function's calls; then instances are also started shortly before the next expected "
            "call."
        ),
    ] = "fixed"
    keep_alive_s: Annotated[
        float, _meta("Seconds for which an idle instance is kept; also used until a time is learned.")
    ] = 300.0
    keep_alive_min_s: Annotated[float, _meta("Lower limit of a learned time, in seconds.")] = 60.0
    keep_alive_max_s: Annotated[float, _meta("Upper limit of a learned time, in seconds.")] = 14400.0
    drain_s: Annotated[
        float, _meta("Seconds that running calls have to finish when Sesame stops, before they are cancelled.")
    ] = 10.0
    max_instances: Annotated[int, _meta("Maximum number of instances of one function; calls beyond it get a 429.")] = (
        100
    )
    async_retention_days: Annotated[float, _meta("Days for which finished asynchronous invocations are kept.")] = 7.0
    dead_letter_retention_days: Annotated[
        float, _meta("Days for which records that could not be delivered to their destination are kept.")
    ] = 30.0
    dead_letters_max: Annotated[
        int, _meta("Maximum number of undeliverable records that are kept; the oldest are deleted first.")
    ] = 10_000
    destinations: Annotated[
        dict[str, str],
        _meta(
            "URLs for destinations of services that Sesame lacks, by a prefix of their ARN, as ARN=URL, separated by "
            "commas: `acs:mns:=http://localhost:8080/mns`."
        ),
    ] = {}
    recursion_limit: Annotated[
        int,
        _meta(
            "How often a function may occur in the chain of functions that led to its own invocation, through calls "
            "with their credentials or through destinations; 0 sets no limit."
        ),
    ] = 0
    max_memory_mb: Annotated[
        int | None,
        _meta("Maximum memory of all instances together, in MB.", shown_default="three quarters of the host's"),
    ] = None
    max_disk_mb: Annotated[
        int | None,
        _meta("Maximum sum of the `/tmp` sizes of all instances, in MB.", shown_default="the size of the disk"),
    ] = None
    log_retention_days: Annotated[
        float, _meta("Days for which the logs of functions are kept; 0 keeps none and deletes existing ones.")
    ] = 7.0
    log_max_mb: Annotated[
        int, _meta("Maximum MB of logs; beyond it, the oldest logs of the function with the most are deleted first.")
    ] = 512
    log_bytes_per_call: Annotated[
        int,
        _meta(
            "Maximum bytes kept of one call's log; beyond it only the end is kept, and a line says how much is missing."
        ),
    ] = 8 * 1024 * 1024

    calls: Annotated[
        str,
        _meta("Calls for which `sesame start` prints a line on its terminal: `all`, `failed` or `none`."),
    ] = "all"

    record: Annotated[
        str,
        _meta(
            "Calls that are recorded for `sesame replay`: `none`, `failed` or `all`; can be overridden for a function "
            "(`sesame record set`)."
        ),
    ] = "none"
    record_max_mb: Annotated[int, _meta("Maximum MB of recorded calls; beyond it the oldest are deleted first.")] = 256
    record_retention_days: Annotated[float, _meta("Days for which recorded calls are kept.")] = 7.0

    def resolved_port(self, setting: str) -> int:
        """The port of the endpoint whose field is `setting`, such as `sls_port`; 0 means any free port."""
        port: int | None = getattr(self, setting)
        if port is not None:
            return port
        usual = self.oss_port + _AFTER_OSS[setting]
        return usual if self.oss_port and usual <= PORT_MAX else 0

    def resolved_runtimes_dir(self) -> Path:
        return self.runtimes_dir or places.default_root()
