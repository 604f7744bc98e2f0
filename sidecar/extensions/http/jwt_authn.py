"""The filter ``envoy.filters.http.jwt_authn``: requests need tokens, by their paths and routes.

What is needed is a tree of :mod:`sidecar.extensions.jwt.requirements`.  A request whose keys are here is
judged in a plain call; one that has to wait for a key server waits on a signal.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from sidecar.api.filters import HttpFilter
from sidecar.api.message import LocalReply
from sidecar.core.dataclass import dataclass
from sidecar.extensions.http.header_edits import BAD_VALUE, invalid_value, unsendable_reply
from sidecar.extensions.http.original_uri import original_uri
from sidecar.extensions.http.set_metadata import merge
from sidecar.extensions.jwt.requirements import Requirement, Verification
from sidecar.extensions.jwt.status import OK, Status
from sidecar.net.reactor import Signal

if TYPE_CHECKING:
    from sidecar.api.stream import Stream
    from sidecar.core.headers import RequestHeaders

__all__ = ["JwtAuthnFilter", "JwtAuthnSettings", "JwtAuthnStats", "RouteRequirement", "Rule"]

_NAMESPACE = "envoy.filters.http.jwt_authn"
_COUNTERS = (
    *("allowed", "cors_preflight_bypassed", "denied", "jwks_fetch_failed", "jwks_fetch_success"),
    *("jwt_cache_hit", "jwt_cache_miss"),
)


class JwtAuthnStats:
    """``http.<prefix>.jwt_authn.``, resolved once."""

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    def __init__(self, scope: Any) -> None:
        for name in _COUNTERS:
            setattr(self, name, scope.counter(name))


@dataclass(frozen=True, slots=True)
class Rule:
    """``RequirementRule``; no requirement lets pass."""

    matches: Callable[[RequestHeaders, bytes], bool]
    requirement: Requirement | None


@dataclass(frozen=True, slots=True)
class RouteRequirement:
    """``PerRouteConfig``: the name of a requirement, empty for none."""

    name: str = ""


@dataclass(frozen=True, slots=True)
class JwtAuthnSettings:
    """``JwtAuthentication``."""

    rules: tuple[Rule, ...] = ()
    by_name: dict[str, Requirement] | None = None
    #: Requirements by the value of an object of filter state, and its name.
    filter_state_name: str = ""
    by_filter_state: dict[str, Requirement] | None = None
    bypass_cors_preflight: bool = False
    strip_failure_response: bool = False
    #: Headers that the filter alone may set.
    sanitized: tuple[bytes, ...] = ()
    #: Ours: a client learns that it is not let in, and nothing of why.
    private_denials: bool = False


class JwtAuthnFilter(HttpFilter):
    """Judges every request that a rule or its route wants judged."""

    uses_trio = False

    def __init__(self, settings: JwtAuthnSettings, stats: JwtAuthnStats, client: Any) -> None:
        """``client`` asks key servers (:class:`sidecar.router.http_client.HttpClient`)."""
        self._settings = settings
        self._stats = stats
        self._client = client
        #: Judges a token by the name of a provider: scripts of the chain ask it.
        self.verify_token: Callable[[str, bytes], tuple[dict[str, Any] | None, str] | None] | None = None

    def decode_headers(self, stream: Stream) -> LocalReply | Awaitable[LocalReply | None] | None:
        headers = stream.request.headers
        settings = self._settings
        if settings.bypass_cors_preflight and _is_preflight(headers):
            self._stats.cors_preflight_bypassed.value += 1
            self._stats.allowed.value += 1
            return None
        for name in settings.sanitized:
            if name in headers:
                headers.remove(name)
        requirement = self._requirement(stream, headers)
        if requirement.__class__ is LocalReply:
            return requirement
        if requirement is None:
            self._stats.allowed.value += 1
            return None
        target = headers.path  # before a token is taken out of it
        run = Verification(headers, self._stats, self._client)
        requirement.verify(run)  # type: ignore[union-attr]  # it is a requirement
        if not run.is_done:
            return self._wait(stream, run, target)
        if run.status is OK and not run.metadata and not run.clears_route:
            self._stats.allowed.value += 1
            return self._unsendable(headers) if settings.sanitized else None
        return self._end(stream, run, target)

    async def _wait(self, stream: Stream, run: Verification, target: bytes | None) -> LocalReply | None:
        done = Signal(self._client.reactor)
        run.on_done = done.fire
        try:
            await done.wait()
        finally:
            run.on_done = None
            run.cancel()
        return self._end(stream, run, target)

    def _end(self, stream: Stream, run: Verification, target: bytes | None) -> LocalReply | None:
        if run.metadata:
            merge(stream.metadata_namespace(_NAMESPACE), run.metadata)
        if run.clears_route:
            stream.clear_route_cache()
        status = run.status
        if status is OK:
            self._stats.allowed.value += 1
            return self._unsendable(run.headers)
        self._stats.denied.value += 1
        if status is Status.JwksFetchFail and run.is_unavailable:
            return LocalReply(503, details=_details(status.text))
        if self._settings.private_denials:
            denial = {"code": float(status), "message": status.text}
            stream.metadata_namespace(_NAMESPACE)["denial"] = denial
            return LocalReply(401, details=_details(status.text), headers=[(b"www-authenticate", b"Bearer")])
        code = 403 if status is Status.JwtAudienceNotAllowed else 401
        if self._settings.strip_failure_response:
            return LocalReply(code, details=_details(status.text))
        value = b'Bearer realm="' + original_uri(run.headers, target) + b'"'
        if status is not Status.JwtMissed:
            value += b', error="invalid_token"'
        return LocalReply(
            code,
            status.text.encode(),
            details=_details(status.text),
            headers=[(b"www-authenticate", value)],
        )

    def _unsendable(self, headers: RequestHeaders) -> LocalReply | None:
        """The answer where a claim cannot be a header: it has a line break in it, or another control."""
        for name in self._settings.sanitized:
            value = headers.get_joined(name)
            if value is not None and BAD_VALUE.search(value):
                return unsendable_reply(invalid_value(name))
        return None

    def _requirement(self, stream: Stream, headers: RequestHeaders) -> Requirement | LocalReply | None:
        settings = self._settings
        route = stream.find_route() if stream.resolve_route else stream.route
        config = None if route is None else route.per_filter_config.get(self.config_name)
        if config is not None:
            if not config.name:
                return None
            found = (settings.by_name or {}).get(config.name)
            return self._wrong_name(config.name) if found is None else found
        path = headers.path or b""
        if b"?" in path or b"#" in path:
            path = path.partition(b"?")[0].partition(b"#")[0]
        for rule in settings.rules:
            if rule.matches(headers, path):
                return rule.requirement
        if settings.by_filter_state is not None:
            value = (stream.filter_state or {}).get(settings.filter_state_name)
            if isinstance(value, bytes):
                value = value.decode("utf-8", "replace")
            if value is not None:
                return settings.by_filter_state.get(value)
        return None

    def _wrong_name(self, name: str) -> LocalReply:
        self._stats.denied.value += 1
        known = ",".join(sorted(self._settings.by_name or ()))
        text = f"Wrong requirement_name: {name}. It should be one of [{known}]"
        settings = self._settings
        is_bare = settings.strip_failure_response or settings.private_denials
        body = "" if is_bare else f"Failed JWT authentication: {text}"
        return LocalReply(403, body.encode(), details=_details(text))


def _is_preflight(headers: RequestHeaders) -> bool:
    return (
        headers.method == b"OPTIONS"
        and bool(headers.get(b"origin"))
        and bool(headers.get(b"access-control-request-method"))
    )


def _details(text: str) -> str:
    return "jwt_authn_access_denied{" + text.replace(" ", "_") + "}"
