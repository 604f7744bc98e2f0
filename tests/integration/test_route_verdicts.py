# ruff: noqa: E501  (a case is a line of a table; configuration text reads best unbroken)
"""Route configurations: what Envoy accepts is accepted and what Envoy refuses is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from config_oracle import LUA, ROUTER, envoy_verdict, our_verdict
from test_config_verdicts import Case, any_of, conf, swap

pytestmark = pytest.mark.oracle

_ROUTE = "route: {cluster: backend}"


def for_filter(config: str, key: str = "lua") -> str:
    """The plain route with an entry in typed_per_filter_config."""
    return swap(_ROUTE, f"{_ROUTE}\n                typed_per_filter_config: {{{key}: {config}}}")


def filter_config(fields: str) -> str:
    return any_of("envoy.config.route.v3.FilterConfig", fields)


_OF_ROUTE = any_of(LUA + "PerRoute", "disabled: true")
_UNKNOWN = any_of("xds.type.v3.TypedStruct", "type_url: type.googleapis.com/nope, value: {}")
ROUTE_FILTERS = [
    Case("FilterConfig disabled", for_filter(filter_config("disabled: true"))),
    Case("FilterConfig empty", for_filter(filter_config(""))),
    Case("FilterConfig optional and empty", for_filter(filter_config("is_optional: true"))),
    Case("FilterConfig with an empty config", for_filter(filter_config("config: {}"))),
    Case("FilterConfig with a config", for_filter(filter_config(f"config: {_OF_ROUTE}"))),
    Case(
        "FilterConfig disabled, of what nobody has",
        for_filter(filter_config(f"disabled: true, config: {_UNKNOWN}")),
    ),
    Case(
        "FilterConfig optional, of what nobody has",
        for_filter(filter_config(f"is_optional: true, config: {_UNKNOWN}")),
    ),
    Case("FilterConfig of what nobody has", for_filter(filter_config(f"config: {_UNKNOWN}"))),
    Case(
        "FilterConfig in FilterConfig",
        for_filter(filter_config(f"config: {filter_config('disabled: true')}")),
    ),
    Case("route config of a filter that takes none", for_filter(any_of(ROUTER))),
    Case(
        "optional route config of a filter that takes none",
        for_filter(filter_config(f"is_optional: true, config: {any_of(ROUTER)}")),
    ),
    Case("route config of nothing", for_filter("{}")),
    Case(
        "router disabled by default",
        conf().replace(
            "router\n            typed_config", "router\n            disabled: true\n            typed_config"
        ),
    ),
    Case(
        "router disabled for a route",
        for_filter(filter_config("disabled: true"), "envoy.filters.http.router"),
    ),
    Case(
        "route configuration with a filter that takes none",
        conf(routes=f"typed_per_filter_config: {{x: {any_of(ROUTER)}}}"),
    ),
]

_HOST = """\
              routes:
              - match: {prefix: "/"}
                route: {cluster: backend}
"""


def host(fields: str, *, routes: bool = False) -> str:
    """The plain configuration with fields of its virtual host in the place of the routes, or beside them."""
    plain = conf()
    assert _HOST in plain
    return plain.replace(_HOST, f"              {fields}\n" + (_HOST if routes else ""), 1)


def extension(message: str, fields: str = "") -> str:
    return f"{{name: x, typed_config: {any_of(message, fields)}}}"


_HEADER = extension("envoy.type.matcher.v3.HttpRequestHeaderMatchInput", "header_name: x")
_TO_ROUTE = extension("envoy.config.route.v3.Route", "match: {prefix: /}, route: {cluster: backend}")
_NETWORK = "envoy.extensions.matching.common_inputs.network.v3"
_INPUT = "envoy.extensions.matching.input_matchers"


def tree(
    source: str = _HEADER, kind: str = f"exact_match_map: {{map: {{a: {{action: {_TO_ROUTE}}}}}}}"
) -> str:
    return host(f"matcher: {{matcher_tree: {{input: {source}, {kind}}}}}")


def single(match: str = "value_match: {exact: a}", source: str = _HEADER) -> str:
    return f"{{single_predicate: {{input: {source}, {match}}}}}"


def listed(predicate: str, on_match: str = f"action: {_TO_ROUTE}") -> str:
    entry = f"{{predicate: {predicate}, on_match: {{{on_match}}}}}"
    return host(f"matcher: {{matcher_list: {{matchers: [{entry}]}}}}")


MATCHERS = [
    *(
        Case(f"matcher input {name}", tree(extension(name, fields)))
        for name, fields in (
            ("envoy.type.matcher.v3.HttpRequestHeaderMatchInput", "header_name: x"),
            ("envoy.type.matcher.v3.HttpRequestQueryParamMatchInput", "query_param: x"),
            ("envoy.type.matcher.v3.HttpResponseStatusCodeMatchInput", ""),
            (f"{_NETWORK}.SourceIPInput", ""),
            (f"{_NETWORK}.FilterStateInput", "key: x"),
            (f"{_NETWORK}.DynamicMetadataInput", "filter: x, path: [{key: a}]"),
            ("envoy.extensions.matching.common_inputs.ssl.v3.UriSanInput", ""),
            ("envoy.extensions.matching.common_inputs.environment_variable.v3.Config", "name: x"),
            ("xds.type.matcher.v3.HttpAttributesCelMatchInput", ""),
        )
    ),
    Case("matcher that is empty", host("matcher: {}")),
    Case("matcher beside routes", host("matcher: {}", routes=True)),
    Case("matcher with on_no_match alone", host(f"matcher: {{on_no_match: {{action: {_TO_ROUTE}}}}}")),
    Case("matcher with an empty map", tree(kind="exact_match_map: {}")),
    Case("matcher without a map", host(f"matcher: {{matcher_tree: {{input: {_HEADER}}}}}")),
    Case("matcher with an empty list", host("matcher: {matcher_list: {matchers: []}}")),
    Case("matcher without on_match", listed(single(), "")),
    Case("matcher and of one", listed(f"{{and_matcher: {{predicate: [{single()}]}}}}")),
    Case("matcher or of two", listed(f"{{or_matcher: {{predicate: [{single()}, {single()}]}}}}")),
    Case("matcher not", listed(f"{{not_matcher: {single()}}}")),
    Case(
        "matcher regex that is wrong",
        listed(single("value_match: {safe_regex: {google_re2: {}, regex: 'a('}}")),
    ),
    Case(
        "matcher value custom",
        listed(single(f"value_match: {{custom: {extension('google.protobuf.Struct')}}}")),
    ),
    Case(
        "matcher by hash",
        listed(
            single(
                f"custom_match: {extension(_INPUT + '.consistent_hashing.v3.ConsistentHashing', 'threshold: 1, modulo: 2')}"
            )
        ),
    ),
    Case(
        "matcher by hash without modulo",
        listed(
            single(
                f"custom_match: {extension(_INPUT + '.consistent_hashing.v3.ConsistentHashing', 'threshold: 1')}"
            )
        ),
    ),
    Case(
        "matcher by address",
        listed(
            single(
                f"custom_match: {extension(_INPUT + '.ip.v3.Ip', 'cidr_ranges: [{address_prefix: 1.2.3.4}], stat_prefix: x')}"
            )
        ),
    ),
    Case(
        "matcher by cel of nothing",
        listed(single(f"custom_match: {extension('xds.type.matcher.v3.CelMatcher')}")),
    ),
    Case(
        "matcher action of another place",
        listed(single(), f"action: {extension('google.protobuf.StringValue')}"),
    ),
    Case("matcher keeps matching", listed(single(), f"keep_matching: true, action: {_TO_ROUTE}")),
    Case(
        "matcher to an unknown cluster",
        listed(single(), f"action: {_TO_ROUTE}").replace("backend}", "nobody}", 1),
    ),
    Case(
        "matcher to a route without match",
        listed(single(), f"action: {extension('envoy.config.route.v3.Route', 'route: {cluster: backend}')}"),
    ),
    Case("matcher to no route", listed(single(), f"action: {extension('envoy.config.route.v3.RouteList')}")),
    Case(
        "virtual cluster",
        host("virtual_clusters: [{name: x, headers: [{name: a, present_match: true}]}]", routes=True),
    ),
    Case("virtual cluster without headers", host("virtual_clusters: [{name: x}]", routes=True)),
    Case(
        "virtual cluster without name",
        host("virtual_clusters: [{headers: [{name: a, present_match: true}]}]", routes=True),
    ),
]

_MATCH = 'match: {prefix: "/"}'
_VALUE = "value: {present_match: true}"


def matching(fields: str) -> str:
    return swap(_MATCH, f"match: {{{fields}}}")


def metadata(fields: str) -> str:
    return matching(f"prefix: /, dynamic_metadata: [{{{fields}}}]")


def filter_state(ranges: str) -> str:
    return matching(f"prefix: /, filter_state: [{{key: x, address_match: {{ranges: [{ranges}]}}}}]")


def templates(match: str, rewrite: str | None = None, more: str = "") -> str:
    """A route by URI template, perhaps with a rewrite by one."""
    policy = extension(
        "envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig", f"path_template: '{match}'"
    )
    text = matching(f"path_match_policy: {policy}")
    if rewrite is None:
        return text
    config = f"path_template_rewrite: '{rewrite}'"
    policy = extension("envoy.extensions.path.rewrite.uri_template.v3.UriTemplateRewriteConfig", config)
    return text.replace(_ROUTE, f"route: {{cluster: backend, path_rewrite_policy: {policy}{more}}}", 1)


ROUTE_MATCHES = [
    *(
        Case(f"match {fields}", matching(fields))
        for fields in (
            "prefix: /, headers: [{name: x, string_match: {safe_regex: {regex: a}, ignore_case: true}}]",
            "prefix: /, headers: [{name: x, exact_match: a}]",
            "prefix: /, headers: [{name: x, prefix_match: ''}]",
            "prefix: /, headers: [{name: x, string_match: {}}]",
            "prefix: /, headers: [{name: x, range_match: {start: 5, end: 1}}]",
            "prefix: /, headers: [{name: 'a b'}]",
            "prefix: /, query_parameters: [{name: x, string_match: {}}]",
            "prefix: /, cookies: [{name: x}]",
            "prefix: /, cookies: [{name: x, string_match: {exact: ''}}]",
            "prefix: /, runtime_fraction: {}",
            "prefix: /, runtime_fraction: {default_value: {numerator: 101}}",
            "prefix: /, filter_state: [{key: x}]",
            "prefix: /, filter_state: [{string_match: {exact: a}}]",
            "safe_regex: {google_re2: {max_program_size: 1}, regex: /a}",
            "safe_regex: {google_re2: {max_program_size: 100}, regex: /a}",
            "path_separated_prefix: /a/",
            "path_separated_prefix: /a?b",
            "path_separated_prefix: a",
            "path: ''",
        )
    ),
    Case("metadata", metadata(f"filter: x, path: [{{key: a}}], {_VALUE}")),
    Case("metadata without a filter", metadata(f"path: [{{key: a}}], {_VALUE}")),
    Case("metadata without a path", metadata(f"filter: x, {_VALUE}")),
    Case("metadata without a value", metadata("filter: x, path: [{key: a}]")),
    Case("metadata with an empty value", metadata("filter: x, path: [{key: a}], value: {}")),
    Case(
        "metadata with or of one",
        metadata("filter: x, path: [{key: a}], value: {or_match: {value_matchers: [{null_match: {}}]}}"),
    ),
    Case(
        "metadata with a number of nothing",
        metadata("filter: x, path: [{key: a}], value: {double_match: {}}"),
    ),
    Case("filter state by address", filter_state("{address_prefix: 10.0.0.0, prefix_len: 8}")),
    Case("filter state by no address", filter_state("{address_prefix: nope, prefix_len: 8}")),
    Case("filter state by an address too narrow", filter_state("{address_prefix: 10.0.0.0, prefix_len: 80}")),
    Case("route to nowhere", swap(_ROUTE, "non_forwarding_action: {}")),
    Case("route to a filter", swap(_ROUTE, "filter_action: {}")),
    Case("plugin that nobody names", swap(_ROUTE, "route: {cluster_specifier_plugin: x}")),
    Case(
        "plugin that is optional and unknown",
        swap(
            _ROUTE,
            f"route: {{inline_cluster_specifier_plugin: {{is_optional: true, extension: {{name: x, typed_config: {_UNKNOWN}}}}}}}",
        ),
    ),
    *(
        Case(f"template {text}", templates(text))
        for text in ("/a/{b}", "a", "/{1}", "/**/*", "/{b}{c}", "/a*b", "/a^b", "/*b/c")
    ),
    *(
        Case(f"rewrite by {text}", templates("/{a}/{b}", text))
        for text in ("/{b}", "/{c}", "x", "//{a}", "/a^", "/{a")
    ),
    Case(
        "rewrite by template alone",
        swap(
            _ROUTE,
            f"route: {{cluster: backend, path_rewrite_policy: {extension('envoy.extensions.path.rewrite.uri_template.v3.UriTemplateRewriteConfig', 'path_template_rewrite: /')}}}",
        ),
    ),
    Case("template that is none", matching(f"path_match_policy: {extension('google.protobuf.Struct')}")),
    Case("template with a rewrite and a prefix rewrite", templates("/{a}", "/{a}", ", prefix_rewrite: /")),
]

_SPECIFIER = "envoy.extensions.router.cluster_specifiers.matcher.v3"
_CLUSTER = extension(f"{_SPECIFIER}.ClusterAction", "cluster: backend")


def specified(tree: str | None) -> str:
    """A route whose cluster is found by a tree."""
    config = "" if tree is None else f"cluster_matcher: {{{tree}}}"
    plugin = f"{{extension: {extension(f'{_SPECIFIER}.MatcherClusterSpecifier', config)}}}"
    return swap(_ROUTE, f"route: {{inline_cluster_specifier_plugin: {plugin}}}")


def by_map(source: str = _HEADER, action: str = _CLUSTER) -> str:
    return f"matcher_tree: {{input: {source}, exact_match_map: {{map: {{a: {{action: {action}}}}}}}}}"


_SOURCE = 'source_code: {inline_string: "function envoy_on_route(r) return 1 end"}'
_LUA_PLUGIN = extension("envoy.extensions.router.cluster_specifiers.lua.v3.LuaConfig", _SOURCE)
SPECIFIERS = [
    Case("cluster tree missing", specified(None)),
    Case("cluster tree empty", specified("")),
    Case("cluster tree", specified(by_map())),
    Case(
        "cluster tree of the response",
        specified(by_map(extension("envoy.type.matcher.v3.HttpResponseStatusCodeMatchInput"))),
    ),
    Case("cluster tree to a route", specified(by_map(action=_TO_ROUTE))),
    Case("cluster tree to no cluster", specified(by_map(action=extension(f"{_SPECIFIER}.ClusterAction")))),
    Case(
        "cluster tree to an unknown cluster",
        specified(by_map(action=extension(f"{_SPECIFIER}.ClusterAction", "cluster: x"))),
    ),
    Case(
        "cluster plugin in Lua",
        swap(
            _ROUTE,
            f"route: {{inline_cluster_specifier_plugin: {{extension: {_LUA_PLUGIN}}}}}",
        ),
    ),
]

CASES = SPECIFIERS + ROUTE_FILTERS + MATCHERS + ROUTE_MATCHES


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_route_configuration_gets_envoys_verdict(case: Case, tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(str(case.text))
    theirs, ours = envoy_verdict(file), our_verdict(file)
    assert ours.accepted is theirs.accepted, f"Envoy: {theirs.text}\nours: {ours.text}"
