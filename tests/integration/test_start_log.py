"""What a start and an end tell the log: our lines stand in Envoy's log, in the same order."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from proxy_process import ROOT, proxy_command
from test_server_process import ADMIN, bootstrap, ip, listener

TIMEOUT_S = 60
_LINE = re.compile(r"^\[[^]]*\]\[\d+\]\[(\w+)\]\[(\w+)\] \[[^]]*\] (.*)$")
#: What Envoy says beside it: of its build, of its own parts, and advice.
_ENVOYS_OWN = re.compile(
    r"statically linked|^  |HTTP header map|^initializing epoch|^runtime: |^RTDS has finished"
)

pytestmark = pytest.mark.oracle


def _log(kind: str, directory: Path, number: int, text: str) -> list[tuple[str, str, str]]:
    """Level, logger and text of what a proxy says from its start to its end by a signal."""
    file = directory / f"{kind}.yaml"
    file.write_text(text)
    output = directory / f"{kind}.log"
    command = [*proxy_command(kind), "-c", str(file), "--use-dynamic-base-id", "--concurrency", "1"]
    with output.open("w") as out, subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=out) as process:
        deadline = time.monotonic() + TIMEOUT_S
        while "starting main dispatch loop" not in output.read_text():
            assert process.poll() is None, output.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(number)
        assert process.wait(TIMEOUT_S) == 0
    lines = (_LINE.match(line) for line in output.read_text().splitlines())
    found = [(each[1], each[2], re.sub(r":\d+$", ":<port>", each[3])) for each in lines if each]
    return [each for each in found if not _ENVOYS_OWN.search(each[2])]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("admin", [ADMIN, ""], ids=["with admin", "without"])
def test_start_and_end_are_logged_in_envoys_words(tmp_path: Path, number: int, admin: str) -> None:
    text = bootstrap(listener(ip("127.0.0.1"))).replace(ADMIN, admin)
    ours, theirs = (_log(kind, tmp_path, number, text) for kind in ("sidecar", "envoy"))
    assert len(ours) >= 10
    assert ours == theirs


_CONNECTIONS = "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"
_LIMITS = {
    "monitor": """
overload_manager:
  resource_monitors:
  - name: envoy.resource_monitors.global_downstream_max_connections
    typed_config:
      "@type": type.googleapis.com/{CONNECTIONS}
      max_active_downstream_connections: 7
""".replace("{CONNECTIONS}", _CONNECTIONS),
    "runtime": """
layered_runtime:
  layers:
  - name: one
    static_layer: {overload: {global_downstream_max_connections: 100}}
""",
}


@pytest.mark.parametrize("where", _LIMITS)
def test_limit_of_all_connections_ends_the_warning_that_there_is_none(tmp_path: Path, where: str) -> None:
    text = bootstrap(listener(ip("127.0.0.1"))) + _LIMITS[where]
    ours, theirs = (
        [each for each in _log(kind, tmp_path, signal.SIGTERM, text) if each[0] == "warning"]
        for kind in ("sidecar", "envoy")
    )
    assert len(ours) == (1 if where == "monitor" else 3)
    assert ours == theirs
