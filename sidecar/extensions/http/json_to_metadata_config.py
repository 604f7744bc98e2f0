"""Compiles ``envoy.extensions.filters.http.json_to_metadata.v3``, the filter's and a route's."""

from __future__ import annotations

from typing import Any

from google.protobuf import json_format

from sidecar.api.context import FactoryContext
from sidecar.config.compile.matchers import compile_regex
from sidecar.core.errors import ConfigError
from sidecar.extensions.http.json_to_metadata import (
    DirectionStats,
    JsonRules,
    JsonToMetadataFilter,
    KeyValue,
    Rule,
    RulesOfBoth,
    to_number,
    to_text,
    to_value,
)

__all__ = ["JsonToMetadataFactory"]

_NAMESPACE = "envoy.filters.http.json_to_metadata"
#: By ``ValueType``.
_CONVERT = (to_value, to_text, to_number)


class JsonToMetadataFactory:
    """``envoy.filters.http.json_to_metadata``."""

    name = _NAMESPACE
    category = "envoy.filters.http"
    config_type = "envoy.extensions.filters.http.json_to_metadata.v3.JsonToMetadata"
    #: Full name of the message under ``typed_per_filter_config``.
    route_config_type = config_type

    def compile(self, message: Any, context: FactoryContext) -> JsonToMetadataFilter:
        """The filter.  Raises: ConfigError."""
        scope = context.root_stats.scope("json_to_metadata")
        return JsonToMetadataFilter(
            _both(message), DirectionStats(scope.scope("rq")), DirectionStats(scope.scope("resp"))
        )

    def compile_route(self, message: Any, context: FactoryContext) -> RulesOfBoth:
        """One level's rules.  Raises: ConfigError."""
        return _both(message)


def _both(message: Any) -> RulesOfBoth:
    if not message.HasField("request_rules") and not message.HasField("response_rules"):
        raise ConfigError(
            "",
            "json_to_metadata_filter: Per filter configs must at least specify either request or response "
            "rules",
        )

    def of(field: str) -> JsonRules | None:
        rules = getattr(message, field)
        return _rules(rules, field) if rules.rules else None

    return RulesOfBoth(of("request_rules"), of("response_rules"))


def _rules(message: Any, path: str) -> JsonRules:
    rules = tuple(_rule(each, f"{path}.rules[{index}]") for index, each in enumerate(message.rules))
    types = frozenset(each.encode() for each in message.allow_content_types)
    matches = None
    if message.HasField("allow_content_types_regex"):
        matches = compile_regex(
            message.allow_content_types_regex.regex, f"{path}.allow_content_types_regex.regex"
        ).fullmatch
    if not types and matches is None:
        types = frozenset((b"application/json",))
    takes_none = message.allow_empty_content_type

    def is_type_meant(kind: bytes) -> bool:
        if not kind:
            return bool(takes_none)
        return kind in types or (matches is not None and bool(matches(kind)))

    return JsonRules(rules, is_type_meant)


def _rule(message: Any, path: str) -> Rule:
    if not message.HasField("on_present") and not message.HasField("on_missing"):
        raise ConfigError(path, "json to metadata filter: neither `on_present` nor `on_missing` set")
    for name in ("on_missing", "on_error"):
        if message.HasField(name) and not getattr(message, name).HasField("value"):
            reason = f"json to metadata filter: cannot specify {name} rule without non-empty value"
            raise ConfigError(f"{path}.{name}", reason)
    return Rule(
        tuple(each.key for each in message.selectors),
        _pair(message, "on_present"),
        _pair(message, "on_missing"),
        _pair(message, "on_error"),
    )


def _pair(message: Any, name: str) -> KeyValue | None:
    if not message.HasField(name):
        return None
    pair = getattr(message, name)
    return KeyValue(
        pair.metadata_namespace or _NAMESPACE,
        pair.key,
        pair.HasField("value"),
        json_format.MessageToDict(pair.value) if pair.HasField("value") else None,
        _CONVERT[pair.type],
        pair.preserve_existing_metadata_value,
    )
