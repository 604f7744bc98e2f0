"""Extensions that find the client's address in a request (envoy.http.original_ip_detection)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sidecar.api.message import LocalReply
from sidecar.core.dataclass import dataclass
from sidecar.http.client_address import Detected, forwarded_address, text_address

if TYPE_CHECKING:
    from sidecar.core.headers import RequestHeaders

__all__ = ["CustomHeaderDetection", "TrustedNetworksDetection", "XffDetection"]


@dataclass(frozen=True, slots=True)
class XffDetection:
    """The address some trusted hops from the right of x-forwarded-for."""

    hops: int
    skip_xff_append: bool

    def detect(self, headers: RequestHeaders, peer: str) -> Detected:
        """A single address, of no hop, may be internal."""
        value = headers.get(b"x-forwarded-for")
        client = None if value is None else forwarded_address(value, self.hops)
        alone = client is not None and not self.hops and b"," not in (value or b"")
        return Detected(client, alone, self.skip_xff_append)


@dataclass(frozen=True, slots=True)
class TrustedNetworksDetection:
    """The first address from the right of x-forwarded-for that is in no trusted network."""

    is_trusted: Callable[[str], bool]
    skip_xff_append: bool

    def detect(self, headers: RequestHeaders, peer: str) -> Detected:
        """Nothing where the peer is not trusted, nor where an entry on the way is no address.

        Where there is one entry alone it may be internal.
        """
        if not self.is_trusted(peer):
            return Detected(None, skip_xff_append=False)
        entries = (headers.get(b"x-forwarded-for") or b"").split(b",")
        client = None
        for entry in reversed(entries):
            client = text_address(entry.strip())
            if client is None or not self.is_trusted(client):
                break
        return Detected(client, len(entries) == 1, self.skip_xff_append)


@dataclass(frozen=True, slots=True)
class CustomHeaderDetection:
    """The address that a header of any name says."""

    header_name: bytes
    is_believed: bool
    rejection: LocalReply | None

    def detect(self, headers: RequestHeaders, peer: str) -> Detected | LocalReply:
        """A request without such an address may be refused."""
        value = headers.get(self.header_name)
        client = None if value is None else text_address(value)
        if client is None and self.rejection is not None:
            return self.rejection
        return Detected(client, self.is_believed, skip_xff_append=True)
