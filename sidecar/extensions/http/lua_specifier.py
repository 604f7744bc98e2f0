"""Chooses a route's cluster by a Lua script (``envoy.router.cluster_specifier_plugin.lua``).

The script's ``envoy_on_route(handle)`` gives the cluster's name whenever the route is looked up; if it fails,
or gives something else, ``default_cluster`` is taken.  Running scripts is
:mod:`sidecar.extensions.http.lua_script`'s.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from sidecar.core.errors import ConfigError, LuaError
from sidecar.extensions.http.lua_api import printable
from sidecar.extensions.http.lua_script import Source

if TYPE_CHECKING:
    from collections.abc import Callable

    from sidecar.api.context import FactoryContext
    from sidecar.core.headers import RequestHeaders

__all__ = ["LuaSpecifier", "LuaSpecifierFactory"]

logger = logging.getLogger("sidecar.lua")

_USES = {b"numConnections": "connections", b"numRequests": "requests", b"numPendingRequests": "pending"}


class LuaSpecifier:
    """Gives the name of a cluster."""

    #: What a script's edits would ask of its filter: there are none.
    clears_route = False

    def __init__(self, source: Source, default: str, find_cluster: Callable[[str], Any]) -> None:
        self._source = source
        self._default = default
        self._find_cluster = find_cluster
        self._script: Any = None
        self._choose: Any = None

    def match(self, data: tuple[RequestHeaders, Any]) -> str:
        """The name for a request (its head, and its stream)."""
        script = self._source.script
        if script is not self._script:
            self._script, self._choose = script, script.answering(b"envoy_on_route", True)
        script.host = self
        script.headers, script.stream = data
        script.is_request = True
        try:
            is_well, found = _pair(self._choose())
        except script.lua_error as error:
            is_well, found = False, script.broke(error)[1]
        if script.is_spent:
            self._source.renew()
        if not is_well:
            logger.error("script log: %s, use default cluster", printable(found))
            return self._default
        if not isinstance(found, bytes):
            logger.error("script log: return value is not string, use default cluster")
            return self._default
        return printable(found)

    def cluster_use(self, name: bytes, what: bytes) -> int | bool:
        """Whether there is that cluster, or how much of it is in use."""
        cluster = self._find_cluster(printable(name))
        if not what:
            return cluster is not None
        return 0 if cluster is None else sum(getattr(each, _USES[what]) for each in cluster.resources)


class LuaSpecifierFactory:
    """Makes them of ``envoy.extensions.router.cluster_specifiers.lua.v3.LuaConfig``."""

    name = "envoy.router.cluster_specifier_plugin.lua"
    category = "envoy.router.cluster_specifier_plugin"
    config_type = "envoy.extensions.router.cluster_specifiers.lua.v3.LuaConfig"

    def compile(self, message: Any, context: FactoryContext) -> LuaSpecifier:
        """Raises: ConfigError."""
        field = message.source_code.WhichOneof("specifier") or ""
        path = f"source_code.{field}" if field else "source_code"
        try:
            source = Source(context.read_data_source(message.source_code, "source_code"))
        except LuaError as error:
            raise ConfigError(path, str(error), line_in_text=getattr(error, "line", None)) from error
        if source.script.answering(b"envoy_on_route", True) is None:
            raise ConfigError(
                path, "envoy_on_route() function not found. Lua will not hook cluster specifier."
            )
        return LuaSpecifier(source, message.default_cluster, context.find_cluster)


def _pair(outcome: Any) -> tuple[bool, Any]:
    """What the script's function did, and what it gave."""
    return outcome if isinstance(outcome, tuple) else (outcome, None)
