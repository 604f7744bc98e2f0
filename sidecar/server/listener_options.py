"""The options of a listener's sockets, compiled: ``envoy.config.listener.v3.Listener``."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import Any

from sidecar.config.compile.connect_options import compile_socket_options
from sidecar.net.socket_options import LISTENING, SocketOption
from sidecar.server.bind import BindOptions

__all__ = ["compile_admin_bind", "compile_bind_options"]

#: Of Linux; Python has no names for them.
_IP_FREEBIND, _IPV6_FREEBIND = 15, 78
_IP_TRANSPARENT, _IPV6_TRANSPARENT = 19, 75


def compile_bind_options(listener: Any) -> list[BindOptions]:
    """What belongs to each address of a listener, the main one first."""
    own = tuple(compile_socket_options(listener.socket_options))
    shared = tuple(_switches(listener))
    places = [(listener.address, own)]
    for each in listener.additional_addresses:
        options = own
        if each.HasField("socket_options"):
            options = tuple(compile_socket_options(each.socket_options.socket_options))
        places.append((each.address, options))
    return [
        BindOptions(
            address.pipe.mode,
            ipv4_compat=address.socket_address.ipv4_compat,
            is_multipath=listener.enable_mptcp,
            options=(*shared, *options) if address.WhichOneof("address") == "socket_address" else options,
        )
        for address, options in places
    ]


def compile_admin_bind(admin: Any) -> list[BindOptions]:
    """The same for the address of an ``envoy.config.bootstrap.v3.Admin``."""
    address = admin.address
    options = tuple(compile_socket_options(admin.socket_options))
    compat = address.socket_address.ipv4_compat
    return [BindOptions(address.pipe.mode, ipv4_compat=compat, options=options)]


def _switches(listener: Any) -> Iterable[SocketOption]:
    """``transparent``, ``freebind`` and ``tcp_fast_open_queue_length``."""
    for field, four, six in (
        ("transparent", _IP_TRANSPARENT, _IPV6_TRANSPARENT),
        ("freebind", _IP_FREEBIND, _IPV6_FREEBIND),
    ):
        if getattr(listener, field).value:
            yield SocketOption(socket.IPPROTO_IP, four, 1, family=socket.AF_INET)
            yield SocketOption(socket.IPPROTO_IPV6, six, 1, family=socket.AF_INET6)
    if listener.HasField("tcp_fast_open_queue_length"):
        length = listener.tcp_fast_open_queue_length.value
        yield SocketOption(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, length, LISTENING)
