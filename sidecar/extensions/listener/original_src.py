"""The listener filter that lets upstreams see the client's own address."""

from __future__ import annotations

import socket
from typing import Any

from sidecar.api.listener_filter import DONE, Inspection
from sidecar.core.address import Address, parse_address
from sidecar.upstream.source import UpstreamSource

__all__ = ["OriginalSrc"]


class OriginalSrc:
    """``envoy.filters.listener.original_src``; the port is the system's choice, as in Envoy."""

    #: Connections to upstreams depend on who asks for them.
    chooses_source = True

    def __init__(self, mark: int) -> None:
        self._mark = mark

    def begin(self, connection: Any, sock: socket.socket) -> int | Inspection:
        if sock.family != socket.AF_UNIX:
            # Where the PROXY protocol told another one, that.
            address = Address.ip(parse_address(connection.remote_address).host, 0)
            connection.upstream_source = UpstreamSource(address, self._mark)
        return DONE
