"""Log operators that read headers, trailers and the path."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote_to_bytes

from sidecar.api.stream import Stream
from sidecar.core.errors import SidecarError
from sidecar.core.headers import HeaderMap
from sidecar.observability.line_template import Attribute, RequestField, ResponseField

__all__ = [
    "grpc_number",
    "grpc_status",
    "path",
    "query_parameter",
    "query_parameters",
    "request_header",
    "request_header_without_query",
    "requested_server_name",
    "response_grpc_number",
    "response_header",
    "response_trailer",
    "truncated",
]

Value = Callable[[Stream], Any]

_HEADER_NAME = re.compile(r":?[A-Za-z0-9!#$%&'*+\-.^_`|~]*")
_ORIGINAL_PATH = b"x-envoy-original-path"
_ORIGINAL_HOST = b"x-envoy-original-host"


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


def truncated(text: str, limit: int | None) -> str:
    """At most ``limit`` bytes of ``text``."""
    if limit is None or (len(text) <= limit and text.isascii()):
        return text
    if text.isascii():
        return text[:limit]
    return text.encode("utf-8", "surrogateescape")[:limit].decode("utf-8", "surrogateescape")


def _names(argument: str) -> tuple[bytes, bytes]:
    """The header to look up, and the one to look up when it is not there (or ``b""``)."""
    names = argument.split("?")
    if len(names) > 2:
        raise SidecarError(f"More than 1 alternative header specified in token: {argument}")
    for name in names:
        if not _HEADER_NAME.fullmatch(name):
            raise SidecarError("Invalid header configuration. Format string contains invalid characters.")
    main, alternative = (*names, "")[:2]
    return main.lower().encode(), alternative.lower().encode()


def _from_map(
    header_map: Callable[[Stream], HeaderMap | None], main: bytes, other: bytes, limit: int | None
) -> Value:
    def read(stream: Stream) -> str | None:
        headers = header_map(stream)
        if headers is None:
            return None
        value = headers.get(main)
        if value is None and other:
            value = headers.get(other)
        return None if value is None else _text(value[:limit])

    return read


#: Names that are attributes of a request's head.
_REQUEST_ATTRIBUTES = {
    b":method": "method",
    b":path": "path",
    b":authority": "authority",
    b":scheme": "scheme",
    b"host": "authority",
}


def request_header(argument: str, limit: int | None) -> Value:
    """``REQ(X?Y):Z``."""
    main, alternative = _names(argument)
    attribute = _REQUEST_ATTRIBUTES.get(main)
    if limit is None and attribute is not None and not alternative:
        return Attribute("request.headers." + attribute)
    if limit is not None or attribute is not None or main[:1] == b":":
        return _from_map(lambda stream: stream.request.headers, main, alternative, limit)
    return RequestField(main, alternative)


def response_header(argument: str, limit: int | None) -> Value:
    """``RESP(X?Y):Z``."""
    main, alternative = _names(argument)
    if limit is not None or main[:1] == b":":
        return _from_map(lambda stream: stream.response_headers, main, alternative, limit)
    return ResponseField(main, alternative)


def response_trailer(argument: str, limit: int | None) -> Value:
    """``TRAILER(X?Y):Z``."""
    return _from_map(lambda stream: stream.response_trailers, *_names(argument), limit)


def request_header_without_query(argument: str, limit: int | None) -> Value:
    """``REQ_WITHOUT_QUERY(X?Y):Z`` of the extension envoy.formatter.req_without_query."""
    read = request_header(argument, None)

    def without_query(stream: Stream) -> str | None:
        value = read(stream)
        return None if value is None else truncated(value.partition("?")[0], limit)

    return without_query


# -- path and query -------------------------------------------------------------------------------
def _original_path(stream: Stream) -> bytes | None:
    return stream.request.headers.get(_ORIGINAL_PATH) or stream.original_path


def path(argument: str, limit: int | None) -> Value:
    """``PATH(WQ|NQ:ORIG|PATH|ORIG_OR_PATH):Z``."""
    words = argument.split(":")
    query = words[0] or "WQ"
    which = words[1] if len(words) > 1 and words[1] else "ORIG_OR_PATH"
    if query not in ("WQ", "NQ"):
        raise SidecarError(f"Invalid PATH option: '{query}', only 'WQ'/'NQ' are allowed")
    if which not in ("ORIG", "PATH", "ORIG_OR_PATH"):
        raise SidecarError(f"Invalid PATH option: '{which}', only 'ORIG'/'PATH'/'ORIG_OR_PATH' are allowed")

    def read(stream: Stream) -> str | None:
        value = None if which == "PATH" else _original_path(stream)
        if value is None and which != "ORIG":
            value = stream.request.headers.path
        if value is None:
            return None
        if query == "NQ":
            value = value.partition(b"?")[0]
        return _text(value[:limit])

    return read


def query_parameter(argument: str, limit: int | None) -> Value:
    """``QUERY_PARAM(NAME):Z``, percent-decoded; of several the first."""
    name = argument.encode()

    def read(stream: Stream) -> str | None:
        query = (stream.request.headers.path or b"").partition(b"?")[2]
        for pair in query.split(b"&"):
            key, _, value = pair.partition(b"=")
            if key == name or unquote_to_bytes(key) == name:
                return _text(unquote_to_bytes(value)[:limit])
        return None

    return read


_ESCAPED_VISIBLE = re.compile(rb"%(2[1-9A-Fa-f]|[3-6][0-9A-Fa-f]|7[0-9A-Ea-e])")


def query_parameters(argument: str, limit: int | None) -> Value:
    """``QUERY_PARAMS(ORIG|DECODED):Z``: the query string; DECODED decodes visible ASCII alone."""
    if argument not in ("", "ORIG", "DECODED"):
        raise SidecarError(f"Invalid QUERY_PARAMS option: '{argument}', only 'ORIG'/'DECODED' are allowed")

    def read(stream: Stream) -> str | None:
        query = (stream.request.headers.path or b"").partition(b"?")[2]
        if not query:
            return None
        if argument == "DECODED":
            query = _ESCAPED_VISIBLE.sub(lambda match: bytes([int(match.group(1), 16)]), query)
        return _text(query[:limit])

    return read


def requested_server_name(argument: str, limit: int | None) -> Value:
    """``REQUESTED_SERVER_NAME(SNI_ONLY|SNI_FIRST|HOST_FIRST:ORIG|HOST|ORIG_OR_HOST)``."""
    words = argument.split(":")
    order = words[0] or "SNI_ONLY"
    which = words[1] if len(words) > 1 and words[1] else "ORIG_OR_HOST"
    if order not in ("SNI_ONLY", "SNI_FIRST", "HOST_FIRST"):
        raise SidecarError(
            f"Invalid REQUESTED_SERVER_NAME option: '{order}', "
            "only 'SNI_ONLY'/'SNI_FIRST'/'HOST_FIRST' are allowed"
        )
    if which not in ("ORIG", "HOST", "ORIG_OR_HOST"):
        raise SidecarError(
            f"Invalid REQUESTED_SERVER_NAME option: '{which}', only 'ORIG_OR_HOST'/'HOST'/'ORIG' are allowed"
        )

    def host(stream: Stream) -> str | None:
        headers = stream.request.headers
        value = None if which == "HOST" else headers.get(_ORIGINAL_HOST)
        if value is None and which != "ORIG":
            value = headers.authority
        return _text(value) if value else None

    def read(stream: Stream) -> str | None:
        name = stream.connection.requested_server_name or None
        if order == "SNI_ONLY":
            return name
        return (name or host(stream)) if order == "SNI_FIRST" else (host(stream) or name)

    return read


# -- gRPC -----------------------------------------------------------------------------------------
_GRPC_CAMEL = (
    "OK", "Canceled", "Unknown", "InvalidArgument", "DeadlineExceeded", "NotFound", "AlreadyExists",
    "PermissionDenied", "ResourceExhausted", "FailedPrecondition", "Aborted", "OutOfRange",
    "Unimplemented", "Internal", "Unavailable", "DataLoss", "Unauthenticated",
)  # fmt: skip
_GRPC_SNAKE = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE",
    "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip
#: What an HTTP status means to a gRPC client (gRPC's http-grpc-status-mapping); everything else Unknown.
_HTTP_TO_GRPC = {400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14}
_INVALID = -1


def grpc_number(stream: Stream) -> int | None:
    """The gRPC status of a gRPC request: trailers, headers, HTTP status; -1 for an unreadable one."""
    content_type = stream.request.headers.get(b"content-type") or b""
    if content_type[:16] != b"application/grpc" or content_type[16:17] not in (b"", b"+", b";"):
        return None
    return response_grpc_number(stream)


def response_grpc_number(stream: Stream) -> int | None:
    """The gRPC status of a response, whatever the request was; None before there is a response."""
    for headers in (stream.response_trailers, stream.response_headers):
        value = None if headers is None else headers.get(b"grpc-status")
        if value is not None:
            return int(value) if value.isdigit() else _INVALID
    if not stream.response_code:
        return None
    return _HTTP_TO_GRPC.get(stream.response_code, 2)


def grpc_status(argument: str, limit: int | None) -> Value:
    """``GRPC_STATUS(CAMEL_STRING|SNAKE_STRING|NUMBER)``."""
    if argument == "NUMBER":
        return grpc_number
    if argument not in ("", "CAMEL_STRING", "SNAKE_STRING"):
        raise SidecarError(
            f"GrpcStatusFormatter only supports CAMEL_STRING, SNAKE_STRING or NUMBER. Got: {argument}"
        )
    names = _GRPC_SNAKE if argument == "SNAKE_STRING" else _GRPC_CAMEL

    def read(stream: Stream) -> str | None:
        number = grpc_number(stream)
        if number is None:
            return None
        return names[number] if 0 <= number < len(names) else str(number)

    return read
