"""What becomes of a request that got no pool of connections (``max_connection_pools``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.api.stream import Flag
from sidecar.core.errors import StreamAborted
from sidecar.http.local_reply import NO_HEALTHY_UPSTREAM
from sidecar.router.try_spans import note_lost_try

if TYPE_CHECKING:
    from sidecar.api.stream import Stream
    from sidecar.core.errors import UpstreamError

__all__ = ["refuse_without_pool"]


def refuse_without_pool(stream: Stream, error: UpstreamError) -> None:
    """Answer as if there were no host, if that is what ``error`` says; nobody tries again.

    Raises: StreamAborted.
    """
    if stream.span is not None:
        note_lost_try(stream, error)
    if not error.flag & Flag.NO_HEALTHY_UPSTREAM:
        return
    stream.cluster.stats.charge_response(503, stream.trees)
    for each in stream.route_counters:
        each.charge_response(503)
    stream.upstream_host = None
    raise StreamAborted(NO_HEALTHY_UPSTREAM) from error
