"""Services of other projects, in Go, that both proxies are put in front of: built, started, reached.

A proxy reaches its service through a raw upstream of the conformance lab (:func:`relay`), so that its
configuration names no port of the service.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any

import trio

from tests.conformance.compare import compare
from tests.conformance.proxy import ENVOY, ROOT, SIDECAR, ProxyFailed
from tests.conformance.wire import Wire

START_TIMEOUT_S = 30.0


class CannotBuild(Exception):
    """There is no service here; the message says why."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How much was compared, and what differed."""

    compared: int
    problems: tuple[str, ...]


def is_built(name: str) -> bool:
    """Whether some service of that name was built here, by these sources or older ones."""
    return any((ROOT / ".cache").glob(f"{name}-[0-9a-f]*"))


@cache
def binary(name: str) -> Path:
    """The program of ``tests/NAME_e2e``, built if need be.  Raises: CannotBuild."""
    built = subprocess.run(
        ["scripts/build_go_service.sh", name],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=1000,
    )
    if built.returncode:
        raise CannotBuild(built.stderr.strip())
    return Path(built.stdout.strip())


class Processes:
    """Programs that end with the block."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._running: list[subprocess.Popen[bytes]] = []

    async def run(
        self, command: list[str], port: int, directory: Path | None = None, **environment: str
    ) -> None:
        """Start one and wait until it listens on ``port``.  Raises: trio.TooSlowError."""
        quiet = subprocess.DEVNULL
        self._running.append(
            subprocess.Popen(  # noqa: ASYNC220 - it returns at once
                command,
                cwd=directory or self._directory,
                env={**os.environ, **environment},
                stdin=quiet,
                stdout=quiet,
                stderr=quiet,
            )
        )
        with trio.fail_after(START_TIMEOUT_S):
            while True:
                try:
                    stream = await trio.open_tcp_stream("127.0.0.1", port)
                except OSError:
                    await trio.sleep(0.05)
                else:
                    await stream.aclose()
                    return

    def __enter__(self) -> Processes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for process in reversed(self._running):
            process.kill()
            process.wait(5)


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [int(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports


def compared(
    outcome: Mapping[str, Any], masks: dict[str, str], *expected: str, any_order: bool = False
) -> Outcome:
    """What both proxies observed, side by side; ``expected``: texts without which nothing was tested.

    ``masks``: patterns with what is put in their places.  ``any_order``: headers are sorted by name.
    Raises: ProxyFailed.
    """
    oracle, ours = (_masked(outcome[kind], masks) for kind in (ENVOY, SIDECAR))
    if any_order:
        _sort_headers(oracle)
        _sort_headers(ours)
    verdict = compare(oracle, ours, {})
    problems = list(map(str, verdict.problems))
    problems += [f"nothing had {each}" for each in expected if each not in json.dumps(oracle)]
    return Outcome(verdict.compared, tuple(problems))


def _masked(observed: Any, masks: dict[str, str]) -> Any:
    if isinstance(observed, ProxyFailed):
        raise observed
    text = json.dumps(observed)
    for found, put in masks.items():
        text = re.sub(found, put, text)
    return json.loads(text)


def _sort_headers(tree: Any) -> None:
    """Sort each list of headers by their names; those of one name stay as they are."""
    if isinstance(tree, dict) and isinstance(headers := tree.get("headers"), list):
        headers.sort(key=lambda line: str(line).partition(":")[0])
    for each in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        _sort_headers(each)


async def relay(wire: Wire, port: int) -> None:
    """Carry a connection of the proxy to its service."""
    async with _service_stream(port) as stream, trio.open_nursery() as nursery:

        async def back() -> None:
            async for data in stream:
                await wire.send(data)
            nursery.cancel_scope.cancel()

        nursery.start_soon(back)
        while data := await wire.some():
            await stream.send_all(data)
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def _service_stream(port: int) -> AsyncIterator[trio.SocketStream]:
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with stream:
        yield stream
