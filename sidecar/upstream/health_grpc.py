"""gRPC health checks: ``grpc.health.v1.Health/Check``, and what counts as an answer to it.

https://github.com/grpc/grpc/blob/master/doc/health-checking.md.  Anything else than one message that says
SERVING, and a status of 0 behind it, is a failure as soon as that is known: the rest is not waited for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sidecar.core.dataclass import dataclass
from sidecar.core.headers import RequestHeaders
from sidecar.upstream.health_check import ACTIVE, NETWORK, Outcome
from sidecar.upstream.health_probes import ERRORS, USER_AGENT, CheckContext, PoolSession

if TYPE_CHECKING:
    from sidecar.api.message import ResponseMessage
    from sidecar.net.reactor import Strand
    from sidecar.upstream.host import Host

__all__ = ["AnswerReader", "GrpcProbe"]

_SERVING = 1
#: No answer of a health service comes near it.
_MOST_BYTES = 64 * 1024
_GRPC = b"application/grpc"


@dataclass(frozen=True, slots=True)
class GrpcProbe:
    """``grpc_health_check``."""

    service_name: str = ""
    authority: str = ""
    timeout_s: float = 0.0
    mutate: Callable[[RequestHeaders, Host], None] | None = None
    http2: bool = True

    def connect(self, context: CheckContext, host: Host) -> Any:
        """What asks one host."""
        return _GrpcSession(self, context, host)


class _GrpcSession(PoolSession):
    #: The stream alone is reset.
    closes_when_late = False

    async def ask(self, strand: Strand) -> Outcome:
        """One check."""
        probe = self._probe
        fields = [(b"te", b"trailers"), (b"content-type", _GRPC), USER_AGENT]
        authority = self.authority(probe.authority)
        headers = RequestHeaders(b"POST", b"/grpc.health.v1.Health/Check", authority, self.scheme, fields)
        if probe.mutate is not None:
            probe.mutate(headers, self._host)
        headers.set(b"grpc-timeout", b"%dm" % round(probe.timeout_s * 1000))
        name = probe.service_name.encode()
        message = b"\n" + _varint(len(name)) + name if name else b""
        try:
            frame = b"\0" + len(message).to_bytes(4, "big") + message
            return await self.exchange(headers, frame, self._read) or ACTIVE
        except ERRORS:
            return NETWORK

    async def _read(self, response: ResponseMessage) -> Outcome | None:
        body, headers = response.body, response.headers
        if body is None:
            return ACTIVE  # a status without a message
        content_type = headers.get(b"content-type") or b""
        if headers.status != 200 or not (content_type + b"+").startswith(_GRPC + b"+"):
            return None
        reader = AnswerReader()
        while chunk := await body.receive():
            if not reader.feed(chunk):
                return None
        trailers = body.trailers
        if trailers is None or trailers.get(b"grpc-status") != b"0":
            return ACTIVE
        return Outcome() if reader.is_serving else ACTIVE


class AnswerReader:
    """Takes the frames of an answer; one of them may hold a message."""

    __slots__ = ("_data", "_has_message", "is_serving")

    def __init__(self) -> None:
        self._data = bytearray()
        self._has_message = False
        self.is_serving = False

    def feed(self, data: bytes) -> bool:
        """Whether it may still become a good answer."""
        buffer = self._data
        buffer += data
        while len(buffer) >= 5:
            size = int.from_bytes(buffer[1:5], "big")
            if buffer[0] > 1 or size > _MOST_BYTES:
                return False
            if len(buffer) < 5 + size:
                break
            flags, message = buffer[0], bytes(buffer[5 : 5 + size])
            del buffer[: 5 + size]
            if not size:
                continue
            if self._has_message or flags:
                return False
            self._has_message = True
            status = _status_of(message)
            if status is None:
                return False
            self.is_serving = status == _SERVING
        return True


def _status_of(message: bytes) -> int | None:
    """Field 1 of a ``HealthCheckResponse``, the last one counts; None where the bytes are no message."""
    at, status = 0, 0
    while at < len(message):
        key, at = _read_varint(message, at)
        number, kind = key >> 3, key & 7
        if at < 0 or not number:
            return None
        if kind == 0:
            value, at = _read_varint(message, at)
            if at < 0:
                return None
            if number == 1:
                status = value
        elif kind == 2:
            size, at = _read_varint(message, at)
            if at < 0:
                return None
            at += size
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        else:
            return None
    return status if at == len(message) else None


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    """The number and where it ends; -1 where it does not."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            break
        value |= (data[at] & 127) << shift
        at += 1
        if data[at - 1] < 128:
            return value, at
    return 0, -1


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)
