"""For every test: nothing is skipped in silence, and in continuous integration nothing is skipped at all.

Read by pytest. `ALLOWED_SKIPS` (a regular expression on the reason) lets a machine go on without what it cannot have.
"""

import os
import re

import pytest

ALLOWED_SKIPS = "ALLOWED_SKIPS"


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
        self.skipped.setdefault(reason.removeprefix("Skipped: "), []).append(test)


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(SkipList(), "skip-list")
