"""The listener filter that takes a connection's addresses from the PROXY protocol."""

from __future__ import annotations

import base64
import socket
from collections.abc import Mapping
from typing import Any, NamedTuple

from sidecar.api.listener_filter import CLOSE, DONE, MORE, Inspection
from sidecar.codec.proxy_protocol import (
    HEAD_V2,
    SIGNATURE_V1,
    SIGNATURE_V2,
    BrokenProxyHeader,
    ProxyHeader,
    head_v2,
    read_tlvs,
    read_v1,
    read_v2,
)

__all__ = ["NAMESPACE", "ProxyProtocol", "TlvRule"]

#: Of the metadata where a rule names none.
NAMESPACE = "envoy.filters.listener.proxy_protocol"
#: The name in the filter state where the TLVs of rules may go.
STATE = "envoy.network.proxy_protocol.tlv"
#: The longest line of version 1, and what is looked at before more of version 2 is asked for.
_MOST_V1, _FIRST = 108, HEAD_V2 + 216


class TlvRule(NamedTuple):
    """``ProxyProtocol.KeyValuePair``: where the value of a TLV goes."""

    namespace: str
    key: str
    is_base64: bool


class ProxyProtocol:
    """``envoy.filters.listener.proxy_protocol``."""

    def __init__(
        self,
        root: Any,
        stat_prefix: str = "",
        *,
        is_optional: bool = False,
        disallowed: frozenset[int] = frozenset(),
        rules: Mapping[int, TlvRule] | None = None,
        passes: frozenset[int] | None = frozenset(),
        in_filter_state: bool = False,
    ) -> None:
        """``root`` is the store of stats, ``disallowed`` versions, ``passes`` types of TLVs (None: all)."""
        self.is_optional = is_optional
        self.disallowed = disallowed
        self.rules = rules or {}
        self.passes = passes
        self.in_filter_state = in_filter_state
        scope = root.scope(f"proxy_proto.{stat_prefix}" if stat_prefix else "proxy_proto")
        self.errors = root.counter("downstream_cx_proxy_proto_error")
        self.not_found_allowed = scope.counter("not_found_allowed")
        self.not_found_disallowed = scope.counter("not_found_disallowed")
        self.versions = {number: _VersionStats(scope.scope(f"versions.v{number}")) for number in (1, 2)}

    def begin(self, connection: Any, sock: socket.socket) -> int | Inspection:
        return _Inspection(self, connection)


class _VersionStats:
    def __init__(self, scope: Any) -> None:
        self.found = scope.counter("found")
        self.disallowed = scope.counter("disallowed")
        self.error = scope.counter("error")


class _Inspection:
    __slots__ = ("_connection", "_filter", "_version", "taken", "wants")

    def __init__(self, owner: ProxyProtocol, connection: Any) -> None:
        self._filter = owner
        self._connection = connection
        self._version = 0
        self.wants = _FIRST
        self.taken = 0

    def feed(self, data: bytes) -> int:
        owner = self._filter
        if owner.is_optional and not self._may_begin(data):
            owner.not_found_allowed.value += 1
            return DONE
        try:
            state = self._read(data)
        except BrokenProxyHeader:
            stats = owner.versions.get(self._version)
            (owner.not_found_disallowed if stats is None else stats.error).value += 1
            owner.errors.value += 1
            return CLOSE
        if state == MORE:
            return MORE
        counters = owner.versions[self._version]
        counters.found.value += 1
        if state == CLOSE:
            counters.disallowed.value += 1
        return state

    def _may_begin(self, data: bytes) -> bool:
        """Whether this can still become a head of a version that is allowed."""
        return any(
            version not in self._filter.disallowed and signature[: len(data)] == data[: len(signature)]
            for version, signature in ((1, SIGNATURE_V1), (2, SIGNATURE_V2))
        )

    def _read(self, data: bytes) -> int:
        if len(data) >= HEAD_V2:
            if data.startswith(SIGNATURE_V2):
                self._version = 2
            elif not data.startswith(SIGNATURE_V1):
                raise BrokenProxyHeader("neither version")
        if self._version == 2:
            return self._read_v2(data)
        end = data.find(b"\r\n")
        if end == 0:
            return MORE  # it may become the signature of version 2
        if (end + 2 if end > 0 else len(data)) > _MOST_V1:
            if end > 0:
                self._version = 1
            raise BrokenProxyHeader("a line that is too long")
        if end < 0:
            return MORE
        self._version = 1
        if 1 in self._filter.disallowed:
            return CLOSE
        return self._accept(read_v1(data[: end + 2]), [], end + 2)

    def _read_v2(self, data: bytes) -> int:
        if 2 in self._filter.disallowed:
            return CLOSE
        addresses, length = head_v2(data)
        if len(data) < HEAD_V2 + addresses:
            return MORE
        header = read_v2(data)
        whole = HEAD_V2 + length
        if len(data) < whole:
            self.wants = max(self.wants, whole)
            return MORE
        # A connection of the proxy's own brings nothing that counts.
        tlvs = read_tlvs(data[HEAD_V2 + addresses : whole]) if header.source else []
        return self._accept(header, tlvs, whole)

    def _accept(self, header: ProxyHeader, tlvs: list[tuple[int, bytes]], size: int) -> int:
        connection = self._connection
        owner = self._filter
        for kind, value in tlvs:
            rule = owner.rules.get(kind)
            if rule is not None:
                self._keep(rule, value)
        passes = owner.passes
        connection.proxy_protocol_tlvs = tuple(
            (kind, value) for kind, value in tlvs if passes is None or kind in passes
        )
        if header.source:
            if header.destination != connection.local_address:
                connection.restore_local_address(header.destination)
            connection.remote_address = header.source
        self.taken = size
        return DONE

    def _keep(self, rule: TlvRule, value: bytes) -> None:
        text = base64.b64encode(value).decode() if rule.is_base64 else _sanitised(value)
        connection = self._connection
        if self._filter.in_filter_state:
            state = connection.filter_state
            if state is None:
                state = connection.filter_state = {}
            state.setdefault(STATE, {})[rule.key] = text
            return
        metadata = connection.dynamic_metadata
        if metadata is None:
            metadata = connection.dynamic_metadata = {}
        metadata.setdefault(rule.namespace, {}).setdefault(rule.key, text)
        typed = connection.typed_metadata
        if typed is None:
            typed = connection.typed_metadata = {}
        typed.setdefault(rule.namespace, {"typed_metadata": {}})["typed_metadata"].setdefault(rule.key, value)


def _sanitised(value: bytes) -> str:
    """Text with an exclamation mark for each byte that is no UTF-8, as Envoy writes it."""
    return "".join(
        "!" if "\udc80" <= character <= "\udcff" else character
        for character in value.decode("utf-8", "surrogateescape")
    )
