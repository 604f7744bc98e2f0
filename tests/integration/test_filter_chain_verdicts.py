# ruff: noqa: E501  (a case is a line of a table)
"""How filter chains are chosen: what Envoy accepts is accepted, what it refuses refused, each tried on Envoy."""

from __future__ import annotations

from pathlib import Path

import pytest
from config_oracle import HCM, ROUTER, envoy_verdict, load

from sidecar.cli.main import main
from sidecar.config.load import Loaded

pytestmark = pytest.mark.oracle

_FILTERS = f"""filters: [{{name: h, typed_config: {{'@type': type.googleapis.com/{HCM}, stat_prefix: s, route_config: {{}}, http_filters: [{{name: r, typed_config: {{'@type': type.googleapis.com/{ROUTER}}}}}]}}}}]"""
_BASE = """\
static_resources:
  listeners:
  - name: l
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
"""
_INPUT = "type.googleapis.com/envoy.extensions.matching.common_inputs.network.v3"
_NAME = (
    "action: {name: a, typed_config: {'@type': type.googleapis.com/google.protobuf.StringValue, value: %s}}"
)


def listener(*fields: str) -> str:
    return _BASE + "".join(f"    {each}\n" for each in fields)


def chains(*matches: str | None, more: str = "") -> str:
    """A listener whose chains ``c0``, ``c1`` … have these matches."""
    lines = ["    filter_chains:\n"]
    for index, match in enumerate(matches):
        lines.append(f"    - name: c{index}\n      {_FILTERS}\n")
        if match is not None:
            lines.append(f"      filter_chain_match: {{{match}}}\n")
    return _BASE + "".join(lines) + (f"    {more}\n" if more else "")


def matcher(text: str, *names: str, match: str = "") -> str:
    lines = [f"    filter_chain_matcher: {text}\n    filter_chains:\n"]
    lines += [
        f"    - {{{name and f'name: {name}, '}{match and f'filter_chain_match: {{{match}}}, '}{_FILTERS}}}\n"
        for name in names
    ]
    return _BASE + "".join(lines)


def tree(name: str, key: str = "80", action: str = _NAME % "a") -> str:
    return f"{{matcher_tree: {{input: {{name: i, typed_config: {{'@type': {_INPUT}.{name}}}}}, exact_match_map: {{map: {{'{key}': {{{action}}}}}}}}}}}"


def custom(kind: str, fields: str, take: str = "SourceIPInput") -> str:
    """A listener whose tree has a matcher of its own."""
    match = f"custom_match: {{name: c, typed_config: {{'@type': type.googleapis.com/{kind}, {fields}}}}}"
    taken = f"input: {{name: i, typed_config: {{'@type': {_INPUT}.{take}}}}}"
    return matcher(f"{{matcher_tree: {{{taken}, {match}}}}}", "a")


def ranges(networks: str, on_match: str = _NAME % "a") -> str:
    entry = f"{{ranges: [{networks}], on_match: {{{on_match}}}}}"
    return custom("xds.type.matcher.v3.IPMatcher", f"range_matchers: [{entry}]")


def domains(*names: str) -> str:
    listed = ", ".join(f"{{domains: [{each}], on_match: {{{_NAME % 'a'}}}}}" for each in names)
    return custom("xds.type.matcher.v3.ServerNameMatcher", f"domain_matchers: [{listed}]", "ServerNameInput")


def asked(fields: str, kind: str = "envoy.extensions.matching.input_matchers.ip.v3.Ip") -> str:
    """A listener whose predicate has a matcher of its own."""
    test = f"custom_match: {{name: c, typed_config: {{'@type': type.googleapis.com/{kind}, {fields}}}}}"
    taken = f"input: {{name: i, typed_config: {{'@type': {_INPUT}.SourceIPInput}}}}"
    entry = f"{{predicate: {{single_predicate: {{{taken}, {test}}}}}, on_match: {{{_NAME % 'a'}}}}}"
    return matcher(f"{{matcher_list: {{matchers: [{entry}]}}}}", "a")


CASES = {
    "ranges": ranges("{address_prefix: 10.0.0.0, prefix_len: 8}, {address_prefix: '::', prefix_len: 0}"),
    "ranges, none": ranges(""),
    "ranges of nothing": custom("xds.type.matcher.v3.IPMatcher", "range_matchers: []"),
    "ranges of no address": ranges("{address_prefix: a, prefix_len: 8}"),
    "ranges of no address, without length": ranges("{address_prefix: a}"),
    "ranges without length": ranges("{address_prefix: 10.0.0.0}"),
    "ranges too long": ranges("{address_prefix: 10.0.0.0, prefix_len: 99}"),
    "ranges beyond": ranges("{address_prefix: '::', prefix_len: 129}"),
    "ranges twice": ranges(
        "{address_prefix: 1.1.1.1, prefix_len: 8}, {address_prefix: 1.1.1.1, prefix_len: 8}"
    ),
    "ranges to nowhere": ranges("{address_prefix: 1.1.1.1, prefix_len: 8}", _NAME % "nowhere"),
    "ranges to an action of another kind": ranges(
        "{address_prefix: 1.1.1.1, prefix_len: 8}",
        "action: {name: a, typed_config: {'@type': type.googleapis.com/google.protobuf.UInt32Value, value: 1}}",
    ),
    "ranges of ports": ranges("{address_prefix: 1.1.1.1, prefix_len: 8}").replace(
        "SourceIPInput", "SourcePortInput"
    ),
    "domains": domains("a.b, '*.a.b'", "'*'"),
    "domains, none": domains(""),
    "domains twice": domains("a.b", "a.b"),
    "domains twice in one": domains("a.b, a.b"),
    "domains by case": domains("a.b", "A.b"),
    "domains, empty": domains("''"),
    "domains, partial": domains("'*a.b'"),
    "domains, star and dot": domains("'*.'"),
    "domains, star inside": domains("a.*.b"),
    "domains, two stars": domains("'*.*.b'"),
    "custom of another kind": custom("google.protobuf.StringValue", "value: a"),
    "tested by ip": asked("stat_prefix: a, cidr_ranges: [{address_prefix: 10.0.0.0, prefix_len: 8}]"),
    "tested by ip without prefix": asked("cidr_ranges: [{address_prefix: 10.0.0.0, prefix_len: 8}]"),
    "tested by ip of nothing": asked("stat_prefix: a"),
    "tested by a wrong ip": asked("stat_prefix: a, cidr_ranges: [{address_prefix: a, prefix_len: 8}]"),
    "tested by another kind": asked("value: a", "google.protobuf.StringValue"),
    "one": chains(None),
    "two without a match": chains(None, None),
    "one without, one empty": chains(None, ""),
    "two the same": chains("destination_port: 1", "destination_port: 1"),
    "two ports": chains("destination_port: 1", "destination_port: 2"),
    "port zero": chains("destination_port: 0"),
    "port beyond": chains("destination_port: 65536"),
    "names overlap": chains("server_names: [a, b]", "server_names: [b, c]"),
    "names overlap by case": chains("server_names: [a]", "server_names: [A]"),
    "name twice": chains("server_names: [a, a]"),
    "name and its wildcard": chains("server_names: ['a.com', '*.a.com']"),
    "wildcard and its suffix": chains("server_names: ['*.a.com', '.a.com']"),
    "wildcard": chains("server_names: ['*.com']"),
    "everything": chains("server_names: ['*']"),
    "partial wildcard": chains("server_names: ['*a.com']"),
    "wildcard inside": chains("server_names: ['a.*.com']"),
    "wildcard at the end": chains("server_names: ['a.*']"),
    "two stars": chains("server_names: ['*.*.com']"),
    "empty name": chains("server_names: ['']"),
    "empty name and none": chains("server_names: ['']", None),
    "suffix": chains("address_suffix: 1.1.1.1"),
    "suffix length": chains("suffix_len: 8"),
    "range": chains("prefix_ranges: [{address_prefix: 10.0.0.0, prefix_len: 8}]"),
    "range of host bits": chains("prefix_ranges: [{address_prefix: 10.1.1.1, prefix_len: 8}]"),
    "range twice by host bits": chains(
        "prefix_ranges: [{address_prefix: 10.1.1.1, prefix_len: 8}]",
        "prefix_ranges: [{address_prefix: 10.0.0.0, prefix_len: 8}]",
    ),
    "range without length": chains("prefix_ranges: [{address_prefix: 10.0.0.0}]"),
    "range too long": chains("prefix_ranges: [{address_prefix: 10.0.0.0, prefix_len: 33}]"),
    "range beyond": chains("prefix_ranges: [{address_prefix: '::', prefix_len: 129}]"),
    "range of no address": chains("prefix_ranges: [{address_prefix: a, prefix_len: 8}]"),
    "source range of no address": chains("source_prefix_ranges: [{address_prefix: a, prefix_len: 8}]"),
    "direct source range of no address": chains(
        "direct_source_prefix_ranges: [{address_prefix: 1.2.3, prefix_len: 8}]"
    ),
    "six": chains("source_prefix_ranges: [{address_prefix: 'fd00::', prefix_len: 8}]"),
    "source type": chains("source_type: EXTERNAL", "source_type: SAME_IP_OR_LOOPBACK", "source_type: ANY"),
    "source type unknown": chains("source_type: OTHER"),
    "source type beyond": chains("source_type: 7"),
    "source ports": chains("source_ports: [1, 65535]"),
    "source port zero": chains("source_ports: [0]"),
    "source port beyond": chains("source_ports: [65536]"),
    "source port twice": chains("source_ports: [5]", "source_ports: [4, 5]"),
    "transport protocol": chains("transport_protocol: tls", "transport_protocol: raw_buffer"),
    "transport protocol of a kind": chains("transport_protocol: other"),
    "application protocols": chains("application_protocols: [h2]", "application_protocols: [h2c, http/1.1]"),
    "application protocols overlap": chains("application_protocols: [h2, a]", "application_protocols: [a]"),
    "default": chains(None, more=f"default_filter_chain: {{{_FILTERS}}}"),
    "default with a match": chains(
        None, more=f"default_filter_chain: {{filter_chain_match: {{destination_port: 1}}, {_FILTERS}}}"
    ),
    "default with an odd match": chains(
        None, more=f"default_filter_chain: {{filter_chain_match: {{suffix_len: 1}}, {_FILTERS}}}"
    ),
    "default alone": listener(f"default_filter_chain: {{{_FILTERS}}}"),
    "no chain": listener("stat_prefix: a"),
    "names twice": chains("destination_port: 1", "destination_port: 2").replace("name: c1", "name: c0"),
    "matcher": matcher(tree("DestinationPortInput"), "a", "b"),
    "matcher to nowhere": matcher(tree("DestinationPortInput"), "b"),
    "matcher without a name": matcher(tree("DestinationPortInput"), ""),
    "matcher, name twice": matcher(tree("DestinationPortInput"), "a", "a"),
    "matcher and a match": matcher(tree("DestinationPortInput"), "a", match="destination_port: 1"),
    "matcher and an odd match": matcher(tree("DestinationPortInput"), "a", match="suffix_len: 1"),
    "matcher and the same match": matcher(
        tree("DestinationPortInput"), "a", "b", match="destination_port: 1"
    ),
    "matcher and a wrong match": matcher(tree("DestinationPortInput"), "a", match="server_names: ['a*']"),
    "matcher, empty": matcher("{}", "a"),
    "matcher of no match alone": matcher(f"{{on_no_match: {{{_NAME % 'a'}}}}}", "a"),
    "matcher, keep_matching": matcher(f"{{on_no_match: {{{_NAME % 'a'}, keep_matching: true}}}}", "a"),
    "matcher by header": matcher(
        tree("DestinationPortInput").replace(
            f"{_INPUT}.DestinationPortInput",
            "type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput, header_name: a",
        ),
        "a",
    ),
    "matcher with an action of another kind": matcher(
        tree(
            "DestinationPortInput",
            action="action: {name: a, typed_config: {'@type': type.googleapis.com/google.protobuf.UInt32Value, value: 1}}",
        ),
        "a",
    ),
    **{
        f"matcher by {name}": matcher(tree(name), "a")
        for name in (
            "DestinationIPInput",
            "SourceIPInput",
            "SourcePortInput",
            "DirectSourceIPInput",
            "SourceTypeInput",
            "ServerNameInput",
            "TransportProtocolInput",
            "ApplicationProtocolInput",
            "NetworkNamespaceInput",
        )
    },
}


@pytest.mark.parametrize("text", CASES.values(), ids=CASES.keys())
def test_choice_of_filter_chains_gets_envoys_verdict(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(text)
    theirs = envoy_verdict(file)
    accepted = main(["--mode", "validate", "-c", str(file)]) == 0
    assert accepted is theirs.accepted, f"Envoy: {theirs.text}\nours: {capsys.readouterr().err}"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (CASES["two the same"], "filter chain 'c1' has the same matching rules defined as 'c0' (line 6)"),
        (CASES["names overlap"], "overlapping matching rules are defined (the first is at line 6)"),
        (CASES["matcher, name twice"], "\"name\" field is duplicated with value 'a' (line 7)"),
    ],
)
def test_chains_that_clash_are_told_with_both_lines(text: str, reason: str, tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(text)
    problems = load(file)
    assert not isinstance(problems, Loaded)
    (error,) = (each for each in problems if each.severity == "error")
    assert reason in error.reason
    assert error.mark is not None
    assert error.mark.line > 6
