"""Route configurations become route tables."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from google.protobuf import json_format

from sidecar.api.context import FactoryContext, NodeInfo
from sidecar.config.compile.route import compile_route_table
from sidecar.config.messages import message_class
from sidecar.config.registry import Registry
from sidecar.core.errors import ConfigError
from sidecar.core.headers import RequestHeaders
from sidecar.core.shared_memory import SharedMemory
from sidecar.extensions.http.local_ratelimit_config import HttpLocalRateLimitFactory
from sidecar.observability.stats import Store
from sidecar.router.route_table import Redirect, Route, RouteTable
from tests.support import yaml_text


def compiled(text: str) -> RouteTable:
    found = message_class("envoy.config.route.v3.RouteConfiguration")
    assert found is not None
    return compiled_message(json_format.ParseDict(yaml_text.load(text), found()), Registry([]))


def compiled_message(message: Any, registry: Registry, memory: SharedMemory | None = None) -> RouteTable:
    store = Store()
    context = FactoryContext(
        stats=store.scope(""),
        root_stats=store,
        node=NodeInfo(),
        path="route_config",
        warn=lambda path, reason: None,
        read_data_source=lambda source, path: source.inline_string.encode(),
        on_close=lambda callback: None,
        find_cluster=lambda name: None,
        shared_memory=memory,
    )
    return compile_route_table(message, context, registry, {"limit": ""})


def only(route: str, outer: str = "", table: str = "") -> Route:
    text = f"{{name: t, {table} virtual_hosts: [{{name: v, domains: ['*'], {outer} routes: [{route}]}}]}}"
    made = compiled(text)
    found = made.find_virtual_host(b"any")
    assert found is not None
    [each] = found.routes
    return each


@pytest.mark.parametrize(
    ("match", "path", "matches"),
    [
        ("{prefix: /a}", b"/ab", True),
        ("{prefix: /A, case_sensitive: false}", b"/ab", True),
        ("{path: /a}", b"/a?b", True),
        ("{path: /a}", b"/ab", False),
        ("{path_separated_prefix: /a}", b"/a/b", True),
        ("{path_separated_prefix: /a}", b"/ab", False),
        ('{safe_regex: {regex: "/[0-9]+"}}', b"/12", True),
        ('{safe_regex: {regex: "/[0-9]+"}}', b"/12/", False),
        ("{prefix: /, headers: [{name: x, present_match: true}]}", b"/", False),
    ],
)
def test_route_match_is_compiled(match: str, path: bytes, matches: bool) -> None:
    route = f"{{match: {match}, route: {{cluster: c}}}}"
    table = compiled(f"{{name: t, virtual_hosts: [{{name: v, domains: ['*'], routes: [{route}]}}]}}")
    assert (table.find(RequestHeaders(b"GET", path, b"a", b"http")) is not None) is matches


def test_route_action_without_options_has_envoys_defaults() -> None:
    route = only("{name: r, match: {prefix: /}, route: {cluster: c}}")
    assert (route.name, route.cluster_name, route.timeout_s, route.idle_timeout_s) == ("r", "c", 15.0, None)
    assert (route.virtual_host_name, route.cluster_not_found_status) == ("v", 503)
    assert route.is_simple
    assert route.is_plain


def test_route_action_reads_timeouts_and_rewrites() -> None:
    route = only(
        "{match: {prefix: /a}, route: {cluster_header: X-To, timeout: 1.5s, idle_timeout: 2s,"
        " prefix_rewrite: /b, host_rewrite_literal: h, cluster_not_found_response_code: NOT_FOUND}}"
    )
    assert (route.cluster_header, route.timeout_s, route.idle_timeout_s) == (b"x-to", 1.5, 2.0)
    assert route.path_rewriter is not None
    assert route.host_rewriter is not None
    assert route.path_rewriter(b"/a/c?q", None) == b"/b/c?q"
    assert route.host_rewriter(None, None) == b"h"
    assert route.cluster_not_found_status == 404
    assert not route.is_plain


def test_priority_of_a_route_is_that_of_all_its_clusters() -> None:
    assert only("{match: {prefix: /}, route: {cluster: a}}").priority == 0
    route = only("{match: {prefix: /}, route: {cluster: a, priority: HIGH}}")
    assert route.priority == 1
    assert not route.is_plain
    weighted = only(
        "{match: {prefix: /}, route: {priority: HIGH, weighted_clusters: {clusters: [{name: a, weight: 1}]}}}"
    )
    assert weighted.choose is not None
    assert weighted.choose(RequestHeaders(b"GET", b"/", b"a"), None).priority == 1


def test_weighted_clusters_are_compiled_with_their_weights() -> None:
    route = only(
        "{match: {prefix: /}, route: {weighted_clusters: {clusters:"
        " [{name: a, weight: 1}, {name: b, weight: 3}]}}}"
    )
    assert [(entry.name, entry.weight) for entry in route.weighted] == [("a", 1), ("b", 3)]
    assert route.choose is not None


def test_direct_response_and_redirect_are_compiled() -> None:
    route = only("{match: {prefix: /}, direct_response: {status: 418, body: {inline_string: tea}}}")
    assert route.direct_response is not None
    assert (route.direct_response.status, route.direct_response.body) == (418, b"tea")
    route = only(
        "{match: {prefix: /}, redirect: {https_redirect: true, port_redirect: 8443, response_code: FOUND,"
        " prefix_rewrite: /x, strip_query: true}}"
    )
    redirect = route.redirect
    assert redirect is not None
    assert redirect.path_rewriter is not None
    assert redirect.path_rewriter(b"/", None) == b"/x"
    assert replace(redirect, path_rewriter=None) == Redirect(302, b"https", port=8443, strip_query=True)


@pytest.mark.parametrize(("wins", "order"), [("false", [b"r", b"v", b"t"]), ("true", [b"t", b"v", b"r"])])
def test_header_mutations_are_laid_out_in_the_order_in_which_they_apply(
    wins: str, order: list[bytes]
) -> None:
    def add(name: str) -> str:
        return f"request_headers_to_add: [{{header: {{key: X, value: {name}}}}}]"

    route = only(
        f"{{match: {{prefix: /}}, route: {{cluster: c}}, {add('r')}}}",
        f"{add('v')},",
        f"most_specific_header_mutations_wins: {wins}, {add('t')},",
    )
    assert [mutations.additions[0].value for mutations in route.request_mutations] == order
    assert all(mutations.additions[0].name == b"x" for mutations in route.request_mutations)


def test_duplicate_domain_is_refused_with_its_place() -> None:
    with pytest.raises(ConfigError) as caught:
        compiled(
            "{name: t, virtual_hosts: [{name: a, domains: [x.y], routes: []},"
            " {name: b, domains: [z, X.Y], routes: []}]}"
        )
    assert caught.value.path == "route_config.virtual_hosts[1].domains[1]"


def test_regular_expression_of_a_route_that_is_wrong_is_refused_with_its_place() -> None:
    with pytest.raises(ConfigError) as caught:
        only('{match: {safe_regex: {regex: "("}}, route: {cluster: c}}')
    assert caught.value.path == "route_config.virtual_hosts[0].routes[0].match.safe_regex.regex"


@pytest.mark.parametrize(
    ("action", "field"),
    [
        ('route: {cluster: c, path_rewrite: "%NOPE%"}', "route.path_rewrite"),
        ('route: {cluster: c, host_rewrite: "%NOPE%"}', "route.host_rewrite"),
        (
            'direct_response: {status: 200, body_format: {text_format_source: {inline_string: "%NOPE%"}}}',
            "direct_response.body_format.text_format_source",
        ),
    ],
)
def test_unknown_operator_in_a_format_of_a_route_is_placed(action: str, field: str) -> None:
    with pytest.raises(ConfigError) as error:
        compiled(
            f"virtual_hosts: [{{name: v, domains: ['*'], routes: [{{match: {{prefix: /}}, {action}}}]}}]"
        )
    assert error.value.path.endswith(f"virtual_hosts[0].routes[0].{field}")


def test_route_configurations_share_no_bucket() -> None:
    # Of scopes: the same limit at the same place, in two of them.  Processes that make the same share it.
    kind: Any = message_class("envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit")
    limit = kind(stat_prefix="s", token_bucket={"max_tokens": 1, "fill_interval": {"seconds": 100}})
    table: Any = message_class("envoy.config.route.v3.RouteConfiguration")
    memory = SharedMemory.create(2)
    registry = Registry([HttpLocalRateLimitFactory()])

    def passes(name: str) -> bool:
        message = table(name=name, virtual_hosts=[{"name": "v", "domains": ["*"]}])
        message.virtual_hosts[0].routes.add().match.prefix = "/"
        message.virtual_hosts[0].routes[0].direct_response.status = 200
        message.virtual_hosts[0].routes[0].typed_per_filter_config["limit"].Pack(limit)
        host = compiled_message(message, registry, memory).find_virtual_host(b"h")
        assert host is not None
        return bool(host.routes[0].per_filter_config["limit"].shared.judge((), 1.0).is_allowed)

    assert [passes(name) for name in ("a", "a", "b", "b")] == [True, False, True, False]
