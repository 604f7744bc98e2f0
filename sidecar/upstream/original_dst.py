"""ORIGINAL_DST: a request goes where it says, or where its connection went before it was redirected.

Envoy's ``OriginalDstCluster``: the cluster has no hosts of its own, the load balancer that it provides
makes one for each address that is asked for, and a sweep removes those that nobody needs.  An address is
looked for in the filter state, the dynamic metadata, a header and the connection, in this order.  Nothing
here does I/O.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sidecar.core.address import Address
from sidecar.core.destination import ORIGINAL_DST_STATE, parse_destination
from sidecar.upstream.host import Host
from sidecar.upstream.priority_loads import PriorityLoads

if TYPE_CHECKING:
    from sidecar.api.stream import Stream
    from sidecar.upstream.cluster import Cluster, OriginalDstSettings
    from sidecar.upstream.host_set import HostSet
    from sidecar.upstream.load_balancer_pickers import Picker

__all__ = ["OriginalDstBalancer"]


class OriginalDstBalancer:
    """Chooses by what a request says; a :class:`sidecar.upstream.load_balancer.LoadBalancer`."""

    def __init__(self, cluster: Cluster, settings: OriginalDstSettings) -> None:
        self.only: Picker | None = None
        self.loads = PriorityLoads((100,), (0,), (False,))
        self._cluster = cluster
        self._header = settings.http_header_name
        self._metadata_path = settings.metadata_path
        self._port = settings.upstream_port_override
        self._hosts: dict[str, Host] = {}
        #: Addresses that were chosen since the last sweep.
        self._used: set[str] = set()

    def update(self, sets: Sequence[HostSet]) -> None:
        """The hosts are made here: only those that a health check or a sweep removed are news."""
        self._hosts = {host.address: host for each in sets for host in each.hosts}

    def choose(self, stream: Any = None, attempt: int = 0) -> Host | None:
        address = None if stream is None else self._destination(stream)
        if address is None:
            return None
        if self._port is not None:
            address = Address.ip(address.host, self._port)
        text = address.text
        self._used.add(text)
        return self._hosts.get(text) or self._make(address)

    def sweep(self) -> None:
        """Remove the hosts that were not asked for since the last sweep, and that have no connections."""
        used, self._used = self._used, set()
        hosts = self._cluster.hosts
        kept = [
            host
            for host in hosts
            if host.address in used or host.cx_active or host.rq_active or host.rq_pending_active
        ]
        if len(kept) < len(hosts):
            self._cluster.set_hosts(kept)

    def _make(self, address: Address) -> Host:
        cluster = self._cluster
        host = Host(address, hostname=cluster.name + address.text)
        cluster.stats.default_total_match_count.value += 1
        cluster.set_hosts((*cluster.hosts, host))
        return host

    def _destination(self, stream: Stream) -> Address | None:
        connection: Any = stream.connection
        for state in (stream.filter_state, connection.filter_state):
            if state is not None and (said := state.get(ORIGINAL_DST_STATE)) is not None:
                address = parse_destination(said.decode("latin-1") if isinstance(said, bytes) else str(said))
                if address is not None:
                    return address
        if self._metadata_path:
            for metadata in (stream.dynamic_metadata, connection.dynamic_metadata):
                value = None if metadata is None else _value_at(metadata, self._metadata_path)
                if isinstance(value, str):
                    address = self._parse(value)
                    if address is not None:
                        return address
                    break
        if self._header is not None:
            values = stream.request.headers.get_all(self._header)
            if values:
                address = self._parse(values[0].decode("latin-1"))
                if address is not None:
                    return address
        if connection.is_local_address_restored:
            return parse_destination(connection.local_address)
        return None

    def _parse(self, text: str) -> Address | None:
        address = parse_destination(text)
        if address is None:
            self._cluster.stats.original_dst_host_invalid.value += 1
        return address


def _value_at(metadata: dict[str, dict[str, Any]], path: tuple[str, ...]) -> Any:
    """What the path leads to; of a list its first element."""
    value: Any = metadata
    for step in path:
        value = value.get(step) if isinstance(value, dict) else None
    if isinstance(value, list | tuple) and value:
        value = value[0]
    return value
