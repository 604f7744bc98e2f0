"""Judges a token by the name of a provider: for scripts, which bring it from where they like.

Nothing is waited for: where keys have yet to come they are asked for, and no token is good until they are
there.
"""

from __future__ import annotations

from time import monotonic, time
from typing import TYPE_CHECKING, Any

from sidecar.extensions.jwt.fetching import Fetch, expiry
from sidecar.extensions.jwt.status import Status
from sidecar.extensions.jwt.token import Jwt, parse_jwt

if TYPE_CHECKING:
    from sidecar.extensions.jwt.keys import Jwks
    from sidecar.extensions.jwt.provider import Provider
    from sidecar.extensions.jwt.requirements import Providers

__all__ = ["TokenVerifier"]


class TokenVerifier:
    """The providers of one filter, asked by name."""

    def __init__(self, providers: Providers, stats: Any, client: Any) -> None:
        self._providers = providers
        self._stats = stats
        self._client = client
        #: Of providers whose keys are on their way.
        self._fetches: dict[str, Fetch] = {}

    def verify(self, name: str, token: bytes) -> tuple[dict[str, Any] | None, str] | None:
        """The claims, or None and why not; None alone where no provider has this name."""
        provider = self._providers.by_name.get(name)
        if provider is None:
            return None
        jwt = None if provider.cache is None else provider.cache.get(token, int(time()))
        is_known = jwt is not None
        if jwt is None:
            parsed = parse_jwt(token)
            if not isinstance(parsed, Jwt):
                return None, parsed.text
            jwt = parsed
        issuer = provider.settings.places.issuer
        if issuer and jwt.iss != issuer:
            return None, Status.JwtUnknownIssuer.text
        status = provider.claims_status(jwt, None, int(time()))
        if not status and not is_known:
            jwks = self._keys(name, provider)
            if jwks is None:
                return None, "the keys are not there yet" if provider.remote else Status.JwksNoValidKeys.text
            status = jwks.verify(jwt)
            if not status and provider.cache is not None:
                provider.cache.put(token, jwt)
        return (None, status.text) if status else (jwt.payload, "")

    def _keys(self, name: str, provider: Provider) -> Jwks | None:
        if provider.jwks is not None and monotonic() < provider.expires:
            return provider.jwks
        remote = provider.remote
        if remote is None or self._client is None:
            return None
        if name not in self._fetches:

            def fetched(jwks: Jwks | None) -> None:
                self._fetches.pop(name, None)
                if jwks is not None:
                    provider.set_keys(jwks, expiry(remote))

            fetch = self._fetches[name] = Fetch(remote, self._stats, fetched)
            fetch.start(self._client)
        return provider.jwks if provider.jwks is not None and provider.keeps_keys() else None
