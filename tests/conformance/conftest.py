"""The lab that all scenarios of a test session share, and the count of what was compared."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from .catalog import all_scenarios
from .lab import Lab

LEAST_SCENARIOS = 40
COMPARED = "conformance compared"


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    directory = tmp_path_factory.mktemp("conformance")
    shared = Lab(directory)
    yield shared
    shared.close()
    shutil.rmtree(directory, ignore_errors=True)


class Tally:
    """Counts over the whole session, in the controlling process when there are workers.

    A run of the whole directory that compared sidecar in fewer than LEAST_SCENARIOS scenarios fails, however
    green its tests are.
    """

    def __init__(self) -> None:
        self.ran: set[str] = set()
        self.compared: dict[str, int] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and not report.skipped and "test_scenario_" in report.nodeid:
            self.ran.add(report.nodeid)
            for key, value in report.user_properties:
                if key == COMPARED and isinstance(value, int):
                    self.compared[report.nodeid] = value

    def is_short(self) -> bool:
        scenarios = sum(1 for count in self.compared.values() if count)
        whole = sum(1 for item in all_scenarios() if not item.later)
        return len(self.ran) >= whole and scenarios < LEAST_SCENARIOS

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.is_short():
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.ran:
            leaves = sum(self.compared.values())
            scenarios = sum(1 for count in self.compared.values() if count)
            terminalreporter.write_line(
                f"conformance: {leaves} observations compared in {scenarios} scenarios"
            )
        if self.is_short():
            terminalreporter.write_line(
                f"conformance: fewer than {LEAST_SCENARIOS} scenarios compared", red=True
            )


def pytest_configure(config: pytest.Config) -> None:
    if not config.pluginmanager.has_plugin("conformance-tally") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Tally(), "conformance-tally")
