"""Compiles ``envoy.extensions.filters.http.header_to_metadata.v3.Config``, the filter's and a route's."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Any

from google.protobuf import json_format, struct_pb2
from google.protobuf.message import DecodeError

from sidecar.api.context import FactoryContext
from sidecar.config.compile.route_rewrites import compile_substitution
from sidecar.core.errors import ConfigError
from sidecar.extensions.http.header_to_metadata import HeaderToMetadataFilter, KeyValue, Rule, Rules

__all__ = ["HeaderToMetadataFactory"]

_NAMESPACE = "envoy.filters.http.header_to_metadata"


class HeaderToMetadataFactory:
    """``envoy.filters.http.header_to_metadata``."""

    name = _NAMESPACE
    category = "envoy.filters.http"
    config_type = "envoy.extensions.filters.http.header_to_metadata.v3.Config"
    #: Full name of the message under ``typed_per_filter_config``.
    route_config_type = "envoy.extensions.filters.http.header_to_metadata.v3.Config"

    def compile(self, message: Any, context: FactoryContext) -> HeaderToMetadataFilter:
        """The filter.  Raises: ConfigError."""
        return HeaderToMetadataFilter(_rules(message, context.path))

    def compile_route(self, message: Any, context: FactoryContext) -> Rules:
        """One level's rules.  Raises: ConfigError."""
        rules = _rules(message, context.path)
        if not rules.request and not rules.response:
            reason = (
                "header_to_metadata_filter: Per filter configs must at least specify either request or "
                "response rules"
            )
            raise ConfigError(context.path, reason)
        return rules


def _rules(message: Any, path: str) -> Rules:
    def compiled(field: str) -> tuple[Rule, ...]:
        rules = getattr(message, field)
        return tuple(_rule(each, f"{path}.{field}[{index}]") for index, each in enumerate(rules))

    return Rules(compiled("request_rules"), compiled("response_rules"))


def _rule(rule: Any, path: str) -> Rule:
    present, missing = rule.on_header_present, rule.on_header_missing
    has_present, has_missing = rule.HasField("on_header_present"), rule.HasField("on_header_missing")
    if rule.cookie and rule.header:
        raise ConfigError(path, "Cannot specify both header and cookie")
    if not rule.cookie and not rule.header:
        raise ConfigError(path, "One of Cookie or Header option needs to be specified")
    if not has_present and not has_missing:
        kind = f"cookie '{rule.cookie}'" if rule.cookie else f"header '{rule.header}'"
        reason = f"rule for {kind} has neither `on_header_present` nor `on_header_missing` set"
        raise ConfigError(path, f"header to metadata filter: {reason}")
    if present.value and present.HasField("regex_value_rewrite"):
        raise ConfigError(f"{path}.on_header_present", "Cannot specify both value and regex_value_rewrite")
    if rule.cookie and rule.remove:
        raise ConfigError(f"{path}.remove", "Cannot specify remove for cookie")
    if has_missing and not missing.value:
        raise ConfigError(
            f"{path}.on_header_missing", "Cannot specify on_header_missing rule with an empty value"
        )
    return Rule(
        rule.header.lower().encode(),
        rule.cookie.encode(),
        rule.remove,
        _key_value(present, f"{path}.on_header_present") if has_present else None,
        _key_value(missing, f"{path}.on_header_missing") if has_missing else None,
    )


def _key_value(message: Any, path: str) -> KeyValue:
    rewrite = None
    if message.HasField("regex_value_rewrite"):
        rewrite = compile_substitution(message.regex_value_rewrite, f"{path}.regex_value_rewrite")
    convert = _CONVERT[message.type]
    if message.encode:
        convert = _decoded(convert)
    return KeyValue(
        message.metadata_namespace or _NAMESPACE, message.key, message.value.encode(), rewrite, convert
    )


def _decoded(convert: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    def decode(value: bytes) -> Any:
        bare = value.rstrip(b"=")
        try:
            found = base64.b64decode(bare + b"=" * (-len(bare) % 4), validate=True)
        except binascii.Error:
            return None
        return convert(found) if found else None

    return decode


def _string(value: bytes) -> str:
    return value.decode("utf-8", "replace")


def _number(value: bytes) -> float | None:
    try:
        return float(value.strip())
    except ValueError:
        return None


def _protobuf_value(value: bytes) -> Any:
    """A serialized ``google.protobuf.Value``."""
    try:
        return json_format.MessageToDict(struct_pb2.Value.FromString(value))
    except (DecodeError, ValueError):
        return None


#: By ``ValueType``.
_CONVERT: tuple[Callable[[bytes], Any], ...] = (_string, _number, _protobuf_value)
