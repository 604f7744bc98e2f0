"""What a connection to a host asks of its transport socket, also where it is not TLS."""

from __future__ import annotations

from dataclasses import field

from sidecar.core.dataclass import dataclass
from sidecar.core.errors import SidecarError

__all__ = ["PLAIN_OPTIONS", "ClientEnds", "PeerOptions", "TlsRefused"]


class TlsRefused(SidecarError):
    """Hands could not be shaken; ``reason`` is Envoy's ``transport_failure_reason``."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason or "the upstream left during the handshake")
        self.reason = reason


@dataclass(frozen=True, slots=True)
class ClientEnds:
    """The two ends of a client's connection, text with a port, and the TLVs that it began with."""

    source: str
    destination: str
    #: They do not tell two of them apart.
    tlvs: tuple[tuple[int, bytes], ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class PeerOptions:
    """What a connection asks for beside its configuration (Envoy's ``TransportSocketOptions``)."""

    #: Offered where the configuration has no ``alpn_protocols``.
    alpn: tuple[str, ...] = ()
    #: In place of the configuration's ``sni``.
    sni: str = ""
    #: What the certificate must be for.
    names: tuple[str, ...] = ()
    #: Whose connection it carries, for transport sockets that tell (:class:`ClientEnds`).
    client: ClientEnds | None = None


PLAIN_OPTIONS = PeerOptions()
