"""Entries of HTTP for a log service, written in protobuf's wire format.

A message that is filled in field by field from Python costs more than everything else that is counted of a
request.  What every entry has is written here instead; the rest is a message of its own whose bytes follow:
what stands in two pieces of one message is one
(https://protobuf.dev/programming-guides/encoding/#last-one-wins).  The numbers of fields are those of
``envoy/data/accesslog/v3/accesslog.proto``.
"""

from __future__ import annotations

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

_BYTES = tuple(bytes((number,)) for number in range(128))
_KEPT = 4096
_S = 1_000_000_000

#: Whole fields by what they say: addresses by field and text, texts that return.
_addresses: dict[tuple[bytes, str], bytes] = {}
_details: dict[str, bytes] = {}
_methods: dict[bytes, bytes] = {}
#: The second that stands in ``start_time`` now, and its bytes.
_second: tuple[int, bytes] = (-1, b"")

#: Headers that are fields of a request's properties.
_REQUEST_HEADERS = (
    (b"\x32", b"user-agent"),
    (b"\x3a", b"referer"),
    (b"\x42", b"x-forwarded-for"),
    (b"\x4a", b"x-request-id"),
    (b"\x52", b"x-envoy-original-path"),
)


def encode_http_entry(stream: Stream, settings: EntrySettings) -> bytes:
    """An ``HTTPAccessLogEntry``."""
    common = _common(stream, settings)
    request = _request(stream, settings)
    response = _response(stream, settings)
    protocol = PROTOCOLS.get(stream.protocol, 0)
    return b"".join(
        (
            b"\x0a", varint(len(common)), common,
            b"\x10" + _BYTES[protocol] if protocol else b"",
            b"\x1a", varint(len(request)), request,
            b"\x22", varint(len(response)), response,
        )
    )  # fmt: skip


def _text(tag: bytes, value: bytes) -> bytes:
    if not value.isascii():
        value = sanitized(value).encode()
    return tag + varint(len(value)) + value if value else b""


def _count(tag: bytes, number: int) -> bytes:
    return tag + varint(number) if number else b""


def _address(tag: bytes, text: str | None) -> bytes:
    if not text:
        return b""
    found = _addresses.get((tag, text))
    if found is None:
        data = address_bytes(text)
        found = tag + varint(len(data)) + data
        if len(_addresses) >= _KEPT:
            _addresses.clear()  # clients come from ever new ports
        _addresses[tag, text] = found
    return found


def _span(tag: bytes, elapsed_ns: int) -> bytes:
    """A ``Duration``."""
    if elapsed_ns < _S:
        data = b"\x10" + varint(elapsed_ns) if elapsed_ns else b""
    else:
        seconds, nanos = divmod(elapsed_ns, _S)
        data = b"\x08" + varint(seconds) + _count(b"\x10", nanos)
    return tag + _BYTES[len(data)] + data


def _start_time(start_time: float) -> bytes:
    global _second
    seconds, nanos = divmod(int(start_time * 1e9), _S)
    known, data = _second
    if known != seconds:
        data = _count(b"\x08", seconds)
        _second = (seconds, data)
    data += _count(b"\x10", nanos)
    return b"\x2a" + _BYTES[len(data)] + data


def _common(stream: Stream, settings: EntrySettings) -> bytes:
    connection: Any = stream.connection
    out = [
        _address(b"\x12", stream.remote_address or connection.remote_address),
        _address(b"\x1a", connection.local_address),
        _address(b"\xa2\x01", connection.direct_remote_address),
        _start_time(stream.start_time),
    ]
    start = stream.first_start_ns or stream.start_ns
    received = stream.request_last_rx_ns
    if received >= start:
        out.append(_span(b"\x32", received - start))
    sent = stream.upstream_first_tx_ns
    if sent >= start:
        out.append(_span(b"\x3a", sent - start))
        sent = stream.upstream_last_tx_ns
        if sent >= start:
            out.append(_span(b"\x42", sent - start))
        first = stream.upstream_first_rx_ns
        if first >= start:
            out.append(_span(b"\x4a", first - start))
        last = stream.upstream_last_rx_ns or (first if is_whole(stream) else 0)
        if last >= start:
            out.append(_span(b"\x52", last - start))
    end = stream.downstream_last_tx_ns
    if end >= start:
        out.append(_span(b"\x5a", end - start))
        out.append(_span(b"\x62", end - start))
    if stream.access_log_type in LAST:
        out.append(_span(b"\xba\x01", (end or time.monotonic_ns()) - start))
    else:
        out.append(b"\xd8\x01\x01")
    host: Any = stream.upstream_host
    if host is not None:
        out.append(_address(b"\x6a", host.address))
        if stream.cluster is not None:
            out.append(_text(b"\x7a", stream.cluster.name.encode()))
    if stream.upstream_local_address:
        out.append(_address(b"\x72", stream.upstream_local_address))
    if stream.upstream_transport_failure:
        out.append(_text(b"\x92\x01", stream.upstream_transport_failure.encode()))
    if connection.transport_failure_reason:
        out.append(_text(b"\xe2\x01", connection.transport_failure_reason.encode()))
    route = stream.route
    if route is not None and route.name:
        out.append(_text(b"\x9a\x01", route.name.encode()))
    if stream.attempt_count:
        out.append(b"\xc0\x01" + varint(stream.attempt_count))
    if stream.connection_termination_details:
        out.append(_text(b"\xca\x01", stream.connection_termination_details.encode()))
    if stream.request_id is not None:
        out.append(_text(b"\xd2\x01", stream.request_id))
    wire = stream.wire
    if wire is not None:
        down, up = wire.down, wire.up
        down.settle()
        up.settle()
        out.append(_count(b"\xe8\x01", down.sent))
        out.append(_count(b"\xf0\x01", down.received))
        out.append(_count(b"\xf8\x01", up.sent))
        out.append(_count(b"\x80\x02", up.received))
    kind = stream.access_log_type
    if kind != "NotSet":
        out.append(b"\x88\x02" + _BYTES[enum_numbers()[1][kind]])
    rare = rare_common(stream, settings)
    if rare:
        out.append(rare)
    return b"".join(out)


def _request(stream: Stream, settings: EntrySettings) -> bytes:
    headers: Any = stream.request.headers
    out = [_count(b"\x60", stream.bytes_received)]
    wire = stream.wire
    if wire is not None:  # settled for the entry's common part
        out.append(_count(b"\x70", wire.up.header_sent))
        out.append(_count(b"\x78", wire.down.header_received))
    if headers.method is not None or len(headers):
        if headers.method is not None:
            out.append(_method(headers.method))
        if headers.scheme is not None:
            out.append(_text(b"\x12", headers.scheme))
        if headers.authority is not None:
            out.append(_text(b"\x1a", headers.authority))
        if headers.path is not None:
            out.append(_text(b"\x2a", headers.path))
        for tag, name in _REQUEST_HEADERS:
            value = headers.get(name)
            if value is not None:
                out.append(_text(tag, value))
        out.append(_count(b"\x58", headers.byte_size()))
        if settings.request_headers:
            out.append(request_headers_bytes(headers, settings.request_headers))
    return b"".join(out)


def _method(method: bytes) -> bytes:
    found = _methods.get(method)
    if found is None:
        found = _count(b"\x08", enum_numbers()[0].get(method.decode("latin-1"), 0))
        if len(_methods) < 64:
            _methods[method] = found
    return found


def _response(stream: Stream, settings: EntrySettings) -> bytes:
    out = [_count(b"\x18", stream.bytes_sent)]
    if stream.response_code:
        code = b"\x08" + varint(stream.response_code)
        out.append(b"\x0a" + _BYTES[len(code)] + code)
    details = stream.details
    found = _details.get(details)
    if found is None:
        found = _text(b"\x32", details_of(stream).encode())
        if len(_details) >= _KEPT:
            _details.clear()
        _details[details] = found
    out.append(found)
    answer = stream.response_headers
    if answer is not None:
        out.append(_count(b"\x10", answer.byte_size()))
    wire = stream.wire
    if wire is not None:
        out.append(_count(b"\x38", wire.up.header_received))
        out.append(_count(b"\x40", wire.down.header_sent))
    if settings.response_headers or settings.response_trailers:
        out.append(response_headers_bytes(stream, settings))
    return b"".join(out)
