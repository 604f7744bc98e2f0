"""Runs h2spec against a listener whose requests go to an upstream that reads them whole before it answers.

A proxied request, not a direct response: that one ends a stream before its request is complete, and what
h2spec still sends on it would be compared with what it expects of a stream that is open.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import trio

from tests.conformance.configuration import TO_APP, bootstrap, cluster, listener
from tests.conformance.proxy import ROOT, Proxy
from tests.conformance.scenario import Setup
from tests.conformance.upstream import Upstream, answers, ok

#: Seconds that h2spec waits for a frame; whole ones only.
FRAME_TIMEOUT_S = 1
RUN_TIMEOUT_S = 240
NO_GO = 3

#: h2spec opens one stream more than may be open at once: with few of them none has ended by then.
OPTIONS = "{codec_type: HTTP2, http2_protocol_options: {max_concurrent_streams: 16}}"
SETUP = Setup(
    "h2spec",
    bootstrap([listener("main", OPTIONS, routes=TO_APP)], [cluster("app", "app")]),
    {"app": "h1"},
)


class CannotBuild(Exception):
    """There is no h2spec here; the message says why."""


@dataclass(frozen=True, slots=True)
class Result:
    """What h2spec says: its failures, ``section/number: description``, and how many tests it ran."""

    failed: tuple[str, ...]
    total: int

    def __str__(self) -> str:
        lines = [f"  {each}" for each in self.failed]
        return "\n".join([f"{self.total - len(self.failed)} of {self.total} passed", *lines])


@cache
def h2spec_binary() -> Path:
    """The program, built if need be.  Raises: CannotBuild."""
    built = subprocess.run(
        ["scripts/build_h2spec.sh"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=400
    )
    if built.returncode:
        raise CannotBuild(built.stderr.strip())
    return Path(built.stdout.strip())


async def run_h2spec(kind: str, directory: Path, arguments: Sequence[str] = ()) -> Result:
    """Start the proxy (``sidecar`` or ``envoy``, with these arguments) and put h2spec to it.

    Raises: CannotBuild, ProxyFailed.
    """
    program = h2spec_binary()
    report = directory / "h2spec.xml"
    proxy = Proxy(kind, SETUP, directory, arguments)
    upstream = Upstream("app", "h1")
    upstream.script = answers(ok(b"hello"))
    async with trio.open_nursery() as nursery:
        sock = trio.socket.from_stdlib_socket(proxy.listening["app"])
        nursery.start_soon(trio.serve_listeners, upstream.serve, [trio.SocketListener(sock)])
        try:
            await proxy.start()
            command = [str(program), "-p", str(proxy.ports["main"]), "-o", str(FRAME_TIMEOUT_S)]
            command += ["-j", str(report)]
            with trio.fail_after(RUN_TIMEOUT_S):
                await trio.run_process(command, stdout=subprocess.DEVNULL, check=False)
        finally:
            proxy.stop()
            nursery.cancel_scope.cancel()
    return read_report(report.read_text(errors="replace"))


def read_report(text: str) -> Result:
    """The JUnit report of h2spec."""
    failed = []
    total = 0
    # What a server sent stands in it as it came, and XML has no control characters.
    readable = re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]", "?", text)
    for suite in ElementTree.fromstring(readable).iter("testsuite"):
        for number, case in enumerate(suite.iter("testcase"), 1):
            total += 1
            if case.find("failure") is not None or case.find("error") is not None:
                failed.append(f"{suite.get('package')}/{number}: {case.get('classname')}")
    return Result(tuple(failed), total)
