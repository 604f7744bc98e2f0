# ruff: noqa: E501  (a case is a line of a table)
"""What routes do, and how clusters choose: what Envoy accepts is accepted, what it refuses refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from config_oracle import HCM, ROUTER, envoy_verdict, our_verdict

pytestmark = pytest.mark.oracle

_BASE = """\
static_resources:
  listeners:
  - name: l
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/HCM
          stat_prefix: s
          route_config:
            CONFIG
            virtual_hosts:
            - name: all
              domains: ["*"]
              HOST
              routes:
              - {match: {prefix: /}, ROUTE}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/ROUTER}
  clusters:
  - name: app
    type: STATIC
    load_assignment: {cluster_name: app, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 1}}}}]}]}
"""
_PLAIN = "route: {cluster: app}"


def text(route: str = _PLAIN, host: str = "", config: str = "") -> str:
    parts = {"HCM": HCM, "ROUTER": ROUTER, "CONFIG": config, "HOST": host, "ROUTE": route}
    base = _BASE
    for name, part in parts.items():
        base = base.replace(name, part)
    return base


def to_app(fields: str) -> str:
    return text(f"route: {{cluster: app, {fields}}}")


def direct(fields: str, limit: int | None = None) -> str:
    config = "" if limit is None else f"max_direct_response_body_size_bytes: {limit}"
    return text(f"direct_response: {{status: 200, {fields}}}", config=config)


_REGEX = "{pattern: {regex: a}, substitution: b}"
CASES = {
    "prefix and regex": to_app(f"prefix_rewrite: /a, regex_rewrite: {_REGEX}"),
    "prefix and format": to_app('prefix_rewrite: /a, path_rewrite: "/x"'),
    "regex and format": to_app(f'regex_rewrite: {_REGEX}, path_rewrite: "/x"'),
    "regex alone": to_app(f"regex_rewrite: {_REGEX}"),
    "group that is not there": to_app('regex_rewrite: {pattern: {regex: a}, substitution: "\\\\9"}'),
    "bad regex": to_app('regex_rewrite: {pattern: {regex: "(a"}, substitution: b}'),
    "port beyond the last": text("redirect: {port_redirect: 70000}"),
    "path and prefix of a redirect": text("redirect: {path_redirect: /a, prefix_rewrite: /b}"),
    "directory": direct("body: {filename: /tmp}"),
    "long body": direct(f"body: {{inline_string: {'x' * 4097}}}"),
    "longest body": direct(f"body: {{inline_string: {'x' * 4096}}}"),
    "long body in the environment": direct("body: {environment_variable: SIDECAR_TEST_LONG}"),
    "own limit": direct("body: {inline_string: abcd}", limit=3),
    "no limit": direct("body: {inline_string: abcd}", limit=0),
    "format without a body": direct('body_format: {text_format: ""}'),
}

_T = "type.googleapis.com/envoy.extensions.load_balancing_policies"


def balanced(fields: str) -> str:
    return text() + f"  - {{name: b, load_assignment: {{cluster_name: b, endpoints: []}}, {fields}}}\n"


def extension(fields: str) -> str:
    entry = f"{{typed_extension_config: {{name: a, typed_config: {{'@type': {_T}.{fields}}}}}}}"
    return balanced(f"load_balancing_policy: {{policies: [{entry}]}}")


def hashed(fields: str) -> str:
    return to_app(f"hash_policy: [{{{fields}}}]")


_NAMES = "common_lb_config: {consistent_hashing_lb_config: {use_hostname_for_hashing: true}}"
CASES |= {
    "policy of nothing": hashed("terminal: true"),
    "negative ttl": hashed("cookie: {name: a, ttl: -1s}"),
    "ttl under a second": hashed("cookie: {name: a, ttl: 0.5s}"),
    "bad regex of a policy": hashed('header: {header_name: a, regex_rewrite: {pattern: {regex: "(a"}}}'),
    "ring upside down": balanced(
        "lb_policy: RING_HASH, ring_hash_lb_config: {minimum_ring_size: 10, maximum_ring_size: 9}"
    ),
    "upside down elsewhere": balanced(
        "lb_policy: MAGLEV, ring_hash_lb_config: {minimum_ring_size: 10, maximum_ring_size: 9}"
    ),
    "ring too large": balanced("lb_policy: RING_HASH, ring_hash_lb_config: {minimum_ring_size: 8388609}"),
    "names of a static cluster": balanced(f"lb_policy: RING_HASH, {_NAMES}"),
    "names that nobody hashes": balanced(_NAMES),
    "table of ten": balanced("lb_policy: MAGLEV, maglev_lb_config: {table_size: 10}"),
    "table of one": balanced("lb_policy: MAGLEV, maglev_lb_config: {table_size: 1}"),
    "table of none": balanced("lb_policy: MAGLEV, maglev_lb_config: {table_size: 0}"),
    "factor below 100": balanced(
        "lb_policy: MAGLEV, common_lb_config: {consistent_hashing_lb_config: {hash_balance_factor: 99}}"
    ),
    "extension without rules": extension(
        "ring_hash.v3.RingHash, hash_balance_factor: 50, maximum_ring_size: 8388609"
    ),
    "extension of few choices": extension("least_request.v3.LeastRequest, choice_count: 1"),
    "ring extension upside down": extension(
        "ring_hash.v3.RingHash, minimum_ring_size: 3, maximum_ring_size: 2"
    ),
    "table extension of ten": extension("maglev.v3.Maglev, table_size: 10"),
    "empty policy of an extension": extension(
        "maglev.v3.Maglev, consistent_hashing_lb_config: {hash_policy: [{}]}"
    ),
    "value and hash": text(
        "route: {weighted_clusters: {header_name: x, use_hash_policy: true, clusters: [{name: app, weight: 1}]}}"
    ),
    "format and prefix of a redirect": text('redirect: {path_rewrite: "/x", prefix_rewrite: /a}'),
}

_P = "type.googleapis.com/envoy.extensions.internal_redirect"


def retried(back_off: str) -> str:
    return to_app(f"retry_policy: {{retry_on: 5xx, retry_back_off: {back_off}}}")


def redirected(fields: str) -> str:
    return to_app(f"internal_redirect_policy: {{{fields}}}")


CASES |= {
    "copied host": redirected("response_headers_to_copy: [Host]"),
    "copied path": redirected('response_headers_to_copy: [":path"]'),
    "copied location": redirected("response_headers_to_copy: [location]"),
    "back-off that ends below its begin": retried("{base_interval: 0.1s, max_interval: 0.05s}"),
    "back-off below a millisecond": retried("{base_interval: 0.0005s, max_interval: 0.0001s}"),
    "copied twice": redirected("response_headers_to_copy: [a, a]"),
    "code that is no redirect": redirected("redirect_response_codes: [200]"),
    "six codes": redirected("redirect_response_codes: [301, 302, 303, 307, 308, 301]"),
    "predicate of nothing": redirected("predicates: [{name: a}]"),
    "predicate that is none": redirected(
        f"predicates: [{{name: a, typed_config: {{'@type': type.googleapis.com/{ROUTER}}}}}]"
    ),
    "empty allowed name": redirected(
        f"predicates: [{{name: a, typed_config: {{'@type': {_P}.allow_listed_routes.v3.AllowListedRoutesConfig, allowed_route_names: ['']}}}}]"
    ),
    "old and new redirects": to_app(
        "internal_redirect_action: HANDLE_INTERNAL_REDIRECT, internal_redirect_policy: {}"
    ),
    "no buffer": text(
        "per_request_buffer_limit_bytes: 0, request_body_buffer_limit: 0, route: {cluster: app}"
    ),
}


def mirrored(fields: str) -> str:
    return to_app(f"request_mirror_policies: [{{{fields}}}]")


CASES |= {
    "mirror to nowhere": mirrored(""),
    "mirror to an unknown cluster": mirrored("cluster: nope"),
    "mirror to two": mirrored("cluster: app, cluster_header: x"),
    "mirror of more than all": mirrored("cluster: app, runtime_fraction: {default_value: {numerator: 500}}"),
    "mirror without a fraction": mirrored("cluster: app, runtime_fraction: {}"),
    "mirror with an empty mutation": mirrored("cluster: app, request_headers_mutations: [{}]"),
    "mirror that removes the host": mirrored("cluster: app, request_headers_mutations: [{remove: host}]"),
    "mirror of a virtual host": text(host="request_mirror_policies: [{}]"),
    "mirror of a configuration": text(config="request_mirror_policies: [{cluster: app, cluster_header: b}]"),
    "mirror of a configuration to nowhere": text(config="request_mirror_policies: [{cluster: nope}]"),
}


@pytest.mark.parametrize("name", CASES)
def test_route_gets_the_verdict_of_envoy(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIDECAR_TEST_LONG", "x" * 5000)
    path = tmp_path / "c.yaml"
    path.write_text(CASES[name])
    oracle, ours = envoy_verdict(path), our_verdict(path)
    assert ours.accepted == oracle.accepted, f"{oracle.text}\n---\n{ours.text}"
