"""The composition root: builds every part of a running Sesame, in order, and tears them down in reverse.

Used by `sesame start`, and by programs that run a Sesame in their own process. The parts are built in `_sandbox`,
`_storage`, `_identity`, `_logs`, `_function_metrics`, `_traces`, `_engine`, `_triggers`, `_endpoints`, `_metrics` and
`_async`.
"""

import asyncio
import os
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from sesame._async import AsyncNeeds, open_async
from sesame._cloud import CloudTrust
from sesame._endpoints import EndpointNeeds, open_endpoints
from sesame._engine import EngineNeeds, EngineParts, open_engine, start_provisioned
from sesame._function_metrics import FunctionMetricsNeeds, open_function_metrics
from sesame._identity import Identity, open_identity
from sesame._installed import ENVIRONMENT, VERSION
from sesame._listening import exposure
from sesame._logs import open_log_targets
from sesame._metrics import Counting, MetricsNeeds, open_metrics
from sesame._network import OwnNetworks, reach_of_records
from sesame._patience import Patience
from sesame._provided_layers import provide_layers
from sesame._sandbox import OpenSandbox, SandboxNeeds, SandboxOpening
from sesame._storage import Storage, StorageNeeds, open_storage
from sesame._traces import open_traces
from sesame._triggers import TriggerNeeds, open_triggers
from sesame.data_dir import Credentials, DataDir, Endpoints, RestartRefused
from sesame.engine.debugging import Debugging
from sesame.engine.interface import Observer
from sesame.engine.invocation_log import LogSink
from sesame.http.handover import Handover
from sesame.model.account import AccessKey
from sesame.model.clocks import Clocks, SystemClocks
from sesame.model.errors import ConfigurationError
from sesame.model.invocation import Invocation, Outcome, Target
from sesame.model.prepared import prepare_all
from sesame.sandbox.interface import Enforcement
from sesame.sandbox.runtimes.lookup import Runtimes
from sesame.settings import Settings
from sesame.store.logs.logstores.metric_rows import MetricRows

# Only needed with several agents.
if TYPE_CHECKING:
    from sesame.agents.this_agent import ThisAgent
    from sesame.cluster.members import Members


class Substitutes(msgspec.Struct, frozen=True, kw_only=True):
    """Replacements that a program gives to the Sesame in its own process, instead of the parts of `sesame start`.

    `log_sink` gets the output of functions, and nothing is stored. Dates of signatures are compared with
    `callers_wall`, for clients whose clock does not move. Without `durable`, a power cut may lose data. `sandbox` was
    begun before this Sesame. With a `handover`, sockets come from the previous Sesame and go to the next. With
    `this_agent` this is the writer among several agents, and with `members` that of a cluster.
    """

    log_sink: LogSink | None = None
    callers_wall: Callable[[], float] | None = None
    durable: bool = True
    sandbox: SandboxOpening | None = None
    handover: Handover | None = None
    this_agent: "ThisAgent | None" = None
    members: "Members | None" = None


class Parts(msgspec.Struct, frozen=True):
    """The parts of a running Sesame, for programs that inspect their own (`testing`)."""

    storage: Storage
    identity: Identity
    engine: EngineParts
    sandbox: OpenSandbox


class Sesame:
    """A whole Sesame in one event loop. `start` once, then `stop` once, also after a failed or cancelled start."""

    def __init__(
        self,
        settings: Settings,
        clocks: Clocks | None = None,
        observer: Observer | None = None,
        substitutes: Substitutes | None = None,
        *,
        debuggable: bool = False,
    ) -> None:
        """Tests pass clocks that they move; the default is the machine's. `observer` is told of all calls.

        A debugger can be attached to a function (`debug`) only if this is `debuggable`.
        """
        self._debuggable = debuggable
        self._settings = settings
        self._substitutes = substitutes or Substitutes()
        self._clocks: Clocks = clocks or SystemClocks()
        self._observer = observer or Observer()
        self._counting = Counting(settings)
        self._teardown = AsyncExitStack()
        # In a cluster a node's follower announces the node, whether its writer runs or not.
        self._announces = self._substitutes.members is None
        self.data_dir = DataDir(
            settings.data_dir, settings.database, settings.objects, announced_elsewhere=not self._announces
        )
        self._patience = Patience(settings.drain_s)
        # A sandbox that was begun before gives its functions the host's network, which needs no certificates.
        self._trust: CloudTrust | None = None
        if settings.cloud_names == "on" and self._substitutes.sandbox is None:
            members = self._substitutes.members
            self._trust = CloudTrust(self.data_dir.authority, None if members is None else members.key)

    async def start(self) -> None:
        """On return every endpoint answers and `endpoints.json` names them.

        Raises `ConfigurationError` for problems that the operator can fix; then nothing is left running.
        """
        prepare_all()
        try:
            await self._build()
        except OSError as error:
            await self.stop()
            what = f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error)
            if isinstance(error, FileExistsError | NotADirectoryError):
                what = f"{error.filename} is no directory; move it away, or put the directory back, and start again"
            raise ConfigurationError(
                f"Sesame cannot start: {what} (the data directory is {self.data_dir.path}; --data-dir names another)"
            ) from error
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Ends everything, in the reverse order of the start; idempotent."""
        await self._teardown.aclose()

    def hurry(self) -> None:
        """Stops waiting for running calls, in a current or future `stop`."""
        self._patience.lose()

    @property
    def endpoints(self) -> Endpoints:
        return self._endpoints

    def refuse_restart(self, why: str) -> None:
        """Reports in `endpoints.json` that a requested restart is refused, and why."""
        refused = msgspec.structs.replace(self._endpoints, restart_refused=RestartRefused(self._clocks.wall(), why))
        self.data_dir.announce(refused, self.data_dir.credentials())

    async def load(self, invocation: Invocation, archive: bytes | None = None) -> Outcome | None:
        """Loads a deployed function's handler without calling it, as described in `engine.loading`.

        `archive` is a zip with other code than the deployed one, which no call uses.
        """
        code = ""
        if archive is not None:
            runtime = self._parts.engine.resolver.resolve(invocation.target).runtime
            code = (await self._parts.storage.packages.add(archive, runtime)).sha256
        return await self._parts.engine.engine.load(invocation, code)

    @property
    def parts(self) -> Parts:
        """The parts of a started Sesame."""
        return self._parts

    async def debug(self, target: Target, progress: Callable[[str], None] = lambda _line: None) -> Debugging:
        """Sends the function's calls to an instance with a debugger, and returns the way to attach to it.

        Installs the debugger of its runtime if missing, reporting to `progress` on a thread. Raises
        `ConfigurationError` if that fails, and the same errors as a call if the function does not exist.
        """
        debugging = self._parts.engine.engine.debugging
        assert debugging is not None, "this Sesame was not built to be debuggable"
        runtime = self._parts.engine.resolver.resolve(target).runtime
        debuggers = self._parts.sandbox.runtimes.debuggers

        def installed() -> bytes:
            debuggers.install(runtime, progress)
            return debuggers.archive(runtime)

        archive = await asyncio.to_thread(installed)
        debugging.debug(target, (await self._parts.storage.packages.add(archive, runtime)).sha256)
        return debugging

    def enforcement(self) -> tuple[Enforcement, ...]:
        """Every limit and kind of isolation of the sandbox, and whether this machine enforces it."""
        return self._parts.sandbox.driver.enforcement()

    def notices(self) -> list[str]:
        """Notices for the operator before the first call, one line each."""
        sandbox = self._parts.sandbox
        chosen = [f"Sandbox {sandbox.driver.name}: {sandbox.reason}."] if sandbox.reason else []
        if sandbox.driver.no_network:
            chosen.append(f"Network host: no instance can have one of its own here: {sandbox.driver.no_network}.")
        if sandbox.driver.only_proxy:
            chosen.append(f"Network egress: only what takes an HTTP proxy gets out: {sandbox.driver.only_proxy}.")
        exposed = exposure(self._settings)
        return [*([exposed] if exposed else []), *chosen, *sandbox.runtimes.notices(), *self._parts.storage.notices]

    async def _build(self) -> None:
        settings, clocks, teardown = self._settings, self._clocks, self._teardown
        teardown.enter_context(self.data_dir)
        given = self._substitutes
        stored: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        opening = given.sandbox or self._open_sandbox(stored)
        # Covers failures before there is an engine. Closing waits for the opening, which waits for the storage.
        teardown.push_async_callback(opening.close)
        teardown.callback(lambda: None if stored.done() else stored.set_result(False))
        epoch = 0 if given.members is None else given.members.epoch
        storage_needs = StorageNeeds(settings, self.data_dir, clocks, teardown, given.log_sink, given.durable, epoch)
        storage = await open_storage(storage_needs)
        stored.set_result(True)
        identity = await open_identity(settings, storage.catalog, clocks)
        await provide_layers(settings.layers, storage.catalog, storage.packages)
        targets = open_log_targets(settings, clocks, storage, identity)
        sandbox = await opening.opened()
        # Instances end before the storage of their logs does.
        teardown.push_async_callback(opening.close)
        # Runs after the engine's end, in which followers take part.
        after_engine = await teardown.enter_async_context(AsyncExitStack())
        observer = self._counting.beside(self._observer)
        tracers = await open_traces(settings, clocks, teardown)
        engine_needs = EngineNeeds(
            settings=settings,
            clocks=clocks,
            sandbox=sandbox,
            teardown=teardown,
            observer=observer,
            debuggable=self._debuggable,
            tracers=tracers,
            nas=self.data_dir.nas,
            of_cluster=given.members is not None,
        )
        engine = open_engine(engine_needs, storage, identity)
        rows = MetricRows(storage.logstores, targets.route)
        measured = open_function_metrics(
            FunctionMetricsNeeds(clocks, teardown, storage.background, rows, knows_all=True), engine.engine
        )
        self._parts = Parts(storage, identity, engine, sandbox)
        writer = None
        if given.this_agent is not None:
            from sesame._agents import AgentsNeeds, open_writer

            agents_needs = AgentsNeeds(
                settings=settings,
                this_agent=given.this_agent,
                clocks=clocks,
                teardown=after_engine,
                observer=observer,
                answers=opening.answers,
                trust=self._trust,
                members=given.members,
                measured=measured,
            )
            writer = await open_writer(agents_needs, storage, engine)
        if given.members is not None:
            # Between the end of the endpoints and that of the engine.
            teardown.push_async_callback(self._patience.end, given.members.drain, given.members.hurry)
        await open_triggers(TriggerNeeds(settings, clocks, teardown), storage, identity)
        closed = frozenset[int]() if given.members is None else given.members.agent_ports
        networks = OwnNetworks(sandbox.driver.network, sandbox.driver.leads_out, closed=closed)
        endpoint_needs = EndpointNeeds(
            settings=settings,
            clocks=clocks,
            teardown=teardown,
            patience=self._patience,
            callers_wall=given.callers_wall or clocks.wall,
            log_problem=targets.problem,
            tracers=tracers,
            answers=opening.answers,
            networks=networks,
            no_buckets=sandbox.driver.no_buckets,
            trust=self._trust,
            handover=given.handover,
            writer=writer,
        )
        urls = await open_endpoints(endpoint_needs, storage, identity, engine)
        metrics_needs = MetricsNeeds(settings, clocks, teardown, self._counting, given.handover, writer, given.members)
        urls |= await open_metrics(metrics_needs, storage, engine)
        if given.members is not None and writer is not None:
            given.members.open(writer)
        if given.handover is not None:
            given.handover.close_unused()
        self._announce(urls, identity.key)
        async_needs = AsyncNeeds(
            settings, clocks, teardown, self._patience, reach_of_records(settings, networks), writer
        )
        await open_async(async_needs, storage, identity, engine)
        # Last, so that no endpoint waits for instances that are started ahead of calls.
        start_provisioned(engine, teardown)

    def _open_sandbox(self, stored: asyncio.Future[bool]) -> SandboxOpening:
        settings, this_agent = self._settings, self._substitutes.this_agent
        return SandboxOpening(
            SandboxNeeds(
                driver=settings.sandbox,
                cpu=settings.cpu,
                network=settings.network,
                trust=lambda: self._certificates(stored),
                state=self.data_dir.sandboxes,
                look_up=lambda: Runtimes.look_up(settings.interpreters, settings.resolved_runtimes_dir()),
                agent=(1, 1) if this_agent is None else this_agent.number_of,
            )
        )

    async def _certificates(self, stored: asyncio.Future[bool]) -> Path | None:
        """Writes the certificates that functions trust, once storage is open: a damaged directory stays unchanged."""
        if self._trust is None or not await stored:
            return None
        return await asyncio.to_thread(self._trust.open)

    def _announce(self, urls: dict[str, str], key: AccessKey) -> None:
        this_agent = self._substitutes.this_agent
        self._endpoints = Endpoints(
            account_id=key.account_id,
            region=self._settings.region,
            **urls,
            sandbox=self._parts.sandbox.driver.name,
            pid=os.getpid() if this_agent is None else this_agent.config.supervisor,
            started_at=self._clocks.wall(),
            restarts=self._substitutes.handover is not None if this_agent is None else this_agent.config.restarts,
            restart_refused=None,
            of_cluster=self._substitutes.members is not None,
            version=VERSION,
            environment=ENVIRONMENT,
        )
        if not self._announces:
            return
        self.data_dir.announce(self._endpoints, Credentials(key.account_id, key.access_key_id, key.secret))
        self._teardown.callback(self.data_dir.withdraw)
