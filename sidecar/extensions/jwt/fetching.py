"""Keys of a server (``RemoteJwks``): fetched when a token asks for them, or ahead and again in time."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Any

import trio

from sidecar.core.dataclass import dataclass
from sidecar.core.headers import RequestHeaders
from sidecar.extensions.jwt.discovery import Discovery
from sidecar.extensions.jwt.keys import Jwks
from sidecar.extensions.jwt.status import Status

if TYPE_CHECKING:
    from sidecar.router.http_client import HttpCall, HttpClient
    from sidecar.router.retry_policy import RetryPolicy

__all__ = ["BackgroundFetch", "Fetch", "RemoteKeys"]

#: So long before they expire keys are fetched again.
_AHEAD_S = 5.0


@dataclass(frozen=True, slots=True)
class RemoteKeys:
    """Where keys are, and for how long they are good."""

    cluster: str
    authority: bytes
    path: bytes
    scheme: bytes
    timeout_s: float
    #: :func:`sidecar.extensions.jwt.key_sets.parse_jwks`.
    parse: Callable[[bytes], Jwks]
    cache_duration_s: float = 600.0
    retry_policy: RetryPolicy | None = None
    #: Ours: where the issuer says where its keys are; ``path`` is then not asked for.
    discovery: Discovery | None = None


class Fetch:
    """One request for keys; ``on_done`` is told the keys, or None."""

    __slots__ = ("_call", "_on_done", "_remote", "_stats")

    def __init__(self, remote: RemoteKeys, stats: Any, on_done: Callable[[Jwks | None], None]) -> None:
        self._remote = remote
        self._stats = stats
        self._on_done = on_done
        self._call: HttpCall | None = None

    def start(self, client: HttpClient) -> None:
        """Ask; without the cluster there is an answer at once."""
        remote = self._remote
        discovery = remote.discovery
        if discovery is None:
            self._ask(client, remote, remote.path, self._answered)
            return

        def discovered(call: HttpCall) -> None:
            if self._on_done is _forget:
                return
            response = call.response
            path = None
            if response is not None and response.headers.status == 200 and response.body:
                path = discovery.keys_path(response.body, remote)
            if path is None:
                self._failed()
            else:
                self._ask(client, remote, path, self._answered)

        self._ask(client, discovery, discovery.path, discovered)

    def _ask(
        self, client: HttpClient, where: RemoteKeys | Discovery, path: bytes, answered: Callable[[Any], None]
    ) -> None:
        if client.router.find_cluster(where.cluster) is None:
            self._failed()
            return
        # Envoy's Utility::prepareHeaders says that it is Go.
        headers = RequestHeaders(
            b"GET", path, where.authority, where.scheme, [(b"user-agent", b"Go-browser")]
        )
        call = client.call(
            where.cluster, headers, timeout_s=where.timeout_s, retry_policy=self._remote.retry_policy
        )
        call.on_done = answered
        self._call = call
        call.start()

    def _failed(self) -> None:
        self._stats.jwks_fetch_failed.value += 1
        self._on_done(None)

    def cancel(self) -> None:
        """Nobody waits for it any more."""
        self._on_done = _forget
        if self._call is not None:
            self._call.cancel()

    def _answered(self, call: HttpCall) -> None:
        if self._on_done is _forget:
            return
        response = call.response
        jwks = None
        if response is not None and response.headers.status == 200 and response.body:
            jwks = self._remote.parse(response.body)
            if jwks.status is not Status.Ok:
                jwks = None
        if jwks is None:
            self._failed()
        else:
            self._stats.jwks_fetch_success.value += 1
            self._on_done(jwks)


def _forget(_jwks: Jwks | None) -> None:
    return


class BackgroundFetch:
    """``async_fetch``: fetches before the first request, before keys expire, and soon after it failed."""

    def __init__(
        self,
        provider: Any,
        stats: Any,
        client: HttpClient,
        every: Callable[[float, Callable[[], None]], Callable[[], None]],
        failed_refetch_s: float,
    ) -> None:
        """``every`` sets timers (``FactoryContext.every``)."""
        self._provider = provider
        self._stats = stats
        self._client = client
        self._every = every
        self._failed_refetch_s = failed_refetch_s
        self._end_timer: Callable[[], None] | None = None
        self._fetch: Fetch | None = None
        self._first = trio.Event()

    async def first_is_over(self) -> None:
        """Wait until the first attempt has succeeded or failed."""
        await self._first.wait()

    def start(self) -> None:
        """Fetch now."""
        if self._end_timer is not None:
            self._end_timer()
            self._end_timer = None
        self._fetch = Fetch(self._provider.remote, self._stats, self._done)
        self._fetch.start(self._client)

    def close(self) -> None:
        """End it all."""
        if self._end_timer is not None:
            self._end_timer()
        if self._fetch is not None:
            self._fetch.cancel()

    def _done(self, jwks: Jwks | None) -> None:
        wait_s = self._failed_refetch_s
        if jwks is not None:
            self._provider.set_keys(jwks, float("inf"))
            wait_s = self._provider.remote.cache_duration_s
            if wait_s > _AHEAD_S:
                wait_s -= _AHEAD_S
        self._fetch = None
        self._end_timer = self._every(max(wait_s, 0.001), self.start)
        self._first.set()


def expiry(remote: RemoteKeys) -> float:
    """When keys that were just fetched are good no more, on ``time.monotonic``."""
    return monotonic() + remote.cache_duration_s
