"""The filter ``envoy.filters.http.json_to_metadata``: values of JSON bodies into dynamic metadata."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from sidecar.api.filters import HttpFilter
from sidecar.api.message import LocalReply, Message
from sidecar.core.dataclass import dataclass

if TYPE_CHECKING:
    from sidecar.api.stream import Stream
    from sidecar.core.headers import HeaderMap

__all__ = ["DirectionStats", "JsonRules", "JsonToMetadataFilter", "KeyValue", "Rule", "RulesOfBoth"]

#: A text that is longer is an error.
_MOST_BYTES = 8 * 1024
_REQUEST_TOO_LARGE = LocalReply(413, b"Payload Too Large", details="request_payload_too_large")
_RESPONSE_TOO_LARGE = LocalReply(500, b"Internal Server Error", details="response_payload_too_large")


class _Unfit(Exception):
    """A value that cannot be had, or cannot become what is asked for."""


@dataclass(frozen=True, slots=True)
class KeyValue:
    """``KeyValuePair``: where a value goes, and what is made of it."""

    namespace: str
    key: str
    #: Whether ``value`` is taken instead of what the body says.
    has_value: bool
    value: Any
    convert: Callable[[Any], Any]
    keeps_existing: bool

    def put(self, value: Any, stream: Stream, found: dict[str, dict[str, Any]]) -> None:
        """Add ``value``, if there is none that is to be kept."""
        if self.keeps_existing:
            before = (stream.dynamic_metadata or {}).get(self.namespace)
            if before is not None and self.key in before:
                return
        found.setdefault(self.namespace, {})[self.key] = value


@dataclass(frozen=True, slots=True)
class Rule:
    """``Rule``: the names that lead to a value, and what each outcome adds."""

    keys: tuple[str, ...]
    present: KeyValue | None
    missing: KeyValue | None
    error: KeyValue | None

    def apply(self, document: Any, stream: Stream, found: dict[str, dict[str, Any]]) -> None:
        """Look in ``document``, and add."""
        try:
            node = document
            for key in self.keys[:-1]:
                node = _table(_child(node, key))
            self._on_present(node, stream, found)
        except _Unfit:
            if self.missing is not None:
                self.missing.put(self.missing.value, stream, found)

    def _on_present(self, node: Any, stream: Stream, found: dict[str, dict[str, Any]]) -> None:
        present = self.present
        if present is None:
            return
        if present.has_value:
            present.put(present.value, stream, found)
            return
        value = present.convert(_child(node, self.keys[-1]))
        if value is not None:
            present.put(value, stream, found)


def _table(node: Any) -> Any:
    if not isinstance(node, dict):
        raise _Unfit
    return node


def _child(node: Any, key: str) -> Any:
    if not isinstance(node, dict) or key not in node:
        raise _Unfit
    return node[key]


def to_text(value: Any) -> str | None:
    """``STRING``; an empty one adds nothing."""
    if value is True or value is False:
        text = "1" if value else "0"
    elif isinstance(value, float):
        text = f"{value:.6f}"
    elif isinstance(value, int):
        text = str(value)
    elif isinstance(value, str):
        text = value
    else:
        raise _Unfit
    if len(text.encode()) > _MOST_BYTES:
        raise _Unfit
    return text or None


def to_number(value: Any) -> float:
    """``NUMBER``."""
    if isinstance(value, bool | int | float):
        return float(value)
    if isinstance(value, str):
        try:
            return float(value.strip())
        except ValueError:
            raise _Unfit from None
    raise _Unfit


def to_value(value: Any) -> Any:
    """``PROTOBUF_VALUE``."""
    if isinstance(value, str) and len(value.encode()) > _MOST_BYTES:
        raise _Unfit
    if isinstance(value, bool | str):
        return value
    if isinstance(value, int | float):
        return float(value)
    raise _Unfit


class DirectionStats:
    """``json_to_metadata.rq.`` or ``json_to_metadata.resp.``."""

    __slots__ = ("invalid_json_body", "mismatched_content_type", "no_body", "success")

    def __init__(self, scope: Any) -> None:
        self.success = scope.counter("success")
        self.mismatched_content_type = scope.counter("mismatched_content_type")
        self.no_body = scope.counter("no_body")
        self.invalid_json_body = scope.counter("invalid_json_body")


@dataclass(frozen=True, slots=True)
class JsonRules:
    """``MatchRules``: rules, and the bodies that they are for."""

    rules: tuple[Rule, ...]
    is_type_meant: Callable[[bytes], bool]

    async def read(self, message: Message, limit: int, stream: Stream, stats: DirectionStats) -> None:
        """Wait for the body and apply the rules."""
        is_request = message is stream.request
        body = await message.buffer_body(limit, _REQUEST_TOO_LARGE if is_request else _RESPONSE_TOO_LARGE)
        if not body:
            self.without_body(stream, stats)
            return
        found: dict[str, dict[str, Any]] = {}
        try:
            document = json.loads(body, parse_constant=_refuse)
        except (ValueError, RecursionError):
            stats.invalid_json_body.value += 1
            self.of_all("error", stream)
            return
        stats.success.value += 1
        if not isinstance(document, dict | list):
            self.of_all("missing", stream)
            return
        for rule in self.rules:
            rule.apply(document, stream, found)
        _keep(found, stream)

    def without_body(self, stream: Stream, stats: DirectionStats) -> None:
        """There is nothing to look in."""
        stats.no_body.value += 1
        self.of_all("missing", stream)

    def of_all(self, outcome: str, stream: Stream) -> None:
        """Add what each rule has for an outcome: ``missing`` or ``error``."""
        found: dict[str, dict[str, Any]] = {}
        for rule in self.rules:
            pair: KeyValue | None = getattr(rule, outcome)
            if pair is not None:
                pair.put(pair.value, stream, found)
        _keep(found, stream)


def _refuse(name: str) -> Any:
    raise ValueError(name)


def _keep(found: dict[str, dict[str, Any]], stream: Stream) -> None:
    for namespace, fields in found.items():
        stream.metadata_namespace(namespace).update(fields)


@dataclass(frozen=True, slots=True)
class RulesOfBoth:
    """``JsonToMetadata``, of the filter or of a route."""

    request: JsonRules | None
    response: JsonRules | None


class JsonToMetadataFilter(HttpFilter):
    """Applies the rules of the route, or else its own."""

    uses_trio = False

    def __init__(self, rules: RulesOfBoth, request: DirectionStats, response: DirectionStats) -> None:
        self._rules = rules
        self._request_stats = request
        self._response_stats = response

    def decode_headers(self, stream: Stream) -> LocalReply | Awaitable[LocalReply | None] | None:
        rules = self._rules_of(stream.find_route()).request
        if rules is None:
            return None
        return self._begin(rules, stream.request, stream.request.headers, stream, self._request_stats)

    def encode_headers(self, stream: Stream) -> LocalReply | Awaitable[LocalReply | None] | None:
        rules = self._rules_of(stream.route).response
        response = stream.response
        if rules is None or response is None:
            return None
        return self._begin(rules, response, response.headers, stream, self._response_stats)

    def _rules_of(self, route: Any) -> RulesOfBoth:
        if route is None:
            return self._rules
        found: RulesOfBoth = route.per_filter_config.get(self.config_name, self._rules)
        return found

    @staticmethod
    def _begin(
        rules: JsonRules, message: Message, headers: HeaderMap, stream: Stream, stats: DirectionStats
    ) -> Awaitable[None] | None:
        if not rules.is_type_meant(headers.get(b"content-type") or b""):
            stats.mismatched_content_type.value += 1
            rules.of_all("error", stream)
            return None
        if message.end_stream:
            rules.without_body(stream, stats)
            return None
        return rules.read(message, stream.hcm.buffer_limit_bytes, stream, stats)
