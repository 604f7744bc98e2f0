"""What Wasm guests log, as observations: the lines of one plugin with their levels, alike of both proxies."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from .lab import Session
from .proxy import POLL_S

#: `[time][thread][level][wasm] [file:line] wasm log PLUGIN: text` of Envoy; the other has no thread.
_LINE = re.compile(r"\[(\w+)\]\[[\w.]+\] (?:\[\S+\] )?wasm log (.*)$")

#: Makes of what a plugin logged what is observed.
Shown = Callable[[list[str]], list[str]]
_TIME = re.compile(r"(x-envoy-upstream-service-time: )\d+")


@asynccontextmanager
async def guest_log(
    s: Session, plugin: str, *last: str, label: str = "log", shown: Shown = list
) -> AsyncIterator[None]:
    """Observe what the plugin logs inside the block, once it has said all of `last` and the proxy is quiet.

    `plugin` is its name and its root_id; what the root context says is marked as such. `shown` makes of the
    lines what is compared.
    """
    start = log_end(s)
    yield
    await s.quiet()
    await guest_says(s, start, plugin, *last)
    s.see(label, shown(guest_lines(s, start, plugin)))


def log_end(s: Session) -> int:
    """How much the proxy has written so far."""
    return _path(s).stat().st_size


async def guest_says(s: Session, start: int, plugin: str, *texts: str) -> None:
    """Wait until the plugin has said all of these behind that place."""
    while any(all(text not in line for line in guest_lines(s, start, plugin)) for text in texts):  # noqa: ASYNC110 - another process writes it
        await trio.sleep(POLL_S)


def _path(s: Session) -> Path:
    return s.proxy.directory / "output.txt"


def guest_lines(s: Session, start: int, plugin: str) -> list[str]:
    """What the plugin has logged behind that place, with its levels."""
    found = []
    for line in _path(s).read_bytes()[start:].decode("latin-1").splitlines():
        match = _LINE.search(line)
        if match is None or ": Attempted call to restricted" in match[2]:
            continue  # that one Envoy writes without saying of which plugin
        who, _, text = _TIME.sub(r"\1<ms>", match[2]).partition(": ")
        # The last is the VM's id, where it has one.
        if re.fullmatch(rf"{plugin} {plugin}( [\w-]+)?", who):
            found.append(f"{match[1]}: {text}")
        elif who in (plugin, f"{plugin} the-vm"):
            found.append(f"{match[1]}: root: {text}")
    return found
