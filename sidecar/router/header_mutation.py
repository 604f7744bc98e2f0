"""``request_headers_to_add`` and its relatives, compiled (envoy.config.core.v3.HeaderValueOption).

A list of mutations is applied in Envoy's order: what is removed first, then what is added, from the
weighted cluster outwards to the route configuration (the compiler lays the levels out in that order).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sidecar.core.dataclass import dataclass
from sidecar.core.errors import StreamAborted
from sidecar.core.headers import RequestHeaders
from sidecar.router.route_counters import ChargeResponse, Counted
from sidecar.router.unsendable import BAD_VALUE, invalid_value, unsendable_reply

if TYPE_CHECKING:
    from sidecar.api.stream import Stream
    from sidecar.core.headers import Field, HeaderMap

__all__ = [
    "ADD_IF_ABSENT",
    "APPEND",
    "NO_MUTATIONS",
    "OVERWRITE",
    "OVERWRITE_IF_EXISTS",
    "AttemptCount",
    "HeaderAddition",
    "HeaderMutations",
    "Mutations",
    "SetAuthority",
    "UpstreamScheme",
]

APPEND = 0
ADD_IF_ABSENT = 1
OVERWRITE = 2
OVERWRITE_IF_EXISTS = 3


@dataclass(frozen=True, slots=True)
class HeaderAddition:
    """One value to set."""

    name: bytes
    #: The value, or what makes it for a stream.
    value: bytes | Callable[[Stream], bytes]
    action: int = APPEND
    keep_empty_value: bool = False


@dataclass(frozen=True, slots=True)
class HeaderMutations:
    """What one level of the configuration does to a header map."""

    additions: tuple[HeaderAddition, ...] = ()
    removals: tuple[bytes, ...] = ()

    def apply(self, headers: HeaderMap, stream: Stream) -> None:
        """Change ``headers`` as Envoy's HeaderParser does.

        Removals come first.  Then every value is made, and every condition looked at, before the first
        change: what is set does not show in the other values.  Overwritten headers move to the end, ahead of
        what is added.

        Raises: StreamAborted, where metadata or the like makes a value of a request that cannot be sent.
        """
        for name in self.removals:
            headers.remove(name)
        overwritten: list[Field] = []
        added: list[Field] = []
        for addition in self.additions:
            value = addition.value
            if isinstance(value, bytes):
                text = value
            else:
                text = value(stream)
                if BAD_VALUE.search(text):
                    if isinstance(headers, RequestHeaders):
                        raise StreamAborted(unsendable_reply(invalid_value(addition.name)))
                    continue  # a response has no such field: its client could be told another one by it
            if not text and not addition.keep_empty_value:
                continue
            action = addition.action
            name = addition.name
            if action == APPEND:
                added.append((name, text))
            elif action == OVERWRITE:
                overwritten.append((name, text))
            elif action == ADD_IF_ABSENT:
                if name not in headers:
                    added.append((name, text))
            elif name in headers:
                overwritten.append((name, text))
        for name, text in overwritten:
            headers.replace(name, text)
        for name, text in added:
            headers.append(name, text)

    def __bool__(self) -> bool:
        return bool(self.additions or self.removals)


@dataclass(frozen=True, slots=True)
class AttemptCount:
    """``include_request_attempt_count`` and ``include_attempt_count_in_response`` of a virtual host."""

    def apply(self, headers: HeaderMap, stream: Stream) -> None:
        """Say how often the request was tried."""
        headers.set(b"x-envoy-attempt-count", b"%d" % stream.attempt_count)


@dataclass(frozen=True, slots=True)
class SetAuthority:
    """``host_rewrite_literal`` of a weighted cluster: before the route's own, and says nothing of it."""

    host: bytes

    def apply(self, headers: HeaderMap, stream: Stream) -> None:
        """Give the request its host."""
        headers.set(b":authority", self.host)


@dataclass(frozen=True, slots=True)
class UpstreamScheme:
    """``scheme_header_transformation.match_upstream`` of a connection manager."""

    def apply(self, headers: HeaderMap, stream: Stream) -> None:
        """Let the scheme be that of the connections to the cluster."""
        sockets = stream.cluster.config.transport_sockets
        is_secure = sockets is not None and sockets.default is not None
        headers.set(b":scheme", b"https" if is_secure else b"http")


NO_MUTATIONS = HeaderMutations()
#: One level of header mutations.
Mutations = HeaderMutations | AttemptCount | SetAuthority | UpstreamScheme | Counted | ChargeResponse
