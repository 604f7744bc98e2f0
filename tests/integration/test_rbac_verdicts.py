"""Configurations of the HTTP filter rbac: Envoy's verdict on each, tried on Envoy."""

from __future__ import annotations

from pathlib import Path

import pytest
from config_oracle import envoy_verdict
from test_filter_verdicts import chain, route

from sidecar.cli.main import main

pytestmark = pytest.mark.oracle
RBAC = "rbac.v3.RBAC"
ANY = "any: true"
TYPE = "type.googleapis.com"
TEMPLATE = f"'@type': {TYPE}/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig"
METADATA = "filter: a, path: [{key: b}], value: {string_match: {exact: c}}"
RULES = {
    "header": "header: {name: a}",
    "header without a name": "header: {}",
    "path": "url_path: {path: {exact: /}}",
    "path of a bad regex": "url_path: {path: {safe_regex: {regex: '('}}}",
    "path of nothing": "url_path: {}",
    "metadata": f"metadata: {{{METADATA}}}",
    "metadata of nothing": "metadata: {}",
    "sourced metadata": f"sourced_metadata: {{metadata_matcher: {{{METADATA}}}, metadata_source: ROUTE}}",
    "sourced metadata of nothing": "sourced_metadata: {}",
    "any": ANY,
    "not any": "any: false",
    "nothing": "",
}
PERMISSIONS = {
    **RULES,
    "ip": "destination_ip: {address_prefix: 127.0.0.0, prefix_len: 8}",
    "ip of no address": "destination_ip: {address_prefix: x, prefix_len: 8}",
    "ip of too many bits": "destination_ip: {address_prefix: 127.0.0.0, prefix_len: 33}",
    "port": "destination_port: 1",
    "port too great": "destination_port: 65536",
    "ports": "destination_port_range: {start: 1, end: 9}",
    "ports that turn": "destination_port_range: {start: 9, end: 1}",
    "empty ports": "destination_port_range: {start: 9, end: 9}",
    "ports of none": "destination_port_range: {}",
    "ports below none": "destination_port_range: {start: -1, end: 9}",
    "all ports": "destination_port_range: {start: 0, end: 65536}",
    "ports too great": "destination_port_range: {start: 9, end: 65537}",
    "and": f"and_rules: {{rules: [{{{ANY}}}]}}",
    "and of nothing": "and_rules: {rules: []}",
    "or of nothing": "or_rules: {}",
    "not": f"not_rule: {{{ANY}}}",
    "server": "requested_server_name: {exact: a}",
    "template": f"uri_template: {{name: x, typed_config: {{{TEMPLATE}, path_template: '/a/*'}}}}",
    "bad template": f"uri_template: {{name: x, typed_config: {{{TEMPLATE}, path_template: 'a{{'}}}}",
}
PRINCIPALS = {
    **RULES,
    "authenticated": "authenticated: {}",
    "authenticated as": "authenticated: {principal_name: {exact: a}}",
    "source": "source_ip: {address_prefix: 127.0.0.0, prefix_len: 8}",
    "direct": "direct_remote_ip: {address_prefix: '::', prefix_len: 8}",
    "remote": "remote_ip: {address_prefix: 127.0.0.0}",
    "and of nothing": "and_ids: {}",
    "or of nothing": "or_ids: {}",
    "not": f"not_id: {{{ANY}}}",
    "filter state": "filter_state: {key: a, string_match: {exact: b}}",
    "filter state without a key": "filter_state: {string_match: {exact: b}}",
    "filter state of nothing": "filter_state: {key: a}",
}
ACTION = f"'@type': {TYPE}/envoy.config.rbac.v3.Action"


def policy(permission: str = ANY, principal: str = ANY) -> str:
    return f"rules: {{policies: {{p: {{permissions: [{{{permission}}}], principals: [{{{principal}}}]}}}}}}"


def tree(action: str, name: str = "action") -> str:
    return f"matcher: {{on_no_match: {{action: {{name: {name}, typed_config: {{{action}}}}}}}}}"


_INPUTS = "envoy.extensions.matching.common_inputs"
INPUTS = (
    *(f"{_INPUTS}.network.v3.{name}Input" for name in ("DestinationIP", "DestinationPort", "SourceIP")),
    *(f"{_INPUTS}.network.v3.{name}Input" for name in ("SourcePort", "DirectSourceIP", "ServerName")),
    *(f"{_INPUTS}.network.v3.{name}Input" for name in ("SourceType", "TransportProtocol")),
    *(f"{_INPUTS}.network.v3.{name}Input" for name in ("ApplicationProtocol", "NetworkNamespace")),
    *(f"{_INPUTS}.ssl.v3.{name}Input" for name in ("UriSan", "DnsSan", "Subject")),
    f"{_INPUTS}.network.v3.FilterStateInput, key: a",
    f"{_INPUTS}.network.v3.DynamicMetadataInput, filter: a, path: [{{key: b}}]",
    f"{_INPUTS}.network.v3.DynamicMetadataInput, filter: a",
    "envoy.type.matcher.v3.HttpRequestHeaderMatchInput, header_name: a",
)


def looks_at(given: str) -> str:
    """A tree that asks this input."""
    kind, _, fields = given.partition(",")
    packed = f"{{'@type': {TYPE}/{kind}, {fields}}}"
    done = f"{{action: {{name: a, typed_config: {{{ACTION}, name: a}}}}}}"
    single = f"{{input: {{name: i, typed_config: {packed}}}, value_match: {{exact: x}}}}"
    entry = f"{{predicate: {{single_predicate: {single}}}, on_match: {done}}}"
    return f"matcher: {{matcher_list: {{matchers: [{entry}]}}}}"


def connection_rbac(rules: str) -> str:
    """The network filter, in front of one that ends the chain."""
    filters = "envoy.extensions.filters.network"
    entries = (
        f"{{name: r, typed_config: {{'@type': {TYPE}/{filters}.rbac.v3.RBAC, stat_prefix: p, {rules}}}}}",
        f"{{name: e, typed_config: {{'@type': {TYPE}/{filters}.echo.v3.Echo}}}}",
    )
    return (
        "static_resources: {listeners: [{name: l, "
        "address: {socket_address: {address: 127.0.0.1, port_value: 0}}, "
        f"filter_chains: [{{filters: [{', '.join(entries)}]}}]}}]}}"
    )


CASES = {
    **{f"tree of {each}": chain(RBAC, looks_at(each)) for each in INPUTS},
    **{f"of connections by {each}": connection_rbac(looks_at(each)) for each in INPUTS},
    "of connections, both": connection_rbac(f"{policy()}, {tree(f'{ACTION}, name: a')}"),
    "of connections, in the shadow": connection_rbac(
        looks_at(INPUTS[0]).replace("matcher:", "shadow_matcher:", 1)
    ),
    **{f"permission {name}": chain(RBAC, policy(permission=each)) for name, each in PERMISSIONS.items()},
    **{f"principal {name}": chain(RBAC, policy(principal=each)) for name, each in PRINCIPALS.items()},
    "nothing": chain(RBAC),
    "no rules": chain(RBAC, "rules: {}"),
    "log": chain(RBAC, "rules: {action: LOG}"),
    "no such action": chain(RBAC, "rules: {action: 3}"),
    "no permissions": chain(RBAC, f"rules: {{policies: {{p: {{principals: [{{{ANY}}}]}}}}}}"),
    "no principals": chain(RBAC, f"rules: {{policies: {{p: {{permissions: [{{{ANY}}}]}}}}}}"),
    "shadow": chain(RBAC, policy().replace("rules:", "shadow_rules:", 1)),
    "bad shadow": chain(RBAC, policy("url_path: {}").replace("rules:", "shadow_rules:", 1)),
    "tree": chain(RBAC, tree(f"{ACTION}, name: a, action: DENY")),
    "tree without a name": chain(RBAC, tree(ACTION)),
    "tree of no action": chain(RBAC, tree(f"'@type': {TYPE}/envoy.config.core.v3.Node")),
    "tree and rules": chain(RBAC, f"{policy()}, {tree(f'{ACTION}, name: a')}"),
    "bad rules beside a tree": chain(RBAC, f"{policy('url_path: {}')}, {tree(f'{ACTION}, name: a')}"),
    "of a route": route(RBAC, "rbac.v3.RBACPerRoute", f"rbac: {{{policy()}}}"),
    "nothing of a route": route(RBAC, "rbac.v3.RBACPerRoute"),
    "the filter's type of a route": route(RBAC, RBAC),
    "bad rules of a route": route(RBAC, "rbac.v3.RBACPerRoute", f"rbac: {{{policy('url_path: {}')}}}"),
}


@pytest.mark.parametrize("case", CASES)
def test_rules_get_envoys_verdict(case: str, tmp_path: Path) -> None:
    file = tmp_path / "bootstrap.yaml"
    file.write_text(CASES[case], encoding="utf-8")
    theirs = envoy_verdict(file)
    status = main(["--mode", "validate", "-c", str(file)])
    assert (status == 0) is theirs.accepted, theirs.text
