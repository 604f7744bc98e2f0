"""Compiles ``envoy.extensions.filters.network.set_filter_state.v3.Config``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sidecar.api.context import FactoryContext
from sidecar.config.compile.substitution_format import compile_substitution_format
from sidecar.core.errors import ConfigError
from sidecar.core.filter_state import FACTORIES
from sidecar.extensions.network.set_filter_state import FilterStateValue, SetFilterState, SetFilterStateLater

__all__ = ["SetFilterStateFactory", "compile_filter_state_values"]


class SetFilterStateFactory:
    """The network filter."""

    name = "envoy.filters.network.set_filter_state"
    category = "envoy.filters.network"
    config_type = "envoy.extensions.filters.network.set_filter_state.v3.Config"

    def compile(self, message: Any, context: FactoryContext) -> SetFilterState:
        """The filter.  Raises: ConfigError."""
        values = compile_filter_state_values(message.on_new_connection, "on_new_connection", context)
        later = compile_filter_state_values(
            message.on_downstream_tls_handshake, "on_downstream_tls_handshake", context
        )
        return SetFilterStateLater(values, later) if later else SetFilterState(values)


def compile_filter_state_values(
    messages: Sequence[Any], field: str, context: FactoryContext
) -> list[FilterStateValue]:
    """A list of ``FilterStateValue``.  Raises: ConfigError under ``field``."""
    found = []
    for index, each in enumerate(messages):
        name = each.factory_key or each.object_key
        make = FACTORIES.get(name)
        if make is None:
            raise ConfigError(f"{field}[{index}]", f"'{name}' does not have an object factory")
        text = compile_substitution_format(each.format_string, context, f"{field}[{index}].format_string")
        found.append(FilterStateValue(each.object_key, text, make, each.skip_if_empty))
    return found
