"""Options of sockets as a configuration names them (``envoy.config.core.v3.SocketOption``)."""

from __future__ import annotations

import socket
from collections.abc import Iterable

from sidecar.core.dataclass import dataclass

__all__ = ["BOUND", "LISTENING", "PREBIND", "SocketOption", "apply_options", "keepalive_options"]

#: ``SocketOption.SocketState``: when an option is set.
PREBIND, BOUND, LISTENING = range(3)


@dataclass(frozen=True, slots=True)
class SocketOption:
    """One call of ``setsockopt``."""

    level: int
    name: int
    value: int | bytes
    state: int = PREBIND
    #: Of sockets of this family alone; 0 for all.
    family: int = 0


def apply_options(sock: socket.socket, options: Iterable[SocketOption], state: int) -> None:
    """Set the options of a state.  Raises: OSError."""
    for option in options:
        if option.state == state and option.family in (0, sock.family):
            sock.setsockopt(option.level, option.name, option.value)


def keepalive_options(
    probes: int | None, time_s: int | None, interval_s: int | None
) -> tuple[SocketOption, ...]:
    """``TcpKeepalive``: None leaves a number to the system, 0 turns all of it off."""
    if 0 in (probes, time_s, interval_s):
        return ()
    options = [SocketOption(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    for name, value in (
        (socket.TCP_KEEPCNT, probes),
        (socket.TCP_KEEPIDLE, time_s),
        (socket.TCP_KEEPINTVL, interval_s),
    ):
        if value is not None:
            options.append(SocketOption(socket.IPPROTO_TCP, name, value))
    return tuple(options)
