"""HTTP calls of Wasm plugins, made by the proxy's own client (``wasm_abi.CalloutHost``).

A call goes to a cluster by its name and is told to the plugin when it is over.  As in Envoy a failure before
the answer has begun is an answer of the proxy's own (503, 504), as any client would get; only an answer that
breaks off is told as none.  Those of gRPC are :mod:`sidecar.extensions.http.wasm_grpc`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from sidecar.api.message import FixedBody, LocalReply
from sidecar.core.errors import DeadlineExceeded, UpstreamError
from sidecar.core.headers import RequestHeaders
from sidecar.extensions.http.header_edits import invalid_field
from sidecar.http.local_reply import reply_for
from sidecar.router.hash_policy import by_header
from sidecar.router.route import Route
from wasm_abi import Status, WasmError

if TYPE_CHECKING:
    from sidecar.extensions.http.wasm_grpc import GrpcCalls
    from sidecar.router.http_client import HttpCall, HttpClient
    from wasm_abi import Callouts

__all__ = ["PluginCalls"]

Pairs = Sequence[tuple[bytes, bytes]]

#: Routes that are kept, one for a cluster and a timeout.
_KEPT_ROUTES = 64


class PluginCalls:
    """The calls of one plugin that are under way."""

    def __init__(
        self,
        get_client: Callable[[], HttpClient],
        find_cluster: Callable[[str], Any],
        grpc: GrpcCalls,
        report: Callable[[str, WasmError], None],
    ) -> None:
        self.grpc = grpc
        self._get_client = get_client
        self._find_cluster = find_cluster
        self._report = report
        self._calls: dict[int, HttpCall] = {}
        self._routes: dict[tuple[str, int], Route] = {}
        #: Whom to tell of HTTP calls.
        self.told: Callouts | None = None

    def tell(self, told: Callouts) -> None:
        """The plugin is made: it is told of what its calls come to."""
        self.told = self.grpc.told = told

    # -- wasm_abi.CalloutHost -----------------------------------------------------------------------
    def http_call(
        self, call: int, upstream: bytes, headers: Pairs, body: bytes, trailers: Pairs, timeout_ms: int
    ) -> Status:
        cluster = upstream.decode("utf-8", "surrogateescape")
        if self._find_cluster(cluster) is None or any(invalid_field(*pair) for pair in (*headers, *trailers)):
            return Status.BAD_ARGUMENT
        request = _request_headers(headers)
        content: FixedBody | None = None
        if body:
            request.replace(b"content-length", str(len(body)).encode())
            content = FixedBody(body)  # Envoy's client does not send trailers
        said = request.get(b"x-forwarded-for")
        started = self._get_client().call(cluster, request, content)
        # Envoy does not say for whom the call is made.
        if said is None:
            request.remove(b"x-forwarded-for")
        else:
            request.replace(b"x-forwarded-for", said)
        started.stream.route = self._route(cluster, timeout_ms)
        self._calls[call] = started
        started.on_done = lambda done: self._over(call, done)
        started.start(now=True)
        if started.is_done and started.response is not None:
            # No host, or too many requests: as in Envoy the call was not made, and nothing is told of it.
            return Status.INTERNAL_FAILURE
        return Status.OK

    def grpc_call(
        self,
        call: int,
        upstream: bytes,
        service: bytes,
        method: bytes,
        metadata: Pairs,
        message: bytes,
        timeout_ms: int,
    ) -> Status:
        return self.grpc.call(call, upstream, b"/%b/%b" % (service, method), metadata, message, timeout_ms)

    def grpc_stream(
        self, call: int, upstream: bytes, service: bytes, method: bytes, metadata: Pairs
    ) -> Status:
        return self.grpc.stream(call, upstream, b"/%b/%b" % (service, method), metadata)

    def grpc_send(self, call: int, message: bytes, end_of_stream: bool) -> None:
        self.grpc.send(call, message, end_of_stream=end_of_stream)

    def grpc_close(self, call: int) -> None:
        self.grpc.close(call)

    def cancel_call(self, call: int) -> None:
        self.grpc.cancel(call)
        under_way = self._calls.pop(call, None)
        if under_way is not None:
            under_way.on_done = None
            under_way.cancel()

    # -- what comes of them ---------------------------------------------------------------------------
    def _over(self, number: int, call: HttpCall) -> None:
        told = self.told
        if self._calls.pop(number, None) is None or told is None:
            return
        answer = _answer(call)
        try:
            if answer is None:
                told.on_http_response(number, None)
            else:
                told.on_http_response(number, *answer)
        except WasmError as error:
            self._report("in proxy_on_http_call_response", error)

    def _route(self, cluster: str, timeout_ms: int) -> Route:
        route = self._routes.get((cluster, timeout_ms))
        if route is None:
            route = Route()
            route.cluster_name = cluster
            route.timeout_s = timeout_ms / 1000
            route.hash_policy = by_header(b":authority", None)
            route.freeze()
            if len(self._routes) < _KEPT_ROUTES:
                self._routes[cluster, timeout_ms] = route
        return route


def _request_headers(pairs: Pairs) -> RequestHeaders:
    request = RequestHeaders(scheme=b"http")
    for name, value in pairs:
        request.append(name, value)
    return request


def _answer(call: HttpCall) -> tuple[list[tuple[bytes, bytes]], bytes, list[tuple[bytes, bytes]]] | None:
    """Headers, body and trailers of what came back; None where it broke off."""
    response, error = call.response, call.error
    if response is not None:
        if call.stream.upstream_first_rx_ns:
            trailers = [] if response.trailers is None else list(response.trailers)
            return list(response.headers), response.body, trailers
        return _own_answer(response.headers.status, response.body, [])
    if isinstance(error, UpstreamError | DeadlineExceeded) and call.stream.response is None:
        reply: LocalReply = reply_for(error, call.stream)
        return _own_answer(reply.status, reply.body, reply.headers)
    return None


def _own_answer(
    status: int, body: bytes, headers: Pairs
) -> tuple[list[tuple[bytes, bytes]], bytes, list[tuple[bytes, bytes]]]:
    fields = [(b":status", str(status).encode()), *headers]
    if body:
        fields += [(b"content-length", str(len(body)).encode()), (b"content-type", b"text/plain")]
    return fields, body, []
