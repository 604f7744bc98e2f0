"""The messages of ``envoy.service.auth.v3.Authorization/Check``: made and read here, and nowhere else.

An edge in the sense of docs/adr/0004 and 0005: what comes in and goes out are plain values.
"""

from __future__ import annotations

import codecs
import contextlib
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from google.protobuf import json_format
from google.protobuf.message import DecodeError

from sidecar.core.address import split_address
from sidecar.core.headers import Field
from sidecar.extensions.authz.decision import DENIED, ERROR, OK, Decision

if TYPE_CHECKING:
    from sidecar.net.tls_facts import CertificateFacts

__all__ = ["CHECK", "CheckRequest", "decision_of", "sanitized"]

CHECK = b"/envoy.service.auth.v3.Authorization/Check"
_PARTIAL_BODY = b"x-envoy-auth-partial-body"
_DENIED_STATUS = 403


def _replace(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return "!" * (error.end - error.start), error.end


codecs.register_error("sidecar.exclamation", _replace)


def sanitized(value: bytes) -> str:
    """Text of bytes; what is no UTF-8 becomes exclamation marks, as Envoy sends it."""
    return value.decode("utf-8", "sidecar.exclamation")


@cache
def _messages() -> Any:
    import sidecar.config.messages  # noqa: F401, I001 - it completes the API's modules
    from envoy.service.auth.v3 import external_auth_pb2

    return external_auth_pb2


class CheckRequest:
    """A CheckRequest that is being filled in."""

    __slots__ = ("_attributes", "_message")

    def __init__(self) -> None:
        self._message = _messages().CheckRequest()
        self._attributes = self._message.attributes

    def set_peers(
        self,
        connection: Any,
        *,
        service: str = "",
        own_service: str = "",
        include_certificate: bool = False,
        labels: Mapping[str, str] | None = None,
    ) -> None:
        """Both ends of a connection: who speaks from where to where."""
        tls = connection.tls
        source, destination = self._attributes.source, self._attributes.destination
        _set_address(source, connection.remote_address)
        _set_address(destination, connection.local_address)
        if tls is not None:
            peer = tls.peer
            if peer is not None:
                source.principal = _principal(peer)
                if include_certificate:
                    source.certificate = peer.url_encoded_pem
            local = tls.local
            if local is not None:
                destination.principal = _principal(local)
        if service:
            source.service = service
        if own_service:
            destination.service = own_service
        if labels:
            destination.labels.update(labels)

    def set_tls_session(self, connection: Any) -> None:
        """The server name that the client asked for."""
        session = self._attributes.tls_session
        session.SetInParent()
        if connection.requested_server_name:
            session.sni = connection.requested_server_name

    def set_request(self, stream: Any, number: int, received: int) -> None:
        """The request but for its headers; ``number`` tells streams apart."""
        headers = stream.request.headers
        request = self._attributes.request
        seconds = int(stream.start_time)
        request.time.seconds = seconds
        request.time.nanos = int((stream.start_time - seconds) * 1e9)
        http = request.http
        http.id = str(number)
        http.method = sanitized(headers.method or b"")
        http.path = sanitized(headers.path or b"")
        http.host = sanitized(headers.authority or b"")
        http.scheme = sanitized(headers.scheme or b"")
        http.size = received
        http.protocol = stream.protocol

    def set_headers(
        self, fields: Iterable[Field], passes: Callable[[bytes], bool] | None, *, as_bytes: bool
    ) -> None:
        """The headers that the service may see; repeated ones are joined unless they go as bytes."""
        http = self._attributes.request.http
        target = http.headers
        if as_bytes:
            http.header_map.SetInParent()
        for name, value in fields:
            if name == _PARTIAL_BODY or (passes is not None and not passes(name)):
                continue
            if as_bytes:
                http.header_map.headers.add(key=name.decode("latin-1"), raw_value=value)
                continue
            key, text = name.decode("latin-1"), sanitized(value)
            before = target.get(key)
            target[key] = text if before is None else f"{before},{text}"

    def set_body(self, data: bytes, *, is_partial: bool, as_bytes: bool, as_header_bytes: bool) -> None:
        """What there is of the body."""
        http = self._attributes.request.http
        if as_bytes:
            http.raw_body = data
        else:
            http.body = sanitized(data)
        value = "true" if is_partial else "false"
        if as_header_bytes:
            http.header_map.headers.add(key=_PARTIAL_BODY.decode(), raw_value=value.encode())
        else:
            http.headers[_PARTIAL_BODY.decode()] = value

    def set_context(
        self,
        extensions: Mapping[str, str],
        metadata: Mapping[str, Any],
        typed: Mapping[str, bytes],
        route_metadata: Mapping[str, Any],
        route_typed: Mapping[str, bytes],
    ) -> None:
        """What the configuration adds, and metadata; typed metadata are serialized ``Any`` messages."""
        self._attributes.context_extensions.update(extensions)
        self.set_metadata(metadata)
        for name, data in typed.items():
            self._attributes.metadata_context.typed_filter_metadata[name].MergeFromString(data)
        target = self._attributes.route_metadata_context
        target.SetInParent()
        for name, fields in route_metadata.items():
            json_format.ParseDict(fields, target.filter_metadata[name])
        for name, data in route_typed.items():
            target.typed_filter_metadata[name].MergeFromString(data)

    def set_metadata(self, metadata: Mapping[str, Any]) -> None:
        """Dynamic metadata."""
        target = self._attributes.metadata_context
        target.SetInParent()
        for name, fields in metadata.items():
            json_format.ParseDict(fields, target.filter_metadata[name])

    def serialized(self) -> bytes:
        """The message."""
        data: bytes = self._message.SerializeToString()
        return data


def _set_address(peer: Any, text: str) -> None:
    host, port = split_address(text)
    if port is None:
        peer.address.pipe.path = host
    else:
        peer.address.socket_address.address = host
        peer.address.socket_address.port_value = port


def _principal(certificate: CertificateFacts) -> str:
    names = certificate.sans("URI") or certificate.sans("DNS")
    return names[0] if names else certificate.subject


def decision_of(data: bytes) -> Decision:
    """What a CheckResponse says; bytes that are none are an error."""
    try:
        message = _messages().CheckResponse.FromString(data)
    except DecodeError:
        return Decision()
    found = Decision()
    if message.status.code == 0:
        found.verdict = OK
        if message.HasField("ok_response"):
            _read_ok(message.ok_response, found)
    elif message.HasField("error_response"):
        found.verdict = ERROR
        _read_local(message.error_response, found)
    else:
        found.verdict = DENIED
        found.status = _DENIED_STATUS
        if message.HasField("denied_response"):
            _read_local(message.denied_response, found)
    metadata = message.dynamic_metadata
    if message.HasField("ok_response") and message.ok_response.HasField("dynamic_metadata"):
        metadata = message.ok_response.dynamic_metadata
    if metadata.fields:
        with contextlib.suppress(json_format.SerializeToJsonError):  # an infinite number, which JSON has not
            found.metadata = json_format.MessageToDict(metadata)
    return found


def _field(option: Any) -> Field:
    return option.header.key.encode(), option.header.value.encode()


def _read_ok(message: Any, found: Decision) -> None:
    for option in message.headers:
        # Envoy looks at ``append`` alone: nothing else is appended.
        target = found.to_append if option.append.value else found.to_set
        target.append(_field(option))
        if not option.HasField("append") and option.append_action not in _ACTIONS:
            found.saw_invalid_action = True
    groups = (
        found.response_to_add,
        found.response_to_add_if_absent,
        found.response_to_set,
        found.response_to_overwrite,
    )
    for option in message.response_headers_to_add:
        if option.HasField("append"):
            target = found.response_to_add if option.append.value else found.response_to_set
        elif option.append_action in _ACTIONS:
            target = groups[option.append_action]
        else:
            found.saw_invalid_action = True
            continue
        target.append(_field(option))
    found.to_remove = [name.encode() for name in message.headers_to_remove]
    found.query_to_set = [
        (each.key.encode(), each.value.encode()) for each in message.query_parameters_to_set
    ]
    found.query_to_remove = [name.encode() for name in message.query_parameters_to_remove]


_ACTIONS = range(4)


def _read_local(message: Any, found: Decision) -> None:
    for option in message.headers:
        if not option.append.value:  # Envoy leaves out what is to be appended
            found.local_headers.append(_field(option))
    if message.status.code > 0:
        found.status = message.status.code
    found.body = message.body.encode()
