"""Builds every object of a running Sesame, in order, and tears them down in reverse; the only file that knows everyone.

Used by `sesame start` and by whoever runs a Sesame inside a process of his own. Decides only who is given what.
"""

import asyncio
import os
import socket
import ssl
import time
from contextlib import AsyncExitStack
from typing import ClassVar

import psutil
import structlog
from starlette.types import ASGIApp

from sesame.control.account import AccountSettings
from sesame.control.cleanup import live_packages
from sesame.control.code import CodeSource
from sesame.control.own_hosts import OwnHosts
from sesame.data_dir import Credentials, DataDir, Endpoints
from sesame.engine.clock import LoopClock
from sesame.engine.dispatcher import Dispatcher
from sesame.engine.hooks import Hooks
from sesame.engine.invocation_log import LogSink, LogSource
from sesame.engine.policies import Caps
from sesame.engine.pool import Pool, PoolParts
from sesame.engine.resolver import Resolver
from sesame.fc import links
from sesame.fc.app import FcEndpoint
from sesame.fc.code_bucket import CodeBucket
from sesame.fc.dependencies import Control, FcDependencies
from sesame.fc.server import HttpServer
from sesame.fc.web.certificates import Certificates
from sesame.identity.issuer import Issuer
from sesame.identity.keys import AccessKeys
from sesame.identity.roles import DEFAULT_ROLE, Roles, role_arn
from sesame.identity.tokens import Tokens, master_key
from sesame.model import limits
from sesame.model.account import AccessKey
from sesame.model.arn import Arns
from sesame.model.errors import ConfigurationError, PlatformError
from sesame.model.invocation import Credentials as TemporaryKeys
from sesame.model.service import Service
from sesame.oss.app import OssDependencies, OssEndpoint
from sesame.oss.source import ObjectSource
from sesame.sandbox.drivers import Wanted, choose
from sesame.sandbox.interface import Enforcement
from sesame.sandbox.runtimes.lookup import Runtimes
from sesame.settings import TABLE, Settings
from sesame.store.catalog import Catalog
from sesame.store.logs.intake import Keeping, Logs, discard
from sesame.store.objects.multipart import Uploads
from sesame.store.objects.objects import Objects
from sesame.store.packages.bytecode import BytecodeCompiler
from sesame.store.packages.packages import Packages
from sesame.store.sql.database import Database
from sesame.store.sql.lost_database import require_database

HOST = "127.0.0.1"
VIRTUAL_HOSTS = ("oss.localhost",)
COLLECT_EVERY_S = 600.0
# POLICY: instances seldom use all that they may, so their sum may be most of the host's memory.
HOST_MEMORY_SHARE = 0.75
STARTS_AT_ONCE_LEAST = 2
MIB = 1024 * 1024
DAY_S = 86400.0

log = structlog.get_logger(__name__)


class Sesame:
    """A whole Sesame in one event loop. `start` once, then `stop` once; both also after a failed or cancelled start."""

    SERVED_DOORS: ClassVar[frozenset[str]] = frozenset({"fc", "oss"})

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._teardown = AsyncExitStack()
        self.data_dir = DataDir(settings.data_dir)

    async def start(self) -> None:
        """Comes up; when it returns every door answers and `endpoints.json` says where.

        Raises `ConfigurationError` for what the operator can mend; then nothing is left running.
        """
        try:
            await self._build()
        except OSError as error:
            await self.stop()
            what = f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error)
            raise ConfigurationError(
                f"Sesame cannot start: {what} (the data directory is {self.data_dir.path}; --data-dir names another)"
            ) from error
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Goes down in the reverse order of coming up; idempotent."""
        await self._teardown.aclose()

    @property
    def endpoints(self) -> Endpoints:
        return self._endpoints

    def enforcement(self) -> tuple[Enforcement, ...]:
        """What the sandbox holds here, and what not."""
        return self._driver.enforcement()

    def notices(self) -> list[str]:
        """What an operator should know before the first call, one line each."""
        sandbox = [f"Sandbox {self._driver.name}: {self._driver_reason}."] if self._driver_reason else []
        return [*sandbox, *self._runtimes.notices()]

    async def _build(self) -> None:
        settings = self._settings
        later = self._teardown
        later.enter_context(self.data_dir)

        self._runtimes = await asyncio.to_thread(
            Runtimes.look_up, settings.interpreters, settings.resolved_runtimes_dir()
        )

        await asyncio.to_thread(require_database, self.data_dir.database, self.data_dir.objects, self.data_dir.packages)
        database = Database(self.data_dir.database)
        await database.open()
        later.push_async_callback(database.close)
        catalog = Catalog(database)
        await catalog.open()
        objects = Objects(database, self.data_dir.objects)
        await objects.open()
        later.push_async_callback(objects.close)
        packages = Packages(self.data_dir.packages, BytecodeCompiler(self._runtimes.paths()))
        await packages.open()

        keys = AccessKeys(catalog)
        account = await keys.ensure_account(settings.account_id, settings.access_key_id, settings.access_key_secret)
        key = keys.get(account.access_key_id)
        if key is None:
            raise PlatformError(f"the catalog has lost the key {account.access_key_id} that it was just given")
        tokens = Tokens(await master_key(catalog), time.time)
        roles = Roles(catalog)
        await roles.seed(account.account_id, settings.roles)
        issuer = Issuer(tokens, roles, time.time, settings.credentials_validity_s)

        choice = await choose(
            Wanted(
                name=settings.sandbox,
                cpu=settings.cpu,
                state=self.data_dir.sandboxes,
                runtimes=tuple(self._runtimes.found),
            ),
            self._runtimes.launch,
        )
        self._driver, self._driver_reason = choice.driver, choice.reason
        later.push_async_callback(self._driver.close)
        await self._driver.open()

        sink = await self._log_sink()
        clock = LoopClock()
        resolver = Resolver(catalog, packages)

        def credentials(service: Service, validity_s: float) -> TemporaryKeys:
            return issuer.credentials(service.role, service.service_name, validity_s)

        pool = Pool(
            PoolParts(
                driver=self._driver,
                resolver=resolver,
                clock=clock,
                caps=caps(settings),
                sink=sink,
                account_id=account.account_id,
                region=settings.region,
                hooks=Hooks(clock, credentials),
            )
        )
        dispatcher = Dispatcher(resolver, pool, clock, credentials)
        later.push_async_callback(dispatcher.close)
        later.push_async_callback(_ended, asyncio.create_task(_collect_packages(catalog, pool, packages)))

        source = ObjectSource(catalog, objects, account.account_id)
        arns = Arns(settings.region, account.account_id)
        own_hosts = OwnHosts.of((HOST, socket.gethostname()), VIRTUAL_HOSTS)
        code = CodeSource(packages, source.read)
        control = Control.over(catalog, code, roles.require_assumable, arns, own_hosts=own_hosts)
        gateway = FcEndpoint(
            FcDependencies(
                keys=keys,
                tokens=tokens,
                roles=roles,
                dispatcher=dispatcher,
                instances=pool.instances,
                control=control,
                packages=packages,
                code_bucket=CodeBucket(catalog, tokens, roles, time.time),
                account=AccountSettings(
                    available_azs=(f"{settings.region}-c",),
                    default_role=role_arn(account.account_id, DEFAULT_ROLE),
                ),
                arns=arns,
                link_secret=links.secret_from(key.secret),
                wall_clock=time.time,
            )
        )
        oss = OssEndpoint(
            OssDependencies(
                catalog=catalog,
                objects=objects,
                uploads=Uploads(objects, time.time),
                keys=keys,
                tokens=tokens,
                roles=roles,
                clock=time.time,
                region=settings.region,
                virtual_hosts=VIRTUAL_HOSTS,
            )
        )
        urls = {"oss": await self._listen(oss, "oss_port")}
        if settings.https_port is not None:
            tls = Certificates(control.domains.find).context()
            urls["fc_https"] = await self._listen(gateway, "https_port", tls)
        urls["fc"] = await self._listen(gateway, "port")
        self._announce(urls, key)

    async def _listen(self, door: ASGIApp, setting: str, tls: ssl.SSLContext | None = None) -> str:
        """Serves a door on the port of this setting, and gives its URL."""
        port = getattr(self._settings, setting)
        server = HttpServer(door, host=HOST, port=port, tls=tls)
        try:
            await server.start()
        except ConfigurationError as error:
            raise ConfigurationError(f"{TABLE[setting].flag} {port}: {error}") from error
        self._teardown.push_async_callback(server.stop, self._settings.drain_s)
        return server.url

    async def _log_sink(self) -> LogSink:
        """Where the journals of calls go: to the store of logs, or nowhere when none are kept."""
        if self._settings.log_retention_days == 0:
            discard(self.data_dir.logs)
            return _no_log_store
        logs = Logs(
            self.data_dir.logs,
            Keeping(
                call_bytes=self._settings.log_bytes_per_call,
                total_bytes=self._settings.log_max_mb * MIB,
                age_s=self._settings.log_retention_days * DAY_S,
            ),
        )
        await logs.open()
        self._teardown.push_async_callback(logs.close)
        return logs.append

    def _announce(self, urls: dict[str, str], key: AccessKey) -> None:
        self._endpoints = Endpoints(
            account_id=key.account_id,
            region=self._settings.region,
            **urls,
            sandbox=self._driver.name,
            pid=os.getpid(),
            started_at=time.time(),
        )
        self.data_dir.announce(self._endpoints, Credentials(key.account_id, key.access_key_id, key.secret))
        self._teardown.callback(self.data_dir.withdraw)


def caps(settings: Settings) -> Caps:
    """The engine's bounds; memory not set is a share of the host's."""
    host_mb = psutil.virtual_memory().total // MIB
    return Caps(
        instances_per_function=settings.max_instances,
        memory_mb=settings.max_memory_mb or max(int(host_mb * HOST_MEMORY_SHARE), limits.MEMORY_MB_MIN),
        starts_at_once=max(os.cpu_count() or 1, STARTS_AT_ONCE_LEAST),
        keep_alive_s=settings.keep_alive_s,
    )


async def _collect_packages(catalog: Catalog, pool: Pool, packages: Packages) -> None:
    """For ever: what cannot be removed now is tried again the next time."""
    while True:
        used = {instance.snapshot.function.package.sha256 for instance in pool.instances()}
        try:
            await packages.collect(live_packages(catalog) | used)
        except OSError as error:
            log.error("unused code packages cannot be removed; trying again later", error=str(error))
        await asyncio.sleep(COLLECT_EVERY_S)


async def _ended(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.wait({task})


def _no_log_store(source: LogSource, request_id: str, data: bytes, more: bool) -> None:
    """Nothing is kept: a call's log is only in its answer's tail."""
