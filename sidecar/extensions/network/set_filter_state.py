"""``envoy.filters.network.set_filter_state``: puts texts into the filter state of a connection."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from sidecar.api.network import CONTINUE, NetworkFilter, NetworkSession
from sidecar.core.dataclass import dataclass

if TYPE_CHECKING:
    from sidecar.api.stream import Stream

__all__ = ["FilterStateValue", "SetFilterState", "SetFilterStateLater"]


@dataclass(frozen=True, slots=True)
class FilterStateValue:
    """``envoy.extensions.filters.common.set_filter_state.v3.FilterStateValue``."""

    key: str
    text: Callable[[Stream], str]
    #: From a text to what is kept; None keeps nothing.
    make: Callable[[str], Any]
    skip_if_empty: bool = False


def _set(values: Sequence[FilterStateValue], session: NetworkSession) -> int:
    connection = session.connection
    for each in values:
        text = each.text(connection.stream)
        if each.skip_if_empty and not text:
            continue
        value = each.make(text)
        if value is None:
            continue
        if connection.filter_state is None:
            connection.filter_state = {}
        connection.filter_state[each.key] = value
    return CONTINUE


class SetFilterState(NetworkFilter):
    """All of it when the connection comes: ``on_new_connection``."""

    def __init__(self, values: Sequence[FilterStateValue]) -> None:
        self._values = values

    def on_new_connection(self, session: NetworkSession) -> int:
        return _set(self._values, session)


class SetFilterStateLater(SetFilterState):
    """With ``on_downstream_tls_handshake``, which without TLS is when the connection comes."""

    def __init__(
        self, values: Sequence[FilterStateValue], after_handshake: Sequence[FilterStateValue]
    ) -> None:
        super().__init__(values)
        self._after_handshake = after_handshake

    def on_established(self, session: NetworkSession) -> None:
        _set(self._after_handshake, session)
