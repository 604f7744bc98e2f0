"""Compiles ``envoy.extensions.filters.http.jwt_authn.v3``: the filter, and what routes say of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from sidecar.api.context import FactoryContext
from sidecar.config.compile.route_match import compile_route_match
from sidecar.core.errors import ConfigError
from sidecar.core.headers import RequestHeaders
from sidecar.extensions.http.jwt_authn import (
    JwtAuthnFilter,
    JwtAuthnSettings,
    JwtAuthnStats,
    RouteRequirement,
    Rule,
)
from sidecar.extensions.http.jwt_providers_config import OwnOptions, compile_provider
from sidecar.extensions.jwt.by_name import TokenVerifier
from sidecar.extensions.jwt.locations import Extractor
from sidecar.extensions.jwt.provider import Audiences
from sidecar.extensions.jwt.requirements import All, AllowAll, Any_, Leaf, Providers, Requirement

__all__ = ["JwtAuthnFactory"]

#: What lets pass without a good token; the later one says more.
_BYPASSES = ("allow_missing", "allow_missing_or_failed")
_UNVERIFIED_HEADER = b"x-jwt-signature-verified"
#: Of a ``RouteMatch``, what rules look at.
_LOOKED_AT = frozenset(
    (
        *("prefix", "path", "safe_regex", "connect_matcher", "path_separated_prefix", "path_match_policy"),
        *("case_sensitive", "headers", "query_parameters"),
    )
)


class JwtAuthnFactory:
    """``envoy.filters.http.jwt_authn``."""

    name = "envoy.filters.http.jwt_authn"
    category = "envoy.filters.http"
    config_type = "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication"
    #: Full name of the message under ``typed_per_filter_config``.
    route_config_type = "envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig"

    def compile(self, message: Any, context: FactoryContext) -> JwtAuthnFilter:
        """The filter.  Raises: ConfigError."""
        return self.make_filter(message, context)

    def make_filter(
        self,
        message: Any,
        context: FactoryContext,
        own: Mapping[str, OwnOptions] = MappingProxyType({}),
        *,
        private_denials: bool = False,
    ) -> JwtAuthnFilter:
        """The filter, with what our own message says besides.  Raises: ConfigError."""
        scope = context.stats.scope("jwt_authn")
        if message.stat_prefix:
            scope = scope.scope(message.stat_prefix.rstrip("."))
        stats = JwtAuthnStats(scope)
        providers = Providers(
            {
                name: compile_provider(
                    name, message.providers[name], context, stats, own.get(name, OwnOptions())
                )
                for name in sorted(message.providers)
            }
        )
        requirements = _Requirements(providers)
        by_name = {
            name: requirements.compile(message.requirement_map[name], f"requirement_map[{name}]")
            for name in sorted(message.requirement_map)
        }
        rules = tuple(
            _rule(each, f"rules[{index}]", requirements, message.requirement_map, context)
            for index, each in enumerate(message.rules)
        )
        by_state = None
        state = message.filter_state_rules
        if message.HasField("filter_state_rules"):
            by_state = {
                key: requirements.compile(state.requires[key], f"filter_state_rules.requires[{key}]")
                for key in sorted(state.requires)
            }
        settings = JwtAuthnSettings(
            rules,
            by_name,
            state.name,
            by_state,
            message.bypass_cors_preflight,
            message.strip_failure_response,
            _made_headers(providers),
            private_denials,
        )
        has_remote = any(each.remote is not None for each in providers.by_name.values())
        client = context.http_client() if has_remote and context.http_client is not None else None
        made = JwtAuthnFilter(settings, stats, client)
        made.verify_token = TokenVerifier(providers, stats, client).verify
        return made

    def compile_route(self, message: Any, context: FactoryContext) -> RouteRequirement:
        """What one level says."""
        return RouteRequirement(message.requirement_name)


def _made_headers(providers: Providers) -> tuple[bytes, ...]:
    """Headers that providers make: what a client sends under such a name is no claim of anybody's."""
    names: dict[bytes, None] = {}
    for provider in providers.by_name.values():
        names.update(dict.fromkeys(provider.settings.made_headers()))
    return tuple(names)


def _rule(rule: Any, path: str, requirements: _Requirements, by_name: Any, context: FactoryContext) -> Rule:
    kind = rule.WhichOneof("requirement_type")
    requirement = None
    if kind == "requires":
        requirement = requirements.compile(rule.requires, f"{path}.requires")
    elif kind == "requirement_name":
        if rule.requirement_name not in by_name:
            known = ",".join(sorted(by_name))
            reason = f"Wrong requirement_name: {rule.requirement_name}. It should be one of [{known}]"
            raise ConfigError(f"{path}.requirement_name", reason)
        requirement = requirements.compile(by_name[rule.requirement_name], f"requirement_map[{kind}]")
    return Rule(_matcher(rule.match, f"{path}.match", context), requirement)


def _matcher(match: Any, path: str, context: FactoryContext) -> Callable[[RequestHeaders, bytes], bool]:
    looked_at = type(match)()
    looked_at.CopyFrom(match)
    for field, _ in match.ListFields():
        if field.name not in _LOOKED_AT:
            context.warn(f"{context.path}.{path}.{field.name}", "has no effect here, as in Envoy")
            looked_at.ClearField(field.name)
    route = compile_route_match(looked_at, path, context.runtime)
    return route.matches


class _Requirements:
    """Compiles requirements over the providers of one filter."""

    def __init__(self, providers: Providers) -> None:
        self._providers = providers

    def compile(self, message: Any, path: str) -> Requirement:
        """The tree of a ``JwtRequirement``.  Raises: ConfigError."""
        return self._node(message, path)

    def _node(self, message: Any, path: str) -> Requirement:
        kind = message.WhichOneof("requires_type")
        if kind is None:
            return AllowAll()
        value = getattr(message, kind)
        at = f"{path}.{kind}"
        if kind == "provider_name":
            return self._leaf(value, at)
        if kind == "provider_and_audiences":
            audiences = Audiences(tuple(value.audiences)) if value.audiences else None
            return self._leaf(value.provider_name, f"{at}.provider_name", audiences)
        if kind == "requires_all":
            return All(
                tuple(
                    self._node(each, f"{at}.requirements[{index}]")
                    for index, each in enumerate(value.requirements)
                )
            )
        if kind == "requires_any":
            return self._any(value, at)
        header = b""
        if kind == "extract_only_without_validation":
            header = value.verification_status_header.lower().encode() or _UNVERIFIED_HEADER
        return self._of_all(allow_failed=kind != "allow_missing", unverified_header=header)

    def _leaf(self, name: str, path: str, audiences: Audiences | None = None) -> Leaf:
        provider = self._providers.by_name.get(name)
        if provider is None:
            raise ConfigError(path, f"Required provider ['{name}'] is not configured.")
        return Leaf(self._providers, Extractor((provider.settings.places,)), provider, audiences=audiences)

    def _any(self, message: Any, path: str) -> Requirement:
        bypass = ""
        children: list[Requirement] = []
        for index, each in enumerate(message.requirements):
            kind = each.WhichOneof("requires_type")
            if kind in _BYPASSES:
                bypass = max(bypass, kind)
            else:
                children.append(self._node(each, f"{path}.requirements[{index}]"))
        if not children:
            return self._of_all(allow_failed=bypass == _BYPASSES[1])
        return Any_(
            tuple(children),
            allow_missing=bypass == _BYPASSES[0],
            allow_failed=bypass == _BYPASSES[1],
        )

    def _of_all(self, *, allow_failed: bool, unverified_header: bytes = b"") -> Leaf:
        """Tokens of whichever provider, which may be missing."""
        return Leaf(
            self._providers,
            Extractor(each.settings.places for each in self._providers.by_name.values()),
            None,
            allow_failed=allow_failed,
            allow_missing=True,
            unverified_header=unverified_header,
        )
