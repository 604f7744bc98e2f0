"""From a listener's message to its listener filters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sidecar.api.context import FactoryContext
from sidecar.api.listener_filter import ListenerFilter
from sidecar.config.compile.errors import placed
from sidecar.config.compile.listener_predicate import compile_listener_predicate
from sidecar.config.compile.route_action import duration_s
from sidecar.core.errors import ConfigError
from sidecar.extensions.catalog import implied_listener_filters
from sidecar.server.inspection import FilterEntry, Inspector

if TYPE_CHECKING:
    from sidecar.config.registry import Registry

__all__ = ["compile_inspector"]

_DEFAULT_TIMEOUT_S = 15.0


def compile_inspector(listener: Any, context: FactoryContext, registry: Registry) -> Inspector | None:
    """What runs the ``listener_filters`` of a listener; None where there are none.  Raises: ConfigError."""
    entries = []
    for index, message in enumerate(listener.listener_filters):
        at = context.at(f"listener_filters[{index}].typed_config")
        found = registry.find(message.typed_config)
        if found is None:
            continue  # one of Envoy's that is still to come: the loader told it
        factory, inner = found
        try:
            compiled = factory.compile(inner, at)
        except ConfigError as error:
            raise placed(error, at.path) from error
        if not isinstance(compiled, ListenerFilter):
            raise ConfigError(at.path, f"'{message.name}' is no listener filter")
        is_disabled = None
        if message.HasField("filter_disabled"):
            path = f"{context.path}.listener_filters[{index}].filter_disabled"
            is_disabled = compile_listener_predicate(message.filter_disabled, path)
        entries.append(FilterEntry(compiled, is_disabled))
    entries += [FilterEntry(each) for each in implied_listener_filters(listener)]
    if not entries:
        return None
    timeout_s = _DEFAULT_TIMEOUT_S
    if listener.HasField("listener_filters_timeout"):
        timeout_s = duration_s(listener.listener_filters_timeout)
    return Inspector(entries, timeout_s, continues_on_timeout=listener.continue_on_listener_filters_timeout)
