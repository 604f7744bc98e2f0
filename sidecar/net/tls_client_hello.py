"""Which cipher suite a server takes, where BoringSSL and OpenSSL choose otherwise.

BoringSSL follows the client's order in TLS 1.3; in older versions its own, but the client's among suites of
equal preference (``[A|B]``).  OpenSSL knows one order for everything: the client's, unless it is told
otherwise.  So who speaks TLS 1.3 is left alone; for others the server's order is asked for, and made, once
their hello has been read and before the suite is chosen.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from sidecar.net.tls_names import CIPHER_IDS

if TYPE_CHECKING:
    from sidecar.net.tls_library import Library

__all__ = ["CipherOrder"]

#: Lists of suites that were seen: a client's is one of few.
_KEPT = 512
_SECLEVEL = "@SECLEVEL=0"
_TLS_1_3 = b"\x03\x04"


class CipherOrder:
    """The order of one configuration's suites for a client; ``groups`` are those of equal preference.

    ``maximum``: of the versions that the configuration allows.
    """

    def __init__(
        self,
        groups: tuple[tuple[str, ...], ...],
        library: Library,
        maximum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
    ) -> None:
        self._groups = groups
        self._has_equals = any(len(group) > 1 for group in groups)
        self._library = library
        self._has_tls_1_3 = maximum >= ssl.TLSVersion.TLSv1_3
        self._orders: dict[bytes, str] = {}

    def install(self, context: ssl.SSLContext) -> None:
        """Prepare ``context``, whose hellos :meth:`choose` is to be shown."""
        if self._has_tls_1_3:
            # In Python it is set to begin with.
            context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
        else:
            context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE

    def choose(self, connection: int) -> None:
        """Called by OpenSSL; it must not raise."""
        library = self._library
        if self._has_tls_1_3:
            # RFC 8446 §4.2.1: a byte of length, then versions.
            versions = library.offered_versions(connection)
            at = versions.find(_TLS_1_3, 1)
            while at > 0 and not at & 1:
                at = versions.find(_TLS_1_3, at + 1)
            if at > 0:
                return
            library.prefer_server_ciphers(connection)
        if self._has_equals:
            offered = library.offered_ciphers(connection)
            found = self._orders.get(offered)
            if found is None:
                if len(self._orders) >= _KEPT:
                    self._orders.clear()
                found = self._orders[offered] = self.order(offered)
            library.set_ciphers(connection, found)

    def order(self, offered: bytes) -> str:
        """The suites below TLS 1.3 for a client's list, in OpenSSL's syntax."""
        place = {offered[index : index + 2]: index for index in range(len(offered) - 2, -1, -2)}
        last = len(offered)
        ciphers = [
            name
            for group in self._groups
            for name in sorted(group, key=lambda name: place.get(CIPHER_IDS.get(name, b""), last))
        ]
        return ":".join([*ciphers, _SECLEVEL])
