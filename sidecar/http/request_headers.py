"""What the connection manager does to request headers before the filters see them.

Envoy's ``ConnectionManagerUtility::mutateRequestHeaders``: who the client is (x-forwarded-for), whether
the request is internal, x-forwarded-proto, the request id.  The common request carries none of the
headers that matter here: one set test tells, and nothing is looked up.
"""

from __future__ import annotations

import ipaddress
import os
from typing import TYPE_CHECKING

from sidecar.core.headers import RequestHeaders

if TYPE_CHECKING:
    from sidecar.api.stream import Stream
    from sidecar.http.connection_manager import ConnectionManager

__all__ = ["RequestIds", "is_internal_address", "prepare_request_headers"]

#: Headers that this module or the router looks at; a request without any takes the short way.
INTERESTING = frozenset(
    {
        b"x-forwarded-for",
        b"x-forwarded-proto",
        b"x-request-id",
        b"x-envoy-internal",
        b"x-envoy-external-address",
        b"x-envoy-downstream-service-cluster",
        b"x-envoy-downstream-service-node",
        b"x-envoy-force-trace",
        b"x-envoy-expected-rq-timeout-ms",
        b"te",
        b"expect",
    }
)

#: Removed from external requests at the edge (``cleanInternalHeaders``).
_EDGE_REMOVED = (
    b"x-envoy-retriable-status-codes",
    b"x-envoy-retriable-header-names",
    b"x-envoy-retry-on",
    b"x-envoy-retry-grpc-on",
    b"x-envoy-max-retries",
    b"x-envoy-upstream-alt-stat-name",
    b"x-envoy-upstream-rq-timeout-ms",
    b"x-envoy-upstream-rq-per-try-timeout-ms",
    b"x-envoy-upstream-rq-timeout-alt-response",
    b"x-envoy-expected-rq-timeout-ms",
    b"x-envoy-force-trace",
    b"x-envoy-ip-tags",
    b"x-envoy-original-url",
    b"x-envoy-hedge-on-per-try-timeout",
    b"x-envoy-decorator-operation",
    b"x-envoy-downstream-service-cluster",
    b"x-envoy-downstream-service-node",
    b"x-envoy-original-path",
    b"x-envoy-original-host",
)


#: The variant digit (RFC 9562 §4.1) from a random one.
_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


class RequestIds:
    """UUID version 4 texts from batched entropy; the 13th digit says how the trace was decided (4: not)."""

    __slots__ = ("_hex", "_next")

    def __init__(self) -> None:
        self._hex = ""
        self._next = 0

    def make(self) -> bytes:
        """A fresh request id."""
        at = self._next
        if at >= len(self._hex):
            self._hex = os.urandom(4096).hex()
            at = 0
        self._next = at + 32
        raw = self._hex[at : at + 32]
        return f"{raw[:8]}-{raw[8:12]}-4{raw[13:16]}-{_VARIANT[raw[16]]}{raw[17:20]}-{raw[20:]}".encode()


_INTERNAL_NETWORKS = tuple(
    ipaddress.ip_network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "fd00::/8", "::1/128")
)
_internal_cache: dict[str, bool] = {}


def is_internal_address(ip: str) -> bool:
    """Whether Envoy's default ``internal_address_config`` takes ``ip`` for a private address."""
    known = _internal_cache.get(ip)
    if known is None:
        try:
            address = ipaddress.ip_address(ip)
        except ValueError:
            known = False
        else:
            known = any(address in network for network in _INTERNAL_NETWORKS if network.version == address.version)
        if len(_internal_cache) < 4096:
            _internal_cache[ip] = known
    return known


def _host_of(address: str) -> str:
    """The IP of an address text; the path of a Unix socket as it is."""
    if address.startswith("["):
        return address[1 : address.index("]")]
    host, colon, _ = address.rpartition(":")
    return host if colon else address


def _trusted_from_right(value: bytes, skip: int) -> tuple[str | None, bool]:
    """The address ``skip`` places from the right of an x-forwarded-for, and whether it is the only one."""
    entries = value.split(b",")
    if skip >= len(entries):
        return None, False
    text = entries[len(entries) - 1 - skip].strip().decode("latin-1")
    candidate = _strip_port(text)
    try:
        ipaddress.ip_address(candidate)
    except ValueError:
        return None, False
    return candidate, len(entries) == 1


def _strip_port(text: str) -> str:
    if text.startswith("["):
        return text[1:].partition("]")[0]
    if text.count(":") == 1:
        return text.partition(":")[0]
    return text


def _as_address(ip: str) -> str:
    return f"[{ip}]:0" if ":" in ip else f"{ip}:0"


def prepare_request_headers(manager: ConnectionManager, stream: Stream, headers: RequestHeaders) -> None:
    """Change ``headers`` as Envoy's connection manager does, and set the stream's client address."""
    connection = stream.connection
    fields = headers.fields
    if not manager.use_remote_address and INTERESTING.isdisjoint(headers.index()):
        stream.remote_address = connection.remote_address
        index = headers.index()
        fields.append((b"x-forwarded-proto", b"http"))
        index[b"x-forwarded-proto"] = b"http"
        if manager.via:
            headers.add(b"via", manager.via)
        if manager.add_user_agent:
            _add_user_agent(manager, headers, internal=False)
        if manager.generate_request_id:
            request_id = stream.request_id = manager.request_ids.make()
            fields.append((b"x-request-id", request_id))
            index[b"x-request-id"] = request_id
        return
    te = headers.get(b"te")
    if te is not None:
        if any(token.strip().lower() == b"trailers" for token in te.split(b",")):
            headers.set(b"te", b"trailers")
        else:
            headers.remove(b"te")
    if headers.get(b"expect") is not None and stream.protocol != "HTTP/2":
        headers.remove(b"expect")
    peer = _host_of(connection.remote_address)
    forwarded = headers.get_joined(b"x-forwarded-for")
    single = False
    client: str | None = None
    hops = manager.xff_num_trusted_hops
    if manager.use_remote_address:
        if hops and forwarded is not None:
            client, _ = _trusted_from_right(forwarded, hops - 1)
        single = forwarded is None
        if not manager.skip_xff_append and not connection.remote_address.startswith(("/", "@")):
            value = peer.encode() if forwarded is None else forwarded + b"," + peer.encode()
            headers.set(b"x-forwarded-for", value)
        if hops == 0 or headers.get(b"x-forwarded-proto") is None:
            headers.set(b"x-forwarded-proto", b"http")
    else:
        if forwarded is not None:
            client, single = _trusted_from_right(forwarded, hops)
        if headers.get(b"x-forwarded-proto") is None:
            headers.add(b"x-forwarded-proto", b"http")
    if client is None:
        stream.remote_address = connection.remote_address
    else:
        stream.remote_address = _as_address(client)
    internal = stream.internal = single and is_internal_address(client or peer)
    edge = not internal and manager.use_remote_address
    if edge:
        for name in _EDGE_REMOVED:
            headers.remove(name)
        headers.set(b"x-envoy-external-address", (client or peer).encode())
    if internal:
        headers.set(b"x-envoy-internal", b"true")
    else:
        headers.remove(b"x-envoy-internal")
    if manager.via:
        headers.add(b"via", manager.via)
    if manager.add_user_agent:
        _add_user_agent(manager, headers, internal=internal)
    request_id = headers.get(b"x-request-id")
    if manager.generate_request_id and (request_id is None or (edge and not manager.preserve_external_request_id)):
        request_id = manager.request_ids.make()
        headers.set(b"x-request-id", request_id)
    stream.request_id = request_id


def _add_user_agent(manager: ConnectionManager, headers: RequestHeaders, *, internal: bool) -> None:
    name = manager.service_cluster
    if not name:
        return
    headers.set(b"x-envoy-downstream-service-cluster", name)
    if headers.get(b"user-agent") is None:
        headers.add(b"user-agent", name)
    if manager.service_node:
        headers.set(b"x-envoy-downstream-service-node", manager.service_node)
