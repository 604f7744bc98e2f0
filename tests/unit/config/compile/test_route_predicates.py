"""What RouteMatch asks besides the path."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from sidecar.config.compile.route_match import compile_route_match
from sidecar.config.compile.value_matchers import MISSING, compile_metadata_matcher, compile_value_matcher
from sidecar.config.decode import Decoder
from sidecar.config.messages import message_class
from sidecar.config.yaml_text import read_yaml
from sidecar.core.errors import ConfigError
from sidecar.core.filter_state import FACTORIES
from sidecar.core.headers import RequestHeaders
from sidecar.core.runtime import Runtime


def decode(text: str, message: str) -> Any:
    found = message_class(message)
    document = read_yaml(text.encode(), "f.yaml")
    assert found is not None
    assert document.root is not None
    decoder, decoded = Decoder(), found()
    decoder.decode(document.root, decoded)
    assert decoder.problems == []
    return decoded


def matches(match: str, *fields: tuple[bytes, bytes], path: bytes = b"/", stream: Any = None) -> bool:
    route = compile_route_match(decode(match, "envoy.config.route.v3.RouteMatch"), "match", Runtime())
    headers = RequestHeaders(b"GET", path, b"a", b"http", list(fields))
    return route.matches(headers, path.partition(b"?")[0], stream)


@pytest.mark.parametrize(
    ("matcher", "value", "expected"),
    [
        ("null_match: {}", None, True),
        ("null_match: {}", MISSING, False),
        ("double_match: {exact: 1}", 1.0, True),
        ("double_match: {exact: 1}", True, False),
        ("double_match: {range: {start: 1, end: 2}}", 2, False),
        ("double_match: {range: {start: 1, end: 2}}", 1, True),
        ("string_match: {exact: a}", "a", True),
        ("string_match: {exact: a}", b"a", True),
        ("string_match: {exact: '1'}", 1, False),
        ("bool_match: true", True, True),
        ("bool_match: true", 1, False),
        ("bool_match: false", False, True),
        ("present_match: true", None, True),
        ("present_match: true", MISSING, False),
        ("present_match: false", MISSING, False),
        ("list_match: {one_of: {bool_match: true}}", [1, True], True),
        ("list_match: {one_of: {bool_match: true}}", True, False),
        ("or_match: {value_matchers: [{null_match: {}}, {bool_match: true}]}", None, True),
        ("or_match: {value_matchers: [{null_match: {}}, {bool_match: true}]}", "x", False),
    ],
)
def test_value_matcher(matcher: str, value: Any, expected: bool) -> None:
    message = decode(f"{{{matcher}}}", "envoy.type.matcher.v3.ValueMatcher")
    assert compile_value_matcher(message, "value")(value) is expected


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        (None, False),
        ({}, False),
        ({"ns": {}}, False),
        ({"ns": {"a": {"b": "x"}}}, True),
        ({"ns": {"a": "x"}}, False),
        ({"ns": {"a": {"b": "y"}}}, False),
    ],
)
@pytest.mark.parametrize("invert", [False, True])
def test_metadata_matcher_goes_down_its_path(metadata: Any, expected: bool, invert: bool) -> None:
    value = "{string_match: {exact: x}}"
    text = f"{{filter: ns, path: [{{key: a}}, {{key: b}}], value: {value}, invert: {str(invert).lower()}}}"
    matcher = compile_metadata_matcher(decode(text, "envoy.type.matcher.v3.MetadataMatcher"), "m")
    assert matcher(metadata) is (expected is not invert)


def test_fraction_is_of_the_random_value_of_the_stream() -> None:
    match = "{prefix: /, runtime_fraction: {default_value: {numerator: 30, denominator: HUNDRED}}}"
    assert matches(match, stream=SimpleNamespace(random_bits=1029))
    assert not matches(match, stream=SimpleNamespace(random_bits=1030))
    stream = SimpleNamespace(random_bits=None)
    matches(match, stream=stream)
    assert isinstance(stream.random_bits, int)


def test_filter_state_is_compared_as_text() -> None:
    match = "{prefix: /, filter_state: [{key: k, string_match: {exact: v}}]}"
    assert not matches(match)
    for state, of_connection, is_matched in (
        (None, None, False),
        ({"k": b"w"}, None, False),
        ({"k": b"v"}, None, True),
        ({"k": "v"}, None, True),
        (None, {"k": "v"}, True),
    ):
        connection = SimpleNamespace(filter_state=of_connection)
        stream = SimpleNamespace(filter_state=state, connection=connection)
        assert matches(match, stream=stream) is is_matched


def test_filter_state_is_compared_as_an_address() -> None:
    ranges = "ranges: [{address_prefix: 10.0.0.0, prefix_len: 8}]"
    match = f"{{prefix: /, filter_state: [{{key: k, address_match: {{{ranges}}}}}]}}"
    for made, is_matched in (("10.1.2.3", True), ("11.1.2.3", False), ("::1", False), (None, False)):
        value = None if made is None else FACTORIES["envoy.network.ip"](made)
        stream = SimpleNamespace(filter_state={"k": value}, connection=SimpleNamespace(filter_state=None))
        assert matches(match, stream=stream) is is_matched
    assert not matches(
        match,
        stream=SimpleNamespace(filter_state={"k": "10.1.2.3"}, connection=SimpleNamespace(filter_state=None)),
    )
    with pytest.raises(ConfigError, match="invalid ip/mask combo"):
        matches(match.replace("10.0.0.0", "ten"))


def test_template_of_the_path_is_compiled_and_a_wrong_one_is_told() -> None:
    config = (
        "{{path_match_policy: {{name: x, typed_config: {{'@type':"
        " type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig,"
        " path_template: '{}'}}}}}}"
    )
    assert matches(config.format("/a/{b}"), path=b"/a/x?y")
    assert not matches(config.format("/a/{b}"), path=b"/a/x/y")
    assert not matches(config.format("/a**b"), path=b"/a**b")
    with pytest.raises(ConfigError, match=r"path_template /\{1\} is invalid: Invalid variable name"):
        matches(config.format("/{1}"))
