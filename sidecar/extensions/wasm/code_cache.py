"""Code of Wasm modules that is fetched over HTTP, kept by its SHA-256.

A fetch asks a cluster for a path, again after a while where the policy says so, and takes what has the right
digest and nothing else.  Code is kept for a day after its last use; that there is none is remembered for ten
seconds.  As in Envoy (``source/extensions/common/wasm``), where however who asks for code that somebody else
is fetching is told that there is none.
"""

from __future__ import annotations

import hashlib
import logging
import random
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import trio

from sidecar.core.dataclass import dataclass
from sidecar.core.errors import DeadlineExceeded, SidecarError
from sidecar.core.headers import RequestHeaders

if TYPE_CHECKING:
    from sidecar.router.http_client import HttpCall, HttpClient

__all__ = ["CodeCache", "RemoteCode"]

logger = logging.getLogger("sidecar.wasm")

_KEPT_S = 24 * 3600.0
_FAILURE_KEPT_S = 10.0
#: No module is longer.
_MAX_BYTES = 256 * 1024 * 1024
_STATS = "cache_hits", "cache_misses", "cache_negative_hits", "fetch_failures", "fetch_successes"


@dataclass(frozen=True, slots=True)
class RemoteCode:
    """``AsyncDataSource.remote``: where code is, and how it is asked for."""

    uri: str
    cluster: str
    timeout_s: float
    sha256: str
    retries: int = 1
    base_interval_s: float = 1.0
    max_interval_s: float = 10.0


class _Entry:
    """One digest: the code, that there is none, or that it is being fetched."""

    __slots__ = ("changed_s", "code", "ready")

    def __init__(self) -> None:
        self.code: bytes | None = None
        #: When it was last used, or when it could not be had.
        self.changed_s = 0.0
        #: What those who want it wait for; None when nobody fetches it.
        self.ready: trio.Event | None = None


def define_stats(store: Any) -> None:
    """Make the stats that are there with any plugin."""
    scope = store.scope("wasm")
    for name in _STATS:
        scope.counter(f"remote_load_{name}")
    scope.gauge("remote_load_cache_entries")


class CodeCache:
    """All code that this process fetched."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, draw: Callable[[], float] = random.random
    ) -> None:
        self._clock = clock
        self._draw = draw
        self._entries: dict[str, _Entry] = {}

    def look(self, sha256: str, store: Any) -> bytes | None:
        """The code, if it is here.  Counts it as asked for."""
        scope = store.scope("wasm")
        counters = {name: scope.counter(f"remote_load_{name}") for name in _STATS}
        now = self._clock()
        for digest in [each for each, entry in self._entries.items() if _is_old(entry, now)]:
            del self._entries[digest]
        entry = self._entries.setdefault(sha256, _Entry())
        if entry.code is not None:
            counters["cache_hits"].inc()
            entry.changed_s = now
        elif self.is_refused(sha256):
            counters["cache_negative_hits"].inc()
        else:
            counters["cache_misses"].inc()
        scope.gauge("remote_load_cache_entries").set(len(self._entries))
        return entry.code

    def is_refused(self, sha256: str) -> bool:
        """Whether it could not be had a moment ago."""
        entry = self._entries.get(sha256)
        if entry is None or entry.code is not None or entry.ready is not None or not entry.changed_s:
            return False
        return self._clock() - entry.changed_s < _FAILURE_KEPT_S

    async def fetch(self, source: RemoteCode, client: HttpClient, store: Any) -> bytes | None:
        """The code, fetched unless somebody already does; None where it cannot be had.

        If cancelled: nobody fetches it any more, and who waits for it gets None.
        """
        entry = self._entries.setdefault(source.sha256, _Entry())
        if entry.ready is not None:
            await entry.ready.wait()
            return entry.code
        if entry.code is not None:
            return entry.code
        ready = entry.ready = trio.Event()
        try:
            entry.code = await self._try(source, client)
        finally:
            entry.ready = None
            entry.changed_s = self._clock()
            self._entries[source.sha256] = entry
            outcome = "failures" if entry.code is None else "successes"
            store.scope("wasm").counter(f"remote_load_fetch_{outcome}").inc()
            ready.set()
        return entry.code

    async def _try(self, source: RemoteCode, client: HttpClient) -> bytes | None:
        """Ask as often as the policy allows."""
        interval_s = source.base_interval_s
        for number in range(source.retries + 1):
            if number:
                await trio.sleep(self._draw() * interval_s)
                interval_s = min(2 * interval_s, source.max_interval_s)
            answer = await _ask(source, client)
            if isinstance(answer, bytes):
                return answer
            logger.warning("Wasm code %s of cluster '%s': %s", source.uri, source.cluster, answer)
        logger.warning("Wasm code %s: tried %d times, given up", source.uri, source.retries + 1)
        return None


def _is_old(entry: _Entry, now: float) -> bool:
    return entry.code is not None and now - entry.changed_s > _KEPT_S


async def _ask(source: RemoteCode, client: HttpClient) -> bytes | str:
    """One try: the code, or what was wrong."""
    parts = urlsplit(source.uri)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    scheme = parts.scheme or "http"
    headers = RequestHeaders(b"GET", path.encode(), parts.netloc.encode(), scheme.encode())
    call = client.call(source.cluster, headers, timeout_s=source.timeout_s, keep_bytes=_MAX_BYTES)
    over = trio.Event()

    def done(_: HttpCall) -> None:
        over.set()

    call.on_done = done
    call.start()
    try:
        await over.wait()
    finally:
        call.cancel()
    response = call.response
    if isinstance(call.error, DeadlineExceeded):
        return f"no answer in {source.timeout_s:g} s"
    if response is None:
        return str(call.error) if isinstance(call.error, SidecarError) else "no answer"
    if response.headers.status != 200:
        return f"status {response.headers.status}"
    found = hashlib.sha256(response.body).hexdigest()
    if found != source.sha256.lower():
        return f"its SHA-256 is {found}, not {source.sha256}"
    return response.body
