"""The messages of ``envoy.service.ext_proc.v3.ExternalProcessor``: made and read here, and nowhere else.

An edge in the sense of docs/adr/0004 and 0005: what comes in and goes out are plain values.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import field
from functools import cache
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import DecodeError

from sidecar.core.dataclass import dataclass
from sidecar.core.headers import Field
from sidecar.extensions.proc.modes import Mode

__all__ = [
    "PROCESS",
    "Changes",
    "Common",
    "HeaderSet",
    "Immediate",
    "ProcessingRequest",
    "Response",
    "mode_of",
    "response_of",
]

PROCESS = b"/envoy.service.ext_proc.v3.ExternalProcessor/Process"
#: The key of attributes in a message.
_ATTRIBUTES = "envoy.filters.http.ext_proc"


@cache
def _messages() -> Any:
    import sidecar.config.messages  # noqa: F401, I001 - it completes the API's modules
    from envoy.service.ext_proc.v3 import external_processor_pb2

    return external_processor_pb2


# -- what the processor is sent ---------------------------------------------------------------------
class ProcessingRequest:
    """A ProcessingRequest that is being filled in; ``direction`` is ``request`` or ``response``."""

    __slots__ = ("_message",)

    def __init__(self, *, is_observed: bool = False) -> None:
        self._message = _messages().ProcessingRequest(observability_mode=is_observed)

    def set_headers(self, direction: str, fields: Iterable[Field], *, end_of_stream: bool) -> None:
        """A head."""
        part = getattr(self._message, f"{direction}_headers")
        part.end_of_stream = end_of_stream
        part.headers.SetInParent()
        _add_fields(part.headers, fields)

    def set_body(self, direction: str, data: bytes, *, end_of_stream: bool) -> None:
        """A piece of a body, or all of it."""
        part = getattr(self._message, f"{direction}_body")
        part.SetInParent()
        part.body = data
        part.end_of_stream = end_of_stream

    def set_trailers(self, direction: str, fields: Iterable[Field]) -> None:
        """Trailers."""
        part = getattr(self._message, f"{direction}_trailers")
        part.trailers.SetInParent()
        _add_fields(part.trailers, fields)

    def set_metadata(self, metadata: Mapping[str, Any], typed: Mapping[str, bytes]) -> None:
        """Dynamic metadata; typed ones are serialized ``Any`` messages."""
        target = self._message.metadata_context
        target.SetInParent()
        for name, fields in metadata.items():
            json_format.ParseDict(fields, target.filter_metadata[name])
        for name, data in typed.items():
            target.typed_filter_metadata[name].MergeFromString(data)

    def set_attributes(self, attributes: Mapping[str, Any], key: str = _ATTRIBUTES) -> None:
        """What the configuration asks for of the request's properties."""
        json_format.ParseDict(dict(attributes), self._message.attributes[key])

    def set_protocol(self, mode: Mode, *, sends_body_at_once: bool) -> None:
        """How bodies are sent: a part of the first message."""
        protocol = self._message.protocol_config
        protocol.SetInParent()
        protocol.request_body_mode = mode.request_body
        protocol.response_body_mode = mode.response_body
        protocol.send_body_without_waiting_for_header_response = sends_body_at_once

    def serialized(self) -> bytes:
        """The message."""
        data: bytes = self._message.SerializeToString()
        return data

    def json(self) -> bytes:
        """The same as an HTTP service gets it."""
        found = json_format.MessageToDict(self._message, preserving_proto_field_name=True)
        return json.dumps(found, separators=(",", ":")).encode()


def _add_fields(target: Any, fields: Iterable[Field]) -> None:
    for name, value in fields:
        target.headers.add(key=name.decode("latin-1"), raw_value=value)


# -- what it answers ----------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class HeaderSet:
    """One of ``set_headers``: of a value Envoy looks at the bytes alone, of actions at ``append``."""

    name: bytes
    value: bytes
    appends: bool = False


@dataclass(frozen=True, slots=True)
class Changes:
    """A HeaderMutation."""

    to_set: tuple[HeaderSet, ...] = ()
    to_remove: tuple[bytes, ...] = ()
    #: How many entries ``set_headers`` has.
    set_count: int = 0


@dataclass(frozen=True, slots=True)
class Common:
    """A CommonResponse, and what TrailersResponse has of it."""

    replaces: bool = False
    changes: Changes | None = None
    #: ``body_mutation``: whether there is one, the new body (None leaves it), its size as it was sent.
    has_body: bool = False
    body: bytes | None = None
    body_size: int = 0
    #: A piece of FULL_DUPLEX_STREAMED; None for none.
    piece: bytes | None = None
    piece_ends: bool = False
    clear_route_cache: bool = False


@dataclass(frozen=True, slots=True)
class Immediate:
    """An ImmediateResponse."""

    status: int | None = None
    changes: Changes | None = None
    body: bytes = b""
    grpc_status: int | None = None
    details: str = ""


@dataclass(slots=True)
class Response:
    """A ProcessingResponse."""

    #: ``request_headers`` and its kind; empty where there is none.
    kind: str = ""
    common: Common = field(default_factory=Common)
    immediate: Immediate | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    mode_override: Mode | None = None
    #: Seconds; None where no other timeout is asked for.
    timeout_s: float | None = None
    #: The message itself, for who keeps answers.
    message: Any = None


def response_of(data: bytes) -> Response | None:
    """What a ProcessingResponse says; None for bytes that are none."""
    try:
        message = _messages().ProcessingResponse.FromString(data)
    except DecodeError:
        return None
    return _read(message)


def response_of_json(data: bytes) -> Response | None:
    """The same of an HTTP service's answer."""
    message = _messages().ProcessingResponse()
    try:
        json_format.Parse(data, message)
    except (json_format.ParseError, UnicodeDecodeError):
        return None
    return _read(message)


def _read(message: Any) -> Response:
    found = Response(message.WhichOneof("response") or "", message=message)
    if found.kind == "immediate_response":
        found.immediate = _immediate(message.immediate_response)
    elif found.kind.endswith("_trailers"):
        part = getattr(message, found.kind)
        found.common = Common(changes=_changes(part, "header_mutation"))
    elif found.kind in _COMMON:
        found.common = _common(getattr(message, found.kind).response)
    if message.HasField("dynamic_metadata"):
        try:
            found.metadata = json_format.MessageToDict(message.dynamic_metadata)
        except json_format.SerializeToJsonError:  # an infinite number, which JSON has not
            found.metadata = {}
    if message.HasField("mode_override"):
        found.mode_override = mode_of(message.mode_override)
    if message.HasField("override_message_timeout"):
        timeout = message.override_message_timeout
        found.timeout_s = timeout.seconds + timeout.nanos / 1e9
    return found


_COMMON = frozenset(("request_headers", "response_headers", "request_body", "response_body"))


def _common(message: Any) -> Common:
    mutation = message.body_mutation
    which = mutation.WhichOneof("mutation")
    body: bytes | None = None
    if which == "body":
        body = mutation.body
    elif which == "clear_body" and mutation.clear_body:
        body = b""
    is_piece = which == "streamed_response"
    return Common(
        replaces=message.status == 1,
        changes=_changes(message, "header_mutation"),
        has_body=message.HasField("body_mutation"),
        body=body,
        body_size=len(mutation.body),
        piece=mutation.streamed_response.body if is_piece else None,
        piece_ends=is_piece and mutation.streamed_response.end_of_stream,
        clear_route_cache=message.clear_route_cache,
    )


def _changes(message: Any, name: str) -> Changes | None:
    if not message.HasField(name):
        return None
    mutation = getattr(message, name)
    return Changes(
        tuple(
            HeaderSet(each.header.key.encode(), each.header.raw_value, each.append.value)
            for each in mutation.set_headers
            if each.HasField("header")
        ),
        tuple(each.encode() for each in mutation.remove_headers),
        len(mutation.set_headers),
    )


def _immediate(message: Any) -> Immediate:
    return Immediate(
        status=message.status.code if message.HasField("status") else None,
        changes=_changes(message, "headers"),
        body=message.body,
        grpc_status=message.grpc_status.status if message.HasField("grpc_status") else None,
        details=message.details,
    )


def mode_of(message: Any) -> Mode:
    """A ProcessingMode message."""
    return Mode(
        message.request_header_mode,
        message.response_header_mode,
        message.request_body_mode,
        message.response_body_mode,
        message.request_trailer_mode,
        message.response_trailer_mode,
    )
