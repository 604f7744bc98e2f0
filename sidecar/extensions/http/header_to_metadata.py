"""The filter ``envoy.filters.http.header_to_metadata``: headers and cookies into dynamic metadata."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import field
from typing import TYPE_CHECKING, Any

from sidecar.api.filters import HttpFilter
from sidecar.core.cookies import cookie_values
from sidecar.core.dataclass import dataclass

if TYPE_CHECKING:
    from sidecar.api.message import LocalReply
    from sidecar.api.stream import Stream
    from sidecar.core.headers import HeaderMap

__all__ = ["HeaderToMetadataFilter", "KeyValue", "Rule", "Rules"]

#: A value that is as long or longer is left out.
_MOST_BYTES = 8 * 1024


@dataclass(frozen=True, slots=True)
class KeyValue:
    """``Config.KeyValuePair``: where a value goes, and what is made of it."""

    namespace: str
    key: str
    #: Taken instead of what the header says.
    value: bytes
    rewrite: Callable[[bytes], bytes] | None
    #: The value of metadata; None where the text is not of its type.
    convert: Callable[[bytes], Any]

    def put(self, said: bytes, metadata: dict[str, dict[str, Any]]) -> None:
        """Add what ``said`` gives, if anything."""
        value = self.value
        if not value:
            value = said if self.rewrite is None else self.rewrite(said)
        if value and len(value) < _MOST_BYTES:
            found = self.convert(value)
            if found is not None:
                metadata.setdefault(self.namespace, {})[self.key] = found


@dataclass(frozen=True, slots=True)
class Rule:
    """``Config.Rule``, of a header or of a cookie."""

    header: bytes
    cookie: bytes
    removes: bool
    present: KeyValue | None
    missing: KeyValue | None

    def apply(self, headers: HeaderMap, metadata: dict[str, dict[str, Any]]) -> None:
        """Look, add, and take the header away where that is asked for."""
        if self.cookie:
            said = cookie_values(headers).get(self.cookie) or None
        else:
            said = headers.get_joined(self.header)
            if said is not None and self.removes:
                headers.remove(self.header)
        if said is None:
            if self.missing is not None:
                self.missing.put(b"", metadata)
        elif self.present is not None:
            self.present.put(said, metadata)


@dataclass(frozen=True, slots=True)
class Rules:
    """``Config``, of the filter or of a route."""

    request: tuple[Rule, ...]
    response: tuple[Rule, ...]
    #: Headers of which a message has to have one for any rule; None where a rule is for what is missing.
    request_triggers: frozenset[bytes] | None = field(init=False)
    response_triggers: frozenset[bytes] | None = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "request_triggers", _triggers(self.request))
        object.__setattr__(self, "response_triggers", _triggers(self.response))


def _triggers(rules: tuple[Rule, ...]) -> frozenset[bytes] | None:
    if any(rule.missing is not None or rule.header[:1] == b":" for rule in rules):
        return None
    return frozenset(b"cookie" if rule.cookie else rule.header for rule in rules)


class HeaderToMetadataFilter(HttpFilter):
    """Applies the rules of the route, or else its own."""

    uses_trio = False

    def __init__(self, rules: Rules) -> None:
        self._rules = rules

    def decode_headers(self, stream: Stream) -> LocalReply | Awaitable[LocalReply | None] | None:
        route = stream.find_route() if stream.resolve_route else stream.route
        rules = self._rules
        if route is not None and route.per_filter_config:
            rules = route.per_filter_config.get(self.config_name, rules)
        headers = stream.request.headers
        triggers = rules.request_triggers
        if triggers is None or not triggers.isdisjoint(headers.index()):
            self._apply(rules.request, headers, stream)
        return None

    def encode_headers(self, stream: Stream) -> LocalReply | Awaitable[LocalReply | None] | None:
        route = stream.route
        rules = self._rules
        if route is not None and route.per_filter_config:
            rules = route.per_filter_config.get(self.config_name, rules)
        if not rules.response:
            return None
        triggers = rules.response_triggers
        response = stream.response
        if response is not None and (triggers is None or not triggers.isdisjoint(response.headers.index())):
            self._apply(rules.response, response.headers, stream)
        return None

    @staticmethod
    def _apply(rules: tuple[Rule, ...], headers: HeaderMap, stream: Stream) -> None:
        found: dict[str, dict[str, Any]] = {}
        for rule in rules:
            rule.apply(headers, found)
        for namespace, fields in found.items():
            stream.metadata_namespace(namespace).update(fields)
