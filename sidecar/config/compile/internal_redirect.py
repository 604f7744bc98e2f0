"""``envoy.config.route.v3.InternalRedirectPolicy`` compiled, and the deprecated fields before it."""

from __future__ import annotations

from typing import Any

from sidecar.config.messages import type_name, unpack
from sidecar.core.errors import ConfigError
from sidecar.router.internal_redirects import (
    InternalRedirectPolicy,
    RedirectPredicate,
    allow_listed_routes,
    previous_routes,
    safe_cross_scheme,
)

__all__ = ["compile_internal_redirect"]

_FOLLOWED = frozenset({301, 302, 303, 307, 308})
_HANDLE = 1
_TYPES = "envoy.extensions.internal_redirect"


def compile_internal_redirect(action: Any, path: str) -> InternalRedirectPolicy | None:
    """What a RouteAction says to follow; None for nothing.  Raises: ConfigError."""
    if action.HasField("internal_redirect_policy"):
        return _compile(action.internal_redirect_policy, f"{path}.internal_redirect_policy")
    if action.internal_redirect_action != _HANDLE:
        return None
    return InternalRedirectPolicy(_maximum(action))


def _compile(policy: Any, path: str) -> InternalRedirectPolicy:
    codes = frozenset(policy.redirect_response_codes)
    return InternalRedirectPolicy(
        max_internal_redirects=_maximum(policy),
        response_codes=codes & _FOLLOWED if codes else frozenset({302}),
        predicates=tuple(
            _predicate(each.typed_config, f"{path}.predicates[{index}]")
            for index, each in enumerate(policy.predicates)
        ),
        allow_cross_scheme_redirect=policy.allow_cross_scheme_redirect,
        response_headers_to_copy=tuple(name.lower().encode() for name in policy.response_headers_to_copy),
    )


def _maximum(message: Any) -> int:
    value: int = message.max_internal_redirects.value if message.HasField("max_internal_redirects") else 1
    return value


def _predicate(packed: Any, path: str) -> RedirectPredicate:
    name = type_name(packed.type_url)
    if name == f"{_TYPES}.previous_routes.v3.PreviousRoutesConfig":
        return previous_routes()
    if name == f"{_TYPES}.safe_cross_scheme.v3.SafeCrossSchemeConfig":
        return safe_cross_scheme()
    if name == f"{_TYPES}.allow_listed_routes.v3.AllowListedRoutesConfig":
        config: Any = unpack(packed)
        return allow_listed_routes(frozenset(config.allowed_route_names))
    raise ConfigError(path, f"redirect predicate '{name}' is not supported")
