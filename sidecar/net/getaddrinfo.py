"""Names resolved by the system's getaddrinfo(3), in a thread: ``envoy.network.dns_resolver.getaddrinfo``.

As Envoy's: an answer, which tells no TTL, is taken for one of a minute, EAI_AGAIN is tried again, a name that
does not exist is an empty answer.
"""

from __future__ import annotations

import socket

import trio

from sidecar.net.dns import DnsAnswer

__all__ = ["GetAddrInfoResolver"]

_TTL_S = 60
_RETRY_S = 0.001
_EMPTY = frozenset({socket.EAI_NONAME, socket.EAI_NODATA})


class GetAddrInfoResolver:
    """A :class:`sidecar.upstream.discovery.Resolver`."""

    def __init__(self, num_retries: int | None = None) -> None:
        """``num_retries`` is how often EAI_AGAIN is tried again; None without end."""
        self._num_retries = num_retries

    async def resolve(self, name: str, family: str) -> DnsAnswer:
        """The addresses of ``name``; a failure is an answer that is not ``ok``."""
        retries = self._num_retries
        while True:
            try:
                found = await trio.socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
                break
            except socket.gaierror as error:
                if error.errno in _EMPTY:
                    return DnsAnswer(ok=True, detail=str(error))
                if error.errno != socket.EAI_AGAIN or retries == 0:
                    return DnsAnswer(ok=False, detail=str(error))
                retries = None if retries is None else retries - 1
                await trio.sleep(_RETRY_S)
        v4 = [str(each[4][0]) for each in found if each[0] == socket.AF_INET]
        v6 = [str(each[4][0]) for each in found if each[0] == socket.AF_INET6]
        chosen = {
            "V4_ONLY": v4,
            "V6_ONLY": v6,
            "V4_PREFERRED": v4 or v6,
            "ALL": [*v4, *v6],
        }.get(family, v6 or v4)
        return DnsAnswer(ok=True, addresses=tuple((ip, _TTL_S) for ip in chosen))
