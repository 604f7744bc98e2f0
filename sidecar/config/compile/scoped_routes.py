"""``HttpConnectionManager.ScopedRoutes``: how scope keys are made, and the keys of scopes."""

from __future__ import annotations

from typing import Any

from sidecar.core.errors import ConfigError
from sidecar.router.scoped_routes import Fragment, Key, element_fragment, index_fragment

__all__ = ["compile_scope_key", "compile_scope_keys", "inline_scopes"]


def compile_scope_keys(message: Any, path: str) -> tuple[Fragment, ...]:
    """What takes the fragments of a key from a request: a ``ScopeKeyBuilder``.  Raises: ConfigError."""
    fragments = []
    for number, each in enumerate(message.fragments):
        at = f"{path}.fragments[{number}].header_value_extractor"
        extractor = each.header_value_extractor
        name, separator = extractor.name.lower().encode(), extractor.element_separator.encode()
        kind = extractor.WhichOneof("extract_type")
        if kind == "index":
            if extractor.index and not separator:
                raise ConfigError(at, "Index > 0 for empty string element separator.")
            fragments.append(index_fragment(name, separator, extractor.index))
        elif kind == "element":
            element = extractor.element
            fragments.append(
                element_fragment(name, separator, element.separator.encode(), element.key.encode())
            )
        else:
            raise ConfigError(at, "HeaderValueExtractor extract_type not set.")
    return tuple(fragments)


def compile_scope_key(message: Any) -> Key:
    """The key of a ``ScopedRouteConfiguration``."""
    return tuple(each.string_key.encode() for each in message.key.fragments)


def inline_scopes(message: Any, path: str) -> list[tuple[str, Any]]:
    """The scopes that a ``ScopedRoutes`` itself lists, each with its path.  Raises: ConfigError."""
    found = []
    scopes = message.scoped_route_configurations_list.scoped_route_configurations
    for number, each in enumerate(scopes):
        at = f"{path}.scoped_route_configurations_list.scoped_route_configurations[{number}]"
        if each.route_configuration_name:
            raise ConfigError(
                f"{at}.route_configuration_name",
                "Fetching routes via RDS (route_configuration_name) is not supported"
                " with inline scoped routes.",
            )
        if not each.HasField("route_configuration"):
            raise ConfigError(at, "You must specify a route_configuration with inline scoped routes.")
        found.append((at, each))
    return found
