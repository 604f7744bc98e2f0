"""``cluster_specifier_plugins`` of a route configuration and of a route: what chooses its cluster.

Of Envoy's plugins the matcher is here (``envoy.router.cluster_specifier_plugin.matcher``); routes with
another are refused by name.
"""

from __future__ import annotations

from typing import Any

from sidecar.config.compile.matching import MatcherCompiler
from sidecar.config.compile.route_matcher import HTTP_INPUTS
from sidecar.config.registry import resolve_any
from sidecar.core.errors import ConfigError
from sidecar.core.headers import RequestHeaders
from sidecar.core.matching import Tree

__all__ = ["MATCHER", "ClusterSpecifiers"]

MATCHER = "envoy.extensions.router.cluster_specifiers.matcher.v3.MatcherClusterSpecifier"
_ACTION = "envoy.extensions.router.cluster_specifiers.matcher.v3.ClusterAction"


class ClusterSpecifiers:
    """The plugins that a route configuration (a message) has by name."""

    def __init__(self, message: Any) -> None:
        self._by_name = {each.extension.name: each for each in message.cluster_specifier_plugins}

    def compile(self, action: Any, path: str) -> Tree[tuple[RequestHeaders, Any]] | None:
        """The tree that finds the cluster's name for a RouteAction.

        None for a plugin that is optional and nobody has: such a route takes no request.
        Raises: ConfigError.
        """
        kind = action.WhichOneof("cluster_specifier")
        plugin = getattr(action, kind)
        if kind == "cluster_specifier_plugin":
            plugin = self._by_name[plugin]
        name, message = resolve_any(plugin.extension.typed_config)
        if plugin.is_optional and message is None:
            return None
        if name != MATCHER or message is None:
            raise ConfigError(f"{path}.{kind}", f"cluster specifier plugin '{name}' is not supported")
        # Envoy 1.40 takes keep_matching here and breaks down over the first request that meets it.
        compiler = MatcherCompiler(
            HTTP_INPUTS, {_ACTION: lambda found, _: found.cluster}, keeps_matching=True
        )
        specifier: Any = message
        return compiler.tree(
            specifier.cluster_matcher, f"{path}.{kind}.extension.typed_config.cluster_matcher"
        )
