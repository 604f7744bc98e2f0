"""VHDS: virtual hosts of routes as resources of their own, also those that a request asks for.

``route configuration/domain`` is the name by which a virtual host is asked for; the control plane answers
with its own name for it and that one as an alias, or with nothing in it where there is no such host.  Only
the incremental protocol has it (Envoy's ``VhdsSubscription``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import trio

from sidecar.core.errors import ConfigError
from sidecar.xds.subscription import Resource, ResourceKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sidecar.xds.grpc_stream import GrpcSubscription

__all__ = ["VIRTUAL_HOST", "VirtualHosts", "check_source"]

VIRTUAL_HOST = "envoy.config.route.v3.VirtualHost"
_DELTA_GRPC = 3


def check_source(source: Any, bootstrap: Any) -> None:
    """Raises: ConfigError, where it is not the incremental protocol."""
    kind = source.WhichOneof("config_source_specifier")
    resources = bootstrap.dynamic_resources
    if kind == "ads":
        if not resources.HasField("ads_config"):
            raise ConfigError("", "vhds: ADS config source specified but no ADS configured in bootstrap.")
        if resources.ads_config.api_type != _DELTA_GRPC:
            raise ConfigError("", "vhds: ADS must use DELTA_GRPC api_type when used as VHDS config source.")
    elif kind != "api_config_source" or source.api_config_source.api_type != _DELTA_GRPC:
        raise ConfigError(
            "",
            "vhds: only 'DELTA_GRPC' or 'ADS' (which uses Delta xDS) is supported as a config source.",
        )


class VirtualHosts:
    """Those of one route configuration (:class:`sidecar.xds.subscription.Subscriber`)."""

    def __init__(
        self,
        name: str,
        source: Any,
        scope: Any,
        known_clusters: Callable[[], Mapping[str, Any]],
        rebuild: Callable[[dict[str, Any], str], None],
    ) -> None:
        """``rebuild`` puts hosts of a version in use, or raises XdsError."""
        self.kind = ResourceKind(
            VIRTUAL_HOST,
            "name",
            lambda message, path: message,
            known_clusters=known_clusters,
            validates_clusters=False,
        )
        self.name = name
        self.scope = scope
        #: The ``Vhds``.
        self.source = source
        self.answered = trio.Event()
        self.subscription: GrpcSubscription | None = None
        self.task = trio.CancelScope()
        self.hosts: dict[str, Any] = {}
        self._rebuild = rebuild
        self._waiting: dict[str, trio.Event] = {}
        self._reload = scope.counter("config_reload")
        scope.counter("update_empty")

    async def run(self) -> None:
        """Follow them until nobody wants them any more."""
        assert self.subscription is not None
        with self.task:
            await self.subscription.run()

    def close(self) -> None:
        """Nobody wants them any more."""
        if self.subscription is not None:
            self.subscription.close()
        self.task.cancel()

    async def request(self, domain: bytes) -> bool:
        """Ask for the virtual host of a domain, and wait for the answer; True."""
        assert self.subscription is not None
        alias = f"{self.name}/{domain.decode('latin-1')}"
        event = self._waiting.setdefault(alias, trio.Event())
        self.subscription.request((alias,))
        await event.wait()
        return True

    def ask_all(self, names: Sequence[str]) -> None:
        """What workers want."""
        assert self.subscription is not None
        self.subscription.request(names)

    # -- Subscriber ------------------------------------------------------------------------------------
    def on_update(self, resources: Sequence[Resource], version: str) -> None:
        """What a supervisor knows already; the state of the world has no virtual hosts."""
        named = {each.value.name for each in resources if each.value is not None}
        self.on_delta(resources, [name for name in self.hosts if name not in named], version)

    def on_delta(self, added: Sequence[Resource], removed: Sequence[str], version: str) -> None:
        hosts = {name: each for name, each in self.hosts.items() if name not in removed}
        hosts.update((each.value.name, each.value) for each in added if each.value is not None)
        if added or len(hosts) != len(self.hosts):
            self._rebuild(hosts, version)
            self.hosts = hosts
            self._reload.value += 1
        self.answered.set()
        for resource in added:
            for name in (resource.name, *resource.aliases):
                event = self._waiting.pop(name, None)
                if event is not None:
                    event.set()

    def on_failure(self) -> None:
        self.answered.set()
