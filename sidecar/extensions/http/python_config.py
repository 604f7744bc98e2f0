"""Compiles ``sidecar.extensions.filters.http.python.v1.Python``: finds the filter and checks its settings."""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import TYPE_CHECKING, Any

from google.protobuf import json_format

from sidecar.api.python_filters import PythonFilterStatus
from sidecar.core.errors import ConfigError
from sidecar.extensions.http.python_filter import FilterLoadError, Guard, Services, guarded, load_filter
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
        make: Any = found
        try:
            inner = make(settings, services)
        except Exception as error:  # the filter's own code: a sandbox's boundary
            raise ConfigError("filter", f"{name} cannot be made: {type(error).__name__}: {error}") from error
        guard = Guard(name, scope)
        made = guarded(inner, guard)
        status = PythonFilterStatus(
            path=context.path,
            stat_prefix=scope.prefix,
            filter=message.filter,
            class_name=name,
            source=sys.modules[found.__module__].__file__ or found.__module__,
            settings=_plain(settings, values),
            name=lambda: made.config_name,
            requests=guard.requests,
            exceptions=guard.errors,
        )
        guard.status = status
        context.on_close(context.python_filters.add(status))
        return made


def _plain(settings: Any, values: dict[str, Any]) -> Any:
    """Settings as a page can show them."""
    if dataclasses.is_dataclass(settings) and not isinstance(settings, type):
        values = dataclasses.asdict(settings)
    elif hasattr(settings, "model_dump"):
        values = settings.model_dump()
    return json.loads(json.dumps(values, default=str, skipkeys=True))
