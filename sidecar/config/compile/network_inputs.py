"""Inputs of match trees that look at a connection (``extensions.matching.common_inputs.network.v3``).

The data is a connection as :class:`sidecar.core.filter_chain_match.Facts` has it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sidecar.core.address import split_address
from sidecar.core.filter_chain_match import is_local
from sidecar.core.filter_state import bytes_of, field_of
from sidecar.core.matching import Input

__all__ = ["NETWORK_INPUTS", "UDP_INPUTS"]

_NETWORK = "envoy.extensions.matching.common_inputs.network.v3"
_SSL = "envoy.extensions.matching.common_inputs.ssl.v3"


def _ip(field: str) -> Callable[[Any, str], Input[Any]]:
    def take(connection: Any) -> bytes | None:
        host, port = split_address(getattr(connection, field))
        return None if port is None else host.encode()

    return lambda message, path: take


def _port(field: str) -> Callable[[Any, str], Input[Any]]:
    def take(connection: Any) -> bytes | None:
        port = split_address(getattr(connection, field))[1]
        return None if port is None else b"%d" % port

    return lambda message, path: take


def _text(field: str) -> Callable[[Any, str], Input[Any]]:
    def take(connection: Any) -> bytes | None:
        value: str = getattr(connection, field)
        return value.encode() if value else None

    return lambda message, path: take


def _source_type(message: Any, path: str) -> Input[Any]:
    return lambda connection: b"local" if is_local(connection) else None


def _application_protocols(message: Any, path: str) -> Input[Any]:
    """All of them, each in quotes, as Envoy joins them."""

    def take(connection: Any) -> bytes | None:
        names = connection.application_protocols
        return ",".join(f"'{name}'" for name in names).encode() if names else None

    return take


def _filter_state(message: Any, path: str) -> Input[Any]:
    key, field = message.key, message.field

    def take(connection: Any) -> bytes | None:
        state = connection.filter_state
        value = None if state is None else state.get(key)
        return bytes_of(field_of(value, field) if field else value)

    return take


def _peer_names(kind: str) -> Callable[[Any, str], Input[Any]]:
    """Alternative names in the client's certificate, joined; before the handshake there are none."""

    def take(connection: Any) -> bytes | None:
        tls = getattr(connection, "tls", None)
        names = [] if tls is None or tls.peer is None else tls.peer.sans(kind)
        return ",".join(names).encode() if names else None

    return lambda message, path: take


def _peer_subject(message: Any, path: str) -> Input[Any]:
    def take(connection: Any) -> bytes | None:
        tls = getattr(connection, "tls", None)
        subject = "" if tls is None or tls.peer is None else tls.peer.subject
        return subject.encode() or None

    return take


def _absent(message: Any, path: str) -> Input[Any]:
    """What no connection has."""
    return lambda connection: None


NETWORK_INPUTS: dict[str, Callable[[Any, str], Input[Any]]] = {
    f"{_NETWORK}.DestinationIPInput": _ip("local_address"),
    f"{_NETWORK}.DestinationPortInput": _port("local_address"),
    f"{_NETWORK}.SourceIPInput": _ip("remote_address"),
    f"{_NETWORK}.SourcePortInput": _port("remote_address"),
    f"{_NETWORK}.DirectSourceIPInput": _ip("direct_remote_address"),
    f"{_NETWORK}.SourceTypeInput": _source_type,
    f"{_NETWORK}.ServerNameInput": _text("requested_server_name"),
    f"{_NETWORK}.TransportProtocolInput": _text("transport_protocol"),
    f"{_NETWORK}.ApplicationProtocolInput": _application_protocols,
    f"{_NETWORK}.FilterStateInput": _filter_state,
    f"{_NETWORK}.NetworkNamespaceInput": _absent,
    f"{_SSL}.UriSanInput": _peer_names("URI"),
    f"{_SSL}.DnsSanInput": _peer_names("DNS"),
    f"{_SSL}.SubjectInput": _peer_subject,
}
#: Those of them that a datagram has.
UDP_INPUTS = {
    name: NETWORK_INPUTS[name]
    for name in (
        f"{_NETWORK}.DestinationIPInput",
        f"{_NETWORK}.DestinationPortInput",
        f"{_NETWORK}.SourceIPInput",
        f"{_NETWORK}.SourcePortInput",
        f"{_NETWORK}.NetworkNamespaceInput",
    )
}
