# ruff: noqa: E501  (a case is a line of a table)
"""Decoding: equal to protobuf's own json_format where that accepts, and all mistakes at once where not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from config_text import BASE, HCM, LUA, ROUTER, load_text
from google.protobuf import json_format

from sidecar.config.decode import Decoder
from sidecar.config.errors import Problem
from sidecar.config.load import Loaded
from sidecar.config.messages import message_class
from sidecar.config.yaml_text import read_yaml
from tests.support import yaml_text

MISSION = Path(__file__).parents[2] / "mission"
#: 28 and 99 hold floats and numbers in a Struct, which Envoy reads as strings.
ACCEPTED = sorted(p.name for p in MISSION.glob("*.yaml") if not p.name.endswith(".asis.yaml"))


def decode(text: str, message: str = "envoy.config.bootstrap.v3.Bootstrap") -> tuple[Any, list[Problem]]:
    document = read_yaml(text.encode(), "f.yaml")
    assert document.root is not None, document.problems
    cls: Any = message_class(message)
    decoder, decoded = Decoder(), cls()
    decoder.decode(document.root, decoded)
    return decoded, decoder.problems


@pytest.mark.parametrize("name", ACCEPTED)
def test_mission_file_decodes_to_what_json_format_makes_of_it(name: str) -> None:
    text = (MISSION / name).read_text(encoding="utf-8")
    ours, problems = decode(text)
    assert problems == []
    theirs = json_format.ParseDict(yaml_text.load(text), type(ours)())
    assert json_format.MessageToDict(ours) == json_format.MessageToDict(theirs)


def test_all_mistakes_are_told_at_once_each_with_its_place() -> None:
    _, problems = decode(
        "node:\n  id: 5\n  clstr: b\nstats_flush_interval: 5\nadmin: [x]\nstatic_resources:\n  clusters:\n  - nme: c\n"
    )
    assert [str(problem) for problem in problems] == [
        "f.yaml:2:7 node.id: expected a string, not the number 5 (write '5')",
        "f.yaml:3:3 node.clstr: envoy.config.core.v3.Node has no field 'clstr' (did you mean cluster?)",
        "f.yaml:4:23 stats_flush_interval: expected a duration: seconds and an 's', as in 1.5s, not the number 5"
        " (write 5s)",
        "f.yaml:5:8 admin: expected a mapping of the fields of envoy.config.bootstrap.v3.Admin, not a list",
        "f.yaml:8:5 static_resources.clusters[0].nme: envoy.config.cluster.v3.Cluster has no field 'nme'"
        " (did you mean name?)",
    ]


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("static_resources: {clusters: [{name: a, address: x}]}", None),
        ("static_resources: {clusters: [{name: a, port_value: 1}]}", None),
        ("static_resources: {node: {id: a}}", "node belongs one level up, beside static_resources"),
        ("listeners: []", "listeners belongs one level down, under static_resources"),
        ("admin: {port_value: 1}", None),
        ("admin: {address: {port_value: 1}}", "port_value belongs one level down, under socket_address"),
        ("admin: {adress: {}}", "did you mean address?"),
        ("node: {<<: {id: a}}", "'<<' is no field; id belong one level up, directly under node"),
        ("node: {locality: {country: x}}", "the fields here are region, zone, sub_zone"),
        ("stats_flush_interval: 1500ms", "write 1.5s"),
        ("stats_flush_interval: 2m", "write 120s"),
        ("static_resources: {clusters: [{lb_policy: ROUND-ROBIN}]}", "did you mean ROUND_ROBIN?"),
        ("static_resources: {clusters: [{dns_lookup_family: V4_FIRST}]}", "one of AUTO, V4_ONLY, V6_ONLY, V4_PREFERRED, ALL"),
        ("node: {id: on}", "on without quotes is a boolean: write 'on'"),
    ],
)  # fmt: skip
def test_mistake_is_answered_by_what_to_write(text: str, hint: str | None) -> None:
    _, problems = decode(text)
    assert len(problems) == 1
    assert hint is None or problems[0].hint == hint


def test_both_members_of_a_oneof_name_each_other() -> None:
    _, problems = decode(
        "address:\n  socket_address: {address: a, port_value: 1}\n  pipe: {path: b}\n",
        "envoy.config.bootstrap.v3.Admin",
    )
    (problem,) = problems
    assert problem.path == "address.pipe"
    assert problem.mark is not None
    assert problem.mark.line == 3
    assert "'pipe' and 'socket_address' (line 2) are both members of the oneof 'address'" in problem.reason


@pytest.mark.parametrize(
    ("config", "reason", "hint"),
    [
        ("{stat_prefix: a}", "'@type' is missing", f'add:\n"@type": type.googleapis.com/{LUA}'),
        (f"{{'@type': {LUA}}}", "has no '/'", f"write type.googleapis.com/{LUA}"),
        ("{'@type': type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lau}", "could not find @type", f"did you mean type.googleapis.com/{LUA}?"),
        ("{'@type': type.googleapis.com/os.path.Join}", "could not find @type", None),
    ],
)  # fmt: skip
def test_any_without_a_known_type_is_answered_by_the_type(config: str, reason: str, hint: str | None) -> None:
    _, problems = decode(
        f"name: envoy.filters.http.lua\ntyped_config: {config}",
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter",
    )
    (problem,) = problems
    assert reason in problem.reason
    assert problem.hint == hint


def test_message_of_a_name_outside_the_api_imports_nothing() -> None:
    assert message_class("os.path.Join") is None
    assert message_class("envoy.nonesuch.v3.Thing") is None
    assert message_class("envoy.api.v2.Cluster") is None
    assert message_class("envoy.extensions.filters.http.lua.v3.Lua") is not None


def test_typed_struct_is_checked_as_the_message_it_stands_for(tmp_path: Path) -> None:
    entry = (
        "          http_filters:\n"
        "          - name: lua\n"
        "            typed_config:\n"
        '              "@type": type.googleapis.com/xds.type.v3.TypedStruct\n'
        f"              type_url: type.googleapis.com/{LUA}\n"
        "              value:\n"
        "                stat_prefx: a\n"
    )
    result = load_text(tmp_path, BASE.replace("          http_filters:\n", entry, 1))
    assert not isinstance(result, Loaded)
    (problem,) = result
    assert problem.hint == "did you mean stat_prefix?"
    assert problem.mark is not None
    assert problem.mark.line == 24


def test_file_that_is_nested_too_deep_inside_an_any_is_refused(tmp_path: Path) -> None:
    entry = (
        "          http_filters:\n"
        "          - name: lua\n"
        "            typed_config:\n"
        '              "@type": type.googleapis.com/xds.type.v3.TypedStruct\n'
        f"              type_url: type.googleapis.com/{LUA}\n"
        f"              value: {{a: {'[' * 60 + ']' * 60}}}\n"
    )
    result = load_text(tmp_path, BASE.replace("          http_filters:\n", entry, 1))
    assert not isinstance(result, Loaded)
    assert "nested deeper than 100 messages" in "".join(map(str, result))


def test_decoded_any_holds_the_message() -> None:
    decoded, problems = decode(
        f"name: x\ntyped_config: {{'@type': type.googleapis.com/{ROUTER}, dynamic_stats: false}}",
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter",
    )
    assert problems == []
    cls: Any = message_class(ROUTER)
    router = cls()
    assert decoded.typed_config.Unpack(router)
    assert router.dynamic_stats.value is False
    assert message_class(HCM) is not None
