"""Statsd over a connection to a cluster (``StatsdSink.tcp_cluster_name``)."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from sidecar.core.errors import Disconnected, UpstreamError
from sidecar.core.headers import RequestHeaders
from sidecar.router.http_client import PushBody

if TYPE_CHECKING:
    from sidecar.net.reactor import Strand
    from sidecar.router.http_client import HttpClient

__all__ = ["TcpWriter"]

logger = logging.getLogger("sidecar.stats")
#: What may wait for a server that does not read (``MAX_BUFFERED_STATS_BYTES``).
_MOST_BYTES = 16 * 1024 * 1024


class TcpWriter:
    """Sends lines over one connection, which is made when there is something to send."""

    def __init__(self, client: HttpClient, cluster: str, overflow: Any) -> None:
        """``overflow``: the counter ``statsd.cx_overflow``."""
        self._client = client
        self._cluster = cluster
        self._overflow = overflow
        self._queue: PushBody | None = None
        self._strand: Strand | None = None

    def write(self, lines: Iterator[str]) -> None:
        """Send them; where there is no connection to be had they are lost."""
        data = "".join(f"{line}\n" for line in lines).encode()
        if not data:
            return
        queue = self._queue
        if queue is None:
            queue = self._queue = PushBody(self._client.reactor, _MOST_BYTES)
            self._strand = self._client.reactor.spawn("statsd", self._run, on_done=self._over, now=False)
        if not queue.try_push(data):
            self._overflow.value += 1
            self.close()

    async def _run(self, strand: Strand) -> None:
        queue = self._queue
        assert queue is not None
        router: Any = self._client.router
        cluster = router.find_cluster(self._cluster)
        stream = self._client.stream_for(self._cluster, RequestHeaders(b"", b"", b"", b"", []), None)
        host = None if cluster is None else cluster.choose_host(stream)
        if host is None:
            return
        upstream = await router.get_pool(cluster, host, stream, raw=True).wait()
        transport = upstream.transport
        transport.watcher = strand
        is_local = False
        try:
            while data := await queue.receive():
                await transport.send_all(data)
            is_local = True
        finally:
            upstream.end(local=is_local)

    def _over(self, error: BaseException | None) -> None:
        self._queue = self._strand = None
        if error is not None and not isinstance(error, Disconnected | UpstreamError | OSError):
            logger.error("statsd over TCP ended with an error", exc_info=error)

    def close(self) -> None:
        """Give the connection up, and what waits."""
        if self._strand is not None:
            self._strand.fail(Disconnected("statsd is given up"))
