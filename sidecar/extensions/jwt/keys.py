"""A JSON Web Key Set (RFC 7517), and the check of a token's signature by it.

Which keys a token is checked with, and in which order, is as in Envoy (``source/common/jwt/verify.cc``).  A
key is used for the algorithms of its own type alone (RFC 8725 §3.1), where Envoy lets a token name any and
looks at the key's type.  :mod:`.key_sets` reads sets.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sidecar.extensions.jwt.status import OK, Status
from sidecar.extensions.jwt.token import Jwt

__all__ = ["Jwk", "Jwks", "Verify"]

_ED25519_SIGNATURE_BYTES = 64
#: ``verify(signed, key, signature)``.
Verify = Callable[[bytes, Any, bytes], bool]


class Jwk:
    """One key, with what checks signatures with it by the algorithms that it is for."""

    __slots__ = ("alg", "bits", "is_ed25519", "key", "kid", "verifiers")

    def __init__(self, kid: str, alg: str, key: Any, verifiers: dict[str, Verify], bits: int) -> None:
        self.kid = kid
        #: Empty for any that fits its type.
        self.alg = alg
        self.key = key
        self.bits = bits
        self.verifiers = verifiers
        self.is_ed25519 = "EdDSA" in verifiers


class Jwks:
    """A set of keys; ``status`` says why it has none."""

    __slots__ = ("keys", "left_out", "status")

    def __init__(self, keys: tuple[Jwk, ...], status: Status, left_out: tuple[Status, ...] = ()) -> None:
        self.keys = keys
        self.status = status
        #: Why keys were left out.
        self.left_out = left_out

    def verify(self, jwt: Jwt) -> Status:
        """Whether one of the keys made the token's signature.

        A key with another ``kid`` is passed over where both have one, as is a key for another ``alg``.
        """
        kid, alg = jwt.kid, jwt.alg
        matched = False
        for jwk in self.keys:
            if kid and jwk.kid and jwk.kid != kid:
                continue
            if jwk.alg and jwk.alg != alg:
                continue
            matched = True
            if jwk.is_ed25519 and len(jwt.signature) != _ED25519_SIGNATURE_BYTES:
                return Status.JwtEd25519SignatureWrongLength
            verify = jwk.verifiers.get(alg)
            if verify is not None and verify(jwt.signed, jwk.key, jwt.signature):
                return OK
        return Status.JwtVerificationFail if matched else Status.JwksKidAlgMismatch
