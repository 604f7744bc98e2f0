"""``envoy.config.route.v3.RouteMatch`` compiled to a route's conditions."""

from __future__ import annotations

from typing import Any

from sidecar.config.compile.matchers import compile_regex
from sidecar.config.compile.route_predicates import compile_predicates
from sidecar.config.compile.uri_templates import compile_template
from sidecar.core.errors import ConfigError
from sidecar.core.runtime import Runtime
from sidecar.router.route import CONNECT, PATH, PREFIX, REGEX, SEPARATED_PREFIX, Route

__all__ = ["compile_route_match"]


def compile_route_match(match: Any, path: str, runtime: Runtime) -> Route:
    """A route with the conditions of ``match`` and no action yet; ``path`` is the match's own.

    Raises: ConfigError.
    """
    kind = match.WhichOneof("path_specifier")
    case_sensitive = match.case_sensitive.value if match.HasField("case_sensitive") else True
    value: Any
    if kind in ("prefix", "path", "path_separated_prefix"):
        value = getattr(match, kind).encode()
        value = value if case_sensitive else value.lower()
        route = Route({"prefix": PREFIX, "path": PATH}.get(kind, SEPARATED_PREFIX), value)
    elif kind == "safe_regex":
        route = Route(REGEX, compile_regex(match.safe_regex.regex, f"{path}.safe_regex.regex"))
    elif kind == "path_match_policy":
        route = Route(REGEX, compile_template(match.path_match_policy, f"{path}.path_match_policy"))
    elif kind == "connect_matcher":
        route = Route(CONNECT, b"")
    else:
        raise ConfigError(path, f"path matcher '{kind}' is not supported")
    route.case_sensitive = case_sensitive
    route.predicates = compile_predicates(match, path, runtime)
    return route
