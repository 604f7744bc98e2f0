"""OCSP stapling: the responses that are handed out with certificates, and who is refused for want of one.

Envoy's ``OcspResponseWrapper`` and ``DefaultTlsCertificateSelector::ocspStapleAction``.  Signatures are not
looked at, as there: the file is trusted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sidecar.core.dataclass import dataclass

if TYPE_CHECKING:
    from sidecar.net.tls_certificate import Identity
    from sidecar.net.tls_library import Library

from sidecar.net.certificates_library import ocsp, serialization, x509

__all__ = ["LENIENT", "MUST", "STRICT", "OcspStaple", "Stapler", "read_staple"]

#: ``DownstreamTlsContext.OcspStaplePolicy``
LENIENT, STRICT, MUST = range(3)
#: What becomes of a handshake.
_STAPLE, _OMIT, _FAIL = "responses", "omitted", "failed"


@dataclass(frozen=True, slots=True)
class OcspStaple:
    """A response for one certificate."""

    der: bytes
    valid_from: datetime
    #: None for one that is never good.
    expires_at: datetime | None

    def is_good(self) -> bool:
        return self.expires_at is not None and datetime.now(UTC) <= self.expires_at

    def seconds_left(self) -> int:
        if self.expires_at is None:
            return 0
        return max(0, int((self.expires_at - datetime.now(UTC)).total_seconds()))


def read_staple(der: bytes, leaf: x509.Certificate) -> OcspStaple:
    """A response for ``leaf``.  Raises: ValueError, in Envoy's words."""
    try:
        response = ocsp.load_der_ocsp_response(der)
        status = response.response_status
    except ValueError as error:
        raise ValueError(f"OCSP Response is not well-formed: {error}") from error
    if status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
        raise ValueError("OCSP response was unsuccessful")
    found = list(response.responses)
    if len(found) != 1:
        raise ValueError("OCSP Response must be for one certificate only")
    single = found[0]
    if single.serial_number != leaf.serial_number:
        raise ValueError("OCSP response does not match its TLS certificate")
    return OcspStaple(der, single.this_update_utc, single.next_update_utc)


def _must_staple(leaf: x509.Certificate) -> bool:
    """Whether the certificate says that it comes with a response (RFC 7633)."""
    try:
        features = leaf.extensions.get_extension_for_class(x509.TLSFeature).value
    except x509.ExtensionNotFound:
        return False
    return x509.TLSFeatureType.status_request in features


class Stapler:
    """The responses of one server's certificates, and the policy."""

    def __init__(self, identities: Sequence[Identity], policy: int) -> None:
        """Raises: ValueError, in Envoy's words."""
        #: By certificate in DER: its policy, and its response.
        self._by_leaf: dict[bytes, tuple[int, OcspStaple | None]] = {}
        for identity in identities:
            leaf = identity.leaf
            must = _must_staple(leaf)
            staple = None
            if identity.staple:
                staple = read_staple(identity.staple, leaf)
            elif must:
                raise ValueError("OCSP response is required for must-staple certificate")
            elif policy == MUST:
                raise ValueError("Required OCSP response is missing from TLS context")
            self._by_leaf[leaf.public_bytes(serialization.Encoding.DER)] = (MUST if must else policy, staple)
        found = list(self._by_leaf.values())
        self.staples = [staple for _, staple in found if staple is not None]
        #: Of the one certificate that there is; None where OpenSSL chooses.
        self._only = found[0] if len(found) == 1 else None
        #: Counts under ``ssl.``.
        self.count: Callable[[str], None] = _nowhere

    def staple_of(self, leaf: x509.Certificate) -> OcspStaple | None:
        return self._by_leaf[leaf.public_bytes(serialization.Encoding.DER)][1]

    def refuses(self, connection: int, library: Library) -> bool:
        """Whether the client, whose hello is here, is refused.  Called by OpenSSL; it must not raise."""
        if not library.wants_status(connection):
            return False
        self.count("ocsp_staple_requests")
        if self._only is None:
            if not self.staples:
                self.count("ocsp_staple_omitted")
            return False
        action = _action(*self._only)
        self.count(f"ocsp_staple_{action}")
        return action == _FAIL

    def choose(self, leaf: bytes) -> tuple[bool, bytes]:
        """Whether the client is let in, and the response for it; ``leaf`` is what it is shown, in DER."""
        policy, staple = self._only or self._by_leaf.get(leaf, (LENIENT, None))
        action = _action(policy, staple)
        if self._only is None:
            self.count(f"ocsp_staple_{action}")
        return action != _FAIL, staple.der if staple is not None and action == _STAPLE else b""


def _action(policy: int, staple: OcspStaple | None) -> str:
    if staple is not None and staple.is_good():
        return _STAPLE
    is_refused = policy == MUST or (policy == STRICT and staple is not None)
    return _FAIL if is_refused else _OMIT


def _nowhere(name: str) -> None:
    return
