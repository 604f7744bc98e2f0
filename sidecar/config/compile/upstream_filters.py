"""HTTP filters on the way to an upstream: of a cluster (``HttpProtocolOptions``), or of a router.

Which of them Envoy takes there is a category of its own; which of those this proxy has, their factories say
(``is_upstream``).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sidecar.api.context import FactoryContext
from sidecar.api.filters import HttpFilter
from sidecar.config.compile.discovered import Discovered, discovered_http_filter
from sidecar.config.compile.errors import placed
from sidecar.config.registry import Registry
from sidecar.core.errors import ConfigError
from sidecar.router.upstream_filters import UpstreamFilters

__all__ = ["compile_upstream_filters"]


def compile_upstream_filters(
    entries: Iterable[Any], context: FactoryContext, registry: Registry
) -> UpstreamFilters | None:
    """The filters of ``entries``, which stand at ``context``; None for none.  Raises: ConfigError."""
    filters: list[HttpFilter] = []
    closers: list[Any] = []
    discovered: dict[int, Discovered[HttpFilter]] = {}
    for index, each in enumerate(entries):
        if each.HasField("config_discovery"):
            here = context.at("")
            here.on_close = closers.append
            one = discovered_http_filter(each, f"{context.path}[{index}]", here, registry, is_upstream=True)
            discovered[len(filters)] = one
            filters.append(one.current)
            context.upstream_filter_names.add(each.name)
            continue
        found = registry.find(each.typed_config)
        if found is None or not getattr(found[0], "is_upstream", False):
            continue  # the loader told it
        factory, message = found
        at = context.at("")
        at.path = f"{context.path}[{index}].typed_config"
        at.on_close = closers.append
        try:
            compiled = factory.compile(message, at)
        except ConfigError as error:
            raise placed(error, at.path) from error
        if not isinstance(compiled, HttpFilter):
            continue  # the codec
        compiled.config_name = each.name
        compiled.is_disabled = each.disabled
        context.upstream_filter_names.add(each.name)
        filters.append(compiled)
    if not filters:
        return None
    made = UpstreamFilters(tuple(filters), closers)
    if discovered:
        _discover(made, discovered)
    return made


def _discover(filters: UpstreamFilters, discovered: dict[int, Discovered[HttpFilter]]) -> None:
    static = filters.filters

    def use() -> None:
        filters.set_filters(
            tuple(
                discovered[number].current if number in discovered else each
                for number, each in enumerate(static)
            )
        )

    def start() -> None:
        for each in discovered.values():
            each.start(use)

    filters.start = start
