"""The extensions this proxy has, by the message that configures each and by name.

:mod:`sidecar.extensions.catalog` makes the one registry there is and hands it down; nothing here
imports an extension.  Lookup is by message type, as in Envoy: the name in an extension's entry is a
label and stands for nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from google.protobuf.message import Message

from sidecar.config.decode import message_from_struct
from sidecar.config.errors import Path
from sidecar.config.messages import message_class, type_name, unpack
from sidecar.config.nodes import TYPED_STRUCTS
from sidecar.core.errors import ConfigError

__all__ = ["Deferred", "Factory", "Registry", "Report", "ValidatingFactory", "resolve_any"]


class Report(Protocol):
    """How a factory's ``validate`` says that something is wrong."""

    def error(
        self, path: Path, reason: str, hint: str | None = None, *, line_in_text: int | None = None
    ) -> None:
        """Refuse the configuration.  ``line_in_text`` counts from 1 inside the string at ``path``."""

    def warning(self, path: Path, reason: str, hint: str | None = None) -> None:
        """Accept it, and say so."""


class Factory(Protocol):
    """Makes the runtime object of one extension from its configuration."""

    #: Envoy's name, ``envoy.filters.http.lua``.
    name: str
    #: Envoy's category, ``envoy.filters.http``.
    category: str
    #: Full name of the message, ``envoy.extensions.filters.http.lua.v3.Lua``.
    config_type: str

    def compile(self, message: Any, context: Any) -> object:
        """The runtime object; called once per place of the configuration it stands at.

        Raises:
            ConfigError: the configuration cannot be used; its path counts from ``message``.
        """


class ValidatingFactory(Factory, Protocol):
    """A factory that finds mistakes which rules cannot express (a script's syntax)."""

    def validate(self, message: Any, path: Path, report: Report) -> None:
        """Report what is wrong with ``message``, which stands at ``path``."""


class Deferred:
    """What is known of a factory before it is made: its module is imported when it is first wanted."""

    __slots__ = ("_factory", "_make", "category", "config_type", "name", "route_config_type")

    def __init__(
        self,
        category: str,
        name: str,
        config_type: str,
        route_config_type: str | None,
        make: Callable[[], Factory],
    ) -> None:
        self.category = category
        self.name = name
        self.config_type = config_type
        self.route_config_type = route_config_type
        self._make = make
        self._factory: Factory | None = None

    def factory(self) -> Factory:
        if self._factory is None:
            self._factory = self._make()
        return self._factory


class Registry:
    """Factories; of two for one message type the later wins, so that a user's can replace ours."""

    def __init__(self, factories: Iterable[Factory] = ()) -> None:
        self._by_type: dict[str, Factory | Deferred] = {}
        for factory in factories:
            self.register(factory)

    def register(self, factory: Factory | Deferred) -> None:
        self._by_type[factory.config_type] = factory

    def by_type(self, config_type: str) -> Factory | None:
        """The factory whose message is called ``config_type`` (a full name, or a type URL)."""
        found = self._by_type.get(type_name(config_type))
        return found.factory() if isinstance(found, Deferred) else found

    def factories(self) -> list[Factory | Deferred]:
        """What is known of all of them, in the order of their registration; none is made for it."""
        return list(self._by_type.values())

    def by_route_type(self, config_type: str) -> Any | None:
        """The factory that takes ``config_type`` for one route (its ``route_config_type``)."""
        name = type_name(config_type)
        for each in self._by_type.values():
            if getattr(each, "route_config_type", None) == name:
                return each.factory() if isinstance(each, Deferred) else each
        return None

    def find(self, packed: Any) -> tuple[Factory, Message] | None:
        """As :meth:`resolve`, but None for a type that no factory takes.

        For what the loader has told already: an extension of Envoy's that is still to come is left out.
        """
        return None if self._by_type.get(resolve_any(packed)[0]) is None else self.resolve(packed)

    def resolve(self, packed: Any) -> tuple[Factory, Message]:
        """The factory for an ``Any``, and the message it holds (a TypedStruct as what it stands for).

        Raises:
            ConfigError: no factory takes this type, or its bytes are no such message.
        """
        name, message = resolve_any(packed)
        factory = self.by_type(name)
        if factory is None:
            raise ConfigError("", f"Didn't find a registered implementation with type URL: '{name}'")
        if message is None:
            raise ConfigError("", f"Unable to unpack as {name}")
        return factory, message


def resolve_any(packed: Any) -> tuple[str, Message | None]:
    """The full message name an ``Any`` stands for, TypedStructs opened, and the message.

    The message is None where the API does not know the type or the bytes are none of it.
    """
    name = type_name(packed.type_url)
    message: Any = unpack(packed)
    if message is None or name not in TYPED_STRUCTS:
        return name, message
    name = type_name(message.type_url)
    cls = message_class(name)
    if cls is None:
        return name, None
    inner: Message = cls()
    message_from_struct(message.value, inner)
    return name, inner
