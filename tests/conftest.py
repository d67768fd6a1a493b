"""For every test: nothing is skipped in silence, in continuous integration nothing at all; some tests run alone.

Read by pytest, in each of its processes. `ALLOWED_SKIPS` (a regular expression on the reason) lets a machine go on
without what it cannot have. Never chooses what runs.
"""

import fcntl
import functools
import gc
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, settings
from tests.support.postgresql import SHARED, postgresql_server, postgresql_url  # noqa: F401 - fixtures
from tests.support.s3 import s3_store, s3_url  # noqa: F401 - fixtures
from tests.support.wanted_runtimes import few_runtimes  # noqa: F401 - a fixture

# How long an example takes says something of the machine and nothing of the code.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

ALLOWED_SKIPS = "ALLOWED_SKIPS"
# These count or time what the whole machine does: mounts, loop devices, control groups, stalls of an event loop.
ALONE = (
    "sandbox/test_jail_leaks.py",
    "sandbox/test_jail_death.py",
    "security/test_outliving.py",
    "journeys/test_stalls.py",
)
# The files that take longest: they begin first, so that the run does not end with one of them. About every third one
# waits more than it works: where all processes run such files at the same time, the processors have nothing to do.
# `make test` keeps this order (`--no-loadscope-reorder`).
LONGEST = (
    "journeys/test_cluster_faults.py",
    "journeys/test_cluster_upgrade.py",
    "journeys/test_s.py",
    "journeys/test_agents.py",
    "build/test_build.py",
    "journeys/test_queue_kill.py",
    "journeys/test_cluster.py",
    "security/test_custom_walls.py",
    "journeys/test_queue_faults.py",
    "cluster/test_tunnels.py",
    "journeys/test_agents_metrics.py",
    "journeys/test_web_streams.py",
    "test_timed_programs.py",
    "fc/test_invoke.py",
    "journeys/test_drain.py",
    "cli/test_dev.py",
    "store/test_leadership.py",
    "http/test_answers.py",
    "store/test_kill_elsewhere.py",
    "torture/test_oss_kill.py",
    "journeys/test_exec_idle.py",
    "journeys/test_layers_of_cloud.py",
    "on_ray/test_node_process.py",
    "test_servers_of_tests.py",
    "test_async_virtual_time.py",
    "sandbox/test_obtain.py",
    "security/test_walls.py",
    "store/test_objects_elsewhere.py",
    "journeys/test_agents_calls.py",
    "journeys/test_cluster_tunnels.py",
    "sandbox/test_jail_contract.py",
    "store/test_objects.py",
    "journeys/test_instances.py",
    "packaging/test_wheel.py",
    "cli/test_invoke.py",
    "cluster/test_seat.py",
    "sandbox/test_jail_images.py",
    "cli/test_kept.py",
    "journeys/test_agents_async.py",
    "testing/test_plugin.py",
    "store/test_logs.py",
    "security/test_grades.py",
    "journeys/test_fun.py",
    "journeys/test_containers.py",
    "journeys/test_restart.py",
    "docs/test_commands.py",
    "cli/test_ending.py",
    "security/test_user_limits.py",
    "cli/test_logs.py",
    "test_listening.py",
    "journeys/test_cloud_names.py",
    "sandbox/test_elsewhere.py",
    "journeys/test_bad_input.py",
    "sandbox/test_jail.py",
    "store/test_lost_database.py",
    "security/test_way_out.py",
    "docs/test_site.py",
    "store/test_elsewhere.py",
    "sandbox/test_jail_user.py",
    "journeys/test_bucket_failures.py",
    "examples/test_examples.py",
    "cli/test_start.py",
    "store/test_backup.py",
    "dev/test_debug.py",
    "test_session_streams.py",
    "store/test_copying.py",
    "journeys/test_calls.py",
    "cli/test_commands.py",
    "triggers/test_timers.py",
    "test_session_affinity.py",
    "store/queue/test_pages.py",
    "store/test_postgresql.py",
    "journeys/test_bucket_files.py",
    "store/queue/test_queue.py",
    "journeys/test_custom_frameworks.py",
    "store/test_check.py",
    "journeys/test_schemathesis.py",
    "sls/test_refusals.py",
    "sandbox/test_web_servers.py",
    "journeys/test_custom_runtimes.py",
    "journeys/test_exec.py",
    "sandbox/test_plain.py",
    "journeys/test_object_events.py",
    "store/test_database.py",
    "triggers/test_object_events.py",
    "store/test_log_shipping.py",
    "fc/test_openapi.py",
    "store/test_objects_elsewhere_faults.py",
    "oss/test_objects.py",
)
TURNS = pytest.StashKey[Path]()
# Where tests of these folders and files have `tmp_path`, if the machine has so much memory for files: nothing waits for
# a disk there. What they kill is a process, which costs nothing that the kernel has.
MEMORY, MEMORY_FREE_BYTES = Path("/dev/shm"), 2 << 30
IN_MEMORY = (
    "control", "destinations", "fc", "identity", "oss", "sls", "store", "sts", "triggers",
    "test_app.py", "test_async_virtual_time.py", "test_function_logs.py", "test_listening.py",
    "test_session_affinity.py", "test_session_streams.py", "test_virtual_time.py",
)  # fmt: skip


# Tests fail in many ways on purpose: structlog has exceptions drawn by rich unless told otherwise, which takes longer
# than most of these tests.
LOG: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.processors.add_log_level,
    structlog.processors.StackInfoRenderer(),
    structlog.processors.TimeStamper(fmt="%Y-%m-%d %H:%M:%S", utc=False),
    structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
]
# Objects made, and not yet freed, until garbage is looked for. Tests make many that live as long as the test does: with
# the interpreter's own number each of them is looked at several times.
GARBAGE_AFTER = 20_000


class SkipList:
    """Remembers what did not run and why; fails a run in CI that skipped what it may not."""

    def __init__(self) -> None:
        self.skipped: dict[str, list[str]] = {}

    @property
    def forbidden(self) -> list[str]:
        if os.environ.get("CI", "").lower() not in ("1", "true"):
            return []
        allowed = os.environ.get(ALLOWED_SKIPS)
        return [reason for reason in self.skipped if not (allowed and re.search(allowed, reason))]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail"):
            self._remember(report.nodeid, report.longrepr)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped:
            self._remember(report.nodeid, report.longrepr)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.forbidden and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self.skipped:
            return
        terminalreporter.section("did not run")
        for reason, tests in sorted(self.skipped.items()):
            terminalreporter.line(f"{reason}: {len(tests)} tests, as {tests[0]}")
        if self.forbidden:
            terminalreporter.line(f"CI skips nothing: the run fails ({ALLOWED_SKIPS} names exceptions)", red=True)

    def _remember(self, test: str, why: object) -> None:
        reason = str(why[2]) if isinstance(why, tuple) else str(why)
        tests = self.skipped.setdefault(reason.removeprefix("Skipped: "), [])
        # Every process of a parallel run collects, and reports what it could not collect.
        if test not in tests:
            tests.append(test)


@pytest.fixture
def tmp_path(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """As pytest's, or in memory."""
    if _name_of_file(request.path).partition("/")[0] not in IN_MEMORY or not _has_memory():
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="sesame-test-", dir=MEMORY, ignore_cleanup_errors=True) as made:
        yield Path(made)


def _has_memory() -> bool:
    try:
        found = os.statvfs(MEMORY)
    except OSError:
        return False
    return found.f_bavail * found.f_frsize > MEMORY_FREE_BYTES and os.access(MEMORY, os.W_OK)


@pytest.fixture(autouse=True)
def own_log_of_each_test() -> Iterator[None]:
    """A command that ran in this process has set up the log for all of it."""
    yield
    if structlog.get_config()["processors"] is not LOG:
        _reset_log()


def _reset_log() -> None:
    structlog.reset_defaults()
    structlog.configure(processors=LOG)


class Turns:
    """Between the processes of a parallel run: a test marked `alone` runs while no other test does.

    Two locks on files. Every test holds `running`, shared, or exclusively when it is to be alone. A process holds
    `queue` while it waits for `running`, so a test that is to be alone waits for at most one test of each other
    process. Between two such tests in a row `running` is kept.
    """

    def __init__(self, folder: Path) -> None:
        self._queue, self._running = (
            os.open(folder / name, os.O_RDWR | os.O_CREAT, 0o600) for name in ("queue", "running")
        )
        self._kept = False

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
        alone = _is_alone(item)
        if not self._kept:
            self._enter(alone=alone)
        try:
            return (yield)
        finally:
            self._kept = alone and nextitem is not None and _is_alone(nextitem)
            if not self._kept:
                fcntl.flock(self._running, fcntl.LOCK_UN)

    def _enter(self, *, alone: bool) -> None:
        fcntl.flock(self._queue, fcntl.LOCK_EX)
        fcntl.flock(self._running, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(self._queue, fcntl.LOCK_UN)


def _is_alone(item: pytest.Item) -> bool:
    return item.get_closest_marker("alone") is not None


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(SkipList(), "skip-list")
    _reset_log()
    # Of a process of a parallel run: the folder that is shared by all of them.
    if workerinput := getattr(config, "workerinput", None):
        config.pluginmanager.register(Turns(Path(workerinput["turns"])), "turns")
        os.environ[SHARED] = workerinput["turns"]


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """What is collected lives as long as the process: no search for garbage, now or later, finds any in it."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(GARBAGE_AFTER, *gc.get_threshold()[1:])
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _name_of(item) in ALONE:
            item.add_marker("alone")
    # A list looks empty while it is sorted.
    others = len(LONGEST)
    rank = {name: number for number, name in enumerate(LONGEST)} | dict.fromkeys(ALONE, others + 1)
    items.sort(key=lambda item: rank.get(_name_of(item), others))


def _name_of(item: pytest.Item) -> str:
    """`cli/test_start.py`; "" for a test that is not below this folder."""
    return _name_of_file(item.path)


@functools.cache
def _name_of_file(path: Path) -> str:
    here = Path(__file__).parent
    return path.relative_to(here).as_posix() if path.is_relative_to(here) else ""


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    node.workerinput["turns"] = str(_turns_folder(node.config))


def _turns_folder(config: pytest.Config) -> Path:
    """Made once for a run, and removed at its end."""
    if TURNS not in config.stash:
        folder = tempfile.TemporaryDirectory(prefix="sesame-turns-", ignore_cleanup_errors=True)
        # Also what ordinary users own lies there.
        Path(folder.name).chmod(0o755)
        config.add_cleanup(folder.cleanup)
        config.stash[TURNS] = Path(folder.name)
    return config.stash[TURNS]
