"""A provider of tokens (envoy.extensions.filters.http.jwt_authn.v3.JwtProvider): its keys, and what it makes
of a good token.

Who asks for its tokens is :mod:`.requirements`'s; remote keys come by :mod:`.fetching`.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import field
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Any

from sidecar.core.dataclass import dataclass
from sidecar.extensions.jwt.claim_headers import ClaimHeader
from sidecar.extensions.jwt.keys import Jwks
from sidecar.extensions.jwt.locations import Location, Places
from sidecar.extensions.jwt.status import OK, Status
from sidecar.extensions.jwt.token import Jwt

if TYPE_CHECKING:
    from sidecar.core.headers import RequestHeaders
    from sidecar.extensions.jwt.fetching import RemoteKeys

__all__ = ["Audiences", "Provider", "ProviderSettings", "TokenCache"]

_DEFAULT_SKEW_S = 60
#: How long a server that could not give its keys is left alone, while the last ones are kept.
_PAUSE_S = 1.0


class Audiences:
    """Audiences that are allowed; a scheme in front and a slash behind do not count."""

    __slots__ = ("_allowed", "_as_named")

    def __init__(self, allowed: tuple[str, ...]) -> None:
        self._allowed = frozenset(map(_bare, allowed))
        #: Those that are allowed as they stand, which is how most tokens name them.
        self._as_named = frozenset(each for each in allowed if _bare(each) == each)

    def allow(self, audiences: list[str]) -> bool:
        """Whether one of a token's is among them, or there are none to be among."""
        allowed = self._allowed
        if not allowed or not self._as_named.isdisjoint(audiences):
            return True
        return any(_bare(each) in allowed for each in audiences)


def _bare(audience: str) -> str:
    return audience.removeprefix("http://" if audience.startswith("http://") else "https://").removesuffix(
        "/"
    )


class TokenCache:
    """``jwt_cache_config``: tokens that were good, the least used one leaves first."""

    __slots__ = ("_most_bytes", "_size", "_tokens")

    def __init__(self, size: int, most_bytes: int) -> None:
        self._size = size
        self._most_bytes = most_bytes
        self._tokens: dict[bytes, Jwt] = {}

    def get(self, token: bytes, now: int) -> Jwt | None:
        """The token, unless it has expired."""
        tokens = self._tokens
        jwt = tokens.pop(token, None)
        if jwt is None or (jwt.exp and now > jwt.exp + _DEFAULT_SKEW_S):
            return None
        tokens[token] = jwt
        return jwt

    def put(self, token: bytes, jwt: Jwt) -> None:
        """Keep it, unless it is too long."""
        if len(token) <= self._most_bytes:
            self._tokens[token] = jwt
            if len(self._tokens) > self._size:
                del self._tokens[next(iter(self._tokens))]

    def clear(self) -> None:
        """Forget all."""
        self._tokens.clear()


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    """What the message says, but for the keys."""

    places: Places
    audiences: Audiences = field(default_factory=lambda: Audiences(()))
    subject: Callable[[bytes], bool] | None = None
    #: Seconds that a token may still be good for; infinity where it has to expire at all, None for anything.
    max_lifetime_s: float | None = None
    clock_skew_s: int = _DEFAULT_SKEW_S
    forward: bool = False
    forward_payload_header: bytes = b""
    pad_forward_payload_header: bool = False
    claim_headers: tuple[ClaimHeader, ...] = ()
    payload_in_metadata: str = ""
    space_delimited_claims: tuple[str, ...] = ()
    header_in_metadata: str = ""
    failed_status_in_metadata: str = ""
    clear_route_cache: bool = False
    #: Entries and bytes of each of its cache; None for no cache.
    cache: tuple[int, int] | None = None
    #: Ours: how much longer keys are good while others cannot be had, and whether it is 503 without any.
    keep_keys_s: float = 0.0
    is_unavailable: bool = False

    def made_headers(self) -> tuple[bytes, ...]:
        """Headers that are made of good tokens."""
        forwarded = (self.forward_payload_header,) if self.forward_payload_header else ()
        return (*forwarded, *(each.name for each in self.claim_headers))


class Provider:
    """One provider, with the keys that it has at the moment."""

    __slots__ = ("cache", "changes_requests", "expires", "jwks", "keep_until", "remote", "settings")

    def __init__(
        self, settings: ProviderSettings, jwks: Jwks | None = None, remote: RemoteKeys | None = None
    ) -> None:
        self.settings = settings
        #: None while there are none.
        self.jwks = jwks
        #: On ``time.monotonic``.
        self.expires = self.keep_until = inf
        self.remote = remote
        self.cache = None if settings.cache is None else TokenCache(*settings.cache)
        #: Whether :meth:`accept` does anything.
        self.changes_requests = not settings.forward or bool(
            settings.made_headers() or settings.header_in_metadata or settings.payload_in_metadata
        )

    def set_keys(self, jwks: Jwks, expires: float) -> None:
        """Take keys that were fetched."""
        self.jwks = jwks
        self.expires = expires
        self.keep_until = expires + self.settings.keep_keys_s

    def keeps_keys(self) -> bool:
        """Whether those that have expired are good a while longer, as no others can be had: ours.

        They are then not asked for again with every request.
        """
        now = monotonic()
        if self.jwks is None or not self.settings.keep_keys_s or now >= self.keep_until:
            return False
        self.expires = min(now + _PAUSE_S, self.keep_until)
        return True

    def claims_status(self, jwt: Jwt, audiences: Audiences | None, now: int) -> Status:
        """Whether the token is good ``now`` and for this proxy, by what it says itself."""
        settings = self.settings
        skew = settings.clock_skew_s
        expires = jwt.exp
        if now + skew < jwt.nbf:
            return Status.JwtNotYetValid
        if expires and now > expires + skew:
            return Status.JwtExpired
        if not (audiences or settings.audiences).allow(jwt.audiences):
            return Status.JwtAudienceNotAllowed
        if settings.subject is not None and not settings.subject(jwt.sub.encode()):
            return Status.JwtVerificationFail
        longest = settings.max_lifetime_s
        if longest is not None and not (expires and expires - now < longest):
            return Status.JwtVerificationFail
        return OK

    def accept(self, jwt: Jwt, location: Location, headers: RequestHeaders, metadata: dict[str, Any]) -> bool:
        """Do to the request what a good token asks for; whether the route is to be looked up again."""
        settings = self.settings
        if settings.forward_payload_header:
            text = jwt.payload_text
            if settings.pad_forward_payload_header:
                text += b"==="[: -len(text) % 4]
            headers.append(settings.forward_payload_header, text)
        changed = False
        for each in settings.claim_headers:
            changed |= each.add(jwt.payload, headers)
        if not settings.forward:
            location.remove(headers)
        if settings.header_in_metadata:
            metadata[settings.header_in_metadata] = deepcopy(jwt.header)
        if settings.payload_in_metadata:
            # What filters change in the metadata of a stream must not change the token in the cache.
            metadata[settings.payload_in_metadata] = payload = deepcopy(jwt.payload)
            for name in settings.space_delimited_claims:
                value = payload.get(name)
                if type(value) is str and (parts := [part for part in value.split(" ") if part]):
                    payload[name] = parts
        return settings.clear_route_cache and (changed or bool(settings.payload_in_metadata))
