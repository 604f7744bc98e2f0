"""``proxy_protocol_tlvs`` of a TCP proxy: what a PROXY protocol's head to the upstream says besides."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sidecar.core.dataclass import dataclass

if TYPE_CHECKING:
    from sidecar.api.stream import Stream

__all__ = ["ADD_IF_ABSENT", "APPEND", "OVERWRITE", "Tlvs"]

#: ``ProxyProtocolTlvMergePolicy``: what becomes of those that came with the client's own head.
ADD_IF_ABSENT, OVERWRITE, APPEND = range(3)


@dataclass(frozen=True, slots=True)
class Tlvs:
    """The list, compiled; those with a format stand behind the others, as in Envoy."""

    entries: tuple[tuple[int, bytes | Callable[[Stream], str]], ...]
    merge_policy: int = ADD_IF_ABSENT

    def put(self, connection: Any) -> None:
        """Give them to a connection, before each attempt to reach an upstream."""
        came: tuple[tuple[int, bytes], ...] | None = connection.proxy_protocol_tlvs
        if came is not None and self.merge_policy == ADD_IF_ABSENT:
            return
        own = tuple(
            (kind, value if isinstance(value, bytes) else _made(value, connection))
            for kind, value in self.entries
        )
        if came is None:
            connection.proxy_protocol_tlvs = own
        elif self.merge_policy == APPEND:
            connection.proxy_protocol_tlvs = came + own
        else:
            kinds = {kind for kind, _ in own}
            connection.proxy_protocol_tlvs = own + tuple(each for each in came if each[0] not in kinds)


def _made(make: Callable[[Stream], str], connection: Any) -> bytes:
    return make(connection.stream).encode("utf-8", "surrogateescape")
