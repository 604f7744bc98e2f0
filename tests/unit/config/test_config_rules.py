# ruff: noqa: E501  (a case is a line of a table)
"""The API's validate.rules: every kind that the API uses is known, and each says what Envoy says."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import envoy
import pytest
from google.protobuf import json_format
from validate import validate_pb2

from sidecar.config.messages import message_class
from sidecar.config.validate_rules import KNOWN_RULES, check


def v3_descriptors() -> Iterator[Any]:
    root = Path(next(iter(envoy.__path__)))
    for file in sorted(root.rglob("v3/*_pb2.py")):
        module = importlib.import_module(".".join(("envoy", *file.relative_to(root).with_suffix("").parts)))
        waiting = list(module.DESCRIPTOR.message_types_by_name.values())
        while waiting:
            descriptor = waiting.pop()
            waiting += descriptor.nested_types
            yield descriptor


def kinds(rules: Any, prefix: str = "") -> Iterator[str]:
    for field, value in rules.ListFields():
        name = f"{prefix}{field.name}"
        if name in ("repeated.items", "map.keys", "map.values"):
            yield name
            yield from kinds(value)
        elif field.message_type is not None and field.message_type.file.package == "validate" and not prefix:
            yield from kinds(value, f"{name}.")
        else:
            yield name


def test_every_kind_of_rule_in_the_api_is_known() -> None:
    found = {
        kind
        for descriptor in v3_descriptors()
        for field in descriptor.fields
        if field.GetOptions().HasExtension(validate_pb2.rules)
        for kind in kinds(field.GetOptions().Extensions[validate_pb2.rules])
    }
    assert len(found) > 20
    assert found <= KNOWN_RULES


def test_every_message_of_the_api_can_be_checked_when_empty() -> None:
    for descriptor in v3_descriptors():
        if not descriptor.GetOptions().map_entry:
            cls = message_class(descriptor.full_name)
            assert cls is not None, descriptor.full_name
            check(cls())


@pytest.mark.parametrize(
    ("message", "text", "expected"),
    [
        ("envoy.config.core.v3.SocketAddress", {"address": "a"}, ("", "port_specifier: is required: one of port_value, named_port must be set")),
        ("envoy.config.core.v3.SocketAddress", {"address": "a", "port_value": 65536}, ("port_value", "value must be less than or equal to 65535")),
        ("envoy.config.core.v3.SocketAddress", {"port_value": 1}, ("address", "value length must be at least 1 characters")),
        ("envoy.config.core.v3.Http2ProtocolOptions", {"max_concurrent_streams": 0}, ("max_concurrent_streams", "value must be inside range [1, 2147483647]")),
        ("envoy.config.cluster.v3.Cluster", {"name": "a", "connect_timeout": "0s"}, ("connect_timeout", "value must be greater than 0s")),
        ("envoy.config.cluster.v3.Cluster", {"name": "a", "type": 77}, ("type", "value must be one of the defined enum values")),
        ("envoy.config.route.v3.VirtualHost", {"name": "a"}, ("domains", "value must contain at least 1 item(s)")),
        ("envoy.config.route.v3.Route", {"direct_response": {"status": 200}}, ("match", "value is required")),
        ("envoy.config.core.v3.HeaderValue", {"key": "a", "value": "x\ny"}, ("value", 'value does not match regex pattern "^[^\\x00\\n\\r]*$"')),
        ("envoy.config.core.v3.HeaderValue", {"key": "k" * 16385}, ("key", "value length must be at most 16384 bytes")),
        ("envoy.config.route.v3.DirectResponseAction", {"status": 99}, ("status", "value must be inside range [200, 600)")),
    ],
)  # fmt: skip
def test_broken_rule_is_told_in_envoys_words(
    message: str, text: dict[str, Any], expected: tuple[str, str]
) -> None:
    cls: Any = message_class(message)
    found = [(".".join(map(str, path)), reason) for path, reason in check(json_format.ParseDict(text, cls()))]
    assert expected in found


def test_member_of_a_oneof_is_judged_only_when_it_is_set() -> None:
    cls: Any = message_class("envoy.config.route.v3.RouteMatch")
    assert check(json_format.ParseDict({"prefix": "/"}, cls())) == []
