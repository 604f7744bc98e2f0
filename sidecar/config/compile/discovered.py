"""Filters of any list whose configuration is a resource (``config_discovery``, ECDS).

A place in its list is always taken: by what came last, by the default, or by what stands there while there is
none (Envoy's ``FilterConfigProviderManagerImplBase``).  Who keeps the list is told of another and decides
what that means for what goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

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

__all__ = ["Discovered", "MissingFilter", "WrongType", "discovered_http_filter"]

T = TypeVar("T")


class WrongType(ConfigError):
    """The configuration is of a type that its place does not take."""


class MissingFilter(HttpFilter):
    """Stands where there is no HTTP filter."""

    uses_trio = False

    def decode_headers(self, stream: Stream) -> LocalReply:
        return LocalReply(500, flag=Flag.NO_FILTER_CONFIG_FOUND)


class Discovered(Generic[T]):
    """One entry of a list of filters."""

    def __init__(
        self,
        entry: Any,
        path: str,
        context: FactoryContext,
        registry: Registry,
        *,
        category: str,
        make: Callable[[Any, Any, str], T],
        missing: T,
    ) -> None:
        """``path`` is the entry's; ``category`` a part of the names of its stats.

        ``make`` takes a factory, what it compiled and its path, and raises ConfigError where that is no
        such filter; ``missing`` stands where there is none.  Raises: ConfigError.
        """
        self.path = path
        self._entry = entry
        self._context = context
        self._registry = registry
        self._category = category
        self._make = make
        discovery = entry.config_discovery
        #: Names of the messages that may come.
        self.types = tuple(type_name(each) for each in discovery.type_urls)
        self._otherwise = missing
        has_default = discovery.HasField("default_config")
        if has_default:
            self._otherwise = self._compile(
                discovery.default_config, f"{path}.config_discovery.default_config"
            )
        #: What is in use.
        self.current: T = self._otherwise
        #: Whether nobody needs to wait for the first configuration.
        self.is_ready = has_default and discovery.apply_default_config_without_warming

    def _compile(self, packed: Any, path: str) -> T:
        """Raises: ConfigError."""
        found = self._registry.find(packed)
        name = type_name(packed.type_url) if found is None else found[0].config_type
        if name not in self.types:
            raise WrongType(
                path, f"Error: filter config has type URL {name} but expect {', '.join(self.types)}."
            )
        if found is None:
            raise ConfigError(path, f"'{name}' is not implemented")
        at = self._context.at("")
        at.path = path
        try:
            return self._make(found[0], found[0].compile(found[1], at), path)
        except ConfigError as error:
            raise placed(error, path) from error

    def _follower(self, changed: Callable[[], None]) -> Callable[[Any, str], Callable[[], None]]:
        def follow(message: Any, path: str) -> Callable[[], None]:
            made = (
                self._otherwise
                if message is None
                else self._compile(message.typed_config, f"{path}.typed_config")
            )

            def use() -> None:
                self.current = made
                changed()

            return use

        return follow

    def start(self, changed: Callable[[], None]) -> None:
        """Ask for the configuration; ``changed`` is called when another is ``current``.

        Raises: ConfigError.
        """
        context, entry = self._context, self._entry
        source, leave = context.extension_configs.follow(
            entry.config_discovery.config_source,
            f"{self.path}.config_discovery.config_source",
            self._category,
            entry.name,
            self._follower(changed),
        )
        context.on_close(leave)
        if context.before_serving is not None and not self.is_ready:
            context.before_serving(
                InitTarget(f"shared target FilterConfigSubscription init {entry.name}", source.answered.wait)
            )


def discovered_http_filter(
    entry: Any, path: str, context: FactoryContext, registry: Registry, *, is_upstream: bool = False
) -> Discovered[HttpFilter]:
    """An entry of ``http_filters``, towards clients or upstreams.  Raises: ConfigError."""

    def make(factory: Any, made: Any, at: str) -> HttpFilter:
        if not isinstance(made, HttpFilter) or (is_upstream and not getattr(factory, "is_upstream", False)):
            raise ConfigError(at, f"'{entry.name}' is no {'upstream ' if is_upstream else ''}HTTP filter")
        return named(made)

    def named(made: HttpFilter) -> HttpFilter:
        made.config_name, made.is_disabled = entry.name, entry.disabled
        return made

    return Discovered(
        entry,
        path,
        context,
        registry,
        category="upstream_http_filter" if is_upstream else "http_filter",
        make=make,
        missing=named(MissingFilter()),
    )
