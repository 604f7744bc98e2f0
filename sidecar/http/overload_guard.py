"""A connection manager under the overload manager: what it asks before it begins something.

Without an overload manager nothing here runs: a guard stands in the place of a method of the one connection
manager (or of its router), and looks at one number before it goes on.  Details and counters are Envoy's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from sidecar.api.message import LocalReply
from sidecar.core.errors import RemoteProtocolError
from sidecar.core.overload import LoadShedPoint, Overload
from sidecar.http.connection_manager import ConnectionManager

if TYPE_CHECKING:
    from sidecar.api.stream import Stream

__all__ = ["guard_dispatch", "guard_manager"]

#: What the router answers, which filters see.
_OVERLOADED = LocalReply(503, b"envoy overloaded", details="overload")
#: What ``is_draining`` says where it is the overload manager that wants connections to end.
_FOR_OVERLOAD = 2


def guard_manager(manager: ConnectionManager, overload: Overload) -> None:
    """Let ``manager`` ask ``overload``."""
    manager.overload = overload
    _guard_streams(manager, overload)
    if overload.http_downstream_filter_check is not None:
        router: Any = _GuardedRouter(manager.router, overload.http_downstream_filter_check)
        manager.router = router
    keepalive = overload.disable_http_keepalive
    if keepalive is not None:
        is_draining = manager.is_draining
        draw = keepalive.draw
        manager.is_draining = lambda: is_draining() or (draw() and _FOR_OVERLOAD)


def _guard_streams(manager: ConnectionManager, overload: Overload) -> None:
    """Refuse new streams of ``manager`` under pressure."""
    action, point = overload.stop_accepting_requests, overload.http_connection_manager_decode_headers
    if action is None and point is None:
        return

    def refuses() -> bool:
        return (action is not None and bool(action.value) and action.draw()) or (
            point is not None and bool(point.value) and point.shed()
        )

    manager.refuses = refuses


class _GuardedRouter:
    """The router behind ``http_downstream_filter_check``."""

    def __init__(self, router: Any, point: LoadShedPoint) -> None:
        self._router = router
        self._point = point

    def __getattr__(self, name: str) -> Any:
        return getattr(self._router, name)

    def begin(self, manager: Any, stream: Stream, responder: Any, strand: Any) -> Any:
        router = self._router
        if not self._point.value:
            return router.begin(manager, stream, responder, strand)
        if stream.resolve_route:
            manager.resolve_route(stream)
        route = stream.route
        if route is not None and route.is_forwarding:
            cluster = router.find_cluster(route.cluster_name)
            if cluster is not None and self._point.shed():
                manager.stats.rq_total.value += 1
                manager.stats.rq_overload_local_reply.value += 1
                stream.cluster = cluster
                return _OVERLOADED
        return router.begin(manager, stream, responder, strand)


def guard_dispatch(
    overload: Overload, receive: Callable[[int], Awaitable[bytes]], data: bytes
) -> Callable[[int], Awaitable[bytes]]:
    """``http1_server_abort_dispatch``: what reads HTTP/1 heads; ``data`` was read before.

    Raises: RemoteProtocolError, there and here.
    """
    point = overload.http1_server_abort_dispatch
    if point is None:
        return receive

    def check(data: bytes) -> bytes:
        if data and point.value and point.shed():
            raise RemoteProtocolError("overload", status=500, details="overload")
        return data

    async def guarded(size: int) -> bytes:
        return check(await receive(size))

    check(data)
    return guarded
