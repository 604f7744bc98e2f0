"""``cluster_specifier_plugins`` of a route configuration and of a route: what chooses its cluster.

Of Envoy's plugins the matcher is here (``envoy.router.cluster_specifier_plugin.matcher``); others are made by
their factories, where there are any.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sidecar.config.compile.errors import placed
from sidecar.config.compile.matching import MatcherCompiler
from sidecar.config.compile.route_matcher import HTTP_INPUTS
from sidecar.config.registry import resolve_any
from sidecar.core.errors import ConfigError
from sidecar.core.headers import RequestHeaders
from sidecar.core.matching import Tree

if TYPE_CHECKING:
    from sidecar.api.context import FactoryContext
    from sidecar.config.registry import Registry

__all__ = ["MATCHER", "ClusterSpecifiers"]

MATCHER = "envoy.extensions.router.cluster_specifiers.matcher.v3.MatcherClusterSpecifier"
_ACTION = "envoy.extensions.router.cluster_specifiers.matcher.v3.ClusterAction"


class ClusterSpecifiers:
    """The plugins that a route configuration (a message) has by name."""

    def __init__(self, message: Any, context: FactoryContext, registry: Registry) -> None:
        self._context = context
        self._registry = registry
        self._by_name = {each.extension.name: each for each in message.cluster_specifier_plugins}
        #: Those of factories, which are made whether a route names them or not.
        self._made: dict[str, Tree[tuple[RequestHeaders, Any]]] = {}
        for number, each in enumerate(message.cluster_specifier_plugins):
            path = f"{context.path}.cluster_specifier_plugins[{number}].extension.typed_config"
            made = self._make(each, path)
            if made is not None:
                self._made[each.extension.name] = made

    def _make(self, plugin: Any, path: str) -> Tree[tuple[RequestHeaders, Any]] | None:
        """What a factory makes of a plugin; None where it has none."""
        name, message = resolve_any(plugin.extension.typed_config)
        factory = self._registry.by_type(name)
        if message is None or factory is None or factory.category != "envoy.router.cluster_specifier_plugin":
            return None
        try:
            made: Any = factory.compile(message, replace(self._context, path=path))
        except ConfigError as error:
            raise placed(error, path) from error
        return made  # type: ignore[no-any-return]  # by its category

    def compile(self, action: Any, path: str) -> Tree[tuple[RequestHeaders, Any]] | None:
        """The tree that finds the cluster's name for a RouteAction.

        None for a plugin that is optional and nobody has: such a route takes no request.
        Raises: ConfigError.
        """
        kind = action.WhichOneof("cluster_specifier")
        plugin = getattr(action, kind)
        if kind == "cluster_specifier_plugin":
            if plugin in self._made:
                return self._made[plugin]
            plugin = self._by_name[plugin]
        elif (made := self._make(plugin, f"{path}.{kind}.extension.typed_config")) is not None:
            return made
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
