"""The lab that all scenarios of a test session share, and the count of what was compared."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from .catalog import SUBJECTS, all_scenarios, subject_of
from .lab import Lab

LEAST_SCENARIOS = 40
COMPARED = "conformance compared"
#: A difference that a second look did not find.
SEEN_ONCE = "conformance seen once"
MOST_SEEN_ONCE = 12


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    directory = tmp_path_factory.mktemp("conformance")
    shared = Lab(directory)
    yield shared
    shared.close()
    shutil.rmtree(directory, ignore_errors=True)


class Tally:
    """Counts over the whole session, in the controlling process when there are workers.

    A run of the whole directory, or of a subject, that compared sidecar in too few scenarios fails, however
    green its tests are.
    """

    def __init__(self, subject: str) -> None:
        self.subject = subject
        self.least = SUBJECTS.get(subject, LEAST_SCENARIOS)
        self.ran: set[str] = set()
        self.compared: dict[str, int] = {}
        self.seen_once: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and not report.skipped and "test_scenario_" in report.nodeid:
            self.ran.add(report.nodeid)
            for key, value in report.user_properties:
                if key == COMPARED and isinstance(value, int):
                    self.compared[report.nodeid] = value
                elif key == SEEN_ONCE:
                    self.seen_once.append(str(value))

    def is_short(self) -> bool:
        scenarios = sum(1 for count in self.compared.values() if count)
        mine = [item for item in all_scenarios() if not self.subject or subject_of(item) == self.subject]
        whole = max(1, sum(1 for item in mine if not item.later))
        return len(self.ran) >= whole and scenarios < self.least

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.is_short() or len(self.seen_once) > MOST_SEEN_ONCE:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.ran:
            leaves = sum(self.compared.values())
            scenarios = sum(1 for count in self.compared.values() if count)
            terminalreporter.write_line(
                f"conformance: {leaves} observations compared in {scenarios} scenarios"
            )
        for each in self.seen_once:
            terminalreporter.write_line(f"conformance: seen once, and not again: {each}")
        if len(self.seen_once) > MOST_SEEN_ONCE:
            terminalreporter.write_line(f"conformance: more than {MOST_SEEN_ONCE} seen once", red=True)
        if self.is_short():
            terminalreporter.write_line(f"conformance: fewer than {self.least} scenarios compared", red=True)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--subject", choices=sorted(SUBJECTS), default="", help="only scenarios of this subject")
    parser.addoption("--every", type=int, default=1, help="only the scenarios of every so many setups")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect what is of another subject than the one asked for, tests of the runner too."""
    subject = config.getoption("--subject", "")  # unknown where other tests run too
    every = config.getoption("--every", 1)
    if not subject and every == 1:
        return
    names = dict.fromkeys(each.setup.name for each in all_scenarios())
    setups = {name: number for number, name in enumerate(names)}
    kept, dropped = [], []
    for item in items:
        found = (
            item.callspec.params.get("scenario")
            if isinstance(item, pytest.Function) and hasattr(item, "callspec")
            else None
        )
        is_wanted = (
            found is not None
            and (not subject or subject_of(found) == subject)
            and setups[found.setup.name] % every == 0
        )
        (kept if is_wanted else dropped).append(item)
    config.hook.pytest_deselected(items=dropped)
    items[:] = kept


def pytest_configure(config: pytest.Config) -> None:
    if not config.pluginmanager.has_plugin("conformance-tally") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Tally(config.getoption("--subject", "")), "conformance-tally")
