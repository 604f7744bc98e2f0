"""What Wasm guests log, as observations: the lines of one plugin with their levels, alike of both proxies."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from .lab import Session
from .proxy import POLL_S

#: `[time][thread][level][wasm] [file:line] wasm log PLUGIN: text` of Envoy; the other has no thread.
_LINE = re.compile(r"\[(\w+)\]\[[\w.]+\] (?:\[\S+\] )?wasm log (.*)$")

_TIME = re.compile(r"(x-envoy-upstream-service-time: )\d+")


@asynccontextmanager
async def guest_log(s: Session, plugin: str, *last: str, label: str = "log") -> AsyncIterator[None]:
    """Observe what the plugin logs inside the block, once it has said all of `last` and the proxy is quiet.

    `plugin` is its name and its root_id; what the root context says is marked as such.
    """
    start = log_end(s)
    yield
    await s.quiet()
    await guest_says(s, start, plugin, *last)
    s.see(label, _lines(s, start, plugin))


def log_end(s: Session) -> int:
    """How much the proxy has written so far."""
    return _path(s).stat().st_size


async def guest_says(s: Session, start: int, plugin: str, *texts: str) -> None:
    """Wait until the plugin has said all of these behind that place."""
    while any(all(text not in line for line in _lines(s, start, plugin)) for text in texts):  # noqa: ASYNC110 - another process writes it
        await trio.sleep(POLL_S)


def _path(s: Session) -> Path:
    return s.proxy.directory / "output.txt"


def _lines(s: Session, start: int, plugin: str) -> list[str]:
    found = []
    for line in _path(s).read_bytes()[start:].decode("latin-1").splitlines():
        match = _LINE.search(line)
        if match is None or ": Attempted call to restricted" in match[2]:
            continue  # that one Envoy writes without saying of which plugin
        who, _, text = _TIME.sub(r"\1<ms>", match[2]).partition(": ")
        if who in (f"{plugin} {plugin}", f"{plugin} {plugin} {plugin}"):
            found.append(f"{match[1]}: {text}")
        elif who == plugin:
            found.append(f"{match[1]}: root: {text}")
    return found
