"""Where an issuer's keys are, as it says itself (OpenID Connect Discovery 1.0, RFC 8414).  Envoy has none.

The document is only believed if its ``issuer`` is the provider's, to the letter (4.3), and if its
``jwks_uri`` is on the server that the configuration names for keys: a document must not choose whom we ask.
"""

from __future__ import annotations

import logging
import re
from typing import Any

from sidecar.core.dataclass import dataclass
from sidecar.extensions.jwt.claims import parse_object

__all__ = ["Discovery"]

logger = logging.getLogger("sidecar.jwt")

_URI = re.compile(r"([A-Za-z]+)://([^/?#@]+)(/[!-~]*)")


@dataclass(frozen=True, slots=True)
class Discovery:
    """The document of one provider."""

    issuer: str
    cluster: str
    authority: bytes
    path: bytes
    scheme: bytes
    timeout_s: float

    def keys_path(self, document: bytes, keys: Any) -> bytes | None:
        """The path of the keys on the server of ``keys`` (``RemoteKeys``); None for what is not believed."""
        found = parse_object(document)
        problem = "is no JSON object"
        if found is not None:
            problem = f"is of the issuer {found.get('issuer')!r}"
            if found.get("issuer") == self.issuer:
                uri = found.get("jwks_uri")
                match = _URI.fullmatch(uri) if isinstance(uri, str) and "#" not in uri else None
                problem = f"names keys at {uri!r}, which is not on the server of remote_jwks"
                if (
                    match is not None
                    and match[1].lower().encode() == keys.scheme
                    and match[2].lower().encode() == keys.authority.lower()
                ):
                    return match[3].encode()
        logger.warning("the discovery document of issuer %s %s", self.issuer, problem)
        return None
