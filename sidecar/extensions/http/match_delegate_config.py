"""Compiles ExtensionWithMatcher (envoy.extensions.common.matching.v3) and actions of composite filters."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from sidecar.api.filters import HttpFilter
from sidecar.config.compile.chance import ALWAYS, compile_chance
from sidecar.config.compile.errors import placed
from sidecar.config.compile.matching import CEL_INPUT, Compile, MatcherCompiler
from sidecar.config.compile.route_matcher import HTTP_INPUTS
from sidecar.config.messages import unpack
from sidecar.core.errors import ConfigError
from sidecar.extensions.http.match_delegate import (
    MOST_FILTERS,
    SKIP,
    Execute,
    MatchDelegate,
    NotYetKnown,
    RouteTree,
)

if TYPE_CHECKING:
    from sidecar.api.context import FactoryContext
    from sidecar.config.registry import Registry
    from sidecar.core.matching import Input, Tree

__all__ = ["CompositeFactory", "MatchDelegateFactory"]

_MESSAGES = "envoy.extensions.common.matching.v3"
_COMPOSITE = "envoy.extensions.filters.http.composite.v3"
_SKIP = "envoy.extensions.filters.common.matcher.action.v3.SkipFilter"


class CompositeFactory:
    """``envoy.filters.http.composite``, which is nothing without a matcher around it."""

    name = "envoy.filters.http.composite"
    category = "envoy.filters.http"
    config_type = f"{_COMPOSITE}.Composite"

    def compile(self, message: Any, context: FactoryContext) -> MatchDelegate:
        """The filter that does nothing."""
        return MatchDelegate(None, None, context.stats.scope("composite"))


class MatchDelegateFactory:
    """``envoy.filters.http.match_delegate``."""

    name = "envoy.filters.http.match_delegate"
    category = "envoy.filters.http"
    config_type = f"{_MESSAGES}.ExtensionWithMatcher"
    route_config_type = f"{_MESSAGES}.ExtensionWithMatcherPerRoute"

    def __init__(self) -> None:
        #: Of all extensions; the catalog sets it.
        self.registry: Registry | None = None

    def compile(self, message: Any, context: FactoryContext) -> MatchDelegate:
        """The filter.  Raises: ConfigError."""
        inner: Any = unpack(message.extension_config.typed_config)
        is_composite = inner is not None and inner.DESCRIPTOR.full_name == f"{_COMPOSITE}.Composite"
        chains = inner.named_filter_chains if is_composite else {}
        tree = None
        if message.HasField("xds_matcher"):
            tree = self._tree(message.xds_matcher, "xds_matcher", context, chains)
        stats = context.stats.scope("composite")
        if is_composite:
            return MatchDelegate(tree, None, stats)
        made = self._filter(message.extension_config, context, "extension_config")
        return MatchDelegate(tree, made, stats)

    def compile_route(self, message: Any, context: FactoryContext) -> RouteTree:
        """One level's tree.  Raises: ConfigError."""
        if not message.HasField("xds_matcher"):
            return RouteTree(None)
        return RouteTree(self._tree(message.xds_matcher, "xds_matcher", context, {}))

    def _tree(self, matcher: Any, path: str, context: FactoryContext, chains: Mapping[str, Any]) -> Tree[Any]:
        inputs: dict[str, Compile] = {
            **HTTP_INPUTS,
            "envoy.type.matcher.v3.HttpResponseHeaderMatchInput": _response_header,
            CEL_INPUT: lambda _message, _path: lambda data: data[1],
        }
        actions: dict[str, Compile] = {
            f"{_COMPOSITE}.ExecuteFilterAction": partial(self._execute, context, chains),
            _SKIP: lambda _message, _path: SKIP,
        }
        return MatcherCompiler(inputs, actions).tree(matcher, path)

    def _execute(
        self, context: FactoryContext, chains: Mapping[str, Any], message: Any, path: str
    ) -> Execute:
        entries, at = [message.typed_config], f"{path}.typed_config"
        if message.HasField("dynamic_config"):
            raise ConfigError(f"{path}.dynamic_config", "filters from a control plane are not supported here")
        if message.filter_chain_name:
            name = message.filter_chain_name
            if name not in chains:
                raise ConfigError(f"{path}.filter_chain_name", f"there is no filter chain '{name}'")
            entries, at = (
                list(chains[name].typed_config),
                f"extension_config.typed_config.named_filter_chains[{name}]",
            )
        elif message.HasField("filter_chain"):
            entries, at = list(message.filter_chain.typed_config), f"{path}.filter_chain.typed_config"
        if len(entries) > MOST_FILTERS:
            raise ConfigError(at, f"more than {MOST_FILTERS} filters in an action are not supported")
        chance = ALWAYS
        if message.HasField("sample_percent"):
            chance = compile_chance(message.sample_percent, context.runtime)
        return Execute(tuple(self._filter(each, context, at) for each in entries), chance)

    def _filter(self, entry: Any, context: FactoryContext, path: str) -> HttpFilter:
        assert self.registry is not None
        found = self.registry.find(entry.typed_config)
        if found is None:
            raise ConfigError(path, f"the filter '{entry.name}' is not supported")
        inside = context.at(f"{path}.typed_config")
        try:
            made = found[0].compile(found[1], inside)
        except ConfigError as error:
            raise placed(error, f"{path}.typed_config") from error
        if not isinstance(made, HttpFilter):
            raise ConfigError(path, f"'{entry.name}' is no filter that may stand here")
        return made


def _response_header(message: Any, _: str) -> Input[Any]:
    """All values of the header in one, once there is a response."""
    name = message.header_name.lower().encode()

    def take(data: Any) -> bytes | None:
        headers = data[1].response_headers
        if headers is None:
            raise NotYetKnown
        value: bytes | None = headers.get_joined(name)
        return value

    return take
