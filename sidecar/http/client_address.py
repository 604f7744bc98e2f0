"""Who the client is: the peer, or what x-forwarded-for or an extension says (``mutateRequestHeaders``).

Called by :mod:`sidecar.http.request_headers` for requests that are not the common one.  Addresses are texts
as in :class:`sidecar.api.stream.ConnectionInfo`; a *client* is an IP without port, or a Unix socket's path.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import TYPE_CHECKING, NamedTuple, Protocol

from sidecar.api.message import LocalReply
from sidecar.http.h1_target import ASSUMED_SCHEME

if TYPE_CHECKING:
    from sidecar.api.stream import Stream
    from sidecar.core.headers import RequestHeaders
    from sidecar.http.connection_manager import ConnectionManager

__all__ = ["Detected", "IpDetection", "forwarded_address", "settle_client", "text_address"]

#: Peers of this very machine (``Network::Utility::isLoopbackAddress``).
_LOOPBACK = frozenset({"127.0.0.1", "::1"})


class Detected(NamedTuple):
    """What an extension found."""

    #: None where it found nothing.
    client: str | None
    #: Whether the request may count as internal for it.
    may_be_internal: bool = False
    #: Whether the peer is left out of x-forwarded-for.
    skip_xff_append: bool = True


class IpDetection(Protocol):
    """One of ``original_ip_detection_extensions``."""

    def detect(self, headers: RequestHeaders, peer: str) -> Detected | LocalReply:
        """Who sent the request that came from ``peer``; a LocalReply refuses it."""
        ...


def _host_of(address: str) -> str:
    """The IP of an address text; the path of a Unix socket as it is."""
    if address.startswith("["):
        return address[1 : address.index("]")]
    host, colon, _ = address.rpartition(":")
    return host if colon else address


def text_address(value: bytes) -> str | None:
    """``value`` where it is an IP address, else None."""
    candidate = value.decode("latin-1")
    try:
        address = ipaddress.ip_address(candidate)
    except ValueError:
        return None
    return candidate if isinstance(address, ipaddress.IPv4Address) else _ipv6_text(address)


def _ipv6_text(address: ipaddress.IPv6Address) -> str | None:
    """An IPv6 address as inet_ntop writes it, a zone as the number of its interface (RFC 4007 §11.2)."""
    ip = socket.inet_ntop(socket.AF_INET6, address.packed)
    zone = address.scope_id
    if zone is None:
        return ip
    if not zone.isdigit():
        if not address.is_link_local:
            return None
        try:
            zone = str(socket.if_nametoindex(zone))
        except OSError:
            return None
    return f"{ip}%{zone}"


def forwarded_address(value: bytes, skip: int) -> str | None:
    """The address ``skip`` places from the right of an x-forwarded-for; None where there is no address."""
    entries = value.rsplit(b",", skip + 1)
    if len(entries) <= skip:
        return None
    return text_address(entries[-1 - skip].strip())


def settle_client(
    manager: ConnectionManager, stream: Stream, headers: RequestHeaders
) -> tuple[str | None, bool] | LocalReply:
    """Set the client's address, x-forwarded-for, -proto and -port.

    Returns the client, and whether nothing stands against its being internal: where one address is forwarded,
    or none to us who look at the peer.
    """
    address = stream.connection.remote_address
    peer = None if address.startswith(("/", "@")) else _host_of(address)
    forwarded = headers.get(b"x-forwarded-for")
    hops = manager.xff_num_trusted_hops
    client: str | None = None
    may_be_internal = forwarded is None
    if manager.use_remote_address:
        if hops and forwarded is not None:
            client = forwarded_address(forwarded, hops - 1)
        if not manager.skip_xff_append:
            _append_peer(manager, headers, peer)
        if hops == 0 or b"x-forwarded-proto" not in headers:
            headers.set(b"x-forwarded-proto", _proto(stream))
        if manager.append_x_forwarded_port and (hops == 0 or b"x-forwarded-port" not in headers):
            _, colon, port = stream.connection.local_address.rpartition(":")
            if colon:
                headers.set(b"x-forwarded-port", port.encode())
    else:
        may_be_internal = False
        if manager.ip_detections:
            for extension in manager.ip_detections:
                found = extension.detect(headers, address if peer is None else peer)
                if isinstance(found, LocalReply):
                    manager.stats.downstream_rq_rejected_via_ip_detection.value += 1
                    return found
                if not found.skip_xff_append:
                    _append_peer(manager, headers, peer)
                if found.client is not None:
                    client, may_be_internal, _ = found
                    break
        elif forwarded is not None:
            client = forwarded_address(forwarded, hops)
            may_be_internal = client is not None and not hops and b"," not in forwarded
        if b"x-forwarded-proto" not in headers:
            headers.add(b"x-forwarded-proto", _proto(stream))
    if headers.scheme is ASSUMED_SCHEME:
        proto = (headers.get(b"x-forwarded-proto") or b"").lower()
        if proto in (b"http", b"https"):
            headers.scheme = proto
    if manager.scheme_to_overwrite is not None:
        headers.scheme = manager.scheme_to_overwrite
        headers.set(b"x-forwarded-proto", manager.scheme_to_overwrite)
    if client is not None:
        stream.remote_address = f"[{client}]:0" if ":" in client else f"{client}:0"
        return client, may_be_internal
    stream.remote_address = address
    return address if peer is None else peer, may_be_internal


def _proto(stream: Stream) -> bytes:
    return b"http" if stream.connection.tls is None else b"https"


def _append_peer(manager: ConnectionManager, headers: RequestHeaders, peer: str | None) -> None:
    if peer is None:
        return
    value = manager.local_address if peer in _LOOPBACK else peer.encode()
    forwarded = headers.get(b"x-forwarded-for")
    headers.set(b"x-forwarded-for", forwarded + b"," + value if forwarded else value)
