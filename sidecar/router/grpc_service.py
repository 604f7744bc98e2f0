"""Where calls of gRPC go, and what each of them carries (envoy.config.core.v3.GrpcService), compiled."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sidecar.core.dataclass import dataclass
from sidecar.core.headers import RequestHeaders
from sidecar.router.timeouts import set_grpc_timeout

if TYPE_CHECKING:
    from sidecar.router.retry_policy import RetryPolicy

__all__ = ["DEFAULT_MESSAGE_LIMIT", "Channel", "ChannelStats", "GrpcService", "InitialMetadata"]

#: The longest message that is taken where ``max_receive_message_length`` says nothing; Envoy then has no
#: limit but the 4 GiB of the framing (docs/envoy-differences.md).
DEFAULT_MESSAGE_LIMIT = 64 * 1024 * 1024
#: ``grpc::StatusCode``, all that are known.
_CODES = 17


@dataclass(frozen=True, slots=True)
class InitialMetadata:
    """One of ``initial_metadata``."""

    name: bytes
    #: The value, or what makes it of the stream that the call is for.
    value: bytes | Callable[[Any], bytes]
    #: What stands there where the call is for no stream.
    text: bytes


class ChannelStats:
    """``grpc.<stat_prefix>.`` of a ``google_grpc``."""

    def __init__(self, scope: Any) -> None:
        self.total = scope.counter("streams_total")
        self._closed = [scope.counter(f"streams_closed_{code}") for code in range(_CODES)]

    def closed(self, code: int) -> None:
        """A call ended with a status."""
        if code < _CODES:
            self._closed[code].value += 1


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Channel:
    """Where a ``google_grpc`` leads: a cluster that only this client knows.

    It is closed when nobody has it any more: who makes calls has it through the service, and keeps that.
    """

    client: Any
    cluster: str
    authority: bytes
    is_secure: bool
    stats: ChannelStats

    def count_closed(self, code: int) -> None:
        """A call ended with a status: until then it has the channel."""
        self.stats.closed(code)


@dataclass(frozen=True, slots=True)
class GrpcService:
    """A service behind one of the clusters (``envoy_grpc``), or on a channel of its own (``google_grpc``)."""

    cluster: str
    #: Empty for the cluster's name.
    authority: bytes = b""
    #: 0 for none.
    timeout_s: float = 0.0
    initial_metadata: tuple[InitialMetadata, ...] = ()
    retry_policy: RetryPolicy | None = None
    max_receive_message_length: int = DEFAULT_MESSAGE_LIMIT
    skip_envoy_headers: bool = False
    channel: Channel | None = None

    def head(self, path: bytes, timeout_s: float, stream: Any) -> RequestHeaders:
        """The head of a call; ``stream`` is the request that it is made for, or None."""
        headers = RequestHeaders(b"POST", path, self.authority or self.cluster.encode(), self._scheme())
        headers.append(b"te", b"trailers")
        if timeout_s:
            set_grpc_timeout(headers, timeout_s)
        headers.append(b"content-type", b"application/grpc")
        for each in self.initial_metadata:
            value = each.value
            if not isinstance(value, bytes):
                value = each.text if stream is None else value(stream)
            if value:
                headers.replace(each.name, _encoded(each.name, value))
        return headers

    def _scheme(self) -> bytes:
        return b"https" if self.channel is not None and self.channel.is_secure else b"http"


def _encoded(name: bytes, value: bytes) -> bytes:
    """Binary metadata is base64 on the wire; Envoy pads it."""
    return b64encode(value) if name.endswith(b"-bin") else value
