"""Binding the sockets of listeners."""

from __future__ import annotations

import os
import socket

from sidecar.core.address import Address
from sidecar.core.dataclass import dataclass
from sidecar.core.errors import SidecarError
from sidecar.net.socket_options import BOUND, LISTENING, PREBIND, SocketOption, apply_options

__all__ = ["BindError", "BindOptions", "bind", "listen"]

#: ``IPPROTO_MPTCP`` (linux/in.h).
_MPTCP = 262


class BindError(SidecarError):
    """A listener's address cannot be had."""


@dataclass(frozen=True, slots=True)
class BindOptions:
    """What belongs to one address of a listener."""

    #: ``Pipe.mode``: permissions of a Unix socket, 0 for what the umask says.
    mode: int = 0
    #: ``SocketAddress.ipv4_compat``: an IPv6 socket takes IPv4 connections too.
    ipv4_compat: bool = False
    #: ``Listener.enable_mptcp``.
    is_multipath: bool = False
    options: tuple[SocketOption, ...] = ()


def bind(
    address: Address, *, reuse_port: bool, options: BindOptions, kind: int = socket.SOCK_STREAM
) -> socket.socket:
    """A bound, non-blocking socket that does not listen yet.  Raises: BindError."""
    protocol = _MPTCP if options.is_multipath and address.family != socket.AF_UNIX else 0
    try:
        sock = socket.socket(address.family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, protocol)
    except OSError as error:
        raise BindError(f"cannot create a socket for '{address.text}': {error.strerror}") from error
    try:
        if address.family == socket.AF_UNIX:
            if isinstance(address.sockaddr, str) and os.path.exists(address.sockaddr):
                os.unlink(address.sockaddr)
        else:
            if kind == socket.SOCK_STREAM:
                # For datagrams it would let another process take the port over.
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if reuse_port:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if address.family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(not options.ipv4_compat))
        _set(sock, options, PREBIND, address)
        sock.bind(address.sockaddr)
        _set(sock, options, BOUND, address)
        if options.mode and isinstance(address.sockaddr, str):
            os.chmod(address.sockaddr, options.mode)
    except OSError as error:
        sock.close()
        raise BindError(f"cannot bind '{address.text}': {error.strerror}") from error
    except BindError:
        sock.close()
        raise
    return sock


def listen(sock: socket.socket, backlog: int, options: BindOptions) -> None:
    """Let a bound socket listen.  Raises: BindError."""
    sock.listen(backlog)
    if options.options:
        _set(sock, options, LISTENING, Address.from_sockaddr(sock.family, sock.getsockname()))


def _set(sock: socket.socket, options: BindOptions, state: int, address: Address) -> None:
    try:
        apply_options(sock, options.options, state)
    except OSError as error:
        raise BindError(f"cannot set the options of '{address.text}': {error.strerror}") from error
