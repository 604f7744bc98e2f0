"""Entries of HTTP for a log service, written in protobuf's wire format.

A message that is filled in field by field from Python costs more than everything else that is counted of a
request.  What every entry has is written here instead; the rest is a message of its own whose bytes follow:
what stands in two pieces of one message is one
(https://protobuf.dev/programming-guides/encoding/#last-one-wins).  The numbers of fields are those of
``envoy/data/accesslog/v3/accesslog.proto``.
"""

from __future__ import annotations

import struct
import time
from typing import TYPE_CHECKING, Any

from sidecar.extensions.access_loggers.entry_messages import (
    LAST,
    PROTOCOLS,
    EntrySettings,
    address_bytes,
    details_of,
    enum_numbers,
    rare_common,
    request_headers_bytes,
    response_headers_bytes,
    varint,
)
from sidecar.extensions.authz.check_messages import sanitized
from sidecar.observability.span_tags import is_whole

if TYPE_CHECKING:
    from sidecar.api.stream import Stream

__all__ = ["encode_http_entry"]

#: Numbers below this have their bytes ready.
_READY = 1024
_NUMBERS = tuple(varint(number) for number in range(_READY))
#: What is kept of a kind, and of how many bytes it may be.
_KEPT = 4096
_SHORT = 512
_S = 1_000_000_000
#: Times that four groups of seven bits hold (268 ms).
_SOON = 1 << 28
#: Numbers that two groups hold.
_TWO = 1 << 14

#: Whole fields by what they say: addresses by field and text, what returns by its parts.
_addresses: dict[tuple[bytes, str], bytes] = {}
_downstreams: dict[tuple[str, str, str], bytes] = {}
_upstreams: dict[tuple[str, str, str, str], bytes] = {}
_askers: dict[tuple[bytes | None, bytes | None, bytes | None, bytes | None], bytes] = {}
_answers: dict[tuple[int, str], bytes] = {}
#: The second that stands in ``start_time`` now, and the bytes in front of its nanoseconds.
_second: tuple[int, bytes] = (-1, b"")

#: Headers that are fields of a request's properties, and differ from one request to the next.
_REQUEST_HEADERS = (
    (b"\x3a", b"referer"),
    (b"\x42", b"x-forwarded-for"),
    (b"\x4a", b"x-request-id"),
    (b"\x52", b"x-envoy-original-path"),
)
#: The times of a request that went to an upstream and ended soon: eight ``Duration`` of ``nanos``.
_times = struct.Struct("<" + 7 * "3sI" + "4sI").pack
#: What a stream took on the wire, below ``_TWO`` each.
_sizes = struct.Struct("<" + 4 * "2sH").pack
_LAST_RX, _FIRST_UP_TX, _LAST_UP_TX = b"\x32\x05\x10", b"\x3a\x05\x10", b"\x42\x05\x10"
_FIRST_UP_RX, _LAST_UP_RX = b"\x4a\x05\x10", b"\x52\x05\x10"
_FIRST_TX, _LAST_TX, _DURATION = b"\x5a\x05\x10", b"\x62\x05\x10", b"\xba\x01\x05\x10"


def encode_http_entry(stream: Stream, settings: EntrySettings) -> bytes:
    """An ``HTTPAccessLogEntry``."""
    common = _common(stream, settings)
    request = _request(stream, settings)
    response = _response(stream, settings)
    protocol = PROTOCOLS.get(stream.protocol, 0)
    return b"".join(
        (
            b"\x0a", _number(len(common)), common,
            b"\x10" + _NUMBERS[protocol] if protocol else b"",
            b"\x1a", _number(len(request)), request,
            b"\x22", _number(len(response)), response,
        )
    )  # fmt: skip


def _number(number: int) -> bytes:
    return _NUMBERS[number] if number < _READY else varint(number)


def _text(tag: bytes, value: bytes) -> bytes:
    if not value.isascii():
        value = sanitized(value).encode()
    return tag + _number(len(value)) + value if value else b""


def _count(tag: bytes, number: int) -> bytes:
    return tag + _number(number) if number else b""


def _keep(kept: dict[Any, bytes], key: Any, data: bytes) -> bytes:
    if len(data) <= _SHORT:
        if len(kept) >= _KEPT:
            kept.clear()  # clients come from ever new ports
        kept[key] = data
    return data


def _address(tag: bytes, text: str | None) -> bytes:
    if not text:
        return b""
    found = _addresses.get((tag, text))
    if found is None:
        data = address_bytes(text)
        found = _keep(_addresses, (tag, text), tag + varint(len(data)) + data)
    return found


def _span(tag: bytes, elapsed_ns: int) -> bytes:
    """A ``Duration``."""
    if elapsed_ns < _S:
        data = b"\x10" + varint(elapsed_ns) if elapsed_ns else b""
    else:
        seconds, nanos = divmod(elapsed_ns, _S)
        data = b"\x08" + varint(seconds) + _count(b"\x10", nanos)
    return tag + _NUMBERS[len(data)] + data


def _spread(number: int) -> int:
    """The four bytes of a number below ``_SOON``; those that it does not need are there as well."""
    return (
        number & 0x7F
        | (number & 0x3F80) << 1
        | (number & 0x1FC000) << 2
        | (number & 0xFE00000) << 3
        | 0x808080
    )


def _start_time(start_time: float) -> bytes:
    global _second
    seconds, nanos = divmod(int(start_time * 1e9), _S)
    known, head = _second
    if known != seconds:
        data = _count(b"\x08", seconds)
        head = b"\x2a" + _NUMBERS[len(data) + 6] + data + b"\x10"
        _second = (seconds, head)
    low = nanos & (_SOON - 1)
    return head + (_spread(low) | 0x80000000 | nanos >> 28 << 32).to_bytes(5, "little")


def _common(stream: Stream, settings: EntrySettings) -> bytes:
    connection: Any = stream.connection
    remote: str = stream.remote_address or connection.remote_address
    peers = (remote, connection.local_address, connection.direct_remote_address)
    out = [
        _downstreams.get(peers) or _downstream(peers),
        _start_time(stream.start_time),
        _timing(stream),
    ]
    host: Any = stream.upstream_host
    route = stream.route
    hop = (
        host.address if host is not None else "",
        stream.cluster.name if stream.cluster is not None and host is not None else "",
        stream.upstream_local_address,
        route.name if route is not None else "",
    )
    found = _upstreams.get(hop)
    out.append(_upstream(hop) if found is None else found)
    if stream.upstream_transport_failure:
        out.append(_text(b"\x92\x01", stream.upstream_transport_failure.encode()))
    if connection.transport_failure_reason:
        out.append(_text(b"\xe2\x01", connection.transport_failure_reason.encode()))
    if stream.attempt_count:
        out.append(b"\xc0\x01" + _number(stream.attempt_count))
    if stream.connection_termination_details:
        out.append(_text(b"\xca\x01", stream.connection_termination_details.encode()))
    if stream.request_id is not None:
        out.append(_text(b"\xd2\x01", stream.request_id))
    wire = stream.wire
    if wire is not None:
        down, up = wire.down, wire.up
        down.settle()
        up.settle()
        out.append(_wire(down.sent, down.received, up.sent, up.received))
    kind = stream.access_log_type
    if kind != "NotSet":
        out.append(_KINDS.get(kind) or _kind(kind))
    rare = rare_common(stream, settings)
    if rare:
        out.append(rare)
    return b"".join(out)


#: ``access_log_type`` by its name.
_KINDS: dict[str, bytes] = {}


def _kind(name: str) -> bytes:
    found = _KINDS[name] = b"\x88\x02" + varint(enum_numbers()[1][name])
    return found


def _downstream(peers: tuple[str, str, str]) -> bytes:
    remote, local, direct = peers
    data = _address(b"\x12", remote) + _address(b"\x1a", local) + _address(b"\xa2\x01", direct)
    return _keep(_downstreams, peers, data)


def _upstream(hop: tuple[str, str, str, str]) -> bytes:
    host, cluster, local, route = hop
    data = (
        _address(b"\x6a", host)
        + _text(b"\x7a", cluster.encode())
        + _address(b"\x72", local)
        + _text(b"\x9a\x01", route.encode())
    )
    return _keep(_upstreams, hop, data)


def _timing(stream: Stream) -> bytes:
    """How long after the start of the request each moment was."""
    start = stream.first_start_ns or stream.start_ns
    received = stream.request_last_rx_ns
    first_tx = stream.upstream_first_tx_ns
    last_tx = stream.upstream_last_tx_ns
    first_rx = stream.upstream_first_rx_ns
    last_rx = stream.upstream_last_rx_ns or (first_rx if is_whole(stream) else 0)
    end = stream.downstream_last_tx_ns
    is_last = stream.access_log_type in LAST
    if (
        is_last
        and start <= min(received, first_tx, last_tx, first_rx, last_rx, end)
        and max(received, first_tx, last_tx, first_rx, last_rx, end) < start + _SOON
    ):
        sent = _spread(first_tx - start)
        came = _spread(first_rx - start)
        ended = _spread(end - start)
        return _times(
            _LAST_RX, _spread(received - start),
            _FIRST_UP_TX, sent,
            _LAST_UP_TX, sent if last_tx == first_tx else _spread(last_tx - start),
            _FIRST_UP_RX, came,
            _LAST_UP_RX, came if last_rx == first_rx else _spread(last_rx - start),
            _FIRST_TX, ended,
            _LAST_TX, ended,
            _DURATION, ended,
        )  # fmt: skip
    out = []
    if received >= start:
        out.append(_span(b"\x32", received - start))
    if first_tx >= start:
        out.append(_span(b"\x3a", first_tx - start))
        if last_tx >= start:
            out.append(_span(b"\x42", last_tx - start))
        if first_rx >= start:
            out.append(_span(b"\x4a", first_rx - start))
        if last_rx >= start:
            out.append(_span(b"\x52", last_rx - start))
    if end >= start:
        out += _span(b"\x5a", end - start), _span(b"\x62", end - start)
    if is_last:
        out.append(_span(b"\xba\x01", (end or time.monotonic_ns()) - start))
    else:
        out.append(b"\xd8\x01\x01")
    return b"".join(out)


def _wire(down_sent: int, down_received: int, up_sent: int, up_received: int) -> bytes:
    if max(down_sent, down_received, up_sent, up_received) < _TWO:
        return _sizes(
            b"\xe8\x01", down_sent & 0x7F | down_sent << 1 & 0x7F00 | 0x80,
            b"\xf0\x01", down_received & 0x7F | down_received << 1 & 0x7F00 | 0x80,
            b"\xf8\x01", up_sent & 0x7F | up_sent << 1 & 0x7F00 | 0x80,
            b"\x80\x02", up_received & 0x7F | up_received << 1 & 0x7F00 | 0x80,
        )  # fmt: skip
    return (
        _count(b"\xe8\x01", down_sent)
        + _count(b"\xf0\x01", down_received)
        + _count(b"\xf8\x01", up_sent)
        + _count(b"\x80\x02", up_received)
    )


def _request(stream: Stream, settings: EntrySettings) -> bytes:
    headers: Any = stream.request.headers
    out = [_count(b"\x60", stream.bytes_received)]
    wire = stream.wire
    if wire is not None:  # settled for the entry's common part
        out += _count(b"\x70", wire.up.header_sent), _count(b"\x78", wire.down.header_received)
    if headers.method is None and not len(headers):
        return b"".join(out)
    index = headers.index()
    asker = (headers.method, headers.scheme, headers.authority, headers.get(b"user-agent"))
    found = _askers.get(asker)
    out.append(_asker(asker) if found is None else found)
    if headers.path is not None:
        out.append(_text(b"\x2a", headers.path))
    for tag, name in _REQUEST_HEADERS:
        if name in index:
            out.append(_text(tag, headers.get(name)))
    out.append(_count(b"\x58", headers.byte_size()))
    if settings.request_headers:
        out.append(request_headers_bytes(headers, settings.request_headers))
    return b"".join(out)


def _asker(asker: tuple[bytes | None, bytes | None, bytes | None, bytes | None]) -> bytes:
    method, scheme, authority, agent = asker
    data = b""
    if method is not None:
        data += _count(b"\x08", enum_numbers()[0].get(method.decode("latin-1"), 0))
    if scheme is not None:
        data += _text(b"\x12", scheme)
    if authority is not None:
        data += _text(b"\x1a", authority)
    if agent is not None:
        data += _text(b"\x32", agent)
    return _keep(_askers, asker, data)


def _response(stream: Stream, settings: EntrySettings) -> bytes:
    code, details = stream.response_code, stream.details
    found = _answers.get((code, details))
    out = [_count(b"\x18", stream.bytes_sent), _answer(stream) if found is None else found]
    answer = stream.response_headers
    if answer is not None:
        out.append(_count(b"\x10", answer.byte_size()))
    wire = stream.wire
    if wire is not None:
        out += _count(b"\x38", wire.up.header_received), _count(b"\x40", wire.down.header_sent)
    if settings.response_headers or settings.response_trailers:
        out.append(response_headers_bytes(stream, settings))
    return b"".join(out)


def _answer(stream: Stream) -> bytes:
    code = stream.response_code
    data = _text(b"\x32", details_of(stream).encode())
    if code:
        status = b"\x08" + varint(code)
        data = b"\x0a" + _NUMBERS[len(status)] + status + data
    return _keep(_answers, (code, stream.details), data)
