"""HTTP filters whose configuration is a resource (``HttpFilter.config_discovery``, ECDS).

A place in the chain is always taken: by what came last, by the default, or by a filter that answers 500 while
there is none.  A stream keeps the filters with which it began (:mod:`sidecar.http.varying_chain`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sidecar.api.filters import HttpFilter
from sidecar.api.init_target import InitTarget
from sidecar.api.message import LocalReply
from sidecar.api.stream import Flag
from sidecar.config.compile.errors import placed
from sidecar.config.messages import type_name
from sidecar.core.errors import ConfigError

if TYPE_CHECKING:
    from sidecar.api.context import FactoryContext
    from sidecar.api.stream import Stream
    from sidecar.config.registry import Registry

__all__ = ["DiscoveredFilter", "MissingFilter"]


class MissingFilter(HttpFilter):
    """Stands where there is no configuration."""

    uses_trio = False

    def decode_headers(self, stream: Stream) -> LocalReply:
        return LocalReply(500, flag=Flag.NO_FILTER_CONFIG_FOUND)


class DiscoveredFilter:
    """One entry of ``http_filters``."""

    def __init__(self, entry: Any, path: str, context: FactoryContext, registry: Registry) -> None:
        """``path`` is the entry's.  Raises: ConfigError."""
        self.path = path
        self._entry = entry
        self._context = context
        self._registry = registry
        discovery = entry.config_discovery
        self._types = tuple(type_name(each) for each in discovery.type_urls)
        self._default: HttpFilter | None = None
        if discovery.HasField("default_config"):
            self._default = self._compile(discovery.default_config, f"{path}.config_discovery.default_config")
        #: What is in use.
        self.current = self._placeholder()
        #: Whether listeners need not wait for the first configuration.
        self.is_ready = self._default is not None and discovery.apply_default_config_without_warming

    @property
    def types(self) -> tuple[str, ...]:
        """Names of the messages that may come."""
        return self._types

    def _placeholder(self) -> HttpFilter:
        return self._default or self._named(MissingFilter())

    def _named(self, made: HttpFilter) -> HttpFilter:
        made.config_name = self._entry.name
        made.is_disabled = self._entry.disabled
        return made

    def _compile(self, packed: Any, path: str) -> HttpFilter:
        """Raises: ConfigError."""
        found = self._registry.find(packed)
        name = type_name(packed.type_url) if found is None else found[0].config_type
        if name not in self._types:
            raise ConfigError(
                path, f"Error: filter config has type URL {name} but expect {', '.join(self._types)}."
            )
        if found is None:
            raise ConfigError(path, f"'{name}' is not implemented")
        at = self._context.at("")
        at.path = path
        try:
            made = found[0].compile(found[1], at)
        except ConfigError as error:
            raise placed(error, path) from error
        if not isinstance(made, HttpFilter):
            raise ConfigError(path, f"'{self._entry.name}' is no HTTP filter")
        return self._named(made)

    def follower(self, changed: Callable[[], None]) -> Callable[[Any, str], Callable[[], None]]:
        """What follows the resource; ``changed`` is called when another filter is ``current``."""

        def follow(message: Any, path: str) -> Callable[[], None]:
            made = (
                self._placeholder()
                if message is None
                else self._compile(message.typed_config, f"{path}.typed_config")
            )

            def use() -> None:
                self.current = made
                changed()

            return use

        return follow

    def start(self, changed: Callable[[], None]) -> None:
        """Ask for the configuration.  Raises: ConfigError."""
        context, entry = self._context, self._entry
        source, leave = context.extension_configs.follow(
            entry.config_discovery.config_source,
            f"{self.path}.config_discovery.config_source",
            "http_filter",
            entry.name,
            self.follower(changed),
        )
        context.on_close(leave)
        if context.before_serving is not None and not self.is_ready:
            context.before_serving(
                InitTarget(f"shared target FilterConfigSubscription init {entry.name}", source.answered.wait)
            )
