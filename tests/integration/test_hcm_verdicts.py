# ruff: noqa: E501  (a case is a line of a table)
"""Options of connection managers: what Envoy accepts and refuses, wholly compiled, each case tried on Envoy."""

from __future__ import annotations

from pathlib import Path

import pytest
from config_oracle import LUA, ROUTER, envoy_verdict
from test_config_verdicts import any_of, conf

from sidecar.cli.main import main

pytestmark = pytest.mark.oracle


def added(option: str, field: str = "request_headers_to_add") -> str:
    return conf(hcm="", routes=f"{field}: [{option}]")


def value(text: str) -> str:
    return added("{header: {key: x-a, value: '" + text.replace("'", "''") + "'}}")


def mapper(text: str) -> str:
    return conf(hcm=f"local_reply_config: {{mappers: [{text}]}}")


ANY = "filter: {status_code_filter: {comparison: {op: EQ, value: {default_value: 404, runtime_key: a}}}}"
HEADERS = {
    "append and append_action": added(
        "{header: {key: a, value: b}, append: true, append_action: ADD_IF_ABSENT}"
    ),
    "append and the default action": added(
        "{header: {key: a, value: b}, append: false, append_action: APPEND_IF_EXISTS_OR_ADD}"
    ),
    "append_action unknown": added("{header: {key: a, value: b}, append_action: SOMETIMES}"),
    "value and raw_value": added("{header: {key: a, value: b, raw_value: YQ==}}"),
    "raw_value": added("{header: {key: a, raw_value: YQ==}}"),
    "neither value": added("{header: {key: a}}"),
    "no header": added("{append_action: ADD_IF_ABSENT}"),
    "name with a space": added("{header: {key: 'a b', value: c}}"),
    "name with a colon": added("{header: {key: 'a:b', value: c}}"),
    "name with a line end": added('{header: {key: "a\\nb", value: c}}'),
    "host in a response": added("{header: {key: Host, value: c}}", "response_headers_to_add"),
    ":status in a response": added("{header: {key: ':status', value: c}}", "response_headers_to_add"),
    "long value": added("{header: {key: a, value: " + "x" * 16385 + "}}"),
    "unknown operator": value("%PROTOCOLS%"),
    "lone percent": value("100%"),
    "percent pair": value("100%%"),
    "three percents": value("%%%"),
    "no end": value("%REQ(a"),
    "no name": value("%REQ()%"),
    "no argument": value("%REQ%"),
    "lower case": value("%protocol%"),
    "argument where none belongs": value("%PROTOCOL(a)%"),
    "length where none belongs": value("%PROTOCOL:3%"),
    "bad length": value("%REQ(a):b%"),
    "three alternatives": value("%REQ(a?b?c)%"),
    "JSON metadata": value('%UPSTREAM_METADATA(["a", "b"])%'),
    "JSON metadata of numbers": value('%UPSTREAM_METADATA(["a", 1])%'),
    "JSON metadata broken": value('%UPSTREAM_METADATA(["a")%'),
    "JSON metadata of numbers in a response": added(
        "{header: {key: a, value: '%DYNAMIC_METADATA([1])%'}}", "response_headers_to_add"
    ),
    "JSON metadata of nothing": value("%UPSTREAM_METADATA([])%"),
    "formatter extension": value("%REQ_WITHOUT_QUERY(:path)%"),
    "metadata of an unknown kind": value("%METADATA(NOTHING:a)%"),
    "empty state": value("%PER_REQUEST_STATE()%"),
}
LOCAL = {
    "empty": conf(hcm="local_reply_config: {}"),
    "mapper without filter": mapper("{status_code: 404}"),
    "mapper": mapper(f"{{{ANY}}}"),
    "status 99": mapper(f"{{{ANY}, status_code: 99}}"),
    "status 600": mapper(f"{{{ANY}, status_code: 600}}"),
    "status 200": mapper(f"{{{ANY}, status_code: 200}}"),
    "empty body": mapper(f"{{{ANY}, body: {{inline_string: ''}}}}"),
    "body without source": mapper(f"{{{ANY}, body: {{}}}}"),
    "body from nowhere": mapper(f"{{{ANY}, body: {{filename: /nowhere}}}}"),
    "empty format": mapper(f"{{{ANY}, body_format_override: {{}}}}"),
    "empty text": mapper(f"{{{ANY}, body_format_override: {{text_format_source: {{inline_string: ''}}}}}}"),
    "unknown operator": mapper(
        f"{{{ANY}, body_format_override: {{text_format_source: {{inline_string: '%A%'}}}}}}"
    ),
    "unknown operator in JSON": conf(hcm="local_reply_config: {body_format: {json_format: {a: {b: '%X%'}}}}"),
    "empty JSON": conf(hcm="local_reply_config: {body_format: {json_format: {}}}"),
    "header host": mapper(f"{{{ANY}, headers_to_add: [{{header: {{key: host, value: a}}}}]}}"),
    "header :status": mapper(f"{{{ANY}, headers_to_add: [{{header: {{key: ':status', value: a}}}}]}}"),
    "header with an unknown operator": mapper(
        f"{{{ANY}, headers_to_add: [{{header: {{key: a, value: '%A%'}}}}]}}"
    ),
    "filter without kind": mapper("{filter: {}}"),
    "unknown flag": mapper("{filter: {response_flag_filter: {flags: [XX]}}}"),
    "text and JSON": conf(hcm="local_reply_config: {body_format: {text_format: a, json_format: {a: b}}}"),
    "content type with a line end": conf(
        hcm='local_reply_config: {body_format: {text_format: a, content_type: "a\\nb"}}'
    ),
}
XFF = "envoy.extensions.http.original_ip_detection.xff.v3.XffConfig"
CUSTOM = "envoy.extensions.http.original_ip_detection.custom_header.v3.CustomHeaderConfig"


def detection(kind: str, config: str, more: str = "") -> str:
    entry = f"{{name: a, typed_config: {any_of(kind, config)}}}"
    return conf(hcm=f"original_ip_detection_extensions: [{entry}]\n{more}")


DETECTIONS = {
    "xff": detection(XFF, ""),
    "hops": detection(XFF, "xff_num_trusted_hops: 3"),
    "networks": detection(XFF, "xff_trusted_cidrs: {cidrs: [{address_prefix: 10.0.0.0, prefix_len: 8}]}"),
    "both": detection(
        XFF,
        "xff_num_trusted_hops: 1, xff_trusted_cidrs: {cidrs: [{address_prefix: 10.0.0.0, prefix_len: 8}]}",
    ),
    "no networks": detection(XFF, "xff_trusted_cidrs: {}"),
    "network that is none": detection(
        XFF, "xff_trusted_cidrs: {cidrs: [{address_prefix: a, prefix_len: 8}]}"
    ),
    "long prefix": detection(XFF, "xff_trusted_cidrs: {cidrs: [{address_prefix: 10.0.0.0, prefix_len: 33}]}"),
    "longer prefix": detection(
        XFF, "xff_trusted_cidrs: {cidrs: [{address_prefix: 10.0.0.0, prefix_len: 129}]}"
    ),
    "use_remote_address": detection(XFF, "", "use_remote_address: true"),
    "use_remote_address false": detection(XFF, "", "use_remote_address: false"),
    "trusted hops": detection(XFF, "", "xff_num_trusted_hops: 1"),
    "no trusted hops": detection(XFF, "", "xff_num_trusted_hops: 0"),
    "skip_xff_append": detection(XFF, "", "skip_xff_append: true"),
    "custom": detection(CUSTOM, "header_name: a"),
    "custom without name": detection(CUSTOM, "header_name: ''"),
    "custom with a wrong name": detection(CUSTOM, "header_name: 'a b'"),
    "custom with status 700": detection(CUSTOM, "header_name: a, reject_with_status: {code: 700}"),
    "custom with status OK": detection(CUSTOM, "header_name: a, reject_with_status: {code: OK}"),
    "custom with no status": detection(CUSTOM, "header_name: a, reject_with_status: {}"),
    "another kind": detection(LUA, ""),
    "no configuration": conf(
        hcm="original_ip_detection_extensions: [{name: envoy.http.original_ip_detection.xff}]"
    ),
    "internal network that is none": conf(
        hcm="internal_address_config: {cidr_ranges: [{address_prefix: a, prefix_len: 8}]}"
    ),
}
EARLY = "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation"


def early(mutation: str) -> str:
    entry = f"{{name: a, typed_config: {any_of(EARLY, f'mutations: [{mutation}]')}}}"
    return conf(hcm=f"early_header_mutation_extensions: [{entry}]")


EARLY_MUTATIONS = {
    "none": early(""),
    "empty": early("{}"),
    "append": early("{append: {header: {key: a, value: b}}}"),
    "append :path": early("{append: {header: {key: ':path', value: b}}}"),
    "append host": early("{append: {header: {key: host, value: b}}}"),
    "append without header": early("{append: {}}"),
    "append with an unknown operator": early("{append: {header: {key: a, value: '%A%'}}}"),
    "append twice over": early(
        "{append: {header: {key: a, value: b}, append: true, append_action: ADD_IF_ABSENT}}"
    ),
    "remove": early("{remove: a}"),
    "remove nothing": early("{remove: ''}"),
    "remove :path": early("{remove: ':path'}"),
    "remove Host": early("{remove: Host}"),
    "remove with a space": early("{remove: 'a b'}"),
    "remove_on_match": early("{remove_on_match: {key_matcher: {prefix: a}}}"),
    "remove_on_match of nothing": early("{remove_on_match: {}}"),
    "remove_on_match without pattern": early("{remove_on_match: {key_matcher: {}}}"),
    "remove_on_match with an empty prefix": early("{remove_on_match: {key_matcher: {prefix: ''}}}"),
    "remove_on_match with a bad regex": early("{remove_on_match: {key_matcher: {safe_regex: {regex: '('}}}}"),
    "another kind": conf(hcm=f"early_header_mutation_extensions: [{{name: a, typed_config: {any_of(LUA)}}}]"),
}
UUID = "envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig"
OPTIONS = {
    "request id": conf(
        hcm=f"request_id_extension: {{typed_config: {any_of(UUID, 'pack_trace_reason: false')}}}"
    ),
    "request id of another kind": conf(hcm=f"request_id_extension: {{typed_config: {any_of(LUA)}}}"),
    "request id of no kind": conf(hcm="request_id_extension: {}"),
    "client certificates": conf(
        hcm="forward_client_cert_details: APPEND_FORWARD\nset_current_client_cert_details: {subject: true, dns: true}"
    ),
    "client certificates unknown": conf(hcm="forward_client_cert_details: SOMETIMES"),
    "path normalization": conf(
        hcm="path_normalization_options: {forwarding_transformation: {operations: [{merge_slashes: {}}]}}"
    ),
    "path normalization of nothing": conf(
        hcm="path_normalization_options: {forwarding_transformation: {operations: [{}]}}"
    ),
    "path normalization twice": conf(
        hcm="path_normalization_options: {forwarding_transformation: {operations: [{merge_slashes: {}}, {merge_slashes: {}}]}}"
    ),
    "proxy status": conf(hcm="proxy_status_config: {}"),
    "proxy status of a node": conf(hcm="proxy_status_config: {use_node_id: true}"),
    "proxy status of two names": conf(hcm="proxy_status_config: {use_node_id: true, literal_proxy_name: a}"),
    "proxy status with a line end": conf(hcm='proxy_status_config: {literal_proxy_name: "a\\nb"}'),
    "scheme": conf(hcm="scheme_header_transformation: {match_upstream: true}"),
    "scheme twice": conf(
        hcm="scheme_header_transformation: {match_upstream: true, scheme_to_overwrite: https}"
    ),
    "scheme of another kind": conf(hcm="scheme_header_transformation: {scheme_to_overwrite: ftp}"),
    "scheme in capitals": conf(hcm="scheme_header_transformation: {scheme_to_overwrite: HTTPS}"),
    "server name with a line end": conf(hcm='server_name: "a\\nb"'),
    "via with a line end": conf(hcm='via: "a\\nb"'),
    "internal only headers": conf(routes="internal_only_headers: [a, X-B]"),
    "internal only header with a space": conf(routes="internal_only_headers: ['a b']"),
    "internal only header without name": conf(routes="internal_only_headers: ['']"),
    "internal only header host": conf(routes="internal_only_headers: [host, ':path']"),
    "require_tls": conf().replace('domains: ["*"]', 'domains: ["*"]\n              require_tls: ALL'),
    "require_tls unknown": conf().replace(
        'domains: ["*"]', 'domains: ["*"]\n              require_tls: SOME'
    ),
    "overload": conf(hcm="append_local_overload: true\nadd_proxy_protocol_connection_state: false"),
    "header validation": conf(
        hcm="typed_header_validation_config: {name: a, typed_config: {'@type': type.googleapis.com/envoy.extensions.http.header_validators.envoy_default.v3.HeaderValidatorConfig}}"
    ),
    "mapped addresses": conf(hcm="represent_ipv4_remote_address_as_ipv4_mapped_ipv6: true"),
    "strip twice": conf(hcm="strip_matching_host_port: true\nstrip_any_host_port: true"),
    "hops beyond": conf(hcm="xff_num_trusted_hops: 4294967295"),
    "log options twice": conf(
        hcm="access_log_flush_interval: 1s\naccess_log_options: {access_log_flush_interval: 1s}"
    ),
    "log options and the old flush": conf(
        hcm="flush_access_log_on_new_request: true\naccess_log_options: {}"
    ),
    "log flush interval too short": conf(hcm="access_log_options: {access_log_flush_interval: 0.0001s}"),
}
BUFFER = "envoy.extensions.filters.http.buffer.v3.Buffer"


def filters(text: str, *, hcm: str = "") -> str:
    return conf(hcm=hcm, filters=text)


ROUTER_ENTRY = f'          - name: envoy.filters.http.router\n            typed_config:\n              "@type": type.googleapis.com/{ROUTER}\n'
FILTERS = {
    "optional": filters(f"- {{name: a, typed_config: {any_of(LUA)}, is_optional: true}}"),
    "optional and unknown": filters(
        "- {name: a, typed_config: {'@type': type.googleapis.com/no.such.Filter}, is_optional: true}"
    ),
    "unknown": filters("- {name: a, typed_config: {'@type': type.googleapis.com/no.such.Filter}}"),
    "optional without configuration": filters("- {name: a, is_optional: true}"),
    "optional with a wrong script": filters(
        f"- {{name: a, typed_config: {any_of(LUA, 'inline_code: zzz zzz')}, is_optional: true}}"
    ),
    "disabled": filters(f"- {{name: a, typed_config: {any_of(LUA)}, disabled: true}}"),
    "disabled with a wrong script": filters(
        f"- {{name: a, typed_config: {any_of(LUA, 'inline_code: zzz zzz')}, disabled: true}}"
    ),
    "disabled and unknown": filters(
        "- {name: a, typed_config: {'@type': type.googleapis.com/no.such.Filter}, disabled: true}"
    ),
    "disabled router": conf().replace(ROUTER_ENTRY, ROUTER_ENTRY + "            disabled: true\n"),
    "optional router": conf().replace(ROUTER_ENTRY, ROUTER_ENTRY + "            is_optional: true\n"),
    "no filters": conf().replace("          http_filters:\n", "").replace(ROUTER_ENTRY, ""),
    "names twice": filters(
        f"- {{name: a, typed_config: {any_of(LUA)}}}\n- {{name: a, typed_config: {any_of(LUA)}}}"
    ),
    "no name": filters(f"- {{typed_config: {any_of(LUA)}}}"),
    "two routers": filters(f"- {{name: b, typed_config: {any_of(ROUTER)}}}"),
    "network filter": filters(
        f"- {{name: b, typed_config: {any_of('envoy.extensions.filters.network.echo.v3.Echo')}}}"
    ),
    "FilterConfig": filters(f"- {{name: b, typed_config: {any_of('envoy.config.route.v3.FilterConfig')}}}"),
}
MUTATION = "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation"


def mutating(mutations: str) -> str:
    return filters(f"- {{name: m, typed_config: {any_of(MUTATION, f'mutations: {{{mutations}}}')}}}")


MUTATIONS = {
    "none": mutating(""),
    "unset": filters(f"- {{name: m, typed_config: {any_of(MUTATION)}}}"),
    "append": mutating("request_mutations: [{append: {header: {key: a, value: b}}}]"),
    "append :path": mutating("request_mutations: [{append: {header: {key: ':path', value: b}}}]"),
    "append host in a response": mutating("response_mutations: [{append: {header: {key: host, value: b}}}]"),
    "remove :status": mutating("response_mutations: [{remove: ':status'}]"),
    "unknown operator": mutating("response_mutations: [{append: {header: {key: a, value: '%A%'}}}]"),
    "trailers": mutating(
        "request_trailers_mutations: [{remove: a}], response_trailers_mutations: [{append: {header: {key: a, value: b}}}]"
    ),
    "query": mutating("query_parameter_mutations: [{append: {record: {key: a, value: b}}}, {remove: c}]"),
    "query of nothing": mutating("query_parameter_mutations: [{}]"),
    "query with a number": mutating("query_parameter_mutations: [{append: {record: {key: a, value: 1}}}]"),
    "query without value": mutating("query_parameter_mutations: [{append: {record: {key: a}}}]"),
    "query without name": mutating("query_parameter_mutations: [{append: {record: {key: '', value: b}}}]"),
    "query with an entry": mutating("query_parameter_mutations: [{append: {entry: {key: a, value: Yg==}}}]"),
    "query with an unknown operator": mutating(
        "query_parameter_mutations: [{append: {record: {key: a, value: '%A%'}}}]"
    ),
    "query of both": mutating(
        "query_parameter_mutations: [{append: {record: {key: a, value: b}}, remove: c}]"
    ),
}
TABLES = (
    ("mutation", MUTATIONS),
    ("filter", FILTERS),
    ("option", OPTIONS),
    ("early", EARLY_MUTATIONS),
    ("header", HEADERS),
    ("local", LOCAL),
    ("detection", DETECTIONS),
)
CASES = {f"{group} {name}": text for group, table in TABLES for name, text in table.items()}


@pytest.mark.parametrize("text", CASES.values(), ids=CASES.keys())
def test_connection_manager_gets_envoys_verdict(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(text)
    theirs = envoy_verdict(file)
    accepted = main(["--mode", "validate", "-c", str(file)]) == 0
    assert accepted is theirs.accepted, f"Envoy: {theirs.text}\nours: {capsys.readouterr().err}"
