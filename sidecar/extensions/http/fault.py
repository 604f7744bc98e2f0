"""The filter ``envoy.filters.http.fault``: delays, aborts and slow answers on purpose."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import field
from random import randrange
from typing import TYPE_CHECKING, Any

from sidecar.api.filters import HttpFilter
from sidecar.api.message import LocalReply
from sidecar.api.stream import Flag
from sidecar.core.dataclass import dataclass
from sidecar.extensions.http.slow_body import SlowBody
from sidecar.net.pause import pause

if TYPE_CHECKING:
    from sidecar.api.stream import Stream
    from sidecar.core.headers import HeaderMap
    from sidecar.core.runtime import Fraction, Number

__all__ = ["Abort", "Delay", "FaultFilter", "FaultSettings", "Percentage", "RateLimit"]

_ABORT_HTTP = b"x-envoy-fault-abort-request"
_ABORT_GRPC = b"x-envoy-fault-abort-grpc-request"
_DELAY = b"x-envoy-fault-delay-request"
_THROUGHPUT = b"x-envoy-fault-throughput-response"
_SERVICE_CLUSTER = b"x-envoy-downstream-service-cluster"
_SERVICE_NODE = b"x-envoy-downstream-service-node"


@dataclass(frozen=True, slots=True)
class Percentage:
    """``envoy.type.v3.FractionalPercent``; where requests may say how much, at most this."""

    numerator: int
    denominator: int
    header: bytes | None = None
    #: What the runtime says instead, while its numerator is not negative.
    share: Fraction | None = None

    def hits(self, headers: HeaderMap) -> bool:
        """Drawn for one request."""
        if self.share is not None and self.share.numerator >= 0:
            return self.share()
        numerator = self.numerator
        if self.header is not None:
            said = _number(headers, self.header)
            if said is not None:
                numerator = min(said, numerator)
        return numerator >= self.denominator or randrange(self.denominator) < numerator  # noqa: S311


@dataclass(frozen=True, slots=True)
class Delay:
    """``FaultDelay``; None leaves the time to the request."""

    fixed_s: float | None
    percentage: Percentage
    #: What the runtime says instead, in milliseconds, or -1.
    runtime_ms: Number | None = None

    def seconds(self, headers: HeaderMap) -> float:
        """How long this request is kept; 0 for not."""
        if self.fixed_s is not None:
            if self.runtime_ms is not None and self.runtime_ms.value >= 0:
                return float(self.runtime_ms.value / 1000)
            return self.fixed_s
        return (_number(headers, _DELAY) or 0) / 1000


@dataclass(frozen=True, slots=True)
class Abort:
    """``FaultAbort``; neither status leaves it to the request."""

    http_status: int | None
    grpc_status: int | None
    percentage: Percentage
    body: bytes = b"fault filter abort"
    #: What the runtime says instead of the status that is set, or -1.
    runtime_status: Number | None = None

    def status(self, headers: HeaderMap) -> tuple[int, int | None] | None:
        """Of HTTP and of gRPC; None where the request asks for nothing that can be."""
        said = self.runtime_status
        if said is not None and said.value >= 0:
            if self.grpc_status is not None:
                return 200, said.value
            if self.http_status is not None and 200 <= said.value < 600:
                return said.value, None
        if self.grpc_status is not None:
            return 200, self.grpc_status
        if self.http_status is not None:
            return self.http_status, None
        asked = _number(headers, _ABORT_HTTP)
        if asked is not None and 200 <= asked < 600:
            return asked, None
        asked = _number(headers, _ABORT_GRPC)
        return None if asked is None else (200, asked)


@dataclass(frozen=True, slots=True)
class RateLimit:
    """``FaultRateLimit``: KiB a second; None leaves it to the request."""

    fixed_kbps: int | None
    percentage: Percentage

    def kbps(self, headers: HeaderMap) -> int | None:
        return self.fixed_kbps if self.fixed_kbps is not None else _number(headers, _THROUGHPUT) or None


@dataclass(frozen=True, slots=True)
class FaultSettings:
    """``envoy.extensions.filters.http.fault.v3.HTTPFault``."""

    delay: Delay | None = None
    abort: Abort | None = None
    rate_limit: RateLimit | None = None
    upstream_cluster: str = ""
    headers: tuple[Callable[[HeaderMap], bool], ...] = ()
    downstream_nodes: frozenset[bytes] = frozenset()
    max_active_faults: Number | None = None
    disable_downstream_cluster_stats: bool = False
    filter_metadata: dict[str, Any] = field(default_factory=dict)
    #: Headers of which a request has to have one for any fault; None where some faults need none.
    triggers: frozenset[bytes] | None = field(init=False)

    def __post_init__(self) -> None:
        needed: set[bytes] = set()
        fixed = False
        if self.rate_limit is not None:
            needed.add(_THROUGHPUT)
            fixed = self.rate_limit.fixed_kbps is not None
        if self.delay is not None:
            needed.add(_DELAY)
            fixed |= self.delay.fixed_s is not None
        if self.abort is not None:
            needed.update((_ABORT_HTTP, _ABORT_GRPC))
            fixed |= self.abort.http_status is not None or self.abort.grpc_status is not None
        object.__setattr__(self, "triggers", None if fixed else frozenset(needed))

    def concern(self, headers: HeaderMap, route: Any) -> bool:
        """Whether this request is one of those that are meant."""
        if self.upstream_cluster and (
            route is None or not route.is_forwarding or route.cluster_name != self.upstream_cluster
        ):
            return False
        if self.downstream_nodes and headers.get(_SERVICE_NODE) not in self.downstream_nodes:
            return False
        return not self.headers or all(matches(headers) for matches in self.headers)


class FaultFilter(HttpFilter):
    """Keeps, aborts and slows what the settings say."""

    uses_trio = False

    def __init__(self, settings: FaultSettings, stats: Any) -> None:
        """``stats``: the scope ``http.<prefix>.fault.``."""
        self._settings = settings
        self._stats = stats
        self._aborts = stats.counter("aborts_injected")
        self._delays = stats.counter("delays_injected")
        self._slowed = stats.counter("response_rl_injected")
        self._overflow = stats.counter("faults_overflow")
        self._active = stats.gauge("active_faults")

    def decode_headers(self, stream: Stream) -> LocalReply | Awaitable[LocalReply | None] | None:
        route = stream.find_route() if stream.resolve_route else stream.route
        settings = self._settings
        if route is not None and route.per_filter_config:
            settings = route.per_filter_config.get(self.config_name, settings)
        most = settings.max_active_faults
        if most is not None and self._active.value >= most.value:
            self._overflow.value += 1
            return None
        headers = stream.request.headers
        triggers = settings.triggers
        if triggers is not None and triggers.isdisjoint(headers.index()):
            return None
        if not settings.concern(headers, route):
            return None
        limit = settings.rate_limit
        if limit is not None:
            kbps = limit.kbps(headers)
            if kbps is not None and limit.percentage.hits(headers):
                self._begin(stream)
                self._slowed.value += 1
                stream.set_slot(self.slot, kbps)
        delay = settings.delay
        if delay is not None:
            # What most requests ask nothing of is looked for before the dice are thrown.
            seconds = delay.seconds(headers)
            if seconds > 0 and delay.percentage.hits(headers):
                self._begin(stream)
                self._count(stream, self._delays, "delays_injected", settings)
                stream.flags |= Flag.DELAY_INJECTED
                return self._delay(stream, seconds, settings)
        return self._abort(stream, settings)

    def encode_headers(self, stream: Stream) -> LocalReply | Awaitable[LocalReply | None] | None:
        slots = stream.slots
        if slots is None:
            return None
        kbps = slots[self.slot]
        response = stream.response
        if kbps and response is not None and response.body is not None:
            response.body = SlowBody(response.body, kbps * 1024)
        return None

    def on_complete(self, stream: Stream) -> None:
        slots = stream.slots
        if slots is not None and slots[self.slot] is not None:
            self._active.dec()

    async def _delay(self, stream: Stream, seconds: float, settings: FaultSettings) -> LocalReply | None:
        await pause(seconds)
        return self._abort(stream, settings)

    def _abort(self, stream: Stream, settings: FaultSettings) -> LocalReply | None:
        abort = settings.abort
        headers = stream.request.headers
        if abort is None:
            return None
        status = abort.status(headers)
        if status is None or not abort.percentage.hits(headers):
            return None
        self._begin(stream)
        self._count(stream, self._aborts, "aborts_injected", settings)
        return LocalReply(
            status[0],
            abort.body,
            details="fault_filter_abort",
            flag=Flag.FAULT_INJECTED,
            grpc_status=status[1],
        )

    def _begin(self, stream: Stream) -> None:
        """Several faults of a request count as one."""
        if stream.get_slot(self.slot) is None:
            stream.set_slot(self.slot, 0)
            self._active.inc()

    def _count(self, stream: Stream, counter: Any, name: str, settings: FaultSettings) -> None:
        stream.metadata_namespace(self.config_name).update(settings.filter_metadata)
        counter.value += 1
        if not settings.disable_downstream_cluster_stats:
            cluster = stream.request.headers.get(_SERVICE_CLUSTER)
            if cluster:
                self._stats.counter(f"{cluster.decode('latin-1')}.{name}").value += 1


def _number(headers: HeaderMap, name: bytes) -> int | None:
    value = headers.get(name)
    return int(value) if value and value.isdigit() else None
