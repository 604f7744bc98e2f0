"""The host that a request names itself, in a header or in its metadata; another policy where it names none.

Envoy's ``envoy.load_balancing_policies.override_host``.  What is named are addresses of the cluster's hosts,
well or not, with commas between; each try of a request takes the next.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from sidecar.core.dataclass import dataclass
from sidecar.upstream.host import Host
from sidecar.upstream.host_set import NO_HOSTS, HostSet

if TYPE_CHECKING:
    from sidecar.upstream.load_balancer import LbContext, LoadBalancer
    from sidecar.upstream.load_balancer_pickers import Picker
    from sidecar.upstream.load_balancer_policies import LbPolicy

__all__ = ["MetadataPath", "OverrideHostBalancer", "OverrideSettings"]

#: Where the addresses that are left stand among the request's filter state.
_STATE = "envoy.extensions.load_balancing_policies.override_host.filter_state"


@dataclass(frozen=True, slots=True)
class MetadataPath:
    """``envoy.type.metadata.v3.MetadataKey``."""

    namespace: str
    path: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OverrideSettings:
    """``envoy.extensions.load_balancing_policies.override_host.v3.OverrideHost``."""

    #: Names of headers, and places in the metadata.
    sources: tuple[bytes | MetadataPath, ...]
    #: Chooses where nothing is named, or nobody is there.
    fallback: LbPolicy
    #: Where the address of the chosen host is written.
    selected_host_key: MetadataPath | None = None


class OverrideHostBalancer:
    """See the module."""

    __slots__ = ("_fallback", "_hosts", "_settings", "loads", "only")

    def __init__(
        self,
        settings: OverrideSettings,
        context: LbContext,
        make_balancer: Callable[[LbPolicy, LbContext], LoadBalancer],
    ) -> None:
        self._settings = settings
        self._fallback = make_balancer(settings.fallback, context)
        self._hosts: dict[str, Host] = {}
        #: The request says more than any picker knows.
        self.only: Picker | None = None
        self.loads = context.loads((NO_HOSTS,))

    def update(self, sets: Sequence[HostSet]) -> None:
        self._fallback.update(sets)
        self.loads = self._fallback.loads
        self._hosts = {host.address: host for each in sets for host in each.hosts}

    def choose(self, stream: Any = None, attempt: int = 0) -> Host | None:
        if stream is None:
            return self._fallback.choose(None, attempt)
        host = self._next(stream) or self._fallback.choose(stream, attempt)
        key = self._settings.selected_host_key
        if host is not None and key is not None:
            value: Any = host.address
            for name in reversed(key.path[1:]):
                value = {name: value}
            stream.metadata_namespace(key.namespace)[key.path[0]] = value
        return host

    def _next(self, stream: Any) -> Host | None:
        state = stream.filter_state
        if state is None:
            state = stream.filter_state = {}
        named: list[str] | None = state.get(_STATE)
        if named is None:
            named = state[_STATE] = [
                each for source in self._settings.sources for each in _split(_read(source, stream))
            ]
        while named:
            host = self._hosts.get(named.pop(0))
            if host is not None:
                return host
        return None


def _read(source: bytes | MetadataPath, stream: Any) -> str:
    if isinstance(source, bytes):
        values = stream.request.headers.get_all(source)
        return values[0].decode("latin-1") if values else ""
    found: Any = (stream.dynamic_metadata or {}).get(source.namespace)
    for name in source.path:
        found = found.get(name) if isinstance(found, dict) else None
    return found if isinstance(found, str) else ""


def _split(text: str) -> list[str]:
    return [each.strip() for each in text.split(",") if each.strip()]
