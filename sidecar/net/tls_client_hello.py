"""Which cipher suite a server takes, where BoringSSL and OpenSSL choose otherwise.

BoringSSL follows its own order for TLS 1.2, but the client's among suites of equal preference
(``[A|B]``) and for all of TLS 1.3.  OpenSSL knows one order for everything; so the order is made for each
client, when its hello has been read and before the suite is chosen.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from sidecar.net.tls_names import CIPHER_IDS, CIPHERSUITE_IDS, CIPHERSUITES

if TYPE_CHECKING:
    from sidecar.net.tls_library import Library

__all__ = ["CipherOrder"]

#: Lists of suites that were seen: a client's is one of few.
_KEPT = 512
_SECLEVEL = "@SECLEVEL=0"


class CipherOrder:
    """The order of one configuration's suites for a client; ``groups`` are those of equal preference."""

    def __init__(self, groups: tuple[tuple[str, ...], ...], library: Library) -> None:
        self._groups = groups
        self._has_equals = any(len(group) > 1 for group in groups)
        self._library = library
        self._orders: dict[bytes, tuple[str, str]] = {}
        self._callbacks: list[object] = []

    def install(self, context: ssl.SSLContext) -> None:
        self._callbacks.append(self._library.set_client_hello(context, self._choose))

    def _choose(self, connection: int) -> None:
        """Called by OpenSSL; it must not raise."""
        offered = self._library.offered_ciphers(connection)
        found = self._orders.get(offered)
        if found is None:
            if len(self._orders) >= _KEPT:
                self._orders.clear()
            found = self._orders[offered] = self.order(offered)
        suites, ciphers = found
        self._library.set_order(connection, suites, ciphers)

    def order(self, offered: bytes) -> tuple[str, str]:
        """For a client's list: suites of TLS 1.3, and the older ones in OpenSSL's syntax (empty: as set)."""
        place = {offered[index : index + 2]: index for index in range(len(offered) - 2, -1, -2)}
        last = len(offered)
        suites = sorted(CIPHERSUITES.split(":"), key=lambda name: place.get(CIPHERSUITE_IDS[name], last))
        if not self._has_equals:
            return ":".join(suites), ""
        ciphers = [
            name
            for group in self._groups
            for name in sorted(group, key=lambda name: place.get(CIPHER_IDS.get(name, b""), last))
        ]
        return ":".join(suites), ":".join([*ciphers, _SECLEVEL])
