"""The settings themselves: the name, type, default and meaning of each.

Read through `settings`, which derives flags, names of variables and keys of files from them.
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
# The ports that follow `--oss-port` unless they are given.
_AFTER_OSS = {"sls_port": 1, "sts_port": 2}


def _meta(meaning: str, *, shown_default: str = "", file_only: bool = False) -> msgspec.Meta:
    return msgspec.Meta(description=meaning, extra={"shown_default": shown_default, "file_only": file_only})


class Settings(msgspec.Struct, frozen=True):
    """All that can be set. A field `data_dir` is the flag `--data-dir`, `SESAME_DATA_DIR` and the key `data_dir`."""

    port: Annotated[int, _meta("Port of the Function Compute endpoint; 0 takes any free one.")] = 9000
    host: Annotated[
        str,
        _meta(
            "Address that every endpoint listens on. Another than a loopback address lets other machines in: add TLS "
            "(`--tls-cert`)."
        ),
    ] = "127.0.0.1"
    agents: Annotated[
        str,
        _meta(
            "Processes that serve synchronous calls, on the same port: a number, or `auto` for one on each processor "
            "(docs/agents.md)."
        ),
    ] = "1"
    https_port: Annotated[
        int | None,
        _meta(
            "Port of the Function Compute endpoint over TLS, for custom domains with certificates; 0 takes any free.",
            shown_default="no TLS",
        ),
    ] = None
    tls_cert: Annotated[
        Path | None,
        _meta(
            "Certificate chain (PEM) with which the endpoints speak TLS, and nothing else, on their ports.",
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
            shown_default="the one after `--oss-port`, or any free one where that is 0",
        ),
    ] = None
    sts_port: Annotated[
        int | None,
        _meta(
            "Port of the STS endpoint; 0 takes any free one.",
            shown_default="two after `--oss-port`, or any free one where that is 0",
        ),
    ] = None
    metrics_port: Annotated[
        int | None,
        _meta(
            "Port where operators read `/metrics`, in the format of Prometheus; 0 takes any free one.",
            shown_default="no metrics",
        ),
    ] = None
    metrics_host: Annotated[
        str,
        _meta(
            "Address that `--metrics-port` is on. Whoever reaches it reads the names of functions and their numbers, "
            "without a signature."
        ),
    ] = "127.0.0.1"
    traces: Annotated[
        str,
        _meta(
            "Where OpenTelemetry sends spans of calls: nowhere (`none`), or over `otlp` as the variables `OTEL_…` say, "
            "with the extra `otel`."
        ),
    ] = "none"
    data_dir: Annotated[
        Path, _meta("Directory that holds everything deployed; made when missing, used by one Sesame at a time.")
    ] = Path("sesame-data")
    database: Annotated[
        str | None,
        _meta(
            "URL of a PostgreSQL database that keeps the records of the data directory: "
            "`postgresql://USER:PASSWORD@HOST:PORT/NAME`. Files stay in the directory.",
            shown_default="`sesame.db` in the data directory",
        ),
    ] = None
    objects: Annotated[
        str | None,
        _meta(
            "Place in an S3-speaking store that keeps the bytes of objects and of code packages: "
            "`s3://BUCKET/PREFIX?endpoint=URL&region=REGION`, with the extra `s3`; keys as of the variables `AWS_…`.",
            shown_default="`objects` and `packages` in the data directory",
        ),
    ] = None
    sandbox: Annotated[
        str,
        _meta(
            "How functions are isolated: `jail` (Linux), `plain` (a process of its own), or `auto`: what is strongest."
        ),
    ] = "auto"
    cpu: Annotated[
        str, _meta("Processor time in a jail: `shares` of what there is, or a quota by memory size as in the `cloud`.")
    ] = "shares"
    network: Annotated[
        str,
        _meta(
            "The network of functions in a jail: the `host`'s; one for each instance, with Sesame's endpoints and the "
            "outside (`egress`) or without (`none`); or `auto`: `egress`, where it can be held."
        ),
    ] = "auto"
    network_allow: Annotated[
        tuple[str, ...],
        _meta(
            "What functions with a network of their own may reach of this machine and its private networks: "
            "ADDRESS:PORT, ADDRESS or NETWORK/BITS, several with commas, such as `127.0.0.1:5432`.",
            shown_default="nothing",
        ),
    ] = ()
    cloud_names: Annotated[
        str,
        _meta(
            "Whether the cloud's names (`oss-<region>.aliyuncs.com` and the like) lead to this Sesame in networks of "
            "functions' own, over HTTP and HTTPS: `on` or `off`."
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
        dict[str, Path], _meta("Interpreters to use instead of those found, as RUNTIME=PATH; several with commas.")
    ] = {}
    runtimes_dir: Annotated[
        Path | None,
        _meta(
            "Directory of the packages that come with each runtime.",
            shown_default="share/sesame/runtimes of the virtual environment, else of the user's data directory",
        ),
    ] = None
    interpreters_channel: Annotated[
        str,
        _meta(
            "Conda channel from which `sesame runtimes get` brings CPython 2.7 and 3.6: `https://…` or `file://…`, "
            "such as a mirror of conda-forge."
        ),
    ] = "https://conda.anaconda.org/conda-forge"
    interpreters_mirror: Annotated[
        str | None,
        _meta(
            "Mirror of uv's builds, from which `sesame runtimes get` brings CPython 3.8 and later.",
            shown_default="uv's own source",
        ),
    ] = None
    interpreters_proxy: Annotated[
        str | None,
        _meta("Proxy through which `sesame runtimes get` downloads.", shown_default="the environment's proxies"),
    ] = None
    roles: Annotated[
        dict[str, Any],
        _meta("Roles that are made at a start unless they exist: a table for each, see below.", file_only=True),
    ] = {}
    mounts: Annotated[
        dict[str, Path], _meta("Directories that stand for servers of a NAS: see below.", file_only=True)
    ] = {}
    layers: Annotated[
        dict[str, str], _meta("What stands for the cloud's layers, by ARN: see below.", file_only=True)
    ] = {}
    image_root: Annotated[
        Path | None,
        _meta(
            "Directory of container images: functions may name what is below it as `file:///…`.",
            shown_default="no such images",
        ),
    ] = None
    images: Annotated[
        dict[str, Path], _meta("Paths of container images, by reference: see below.", file_only=True)
    ] = {}
    credentials_validity_s: Annotated[int, _meta("Seconds for which a function's temporary credentials are good.")] = (
        6 * 3600
    )
    keep_alive: Annotated[
        str,
        _meta(
            "For how long an idle instance is kept: a `fixed` time (`--keep-alive-s`), or what is `learned` from each "
            "function's rhythm, which also has instances started shortly before the next call."
        ),
    ] = "fixed"
    keep_alive_s: Annotated[
        float, _meta("Seconds that an idle instance is kept for the next call; what is not learned yet, too.")
    ] = 300.0
    keep_alive_min_s: Annotated[float, _meta("Least seconds for which what is learned keeps an instance.")] = 60.0
    keep_alive_max_s: Annotated[float, _meta("Most seconds that a learned time of keeping an instance may be.")] = (
        14400.0
    )
    drain_s: Annotated[
        float, _meta("Seconds that running calls get to end when Sesame stops; then they are cancelled.")
    ] = 10.0
    max_instances: Annotated[int, _meta("Most instances of one function at a time; more calls get a 429.")] = 100
    async_retention_days: Annotated[
        float, _meta("Days for which asynchronous invocations that have ended can be listed and read.")
    ] = 7.0
    dead_letter_retention_days: Annotated[
        float, _meta("Days for which records that could not be delivered to their destination are kept.")
    ] = 30.0
    dead_letters_max: Annotated[
        int, _meta("At most so many records that could not be delivered are kept; the oldest go first.")
    ] = 10_000
    destinations: Annotated[
        dict[str, str],
        _meta(
            "URLs for destinations of services that are not here, by the beginning of their ARN, as ARN=URL; several "
            "with commas: `acs:mns:=http://localhost:8080/mns`."
        ),
    ] = {}
    recursion_limit: Annotated[
        int,
        _meta(
            "How often a function may occur among those that led to its own invocation, by calling each other with "
            "their credentials or as destinations; 0 sets no limit."
        ),
    ] = 0
    max_memory_mb: Annotated[
        int | None,
        _meta("Most memory of all instances together, in MB.", shown_default="three quarters of the host's"),
    ] = None
    max_disk_mb: Annotated[
        int | None,
        _meta("Most MB of `/tmp` of all instances together, by their sizes.", shown_default="what the disk has"),
    ] = None
    log_retention_days: Annotated[
        float, _meta("Days for which what functions write is kept; 0 keeps nothing and removes what was kept.")
    ] = 7.0
    log_max_mb: Annotated[
        int, _meta("Most MB of kept logs; beyond it the oldest of the function that has most go first.")
    ] = 512
    log_bytes_per_call: Annotated[
        int, _meta("Most bytes kept of one call's log; of the rest only the end, and a line says how much is missing.")
    ] = 8 * 1024 * 1024

    calls: Annotated[
        str,
        _meta("Which calls `sesame start` shows with a line on its terminal: `all`, `failed` or `none`."),
    ] = "all"

    record: Annotated[
        str,
        _meta(
            "Which calls are recorded for `sesame replay`: `none`, `failed` or `all`; a function may say otherwise "
            "(`sesame record set`)."
        ),
    ] = "none"
    record_max_mb: Annotated[int, _meta("Most MB of recorded calls; beyond it the oldest go first.")] = 256
    record_retention_days: Annotated[float, _meta("Days for which recorded calls are kept.")] = 7.0

    def resolved_port(self, setting: str) -> int:
        """Of the endpoint with this field, such as `sls_port`; 0 for any free one."""
        port: int | None = getattr(self, setting)
        if port is not None:
            return port
        usual = self.oss_port + _AFTER_OSS[setting]
        return usual if self.oss_port and usual <= PORT_MAX else 0

    def resolved_runtimes_dir(self) -> Path:
        return self.runtimes_dir or places.default_root()
