"""What a large catalog costs: a Sesame with 10,000 functions in 100 services beside one with 100 in one, interleaved.

Run by `make bench-catalog`; a page of a list and a warm call, each as a ratio of neighbours in time with its spread.
Never compares figures of different rounds; fails when a median ratio passes its limit.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import click

from benchmarks import servers
from benchmarks.invoke import EXPECTED, WARM_UP_S, Exchange, Lane
from benchmarks.ratios import over, spread
from benchmarks.servers import Endpoint

FUNCTIONS_IN_A_SERVICE = 100
PAGE = 100
DEPLOYERS = 8
LIST_LIMIT = 1.5
CALL_LIMIT = 1.05
WARM_CALL = "a warm call"


def fill(endpoint: Endpoint, services: int, runtime: str, code: str) -> None:
    """Deploys through the API, as a user would; the functions of a service come one after the other."""

    def deploy(number: int) -> None:
        client, service = endpoint.client(), f"s{number:05d}"
        client.create_service(service)
        for index in range(FUNCTIONS_IN_A_SERVICE):
            client.create_function(
                service, f"f{index:05d}", handler="main.my_handler", runtime=runtime, codeZipFile=code
            )

    with ThreadPoolExecutor(DEPLOYERS) as deployers:
        for _done in deployers.map(deploy, range(services)):
            pass


def page_request(endpoint: Endpoint, service: str) -> tuple[bytes, bytes]:
    """A signed request for a page of a service's functions, and the answer that it gets every time."""
    path = f"/2016-08-15/services/{service}/functions"
    request = endpoint.signed("GET", path, query=f"?limit={PAGE}")
    names = endpoint.client().list_functions(service, limit=PAGE).data["functions"]
    if len(names) != min(PAGE, FUNCTIONS_IN_A_SERVICE):
        raise click.ClickException(f"the page has {len(names)} functions, expected {PAGE}")
    return request, servers.answer(endpoint.port, request)


def exchange(case: str, endpoint: Endpoint, service: str) -> Callable[[], Exchange]:
    """What a lane of this case sends, and what it expects."""
    if case == WARM_CALL:
        return lambda: (endpoint.signed_invocation(service, "f00050"), EXPECTED)
    return lambda: page_request(endpoint, service)


@click.command()
@click.option("--services", default=100, show_default=True, help="Services of the large catalog, 100 functions each.")
@click.option("--rounds", default=9, show_default=True, help="Interleaved rounds of each case.")
@click.option("--seconds", default=2.0, show_default=True, help="Length of one lane in one round.")
@click.option("--runtime", default="python3.10", show_default=True)
def main(services: int, rounds: int, seconds: float, runtime: str) -> None:
    failed = False
    with (
        servers.sesame() as large,
        servers.sesame() as small,
        servers.package({"main.py": servers.HELLO}) as code,
    ):
        fill(large, services, runtime, code)
        fill(small, 1, runtime, code)
        service = f"s{services // 2:05d}"
        for case, limit in (("a page of a list", LIST_LIMIT), (WARM_CALL, CALL_LIMIT)):
            lanes = (
                Lane(f"{services * FUNCTIONS_IN_A_SERVICE} functions", large.port, exchange(case, large, service)),
                Lane(f"{FUNCTIONS_IN_A_SERVICE} functions", small.port, exchange(case, small, "s00000")),
            )
            for number in range(rounds):
                for lane in lanes if number % 2 else lanes[::-1]:
                    if not number:
                        lane.measure(1, WARM_UP_S, keep=False)
                    lane.measure(1, seconds)
            click.echo(f"{case}:")
            for lane in lanes:
                click.echo(lane.line())
            ratios = [a / b for a, b in zip(lanes[0].median_ms, lanes[1].median_ms, strict=True)]
            click.echo(f"  median latency, large / small catalog: {spread(ratios)}, allowed {limit}")
            failed |= over(ratios, limit)
    if failed:
        raise click.ClickException("a large catalog costs more than is allowed")


if __name__ == "__main__":
    main()
