"""The pytest plugin: fixtures `sesame` and `sesame_cloud`, a marker, two settings, and reports of failed tests.

Loaded by pytest through the entry point `pytest11`. Starts a server only if a test uses a fixture.
"""

import re
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from sesame.testing.cloud import Cloud
from sesame.testing.errors import CloudError
from sesame.testing.invocation import report

CLOUD: pytest.StashKey[Cloud] = pytest.StashKey()
USED: pytest.StashKey[bool] = pytest.StashKey()
_PARAMETER = re.compile(rb"def \w+\([^()]*\bsesame(_cloud)?\b")
_OWN = re.compile(rb"def sesame(_cloud)?\(")
_MISSING_MODULE = b"No module named"
FIXTURES = ("sesame", "sesame_cloud")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini("sesame_sandbox", "How sesame isolates functions: auto, jail or plain.", default="auto")
    parser.addini("sesame_runtime", "The runtime of functions that name none; default: the newest here.", default="")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "sesame(runtime=...): the runtime of the functions that this test deploys without naming one"
    )


def pytest_collectstart(collector: pytest.Collector) -> None:
    """Starts Sesame while pytest imports the first file that seems to need it, and collects the others."""
    if isinstance(collector, pytest.Module) and CLOUD not in collector.config.stash and _mentions(collector.path):
        _start_soon(collector.config)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Starts Sesame for a test that gets it through a fixture of another file."""
    if CLOUD not in item.config.stash and _uses(item):
        _start_soon(item.config)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Stops a server that no selected test needs, while the tests run."""
    cloud = session.config.stash.get(CLOUD, None)
    if cloud is not None and not any(map(_uses, session.items)):
        cloud.stop_soon()
        session.config.add_cleanup(cloud.stop)
        del session.config.stash[CLOUD]


def pytest_unconfigure(config: pytest.Config) -> None:
    """Called also after Ctrl-C and after a failed session."""
    _stop(config)


@pytest.fixture(scope="session")
def sesame_cloud(request: pytest.FixtureRequest) -> Iterator[Cloud]:
    """The session's Sesame (`sesame.testing.Cloud`), which is not reset between tests."""
    cloud = _cloud_of(request.config)
    cloud.start()
    yield cloud
    _stop(request.config)


@pytest.fixture
def sesame(request: pytest.FixtureRequest, sesame_cloud: Cloud) -> Iterator[Cloud]:
    """A whole, empty Sesame (`sesame.testing.Cloud`); everything that a test creates is removed after the test."""
    request.node.stash[USED] = True
    before = sesame_cloud.runtime
    sesame_cloud.folders = (request.path.parent, request.config.rootpath, Path.cwd())
    marker = request.node.get_closest_marker("sesame")
    if marker is not None:
        sesame_cloud.runtime = _runtime_of(marker)
    yield sesame_cloud
    sesame_cloud.runtime = before
    try:
        sesame_cloud.reset()
    except CloudError:
        # The next test starts another server.
        sesame_cloud.stop()
        raise


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Adds the invocations of a failed test to its report, before the reset discards them."""
    made = yield
    cloud = item.config.stash.get(CLOUD, None)
    if (
        made.when in ("setup", "call")
        and made.failed
        and cloud is not None
        and cloud.ready
        and item.stash.get(USED, False)
    ):
        try:
            invocations, server_log = cloud.invocations, cloud.new_server_log()
        except CloudError as error:
            made.sections.append(("sesame", str(error)))
            return made
        if invocations:
            made.sections.append(("sesame: invocations of this test", report(invocations)))
        if cloud.notices and any(_MISSING_MODULE in each.payload for each in invocations):
            made.sections.append(("sesame: what this machine lacks", "\n".join(cloud.notices)))
        if server_log:
            made.sections.append(("sesame: log of the server", server_log))
    return made


def _cloud_of(config: pytest.Config) -> Cloud:
    cloud = config.stash.get(CLOUD, None)
    if cloud is None:
        try:
            cloud = Cloud(sandbox=config.getini("sesame_sandbox"), runtime=config.getini("sesame_runtime"))
        except CloudError as error:
            raise pytest.UsageError(f"sesame_sandbox in {config.inipath}: {error}") from error
        config.stash[CLOUD] = cloud
    return cloud


def _start_soon(config: pytest.Config) -> None:
    if not config.getoption("collectonly"):
        _cloud_of(config).start_soon()


def _mentions(path: Path) -> bool:
    """Whether a function in the file has a parameter named like a fixture, and no fixture of its own by that name."""
    try:
        text = path.read_bytes()
    except OSError:
        return False
    return _PARAMETER.search(text) is not None and _OWN.search(text) is None


def _stop(config: pytest.Config) -> None:
    cloud = config.stash.get(CLOUD, None)
    if cloud is not None:
        cloud.stop()


def _uses(item: pytest.Item) -> bool:
    """Whether the test uses a fixture of this plugin, as opposed to its own fixture of the same name."""
    # pytest has no public API for this. If the attribute is missing, Sesame starts with the first fixture.
    found = getattr(getattr(item, "_fixtureinfo", None), "name2fixturedefs", {})
    definitions = [found[name][-1] for name in FIXTURES if found.get(name)]
    return any(getattr(each.func, "__module__", "") == __name__ for each in definitions)


def _runtime_of(marker: pytest.Mark) -> str:
    unknown = set(marker.kwargs) - {"runtime"}
    if marker.args or unknown or not isinstance(marker.kwargs.get("runtime"), str):
        raise pytest.UsageError(f"the marker sesame takes runtime='python3.10'; found {marker.args} {marker.kwargs}")
    return str(marker.kwargs["runtime"])
