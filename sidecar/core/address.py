"""Socket addresses: Envoy's text form, and what the socket calls want.

Names are not resolved here (that is :mod:`sidecar.net.dns`); protobuf addresses are read by the
configuration compiler.
"""

from __future__ import annotations

import ipaddress
import socket

from sidecar.core.dataclass import dataclass

__all__ = ["Address", "is_ip", "parse_address", "parse_range", "split_address"]

SockAddr = tuple[str, int] | tuple[str, int, int, int] | str | bytes


@dataclass(frozen=True, slots=True)
class Address:
    """Where a socket is bound or connected.

    ``text`` is Envoy's form: ``127.0.0.1:80``, ``[::1]:80`` or a Unix socket's path (``@name`` for one
    in the abstract namespace).  ``sockaddr`` is what ``socket.connect`` takes.
    """

    text: str
    family: int
    sockaddr: SockAddr

    @classmethod
    def ip(cls, host: str, port: int) -> Address:
        """An address from a literal IP; ``ValueError`` when ``host`` is none."""
        literal, _, zone = host.partition("%")
        ip = ipaddress.ip_address(literal)
        if ip.version == 4:
            return cls(f"{ip}:{port}", socket.AF_INET, (str(ip), port))
        scope = socket.if_nametoindex(zone) if zone and not zone.isdigit() else int(zone or 0)
        return cls(f"[{ip}]:{port}", socket.AF_INET6, (str(ip), port, 0, scope))

    @classmethod
    def pipe(cls, path: str) -> Address:
        """The address of a Unix socket; a leading ``@`` names the abstract namespace."""
        sockaddr: SockAddr = b"\0" + path[1:].encode() if path.startswith("@") else path
        return cls(path, socket.AF_UNIX, sockaddr)

    @classmethod
    def from_sockaddr(cls, family: int, sockaddr: SockAddr) -> Address:
        """The address that ``getsockname`` or ``accept`` gave."""
        return cls(cls.text_of(family, sockaddr), family, sockaddr)

    @staticmethod
    def text_of(family: int, sockaddr: SockAddr) -> str:
        """Its text alone."""
        if family == socket.AF_INET:
            return f"{sockaddr[0]!s}:{sockaddr[1]}"
        if family == socket.AF_INET6:
            host = str(sockaddr[0]).partition("%")[0]
            if host.startswith("::ffff:") and "." in host:
                # An IPv4 peer of a socket for both: Envoy shows it as IPv4.
                return f"{host[7:]}:{sockaddr[1]}"
            return f"[{host}]:{sockaddr[1]}"
        if isinstance(sockaddr, bytes):
            name = sockaddr.decode("utf-8", "replace")
            return "@" + name[1:] if name[:1] == "\0" else name
        return str(sockaddr)

    @property
    def host(self) -> str:
        """The IP without its port; the path of a Unix socket."""
        return str(self.sockaddr[0]) if isinstance(self.sockaddr, tuple) else self.text

    @property
    def port(self) -> int:
        """The port; 0 for a Unix socket."""
        return self.sockaddr[1] if isinstance(self.sockaddr, tuple) else 0


def is_ip(text: str) -> bool:
    """Whether ``text`` is a literal IP address."""
    try:
        ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return True


def parse_address(text: str) -> Address:
    """The inverse of ``Address.text``; ``ValueError`` for anything else than an IP with port or a path."""
    if text.startswith(("/", "@")):
        return Address.pipe(text)
    host, _, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    return Address.ip(host, int(port))


def split_address(text: str) -> tuple[str, int | None]:
    """``(host, port)`` of an ``Address.text``; a Unix socket's path, or what is no address, has no port."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit():
        return text, None
    return host.removeprefix("[").removesuffix("]"), int(port)


def parse_range(prefix: str, length: int) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """A CIDR range; too long a prefix is the whole address.  Raises: ValueError in Envoy's words."""
    try:
        address = ipaddress.ip_address(prefix)
    except ValueError:
        reason = f"invalid ip/mask combo '{prefix}/{length}' (format is <ip>/<# mask bits>)"
        raise ValueError(reason) from None
    return ipaddress.ip_network((address, min(length, address.max_prefixlen)), strict=False)
