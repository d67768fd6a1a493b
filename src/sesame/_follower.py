"""A follower: one of several agents, which serves synchronous calls beside the writer.

Run by `sesame start` in a process that a supervisor started. It has an endpoint of Function Compute, an engine and a
sandbox of its own; all stored state belongs to the writer.
"""

import functools
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from sesame._endpoints import account_settings, own_hosts
from sesame._engine import caps, record, recordings_key
from sesame._function_metrics import FunctionMetricsNeeds, open_function_metrics
from sesame._identity import Identity, identity_of
from sesame._listening import Serving, addresses, serve, share_of_limits
from sesame._network import listens_max
from sesame._patience import Patience
from sesame._sandbox import OpenSandbox, SandboxNeeds, SandboxOpening
from sesame._traces import Tracers, open_traces
from sesame._unlinked import linked
from sesame.agents.catalog_copy import CatalogCopy
from sesame.agents.credits import CreditCapacity
from sesame.agents.follower import Follower
from sesame.agents.packages import LeasedImages
from sesame.agents.presence import AWAY_S
from sesame.agents.served import Served
from sesame.agents.this_agent import ThisAgent
from sesame.background import BackgroundTasks
from sesame.control.code import CodeSource
from sesame.control.control import Control, Needs
from sesame.control.recorder import Recorder
from sesame.data_dir import DataDir
from sesame.engine.interface import Invoke, Observer
from sesame.engine.resolver import Resolver
from sesame.engine.running import EngineDependencies, LocalEngine
from sesame.engine.trials import LocalTrials
from sesame.fc import links
from sesame.fc.app import FcEndpoint
from sesame.fc.dependencies import FcDependencies
from sesame.fc.replays import Replays
from sesame.http.server import HttpServer
from sesame.model.arn import Arns
from sesame.model.clocks import Clocks
from sesame.model.prepared import prepare_all
from sesame.model.snapshot import Snapshot
from sesame.sandbox.disk_reserve import DiskReserve
from sesame.sandbox.launch import PackagedLauncher
from sesame.sandbox.launch import Packages as LaunchedPackages
from sesame.sandbox.runtimes.lookup import Runtimes
from sesame.sandbox.volumes import NasVolumes
from sesame.settings import Settings
from sesame.store.packages.packages import Packages
from sesame.store.queue.queue import InvocationQueue
from sesame.store.recordings import Kept, Recordings
from sesame.store.sql.database import Database

# Only needed in a cluster.
if TYPE_CHECKING:
    from sesame._node import OfCluster


class FollowerSesame:
    """`start` once, then `stop` once; `stop` also after a failed or cancelled start."""

    def __init__(
        self, settings: Settings, clocks: Clocks, this_agent: ThisAgent, of_cluster: "OfCluster | None" = None
    ) -> None:
        """With `of_cluster`, the writer runs on another machine, or does not exist yet."""
        self._of_cluster = of_cluster
        self._settings = settings
        self._clocks = clocks
        self._this_agent = this_agent
        self._data_dir = DataDir(settings.data_dir, settings.database, settings.objects)
        # Never opened: the database is the writer's. Parts of the endpoint that a follower does not serve need one.
        self._database = Database(self._data_dir.path / "of-the-writer.db")
        self._catalog = CatalogCopy(self._database)
        life, away_s = (None, AWAY_S) if of_cluster is None else (of_cluster.following.life, of_cluster.away_s)
        self._follower = Follower(this_agent.agent, self._catalog, clocks, life, away_s)
        self._teardown = AsyncExitStack()
        self._patience = Patience(settings.drain_s)

    async def start(self) -> None:
        """On return this agent answers, beside the others."""
        settings, clocks, teardown, follower = self._settings, self._clocks, self._teardown, self._follower
        prepare_all()
        if self._of_cluster is None:
            self._this_agent.attend(lambda _agent, connected, _held: follower.meet(connected), follower.be_replaced)
            teardown.callback(follower.close)
            # The writer sends the certificates that functions trust.
            await follower.followed()
        else:
            teardown.callback(follower.close)
            await self._of_cluster.begin(follower, teardown)
        # Runs while a connection to a remote writer is made: callers wait for both, each of which may take seconds.
        opening = SandboxOpening(
            SandboxNeeds(
                driver=settings.sandbox,
                cpu=settings.cpu,
                network=settings.network,
                trust=follower.trusted_file if self._of_cluster is None else self._of_cluster.trusted,
                state=self._data_dir.sandboxes,
                look_up=lambda: Runtimes.look_up(settings.interpreters, settings.resolved_runtimes_dir()),
                answers=follower.answers,
                agent=self._this_agent.number_of,
            )
        )
        teardown.push_async_callback(opening.close)
        await self._linked()
        teardown.push_async_callback(follower.recorded.close)
        identity = identity_of(settings, self._catalog, clocks)
        sandbox = await opening.opened()
        if self._of_cluster is not None:
            self._of_cluster.offer(sandbox, teardown)
        tracers = await open_traces(settings, clocks, teardown)
        resolver = Resolver(self._catalog)
        packages = (
            follower.packages
            if self._of_cluster is None
            else (await self._of_cluster.packages(follower.packages, self._catalog, sandbox, teardown))
        )
        engine = self._engine(sandbox, packages, identity, resolver, tracers)
        background = BackgroundTasks(clocks)
        teardown.push_async_callback(background.close)
        open_function_metrics(
            FunctionMetricsNeeds(clocks, teardown, background, follower.written, knows_all=False), engine
        )
        teardown.push_async_callback(engine.drain, 0.0)
        endpoint = self._endpoint(identity, engine, resolver)
        address = addresses(settings)[0]
        server = HttpServer(
            endpoint if tracers is None else tracers.around_endpoint(endpoint),
            host=address.host,
            port=address.port,
            limits=share_of_limits(),
            clocks=clocks,
            keeps=follower.keeps,
        )
        if (of_cluster := self._of_cluster) is not None:
            # Between the end of the endpoint and that of the engine.
            drain, hurry = functools.partial(of_cluster.drain, server), functools.partial(of_cluster.hurry, server)
            teardown.push_async_callback(self._patience.end, drain, hurry)
        end_runs = self._patience.end_beside(teardown, follower.runs.close, follower.runs.hurry)
        await serve(server, address.asked, Serving(teardown, self._patience, self._this_agent.handover))
        follower.listens(server)
        teardown.callback(end_runs)
        teardown.push_async_callback(follower.left)
        if self._of_cluster is not None:
            self._of_cluster.answers(server)
            self._of_cluster.announce(identity.key, sandbox.driver.name, teardown)

    async def _linked(self) -> None:
        """Waits for the writer's catalog; on a node, callers get an answer if that takes too long."""
        of_cluster, listening = self._of_cluster, self._this_agent.handover.listening(addresses(self._settings)[0].name)
        if of_cluster is None or listening is None:
            await self._follower.followed()
        else:
            await linked(self._follower.followed, listening, of_cluster.away_s, share_of_limits(), self._clocks)

    def hurry(self) -> None:
        """As `app.Sesame.hurry`."""
        self._patience.lose()

    async def stop(self) -> None:
        """Ends everything; idempotent."""
        await self._teardown.aclose()

    def _engine(
        self,
        sandbox: OpenSandbox,
        packages: LaunchedPackages,
        identity: Identity,
        resolver: Resolver,
        tracers: Tracers | None,
    ) -> LocalEngine:
        settings, follower, driver = self._settings, self._follower, sandbox.driver
        bounds = caps(settings, driver.descriptors(listens_max(settings)))
        shortage = DiskReserve(self._data_dir.nas.parent).shortage
        credits = CreditCapacity(bounds, shortage, self._clocks.monotonic, follower.give_back)

        volumes = NasVolumes(self._data_dir.nas if self._of_cluster is None else None, settings.mounts)

        def around(invoke: Invoke) -> Invoke:
            return follower.around(invoke if tracers is None else tracers.around_calls(invoke))

        engine = LocalEngine(
            EngineDependencies(
                launcher=PackagedLauncher(
                    driver, packages, volumes, LeasedImages(follower.packages) if self._of_cluster is None else None
                ),
                resolver=resolver,
                clocks=self._clocks,
                caps=bounds,
                sink=follower.written.wrote,
                credentials=identity.issuer.credentials,
                account_id=identity.account_id,
                region=settings.region,
                recursion_limit=settings.recursion_limit,
                observer=Observer(ended=follower.ended),
                shortage=shortage,
                around_calls=around,
                capacity=credits,
            )
        )

        def lacks(snapshot: Snapshot) -> bool:
            """Another machine may have what this one lacks.

            POLICY: in a cluster only the writer mounts buckets, and runs images, which are its machine's.
            """
            if not sandbox.runtimes.runs(snapshot.runtime):
                return True
            if self._of_cluster is not None:
                return bool(snapshot.buckets) or snapshot.launch.image is not None
            return bool(snapshot.buckets and driver.no_buckets)

        follower.use(engine, credits, Served(resolver, self._catalog, lacks))
        return engine

    def _endpoint(self, identity: Identity, engine: LocalEngine, resolver: Resolver) -> FcEndpoint:
        settings, clocks, catalog, region = self._settings, self._clocks, self._catalog, self._settings.region
        packages = Packages(self._data_dir.packages)
        queue = InvocationQueue(self._database, clocks)
        recorder = Recorder(
            catalog,
            Recordings(self._database, Kept(0, 0.0), clocks.wall),
            settings.record,
            clocks.wall,
            recordings_key(identity),
        )
        recorder.take = self._follower.recorded.take
        record(engine, recorder)
        arns = Arns(region, identity.account_id)
        control = Control.over(
            catalog,
            Needs(
                code=CodeSource(packages, None),
                check_role=identity.roles.require_assumable,
                arns=arns,
                own_hosts=own_hosts(settings),
                queue=queue,
                deliveries=queue.deliveries,
                wall_clock=clocks.wall,
            ),
        )
        trials = LocalTrials(engine.pool, clocks, identity.issuer.credentials)
        return FcEndpoint(
            FcDependencies(
                authentication=identity.authentication,
                authorization=identity.authorization,
                roles=identity.roles,
                lend=identity.issuer.credentials,
                engine=engine,
                control=control,
                packages=packages,
                account=account_settings(region, identity.account_id),
                arns=arns,
                link_secret=links.secret_from(identity.key.secret),
                clocks=clocks,
                recorder=recorder,
                replays=Replays(recorder, resolver.resolve, trials, CodeSource(packages, None), packages),
                log_problem=lambda _service: "",
                placement=self._follower.calls,
            )
        )
