"""Compiles ``sidecar.extensions.filters.http.python.v1.Python``: finds the filter and checks its settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf import json_format

from sidecar.core.errors import ConfigError
from sidecar.extensions.http.python_filter import FilterLoadError, Services, guarded, load_filter
from sidecar.extensions.http.python_settings import SettingsError, make_settings

if TYPE_CHECKING:
    from sidecar.api.context import FactoryContext
    from sidecar.api.filters import HttpFilter

__all__ = ["PythonFactory"]


class PythonFactory:
    """``sidecar.filters.http.python``."""

    name = "sidecar.filters.http.python"
    category = "envoy.filters.http"
    config_type = "sidecar.extensions.filters.http.python.v1.Python"
    is_upstream = True

    def compile(self, message: Any, context: FactoryContext) -> HttpFilter:
        """The filter.  Raises: ConfigError."""
        try:
            found = load_filter(message.filter)
        except FilterLoadError as error:
            raise ConfigError("filter", str(error)) from error
        values = json_format.MessageToDict(message.settings) if message.HasField("settings") else {}
        try:
            settings = make_settings(getattr(found, "Settings", None), values)
        except SettingsError as error:
            raise ConfigError("settings" + (f".{error.path}" if error.path else ""), error.reason) from error
        name = found.__name__
        scope = context.stats.scope("python").scope(name)
        services = Services(name, scope, context.http_client, context.find_cluster)
        made: Any = found
        try:
            inner = made(settings, services)
        except Exception as error:  # the filter's own code: a sandbox's boundary
            raise ConfigError("filter", f"{name} cannot be made: {type(error).__name__}: {error}") from error
        return guarded(inner, name, scope)
