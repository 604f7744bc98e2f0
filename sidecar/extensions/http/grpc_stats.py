"""The filter ``envoy.filters.http.grpc_stats``: calls of gRPC and their messages, counted by the cluster."""

from __future__ import annotations

import time
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from sidecar.api.filters import HttpFilter
from sidecar.observability.metadata_operators import StateMessage

if TYPE_CHECKING:
    from sidecar.api.message import LocalReply
    from sidecar.api.stream import Stream
    from sidecar.core.headers import HeaderMap

__all__ = ["Frames", "GrpcStatsFilter"]

_STATE = "envoy.filters.http.grpc_stats"
_GRPC = b"application/grpc"
_HEAD_BYTES = 5


class Frames:
    """Counts messages by their heads: a message counts with its first byte."""

    __slots__ = ("_head", "_skip", "count")

    def __init__(self) -> None:
        self.count = 0
        self._head = b""
        self._skip = 0

    def feed(self, data: bytes) -> int:
        """How many messages begin in ``data``."""
        before = self.count
        at = 0
        size = len(data)
        while at < size:
            if self._skip:
                step = min(self._skip, size - at)
                self._skip -= step
                at += step
                continue
            if not self._head:
                self.count += 1
            taken = data[at : at + _HEAD_BYTES - len(self._head)]
            self._head += taken
            at += len(taken)
            if len(self._head) == _HEAD_BYTES:
                self._skip = int.from_bytes(self._head[1:], "big")
                self._head = b""
        return self.count - before


class _Call:
    """What is counted of one call."""

    __slots__ = ("filter", "prefix", "request", "response", "scope", "state", "stream")

    def __init__(self, owner: GrpcStatsFilter, stream: Stream, scope: Any, prefix: str | None) -> None:
        self.filter = owner
        self.stream = stream
        self.scope = scope
        #: Of its stats; None where it is not counted.
        self.prefix = prefix
        self.request = Frames()
        self.response = Frames()
        self.state: StateMessage | None = None

    def count(self, name: str, by: int = 1) -> None:
        if self.prefix is not None:
            self.scope.counter(f"{self.prefix}{name}").value += by

    def status(self, headers: HeaderMap) -> None:
        """The status of the call, where ``headers`` say it."""
        status = headers.get(b"grpc-status")
        if status is not None:
            self.count(status.decode("latin-1"))
            self.count("success" if status == b"0" else "failure")
            self.count("total")

    def over(self) -> None:
        """The response has ended."""
        sent_ns = self.stream.upstream_last_tx_ns
        if self.filter.measures and self.prefix is not None and sent_ns:
            elapsed_ms = (time.monotonic_ns() - sent_ns) // 1_000_000
            self.scope.histogram(f"{self.prefix}upstream_rq_time", "milliseconds").record(elapsed_ms)

    def show(self) -> None:
        """Tell the filter state how many messages there were."""
        if not self.filter.emits_state:
            return
        requests, responses = self.request.count, self.response.count
        fields = {"requestMessageCount": str(requests), "responseMessageCount": str(responses)}
        shown = {name: number for name, number in fields.items() if number != "0"}
        state = StateMessage(shown, plain=f"{requests},{responses}")
        if self.stream.filter_state is None:
            self.stream.filter_state = {}
        self.stream.filter_state[_STATE] = state


class _RequestStage:
    __slots__ = ("_call",)

    def __init__(self, call: _Call) -> None:
        self._call = call

    def push(self, data: bytes, end_stream: bool) -> bytes:
        begun = self._call.request.feed(data)
        if begun:
            self._call.show()
            self._call.count("request_message_count", begun)
        return data

    def end(self, trailers: HeaderMap) -> bytes:
        return b""


class _ResponseStage:
    __slots__ = ("_call", "_is_grpc")

    def __init__(self, call: _Call, *, is_grpc: bool) -> None:
        self._call = call
        self._is_grpc = is_grpc

    def push(self, data: bytes, end_stream: bool) -> bytes:
        begun = self._call.response.feed(data) if self._is_grpc else 0
        if begun:
            self._call.show()
            self._call.count("response_message_count", begun)
        return data

    def end(self, trailers: HeaderMap) -> bytes:
        self._call.status(trailers)
        self._call.over()
        return b""


class GrpcStatsFilter(HttpFilter):
    """``methods``: those that have stats of their own, all of them, or none but in one."""

    uses_trio = False

    def __init__(
        self,
        methods: frozenset[tuple[str, str]] | None,
        *,
        emits_state: bool,
        measures: bool,
        replaces_dots: bool,
    ) -> None:
        """None for ``methods``: all of them."""
        self._methods = methods
        self.emits_state = emits_state
        self.measures = measures
        self._replaces_dots = replaces_dots

    def decode_headers(self, stream: Stream) -> LocalReply | Awaitable[LocalReply | None] | None:
        headers = stream.request.headers
        if not _is_grpc(headers):
            return None
        route = stream.find_route()
        cluster = None
        if route is not None and route.cluster_name:
            cluster = stream.hcm.router.find_cluster(route.cluster_name)
        prefix = None if cluster is None else self._prefix(headers.path or b"")
        call = _Call(self, stream, None if cluster is None else cluster.stats.scope, prefix)
        stream.set_slot(self.slot, call)
        stream.request.pipe_body(_RequestStage(call))
        return None

    def encode_headers(self, stream: Stream) -> LocalReply | Awaitable[LocalReply | None] | None:
        call: _Call | None = stream.get_slot(self.slot)
        response = stream.response
        if response is None:
            return None
        is_grpc = response.headers.status == 200 and _is_grpc(response.headers)
        if call is None:
            if not is_grpc or not self.emits_state:
                return None
            call = _Call(self, stream, None, None)  # answers are told of, whatever was asked
        call.status(response.headers)
        if response.end_stream:
            call.over()
        else:
            response.pipe_body(_ResponseStage(call, is_grpc=is_grpc))
        return None

    def _prefix(self, path: bytes) -> str | None:
        """Of the stats of a path; None for one that is no method."""
        parts = path.partition(b"?")[0].decode("latin-1").split("/")
        if len(parts) != 3 or parts[0]:
            return None
        service, method = parts[1:]
        if self._methods is None:
            if self._replaces_dots:
                service = service.replace(".", "_")
            return f"grpc.{service}.{method}."
        return f"grpc.{service}.{method}." if (service, method) in self._methods else "grpc."


def _is_grpc(headers: HeaderMap) -> bool:
    kind = headers.get(b"content-type") or b""
    return kind.startswith(_GRPC) and kind[len(_GRPC) : len(_GRPC) + 1] in (b"", b"+", b";")
