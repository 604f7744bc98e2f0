"""From a listener's message to its listener filters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sidecar.api.context import FactoryContext
from sidecar.api.listener_filter import ListenerFilter
from sidecar.config.compile.discovered import Discovered
from sidecar.config.compile.listener_predicate import compile_listener_predicate
from sidecar.config.compile.route_action import duration_s
from sidecar.config.known_extensions import types
from sidecar.core.errors import ConfigError
from sidecar.extensions.catalog import implied_listener_filters
from sidecar.server.inspection import FilterEntry, Inspector
from sidecar.server.listener_filter_factory import compile_entry

if TYPE_CHECKING:
    from sidecar.config.registry import Registry

__all__ = ["compile_inspector"]

_DEFAULT_TIMEOUT_S = 15.0
_CATEGORY = "envoy.filters.listener"


def compile_inspector(listener: Any, context: FactoryContext, registry: Registry) -> Inspector | None:
    """What runs the ``listener_filters`` of a listener; None where there are none.  Raises: ConfigError."""
    entries: list[FilterEntry] = []
    discovered: dict[int, Discovered[ListenerFilter | None]] = {}
    for index, message in enumerate(listener.listener_filters):
        at = context.at(f"listener_filters[{index}].typed_config")
        if message.HasField("config_discovery"):
            one = _discovered(message, context.at(f"listener_filters[{index}]"), registry)
            discovered[len(entries)] = one
            compiled: Any = one.current
        else:
            compiled = compile_entry(message, at, registry, ListenerFilter, "listener filter")
            if compiled is None:
                continue
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
    inspector = Inspector(
        entries, timeout_s, continues_on_timeout=listener.continue_on_listener_filters_timeout
    )

    def use() -> None:
        inspector.set_entries(
            [
                each._replace(filter=discovered[number].current) if number in discovered else each
                for number, each in enumerate(entries)
            ]
        )

    for one in discovered.values():
        one.start(use)
    return inspector


def _discovered(
    message: Any, context: FactoryContext, registry: Registry
) -> Discovered[ListenerFilter | None]:
    """An entry whose configuration is discovered.  Raises: ConfigError."""

    def make(_factory: Any, made: Any, path: str) -> ListenerFilter:
        if not isinstance(made, ListenerFilter):
            raise ConfigError(path, f"'{message.name}' is no listener filter")
        if getattr(made, "chooses_source", False):
            # Pools are made for it when the listener is.
            raise ConfigError(path, "original_src with config_discovery is not implemented")
        return made

    made: Discovered[ListenerFilter | None] = Discovered(
        message, context.path, context, registry, category="tcp_listener_filter", make=make, missing=None
    )
    for kind in made.types:
        if kind not in types(_CATEGORY):
            raise ConfigError(
                f"{context.path}.config_discovery.type_urls",
                f"Error: no listener filter factory found for filter {message.name} with type URL {kind}.",
            )
    return made
