"""Traces of exchanges: ``envoy.data.tap.v3.TraceWrapper``, in the forms that a sink may ask for."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from google.protobuf import json_format, text_format

from sidecar.config.messages import message_class
from sidecar.core.address import split_address

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sidecar.core.headers import Field, HeaderMap

__all__ = ["fill_connection", "fill_headers", "new_trace", "put_body", "render", "stamp"]

#: The order of Envoy's maps.
_PSEUDO = (b":authority", b":path", b":method", b":scheme", b":protocol", b":status")


def new_trace() -> Any:
    """An empty trace."""
    return message_class("envoy.data.tap.v3.TraceWrapper")()  # type: ignore[misc]  # the API has it


def fill_headers(target: Any, headers: HeaderMap) -> None:
    """Add all of ``headers`` to a repeated ``HeaderValue``."""
    for name, value in _ordered(headers):
        target.add(key=_text(name), value=_text(value))


def _ordered(headers: HeaderMap) -> Iterable[Field]:
    fields = list(headers)
    fields.sort(key=lambda field: _PSEUDO.index(field[0]) if field[0] in _PSEUDO else len(_PSEUDO))
    return fields


def put_body(body: Any, data: bytes, limit: int) -> None:
    """Append what of ``data`` a ``Body`` still has room for."""
    held = body.as_bytes
    kept = data[: max(0, limit - len(held))]
    body.as_bytes = held + kept
    if len(kept) < len(data):
        body.truncated = True


def fill_connection(target: Any, local: str, remote: str) -> None:
    """Both addresses of a connection."""
    _fill_address(target.local_address, local)
    _fill_address(target.remote_address, remote)


def _fill_address(target: Any, address: str) -> None:
    host, port = split_address(address)
    if port is None:
        target.pipe.path = address
        return
    target.socket_address.address = host
    target.socket_address.port_value = port


def stamp(target: Any) -> None:
    """Set a ``Timestamp`` to now."""
    target.FromNanoseconds(time.time_ns())


def render(trace: Any, form: str) -> bytes:
    """The bytes of a trace, of one of several in a row where the form allows that."""
    if form.startswith("JSON"):
        if form == "JSON_BODY_AS_STRING":
            _make_text(trace)
        text = json_format.MessageToJson(
            trace,
            always_print_fields_with_no_presence=True,
            preserving_proto_field_name=True,
            indent=1,
            ensure_ascii=False,
        )
        return text.encode() + b"\n"
    if form == "PROTO_TEXT":
        return text_format.MessageToString(trace).encode()
    data: bytes = trace.SerializeToString()
    return _varint(len(data)) + data if form == "PROTO_BINARY_LENGTH_DELIMITED" else data


def _make_text(trace: Any) -> None:
    if trace.WhichOneof("trace") == "http_buffered_trace":
        whole = trace.http_buffered_trace
        holders = [(whole.request, "body"), (whole.response, "body")]
    else:
        segment = trace.http_streamed_trace_segment
        holders = [(segment, "request_body_chunk"), (segment, "response_body_chunk")]
    for holder, name in holders:
        if holder.HasField(name):
            body = getattr(holder, name)
            body.as_string = _text(body.as_bytes)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
