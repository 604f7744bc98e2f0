"""What Envoy 1.40 has and xds-protos lacks: in the API, judged by its rules, and dropped once it is there."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, json_format

from sidecar.config import api_additions
from sidecar.config.decode import Decoder
from sidecar.config.messages import message_class
from sidecar.config.validate_rules import check
from sidecar.config.yaml_text import read_yaml
from tests.support import yaml_text

ROUTE_MATCH = "envoy.config.route.v3.RouteMatch"
HCM = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"


def decode(text: str, message: str) -> tuple[Any, list[Any]]:
    document = read_yaml(text.encode(), "f.yaml")
    assert document.root is not None
    cls: Any = message_class(message)
    decoder, decoded = Decoder(), cls()
    decoder.decode(document.root, decoded)
    return decoded, decoder.problems


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (ROUTE_MATCH, "{prefix: /, cookies: [{name: a, string_match: {exact: b}, invert_match: true}]}"),
        ("envoy.config.route.v3.RedirectAction", "{path_rewrite: /x, strip_query: true}"),
        ("envoy.config.route.v3.RetryPolicy", "{refresh_cluster_on_retry: true}"),
        (HCM, "{stat_prefix: s, forward_proto_config: {https_destination_ports: [443]}}"),
        (HCM, "{stat_prefix: s, drain_timeout_jitter: {value: 50}, record_route_resolution_stats: true}"),
        ("envoy.config.core.v3.HttpProtocolOptions", "{max_connection_duration_jitter: {value: 1.5}}"),
        (
            "envoy.config.core.v3.Http2ProtocolOptions",
            "{enable_huffman_encoding: true, max_header_field_size_kb: 64, disallow_obs_text: false}",
        ),
        ("envoy.config.core.v3.Http2ProtocolOptions", "{stream_reset_burst: 10, streamResetRate: 5}"),
        ("envoy.config.route.v3.Route", "{route_specifiers: [{name: x}]}"),
        ("envoy.config.core.v3.SocketOption", "{int_value: 1, ip_version: SOCKET_IP_VERSION_IPV6}"),
    ],
)
def test_added_field_is_read_and_survives_its_own_bytes(message: str, text: str) -> None:
    decoded, problems = decode(text, message)
    assert problems == []
    again = type(decoded).FromString(decoded.SerializeToString())
    assert again == decoded
    expected = json_format.ParseDict(yaml_text.load(text), type(decoded)())
    assert decoded == expected
    assert json_format.Parse(json_format.MessageToJson(decoded), type(decoded)()) == decoded


def test_added_field_is_judged_by_the_rules_of_the_api() -> None:
    decoded, _ = decode("{name: ''}", "envoy.config.route.v3.CookieMatcher")
    assert {path for path, _ in check(decoded)} == {("name",), ("string_match",)}
    decoded, _ = decode("{max_header_field_size_kb: 63}", "envoy.config.core.v3.Http2ProtocolOptions")
    assert [path for path, _ in check(decoded)] == [("max_header_field_size_kb",)]


def test_number_that_may_be_empty_is_judged_when_it_is_not_zero() -> None:
    message = "envoy.extensions.filters.http.ext_authz.v3.ShadowDecision"
    assert not check(decode("{status_code: 0}", message)[0])
    assert check(decode("{status_code: 99}", message)[0])


def test_unknown_field_beside_an_added_one_is_still_refused() -> None:
    _, problems = decode("{prefix: /, cookie: [{name: a}]}", ROUTE_MATCH)
    assert [problem.reason for problem in problems] == [f"{ROUTE_MATCH} has no field 'cookie'"]


def test_member_added_to_a_oneof_excludes_the_others() -> None:
    _, problems = decode("{path_rewrite: /x, path_redirect: /y}", "envoy.config.route.v3.RedirectAction")
    assert len(problems) == 1


@pytest.mark.parametrize("module", sorted(api_additions.table()))
def test_every_file_with_additions_has_them_all_and_is_added_to_no_further(module: str) -> None:
    file = descriptor_pb2.FileDescriptorProto()
    importlib.import_module(module).DESCRIPTOR.CopyToProto(file)
    before = file.SerializeToString()
    # This is also what happens with a newer xds-protos: what it has by itself stays as it is.
    assert api_additions.apply_additions(file, api_additions.table()[module]) == 0
    assert file.SerializeToString() == before


def test_additions_are_needed_still() -> None:
    """Where all lines of a file are in xds-protos itself, scripts/api_additions.py has to be run."""
    program = """
import importlib, sys
from google.protobuf import descriptor_pb2
from sidecar.config import api_additions
for module, lines in api_additions.table().items():
    file = descriptor_pb2.FileDescriptorProto()
    importlib.import_module(module).DESCRIPTOR.CopyToProto(file)
    if not api_additions.apply_additions(file, lines):
        print(module)
"""
    assert _run(program) == ("", 0)


def test_module_imported_before_the_additions_is_told() -> None:
    program = """
import envoy.config.route.v3.route_components_pb2
from sidecar.config.messages import message_class
message_class("envoy.config.route.v3.RouteMatch")
"""
    output, code = _run(program)
    assert code == 1
    assert "ImportError: import sidecar.config before envoy.config" in output


def test_module_without_additions_is_found_as_ever() -> None:
    assert importlib.util.find_spec("envoy.config.core.v3.extension_pb2") is not None
    assert importlib.util.find_spec("envoy.config.route.v3.no_such_pb2") is None


def _run(program: str) -> tuple[str, int]:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[3],
    )
    return done.stdout + done.stderr, done.returncode
