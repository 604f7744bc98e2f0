"""Compiles ExtensionWithMatcher (envoy.extensions.common.matching.v3) and actions of composite filters."""

from __future__ import annotations

from collections.abc import Sequence
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


class _Trees:
    """What both factories make of match trees and the filters in them."""

    def __init__(self) -> None:
        #: Of all extensions; the catalog sets it.
        self.registry: Registry | None = None

    def _chains(self, message: Any, context: FactoryContext, path: str) -> dict[str, Execute]:
        """``Composite.named_filter_chains``.  Raises: ConfigError."""
        return {
            name: Execute(self._filters(chain.typed_config, context, f"{path}[{name}]"), ALWAYS)
            for name, chain in message.named_filter_chains.items()
        }

    def _tree(self, matcher: Any, path: str, context: FactoryContext) -> Tree[Any]:
        inputs: dict[str, Compile] = {
            **HTTP_INPUTS,
            "envoy.type.matcher.v3.HttpResponseHeaderMatchInput": _response_header,
            CEL_INPUT: lambda _message, _path: lambda data: data[1],
        }
        actions: dict[str, Compile] = {
            f"{_COMPOSITE}.ExecuteFilterAction": partial(self._execute, context),
            _SKIP: lambda _message, _path: SKIP,
        }
        return MatcherCompiler(inputs, actions).tree(matcher, path)

    def _execute(self, context: FactoryContext, message: Any, path: str) -> Execute:
        if message.HasField("dynamic_config"):
            raise ConfigError(f"{path}.dynamic_config", "filters from a control plane are not supported here")
        chance = ALWAYS
        if message.HasField("sample_percent"):
            chance = compile_chance(message.sample_percent, context.runtime)
        if message.filter_chain_name:
            return Execute((), chance, message.filter_chain_name)
        entries, at = [message.typed_config], f"{path}.typed_config"
        if message.HasField("filter_chain"):
            entries, at = list(message.filter_chain.typed_config), f"{path}.filter_chain.typed_config"
        return Execute(self._filters(entries, context, at), chance)

    def _filters(self, entries: Sequence[Any], context: FactoryContext, at: str) -> tuple[HttpFilter, ...]:
        if len(entries) > MOST_FILTERS:
            raise ConfigError(at, f"more than {MOST_FILTERS} filters in an action are not supported")
        return tuple(self._filter(each, context, at) for each in entries)

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


class CompositeFactory(_Trees):
    """``envoy.filters.http.composite``, whose tree may also stand around it."""

    name = "envoy.filters.http.composite"
    category = "envoy.filters.http"
    config_type = f"{_COMPOSITE}.Composite"
    route_config_type = f"{_COMPOSITE}.CompositePerRoute"

    def compile(self, message: Any, context: FactoryContext) -> MatchDelegate:
        """The filter, which does nothing without a tree.  Raises: ConfigError."""
        tree = self._tree(message.matcher, "matcher", context) if message.HasField("matcher") else None
        chains = self._chains(message, context, "named_filter_chains")
        return MatchDelegate(tree, None, context.stats.scope("composite"), chains, is_own=True)

    def compile_route(self, message: Any, context: FactoryContext) -> RouteTree:
        """One level's tree.  Raises: ConfigError."""
        return RouteTree(self._tree(message.matcher, "matcher", context), of_composite=True)


class MatchDelegateFactory(_Trees):
    """``envoy.filters.http.match_delegate``."""

    name = "envoy.filters.http.match_delegate"
    category = "envoy.filters.http"
    config_type = f"{_MESSAGES}.ExtensionWithMatcher"
    route_config_type = f"{_MESSAGES}.ExtensionWithMatcherPerRoute"

    def compile(self, message: Any, context: FactoryContext) -> MatchDelegate:
        """The filter.  Raises: ConfigError."""
        inner: Any = unpack(message.extension_config.typed_config)
        tree = None
        if message.HasField("xds_matcher"):
            tree = self._tree(message.xds_matcher, "xds_matcher", context)
        stats = context.stats.scope("composite")
        if inner is None or inner.DESCRIPTOR.full_name != f"{_COMPOSITE}.Composite":
            made = self._filter(message.extension_config, context, "extension_config")
            return MatchDelegate(tree, made, stats)
        inside = "extension_config.typed_config"
        chains = self._chains(inner, context, f"{inside}.named_filter_chains")
        is_own = inner.HasField("matcher")
        if is_own:
            tree = self._tree(inner.matcher, f"{inside}.matcher", context)
        return MatchDelegate(tree, None, stats, chains, is_own=is_own)

    def compile_route(self, message: Any, context: FactoryContext) -> RouteTree:
        """One level's tree.  Raises: ConfigError."""
        if not message.HasField("xds_matcher"):
            return RouteTree(None)
        return RouteTree(self._tree(message.xds_matcher, "xds_matcher", context))


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
