"""h2spec passes whole, with either codec (``just h2spec`` shows Envoy's result beside ours)."""

import functools
import os
from pathlib import Path

import pytest
import trio

from tests.conformance.proxy import SIDECAR
from tests.h2spec.run import CannotBuild, h2spec_binary, read_report, run_h2spec

# Tests that wait for what must not come take a second each; building takes a minute of a slow machine.
pytestmark = [pytest.mark.timeout(600), pytest.mark.xdist_group("h2spec")]


@pytest.fixture(scope="module")
def program() -> Path:
    try:
        return h2spec_binary()
    except CannotBuild as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


@pytest.mark.parametrize("codec", ["native", "h2"])
def test_h2spec_passes_whole(program: Path, codec: str, tmp_path: Path) -> None:
    result = trio.run(functools.partial(run_h2spec, SIDECAR, tmp_path, ("--http2-codec", codec)))
    assert (result.failed, result.total) == ((), 145)


def test_report_names_what_failed() -> None:
    report = (
        '<testsuites><testsuite package="http2/6.3"><testcase classname="fine"/>'
        '<testcase classname="bad"><failure>\x00</failure></testcase></testsuite></testsuites>'
    )
    result = read_report(report)
    assert str(result) == "1 of 2 passed\n  http2/6.3/2: bad"
