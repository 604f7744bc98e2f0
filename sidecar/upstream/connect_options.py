"""How a socket of a cluster is prepared before it connects: options, and the address that it comes from."""

from __future__ import annotations

import contextlib
import os
import socket

from sidecar.core.address import Address
from sidecar.core.dataclass import dataclass
from sidecar.net.socket_options import PREBIND, SocketOption, apply_options
from sidecar.upstream.source import UpstreamSource

__all__ = ["BindError", "ConnectOptions", "SourceAddress"]

#: Linux chooses the port when it connects, so that one port serves several destinations.
_IP_BIND_ADDRESS_NO_PORT = 24


class BindError(Exception):
    """The socket cannot have the address."""


@dataclass(frozen=True, slots=True)
class SourceAddress:
    """One address of ``BindConfig``; None is any, with options all the same."""

    address: Address | None
    options: tuple[SocketOption, ...] = ()


@dataclass(frozen=True, slots=True)
class ConnectOptions:
    """``upstream_bind_config`` and ``upstream_connection_options``."""

    #: One, or one for each address family.
    sources: tuple[SourceAddress, ...] = ()
    #: Of every socket (keepalive, freebind).
    options: tuple[SocketOption, ...] = ()
    #: ``happy_eyeballs_config``: the family that comes first (0: that of the first address), and how many
    #: of it at a time.
    first_family: int = 0
    first_count: int = 1

    def prepare(self, sock: socket.socket, target: Address, client: UpstreamSource | None = None) -> None:
        """Set the options and bind: to the address of ``client``, where it is to be seen by the host.

        Raises: OSError from an option, BindError.
        """
        apply_options(sock, self.options, PREBIND)
        address: Address | None = None
        if self.sources:
            source = self._source_for(target)
            apply_options(sock, source.options, PREBIND)
            address = source.address
        if client is not None and target.family != socket.AF_UNIX:
            client.prepare(sock)
            address = client.address
        if address is None or target.family == socket.AF_UNIX:
            return
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
        try:
            sock.bind(address.sockaddr)
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else "Invalid argument"
            raise BindError(f"failed to bind to {address.text}: {reason}") from error

    def _source_for(self, target: Address) -> SourceAddress:
        for source in self.sources:
            if source.address is not None and source.address.family == target.family:
                return source
        return self.sources[0]
