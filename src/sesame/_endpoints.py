"""Builds the endpoints (Function Compute, object storage, the Log Service, STS) and starts listening.

Called last by `app`: when an endpoint answers, everything behind it is ready.
"""

import socket
import ssl
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import msgspec

from sesame._cloud import CloudNeeds, CloudTrust, offer_cloud
from sesame._engine import EngineParts
from sesame._identity import Identity
from sesame._listening import Serving, own_tls, serve, share_of_limits
from sesame._network import OwnNetworks, offer_endpoint, offer_network, reach_of_records
from sesame._patience import Patience
from sesame._storage import Storage
from sesame._traces import Tracers
from sesame.background import every
from sesame.control.account import AccountSettings
from sesame.control.buckets import Buckets
from sesame.control.code import CodeSource
from sesame.control.code_objects import ObjectSource
from sesame.control.code_uploads import CodeUploads
from sesame.control.control import Control, Needs
from sesame.control.own_hosts import OwnHosts
from sesame.fc import links
from sesame.fc.app import FcEndpoint
from sesame.fc.dependencies import FcDependencies
from sesame.fc.replays import Replays
from sesame.fc.web.certificates import Certificates
from sesame.http.asgi import AsgiEndpoint
from sesame.http.handover import Handover
from sesame.http.interface import Endpoint
from sesame.http.server import HttpServer
from sesame.identity.roles import DEFAULT_ROLE, role_arn
from sesame.inside import cloud_names
from sesame.inside.bounds import for_descriptors
from sesame.inside.proxy import Take
from sesame.model.arn import Arns
from sesame.model.clocks import Clocks
from sesame.model.fair_rate import FairRate
from sesame.model.service import Service
from sesame.oss.app import OssDependencies, OssEndpoint
from sesame.oss.lifecycle import LIFECYCLE_EVERY_S, Lifecycle
from sesame.sandbox.network import HostAnswers
from sesame.settings import TABLE, Settings
from sesame.sls.app import SlsDependencies, SlsEndpoint
from sesame.sts.app import StsDependencies, StsEndpoint

# Only needed with several agents.
if TYPE_CHECKING:
    from sesame.agents.writer import Writer

CODE_UPLOADS_SWEPT_EVERY_S = 600.0
SESSIONS_SWEPT_EVERY_S = 60.0
VIRTUAL_HOSTS = ("oss.localhost",)
LOG_SERVICE_HOST = "sls.localhost"


class EndpointNeeds(msgspec.Struct, frozen=True, kw_only=True):
    """The collaborators of the endpoints. `teardown` stops their servers, waiting as `patience` allows.

    Dates of signatures are compared with `callers_wall` (Unix seconds). `log_problem` returns why a service's output
    does not reach its logstore, or "". `arrivals` limits the event loop's time per second for connections of instances,
    by the machine's own clocks. With a `handover`, sockets are taken from it and left to it. `no_buckets` says why
    functions cannot mount buckets, or "". `writer` is set if this is one of several agents.
    """

    settings: Settings
    clocks: Clocks
    teardown: AsyncExitStack
    patience: Patience
    callers_wall: Callable[[], float]
    log_problem: Callable[[Service], str]
    tracers: Tracers | None
    answers: HostAnswers
    networks: OwnNetworks
    no_buckets: str
    trust: CloudTrust | None
    handover: Handover | None
    writer: "Writer | None" = None
    arrivals: FairRate = msgspec.field(default_factory=FairRate)


async def open_endpoints(
    needs: EndpointNeeds, storage: Storage, identity: Identity, engine: EngineParts
) -> dict[str, str]:
    """Returns the URL of each endpoint, by its field in `data_dir.Endpoints`; Function Compute listens last."""
    uploads = CodeUploads(
        storage.catalog, storage.objects, storage.uploads, identity.issuer, wall_clock=needs.clocks.wall
    )
    storage.background.keep(
        "removing unused uploads of code", lambda: every(needs.clocks, CODE_UPLOADS_SWEPT_EVERY_S, uploads.sweep)
    )
    control = _control(needs, storage, identity, uploads)
    storage.background.keep(
        "deleting expired sessions", lambda: every(needs.clocks, SESSIONS_SWEPT_EVERY_S, control.sessions.sweep)
    )
    untraced, tracers = _fc(needs, storage, identity, engine, control), needs.tracers
    fc = untraced if tracers is None else tracers.around_endpoint(untraced)
    tls = own_tls(needs.settings)
    oss, sls, sts = _oss(needs, storage, identity), _sls(needs, storage, identity), _sts(needs, identity)
    urls = {
        "oss": await _listen(needs, oss, "oss_port", tls),
        "sls": await _listen(needs, sls, "sls_port", tls),
        "sts": await _listen(needs, sts, "sts_port", tls),
    }
    _offer_object_storage(needs, oss)
    await storage.logstores.expect_queries()
    if needs.settings.https_port is not None:
        urls["fc_https"] = await _listen(needs, fc, "https_port", Certificates(control.domains.find).context())
    if needs.writer is not None:
        needs.writer.is_web = untraced.is_web
    urls["fc"] = await _listen(needs, fc, "port", tls, needs.writer)
    bounds = for_descriptors(needs.arrivals, share_of_limits().connections)
    cloud_ports: Mapping[int, Take] = {}
    if needs.trust is not None:
        endpoints = {cloud_names.OSS: oss, cloud_names.SLS: sls, cloud_names.STS: sts, cloud_names.FC: fc}
        authority = needs.trust.authority
        cloud_ports = offer_cloud(
            needs.answers,
            CloudNeeds(
                endpoints,
                authority,
                share_of_limits,
                needs.clocks,
                needs.teardown,
                needs.patience,
                needs.arrivals,
                needs.settings.region,
            ),
        )
    offer_network(needs.answers, needs.settings, needs.networks, bounds, cloud_ports)
    needs.answers.offered()
    if needs.writer is not None:
        await needs.writer.offer()
    return urls


def _control(needs: EndpointNeeds, storage: Storage, identity: Identity, uploads: CodeUploads) -> Control:
    settings = needs.settings
    source = ObjectSource(storage.catalog, storage.objects, identity.account_id, settings.region)
    given = Needs(
        code=CodeSource(storage.packages, source.read, uploads),
        check_role=identity.roles.require_assumable,
        arns=Arns(settings.region, identity.account_id),
        queue=storage.queue,
        deliveries=storage.queue.deliveries,
        wall_clock=needs.clocks.wall,
        expected_url=reach_of_records(settings, needs.networks).expected_instead,
        no_buckets=needs.no_buckets,
        own_hosts=own_hosts(settings),
    )
    return Control.over(storage.catalog, given)


def own_hosts(settings: Settings) -> OwnHosts:
    """The host names that belong to this server."""
    return OwnHosts.of((settings.host, socket.gethostname()), (*VIRTUAL_HOSTS, LOG_SERVICE_HOST))


def account_settings(region: str, account_id: str) -> AccountSettings:
    """The account settings that the API returns."""
    return AccountSettings(available_azs=(f"{region}-c",), default_role=role_arn(account_id, DEFAULT_ROLE))


def _fc(
    needs: EndpointNeeds, storage: Storage, identity: Identity, engine: EngineParts, control: Control
) -> FcEndpoint:
    region = needs.settings.region
    return FcEndpoint(
        FcDependencies(
            authentication=identity.authentication,
            authorization=identity.authorization,
            roles=identity.roles,
            lend=identity.issuer.credentials,
            engine=engine.engine,
            control=control,
            packages=storage.packages,
            account=account_settings(region, identity.account_id),
            arns=Arns(region, identity.account_id),
            link_secret=links.secret_from(identity.key.secret),
            clocks=needs.clocks,
            callers_wall=needs.callers_wall,
            recorder=engine.recorder,
            replays=Replays(
                engine.recorder,
                engine.resolver.resolve,
                engine.trials,
                CodeSource(storage.packages, None),
                storage.packages,
            ),
            destinations=needs.settings.destinations,
            log_problem=needs.log_problem,
            continued=None if needs.tracers is None else needs.tracers.continued,
            placement=None if needs.writer is None else needs.writer.calls,
        )
    )


def _oss(needs: EndpointNeeds, storage: Storage, identity: Identity) -> Endpoint:
    buckets = Buckets(storage.catalog)
    lifecycle = Lifecycle(buckets, storage.objects, storage.uploads)
    clocks = needs.clocks
    storage.background.keep(
        "applying lifecycle rules", lambda: every(clocks, LIFECYCLE_EVERY_S, lambda: lifecycle.apply(clocks.wall()))
    )
    oss = OssEndpoint(
        OssDependencies(
            buckets=buckets,
            objects=storage.objects,
            uploads=storage.uploads,
            authentication=identity.authentication,
            authorization=identity.authorization,
            clock=needs.clocks.wall,
            callers_clock=needs.callers_wall,
            region=needs.settings.region,
            virtual_hosts=VIRTUAL_HOSTS,
        )
    )
    return AsgiEndpoint(oss, oss.refuse)


def _sls(needs: EndpointNeeds, storage: Storage, identity: Identity) -> Endpoint:
    return SlsEndpoint(
        SlsDependencies(
            store=storage.logstores,
            authentication=identity.authentication,
            authorization=identity.authorization,
            clock=needs.clocks.wall,
            callers_clock=needs.callers_wall,
            region=needs.settings.region,
            account_id=identity.account_id,
            own_hosts=("localhost", LOG_SERVICE_HOST, needs.settings.host, socket.gethostname()),
        )
    )


def _sts(needs: EndpointNeeds, identity: Identity) -> Endpoint:
    return StsEndpoint(
        StsDependencies(
            authentication=identity.authentication,
            assuming=identity.assuming,
            clock=needs.clocks.wall,
            callers_clock=needs.callers_wall,
            nonces=None if needs.writer is None else needs.writer.nonces,
        )
    )


async def _listen(
    needs: EndpointNeeds,
    endpoint: Endpoint,
    setting: str,
    tls: ssl.SSLContext | None = None,
    writer: "Writer | None" = None,
) -> str:
    """Serves an endpoint on the port of `setting`, beside other agents if there is a `writer`; returns its URL."""
    settings = needs.settings
    port = settings.resolved_port(setting)
    host = settings.host
    server = HttpServer(
        endpoint,
        host=host,
        port=port,
        tls=tls,
        limits=share_of_limits(),
        clocks=needs.clocks,
        arrivals=needs.arrivals,
        keeps=None if writer is None else writer.keeps,
    )
    if writer is not None:
        writer.serves(server)
    if needs.writer is not None:
        needs.writer.servers[setting] = server
    serving = Serving(needs.teardown, needs.patience, needs.handover)
    url = await serve(server, f"{TABLE[setting].flag} {port}", serving)
    offer_endpoint(needs.answers, server)
    return url


def _offer_object_storage(needs: EndpointNeeds, oss: Endpoint) -> None:
    """Serves the process that mounts buckets, which sends requests like any client, without a port or TLS."""
    server = HttpServer(oss, host=needs.settings.host, limits=share_of_limits(), clocks=needs.clocks)
    server.open()
    needs.teardown.push_async_callback(needs.patience.end, server.stop, server.hurry)
    needs.answers.offer_object_storage(server.take)
