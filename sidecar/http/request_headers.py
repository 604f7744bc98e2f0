"""What the connection manager does to request headers before the filters see them.

Envoy's ``ConnectionManagerUtility::mutateRequestHeaders``: who the client is (x-forwarded-for),
x-forwarded-proto, which x-envoy headers are believed, the request id.  Nobody is internal unless
``internal_address_config`` says so.

The common request carries none of the headers that matter here and no name twice: a comparison and one set
test tell, and nothing is looked up.
"""

from __future__ import annotations

import ipaddress
import os
import re
from typing import TYPE_CHECKING

from sidecar.api.message import LocalReply
from sidecar.core.headers import RequestHeaders
from sidecar.http.client_address import settle_client
from sidecar.http.h1_target import ASSUMED_SCHEME

if TYPE_CHECKING:
    from sidecar.api.stream import Stream
    from sidecar.http.connection_manager import ConnectionManager

__all__ = ["UUID_LENGTH", "RequestIds", "is_valid_referer", "prepare_request_headers"]

#: Removed from external requests, wherever they come from (``cleanInternalHeaders``).
_REMOVED = frozenset(
    {
        b"x-envoy-internal",
        b"x-envoy-retriable-status-codes",
        b"x-envoy-retriable-header-names",
        b"x-envoy-retry-on",
        b"x-envoy-retry-grpc-on",
        b"x-envoy-max-retries",
        b"x-envoy-upstream-alt-stat-name",
        b"x-envoy-upstream-rq-timeout-ms",
        b"x-envoy-upstream-rq-per-try-timeout-ms",
        b"x-envoy-upstream-rq-timeout-alt-response",
        b"x-envoy-upstream-stream-duration-ms",
        b"x-envoy-expected-rq-timeout-ms",
        b"x-envoy-force-trace",
        b"x-envoy-ip-tags",
        b"x-envoy-original-url",
        b"x-envoy-hedge-on-per-try-timeout",
    }
)
#: Removed besides where this proxy is the edge (``use_remote_address``).
_EDGE_REMOVED = _REMOVED | {
    b"x-envoy-decorator-operation",
    b"x-envoy-downstream-service-cluster",
    b"x-envoy-downstream-service-node",
    b"x-envoy-original-path",
    b"x-envoy-original-host",
}
#: Headers that this module looks at; a request without any takes the short way.
INTERESTING = _REMOVED | {
    b"x-forwarded-for",
    b"x-forwarded-proto",
    b"x-request-id",
    b"x-envoy-downstream-service-cluster",
    b"x-envoy-downstream-service-node",
    b"x-forwarded-client-cert",
    b"te",
    b"expect",
    b"referer",
}

#: The variant digit (RFC 9562 §4.1) from a random one.
_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


#: Of an id that can say why there is a trace.
UUID_LENGTH = 36
#: Ids made at once.
_BATCH = 64
_FORWARDED_PROTO = (b"x-forwarded-proto", b"http")
_FORWARDED_HTTPS = (b"x-forwarded-proto", b"https")


class RequestIds:
    """UUID version 4 texts; the 13th digit says how the trace was decided (4: not).

    Entropy comes in batches.  The ids of one batch share their middle (28 random bits) and have 80 random
    bits of their own, the first eight digits among them, by which Envoy samples.
    """

    __slots__ = ("_digits", "_middle", "_next")

    def __init__(self) -> None:
        self._digits = b""
        self._middle = b""
        self._next = 0

    def make(self) -> bytes:
        """A fresh request id."""
        at = self._next
        digits = self._digits
        if at >= len(digits):
            digits = self._fill()
            at = 0
        self._next = at + 20
        return digits[at : at + 8] + self._middle + digits[at + 8 : at + 20]

    def _fill(self) -> bytes:
        raw = os.urandom(8 + 10 * _BATCH).hex()
        self._middle = f"-{raw[:4]}-4{raw[4:7]}-{_VARIANT[raw[7]]}{raw[8:11]}-".encode()
        self._digits = raw[16:].encode()
        return self._digits


_ABSOLUTE_URL = re.compile(
    rb"[A-Za-z][A-Za-z0-9+.-]*://(?:[A-Za-z0-9.-]+|\[([0-9A-Fa-f:.]+)\])(?::([0-9]+))?(?:[/?][!-\"$-~]*#?)?"
)
#: A path; its first segment is without a colon, which would make it a scheme (RFC 3986 §4.2).
_RELATIVE_URL = re.compile(rb"[A-Za-z0-9\-._~%!$&'()*+,;=@?]*(?:/[A-Za-z0-9\-._~%!$&'()*+,;=@?:/]*)?")


def is_valid_referer(value: bytes) -> bool:
    """Whether Envoy lets a ``referer`` pass: an absolute URL without user or fragment, or a relative one."""
    url = _ABSOLUTE_URL.fullmatch(value)
    if url is None:
        return _RELATIVE_URL.fullmatch(value) is not None
    literal, port = url.groups()
    if port is not None and (len(port) > 32 or int(port) > 65535):
        return False
    if literal is not None:
        try:
            ipaddress.ip_address(literal.decode())
        except ValueError:
            return False
    return True


def prepare_request_headers(
    manager: ConnectionManager, stream: Stream, headers: RequestHeaders
) -> LocalReply | None:
    """Change ``headers`` as Envoy's connection manager does, and set the stream's client address.

    An answer where an extension refuses the request for the address that it comes from.
    """
    fields = headers.fields
    index = headers._index
    if index is None:
        index = headers.index()
    if len(index) != len(fields):
        headers.join_repeated()
        index = headers.index()
    connection = stream.connection
    tls = connection.tls
    if (
        manager.use_remote_address
        or (tls is not None and manager.client_cert is not None)
        or manager.is_thorough
        or not (INTERESTING.isdisjoint(index) or _has_only_te(index))
    ):
        return _prepare_thoroughly(manager, stream, headers)
    stream.remote_address = connection.remote_address
    if tls is None:
        fields.append(_FORWARDED_PROTO)
        index[b"x-forwarded-proto"] = b"http"
    else:
        fields.append(_FORWARDED_HTTPS)
        index[b"x-forwarded-proto"] = b"https"
        if headers.scheme is ASSUMED_SCHEME:
            headers.scheme = b"https"
    if manager.via:
        _append_via(headers, manager.via)
    if manager.add_user_agent:
        _add_user_agent(manager, headers)
    if manager.generate_request_id:
        request_id = stream.request_id = manager.request_ids.make()
        fields.append((b"x-request-id", request_id))
        index[b"x-request-id"] = request_id
    return None


def _has_only_te(index: dict[bytes, bytes]) -> bool:
    """Whether ``te: trailers``, which stays as it is, is all that there is to look at: a call of gRPC."""
    return index.get(b"te") == b"trailers" and len(INTERESTING.intersection(index)) == 1


def _prepare_thoroughly(
    manager: ConnectionManager, stream: Stream, headers: RequestHeaders
) -> LocalReply | None:
    """The long way, in Envoy's order, since new headers go to the end."""
    if stream.redirects is not None:
        return None  # a redirect was followed: this was done for the request before it
    for mutations in manager.early_mutations:
        mutations.apply(headers, stream)
    index = headers.index()
    if b"te" in index:
        _clean_te(headers)
    expect = index.get(b"expect")
    if (
        expect is not None
        and not manager.proxy_100_continue
        and expect.lower() == b"100-continue"
        and stream.protocol != "HTTP/2"
    ):
        headers.remove(b"expect")
    referer = index.get(b"referer")
    if referer is not None and not is_valid_referer(referer):
        headers.remove(b"referer")
    headers.remove(b"x-envoy-internal")
    settled = settle_client(manager, stream, headers)
    if isinstance(settled, LocalReply):
        return settled
    client, may_be_internal = settled
    is_internal = manager.is_internal
    internal = may_be_internal and is_internal is not None and client is not None and is_internal(client)
    stream.internal = stream.trees = internal
    is_edge = manager.use_remote_address and not internal
    if internal:
        headers.set(b"x-envoy-internal", b"true")
    else:
        removed = _EDGE_REMOVED if is_edge else _REMOVED
        if not removed.isdisjoint(index):
            for name in removed.intersection(index):
                headers.remove(name)
        for name in manager.route_table.internal_only_headers:
            headers.remove(name)
    if manager.client_cert is not None:
        manager.client_cert.apply(headers, stream.connection.tls)
    else:
        headers.remove(b"x-forwarded-client-cert")
    if manager.add_user_agent:
        _add_user_agent(manager, headers)
    if manager.via:
        _append_via(headers, manager.via)
    if is_edge and client is not None and not client.startswith(("/", "@")):
        headers.set(b"x-envoy-external-address", client.encode())
    request_id = index.get(b"x-request-id")
    is_refused = is_edge and not manager.preserve_external_request_id
    if manager.generate_request_id and (not request_id or is_refused):
        request_id = manager.request_ids.make()
        headers.set(b"x-request-id", request_id)
    elif manager.generate_request_id and is_edge and manager.packs_trace_reason and request_id:
        # An id from outside says nothing of a trace.
        if len(request_id) == UUID_LENGTH:
            request_id = request_id[:14] + b"4" + request_id[15:]
        headers.set(b"x-request-id", request_id)
    stream.request_id = request_id
    if not index.get(b"x-forwarded-proto"):
        # An empty one: Envoy finds no route for it, unless a filter gives it another.
        stream.resolve_route = False
    return None


def _clean_te(headers: RequestHeaders) -> None:
    """Only ``trailers`` of a ``te`` means anything to the upstream."""
    te = headers.get(b"te") or b""
    if any(token.strip() == b"trailers" for token in te.split(b",")):
        headers.set(b"te", b"trailers")
    else:
        headers.remove(b"te")


def _append_via(headers: RequestHeaders, name: bytes) -> None:
    found = headers.get(b"via")
    headers.set(b"via", found + b", " + name if found else name)


def _add_user_agent(manager: ConnectionManager, headers: RequestHeaders) -> None:
    name = manager.service_cluster  # may be empty: Envoy says so, too
    headers.set(b"x-envoy-downstream-service-cluster", name)
    if not headers.get(b"user-agent"):
        headers.set(b"user-agent", name)
    if manager.service_node:
        headers.set(b"x-envoy-downstream-service-node", manager.service_node)
