"""What a request needs (envoy.extensions.filters.http.jwt_authn.v3.JwtRequirement), compiled to a tree.

A leaf finds the tokens of its providers and judges them; all have to be good, lest the application takes the
one that was not.  A leaf whose keys have to be fetched is told of them later, and meanwhile the next one is
asked, as in Envoy: so results come as calls of ``complete`` up the tree, and :class:`Verification` gets the
last word.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic, time
from typing import TYPE_CHECKING, Any

from sidecar.extensions.jwt.fetching import Fetch, expiry
from sidecar.extensions.jwt.keys import Jwks
from sidecar.extensions.jwt.locations import TOKEN_BYTES, Extractor, Location
from sidecar.extensions.jwt.provider import Audiences, Provider
from sidecar.extensions.jwt.status import OK, Status
from sidecar.extensions.jwt.token import Jwt, parse_jwt

if TYPE_CHECKING:
    from sidecar.core.headers import RequestHeaders

__all__ = ["All", "AllowAll", "Any_", "Group", "Leaf", "Providers", "Requirement", "Verification"]


class Providers:
    """All of a filter's, and which is whose."""

    def __init__(self, by_name: dict[str, Provider]) -> None:
        self.by_name = by_name
        self._by_issuer: dict[str, Provider] = {}
        for name in by_name:
            provider = by_name[name]
            self._by_issuer.setdefault(provider.settings.places.issuer, provider)
        #: The only one, if there is one only.
        self.single = next(iter(by_name.values())) if len(by_name) == 1 else None

    def of_issuer(self, issuer: str) -> Provider | None:
        """The one for an issuer, else the one for any."""
        return self._by_issuer.get(issuer) or self._by_issuer.get("")


class Verification:
    """One request being judged."""

    # Defaults are the class's: there is one of these for each request, and most change few.
    clears_route = False
    status = OK
    is_done = False
    #: Ours: keys could not be had, which the client is to be told.
    is_unavailable = False
    #: Called with the verdict where it was waited for.
    on_done: Callable[[], None] | None = None
    fetches: list[Fetch] | None = None
    #: What groups know so far, by group.
    states: dict[Group, list[Any]] | None = None

    def __init__(self, headers: RequestHeaders, stats: Any, client: Any) -> None:
        self.headers = headers
        self.stats = stats
        self.client = client
        self.metadata: dict[str, Any] = {}

    def finish(self, status: Status) -> None:
        """The verdict."""
        self.status = status
        self.is_done = True
        if self.fetches:
            self.cancel()
        if self.on_done is not None:
            self.on_done()

    def cancel(self) -> None:
        """Wait for no keys any more."""
        fetches, self.fetches = self.fetches, None
        for each in fetches or ():
            each.cancel()


class Requirement:
    """A node of the tree."""

    parent: Group | None = None

    def verify(self, run: Verification) -> None:
        """Judge the request; the result goes to :meth:`complete`, now or later."""
        raise NotImplementedError

    def complete(self, status: Status, run: Verification) -> None:
        """The node's result."""
        if self.parent is None:
            run.finish(status)
        else:
            self.parent.child_completed(status, run)


class AllowAll(Requirement):
    """Nothing is required."""

    def verify(self, run: Verification) -> None:
        self.complete(OK, run)


class Group(Requirement):
    """Several requirements."""

    def __init__(self, children: tuple[Requirement, ...]) -> None:
        self._children = children
        for each in children:
            each.parent = self

    def verify(self, run: Verification) -> None:
        # How many have failed or succeeded, whether that decided, and what is said of failures.
        if run.states is None:
            run.states = {}
        state = run.states[self] = [0, False, OK]
        for each in self._children:
            each.verify(run)
            if state[1]:
                return

    def child_completed(self, status: Status, run: Verification) -> None:
        """One of them has its result."""
        raise NotImplementedError


class Any_(Group):
    """``requires_any``.  What was wrong with a token says more than that there was none, or of a stranger.

    ``allow_missing`` and ``allow_missing_or_failed`` beside others say what all of those may fail with.
    """

    def __init__(
        self, children: tuple[Requirement, ...], *, allow_missing: bool = False, allow_failed: bool = False
    ) -> None:
        super().__init__(children)
        self._allow_missing = allow_missing
        self._allow_failed = allow_failed

    def child_completed(self, status: Status, run: Verification) -> None:
        state = run.states[self]  # type: ignore[index]  # it began with verify()
        if state[1]:
            return
        state[0] += 1
        if status is OK:
            state[1] = True
            self.complete(status, run)
            return
        if status not in _WEAK or state[2] is OK or state[2] is Status.JwtMissed:
            state[2] = status
        if state[0] == len(self._children):
            state[1] = True
            status = state[2]
            if self._allow_failed or (self._allow_missing and status is Status.JwtMissed):
                status = OK
            self.complete(status, run)


class All(Group):
    """``requires_all``."""

    def child_completed(self, status: Status, run: Verification) -> None:
        state = run.states[self]  # type: ignore[index]  # it began with verify()
        if state[1]:
            return
        state[0] += 1
        if status is not OK or state[0] == len(self._children):
            state[1] = True
            self.complete(status, run)


_WEAK = frozenset((Status.JwtMissed, Status.JwtUnknownIssuer))


class Leaf(Requirement):
    """Tokens of one provider, or of whichever issued them."""

    def __init__(
        self,
        providers: Providers,
        extractor: Extractor,
        provider: Provider | None,
        *,
        audiences: Audiences | None = None,
        allow_failed: bool = False,
        allow_missing: bool = False,
        unverified_header: bytes = b"",
    ) -> None:
        """``audiences``: these instead of the provider's; ``unverified_header``: said of tokens that fail."""
        self.providers = providers
        self.extractor = extractor
        self.provider = provider
        self.audiences = audiences
        self.allow_failed = allow_failed
        self.allow_missing = allow_missing
        self.unverified_header = unverified_header
        concerned = providers.by_name.values() if provider is None else (provider,)
        #: The place of a provider's tokens, where there is one and that is a header; parameters come besides.
        self._only = None if provider is None else extractor.only_header()
        self._has_params = extractor.has_params
        self.made_headers = tuple({name: None for each in concerned for name in each.settings.made_headers()})

    def verify(self, run: Verification) -> None:
        headers = run.headers
        if self.parent is not None:
            # What a leaf before made of its tokens goes, too, where it is this one's to make (as in Envoy).
            for name in self.made_headers:
                headers.remove(name)
        status = None if self._only is None else self._at_once(self._only, run)
        if status is None:
            _Check(self, run, self.extractor.extract(headers)).go_on()
        elif status:
            _Check(self, run, []).judged(status)
        elif self.parent is None:
            run.is_done = True  # with the status that it begins with
        else:
            self.complete(status, run)

    def _at_once(self, location: Location, run: Verification) -> Status | None:
        """The status of a token that stands where tokens do and needs nothing to be fetched, else None.

        As :class:`_Check`, in one step and mostly without another place to look at.
        """
        headers = run.headers
        index = headers.index()
        value = index.get(location.name)
        if value is None or len(index) != len(headers.fields):
            return None
        if self._has_params and b"?" in (headers.path or b""):
            return None
        prefix = location.prefix
        if prefix:
            start = len(prefix)
            if not value.startswith(prefix) or value[start : start + 1] not in TOKEN_BYTES:
                return None
            value = value[start:]
        provider: Any = self.provider  # there is one where there is ``_only``
        cache = provider.cache
        now = int(time())
        jwt = None if cache is None else cache.get(value, now)
        if jwt is None:
            jwks = provider.jwks
            if jwks is None or monotonic() >= provider.expires:
                return None
            run.stats.jwt_cache_miss.value += 1
            parsed = parse_jwt(value)
            if not isinstance(parsed, Jwt):
                return parsed
            jwt = parsed
        else:
            run.stats.jwt_cache_hit.value += 1
            jwks = None
        if location.issuers is not None and jwt.iss not in location.issuers:
            return Status.JwtUnknownIssuer
        status: Status = provider.claims_status(jwt, self.audiences, now)
        if status:
            return status
        if jwks is not None:
            status = jwks.verify(jwt)
            if status:
                return status
            if cache is not None:
                cache.put(value, jwt)
        if provider.changes_requests and provider.accept(jwt, location, headers, run.metadata):
            run.clears_route = True
        return status


class _Check:
    """The tokens of one leaf, the last one first."""

    __slots__ = ("_jwt", "_leaf", "_location", "_provider", "_run", "_status", "_token", "_tokens")

    def __init__(self, leaf: Leaf, run: Verification, tokens: list[tuple[bytes, Location]]) -> None:
        self._leaf = leaf
        self._run = run
        self._tokens = tokens
        self._provider: Provider | None = leaf.provider

    def go_on(self) -> None:
        """Judge tokens until there are none, one is bad, or keys have to be waited for."""
        if not self._tokens:
            self.judged(Status.JwtMissed)
            return
        while self._tokens:
            status = self._next()
            if status is None or self.judged(status):
                return

    def _next(self) -> Status | None:
        """The status of the next token; None when it waits."""
        leaf, run = self._leaf, self._run
        token, location = self._tokens.pop()
        provider = leaf.provider
        jwt = None
        if provider is not None:
            if provider.cache is not None:
                jwt = provider.cache.get(token, int(time()))
            (run.stats.jwt_cache_miss if jwt is None else run.stats.jwt_cache_hit).value += 1
        is_cached = jwt is not None
        if jwt is None:
            parsed = parse_jwt(token)
            if not isinstance(parsed, Jwt):
                return parsed
            jwt = parsed
        if location.issuers is not None and jwt.iss not in location.issuers:
            return Status.JwtUnknownIssuer
        if provider is None:
            provider = self._provider = leaf.providers.of_issuer(jwt.iss)
            if provider is None:
                return Status.JwtUnknownIssuer
        status = provider.claims_status(jwt, leaf.audiences, int(time()))
        if status:
            return status
        self._jwt, self._token, self._location = jwt, token, location
        if is_cached:
            return self._accept()
        jwks = provider.jwks
        if jwks is not None and monotonic() < provider.expires:
            return self._verify(jwks)
        if provider.remote is None:
            return Status.JwksNoValidKeys
        fetch = Fetch(provider.remote, run.stats, self._fetched)
        run.fetches = [*(run.fetches or ()), fetch]
        fetch.start(run.client)
        return None

    def _fetched(self, jwks: Jwks | None) -> None:
        provider = self._provider
        assert provider is not None
        if jwks is None and provider.jwks is not None and provider.keeps_keys():
            status = self._verify(provider.jwks)
        elif jwks is None:
            status = Status.JwksFetchFail
            self._run.is_unavailable = provider.settings.is_unavailable
        else:
            assert provider.remote is not None
            provider.set_keys(jwks, expiry(provider.remote))
            status = self._verify(jwks)
        if not self.judged(status):
            self.go_on()

    def _verify(self, jwks: Jwks) -> Status:
        status = jwks.verify(self._jwt)
        if status:
            return status
        cache = self._provider.cache  # type: ignore[union-attr]  # it has keys
        if cache is not None and self._leaf.provider is not None:
            cache.put(self._token, self._jwt)
        return self._accept()

    def _accept(self) -> Status:
        run = self._run
        provider: Any = self._provider
        if provider.changes_requests and provider.accept(
            self._jwt, self._location, run.headers, run.metadata
        ):
            run.clears_route = True
        return OK

    def judged(self, status: Status) -> bool:
        """Take a token's status; whether that was the last one that is needed."""
        leaf, run = self._leaf, self._run
        if status:
            self._tell(status)
            if leaf.unverified_header and status is not Status.JwtMissed:
                run.headers.replace(leaf.unverified_header, b"false")
        if self._tokens and (not status or leaf.allow_failed or leaf.allow_missing):
            return False
        self._tokens.clear()
        if leaf.allow_failed or (leaf.allow_missing and status is Status.JwtMissed):
            status = OK
        leaf.complete(status, run)
        return True

    def _tell(self, status: Status) -> None:
        """``failed_status_in_metadata``; that there is no token is told where there is one provider alone."""
        single = self._leaf.providers.single
        provider = single if status is Status.JwtMissed else self._provider or single
        if provider is not None and provider.settings.failed_status_in_metadata:
            self._run.metadata[provider.settings.failed_status_in_metadata] = {
                "code": float(status),
                "message": status.text,
            }
