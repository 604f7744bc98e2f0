"""Configurations of jwt_authn: what Envoy accepts and refuses, wholly compiled, each case tried on Envoy."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from config_oracle import envoy_verdict
from test_filter_verdicts import chain, route

from sidecar.cli.main import main
from tests.support import jose

pytestmark = pytest.mark.oracle
JWT = "jwt_authn.v3.JwtAuthentication"
LOCAL = f"local_jwks: {{inline_string: '{jose.jwks(jose.jwk(jose.secret()))}'}}"
URI = "uri: 'http://keys.test/jwks', cluster: backend, timeout: 1s"


def provider(text: str = LOCAL, more: str = "") -> str:
    return f"providers: {{p: {{{text}}}}}{more}"


def remote(text: str = "", uri: str = URI) -> str:
    return provider(f"remote_jwks: {{http_uri: {{{uri}}}, {text}}}")


def rule(requires: str, match: str = "prefix: /") -> str:
    return provider(more=f", rules: [{{match: {{{match}}}, {requires}}}]")


ANY = "requires: {{requires_any: {{requirements: [{}]}}}}"
TEMPLATE = (
    "path_match_policy: {name: x, typed_config: {'@type': type.googleapis.com/"
    "envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig, path_template: '/a/*'}}"
)
CASES = {
    "nothing": chain(JWT),
    "one provider": chain(JWT, provider()),
    "no keys": chain(JWT, provider("issuer: i")),
    "keys of nothing": chain(JWT, provider("local_jwks: {}")),
    "keys in no file": chain(JWT, provider("local_jwks: {filename: /nowhere/at/all}")),
    "keys in no variable": chain(JWT, provider("local_jwks: {environment_variable: SURELY_NOT_SET}")),
    **{
        f"keys {text}": chain(JWT, provider(f"local_jwks: {{inline_string: {json.dumps(text)}}}"))
        for text in (
            "",
            "x",
            "{}",
            "[]",
            '{"keys":1}',
            '{"keys":[]}',
            '{"keys":[1]}',
            '{"keys":[{"kty":"RSA"}]}',
            '{"keys":[{"kty":"oct","k":"*"}]}',
            '{"keys":[{"kty":"oct","k":"YQ"},{"kty":"x"}]}',
            '{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AA"}]}',
            '{"keys":[],"keys":[]}',
            '{"a":"b"}',
            '{"keys":[{"kty":"EC","x":"AA","y":"AA"}]}',
        )
    },
    "remote": chain(JWT, remote()),
    "remote of nothing": chain(JWT, provider("remote_jwks: {}")),
    **{
        f"remote {uri}": chain(JWT, remote(uri=f"uri: '{uri}', cluster: backend, timeout: 1s"))
        for uri in (
            "",
            "x",
            "/x",
            "http://",
            "https://a",
            "ftp://a/b",
            "http://a:99999/x",
            "http://a:65535",
            "a.b/c",
            "http://a:b/c",
            "http://me:you@a/b",
            "http://[::1]:80/x",
            "http://a?x",
            "http://a#x",
            "://a",
            "http:/a",
            "http://a b/c",
            "http://a/b c",
            "http://:80/",
            "HTTP://A/",
            "http://a_b/",
        )
    },
    "remote without cluster": chain(JWT, remote(uri="uri: 'http://a', timeout: 1s")),
    "remote without timeout": chain(JWT, remote(uri="uri: 'http://a', cluster: backend")),
    "remote of an unknown cluster": chain(JWT, remote(uri="uri: 'http://a', cluster: nobody, timeout: 1s")),
    **{
        f"remote {text}": chain(JWT, remote(text))
        for text in (
            "cache_duration: 0s",
            "cache_duration: 0.0009s",
            "cache_duration: 0.001s",
            "cache_duration: 8000000000s",
            "cache_duration: 5000000000s",
            "async_fetch: {}",
            "async_fetch: {failed_refetch_duration: 0s}",
            "async_fetch: {failed_refetch_duration: -1s}",
            "retry_policy: {}",
            "retry_policy: {num_retries: 3, retry_on: whatever}",
            "retry_policy: {retry_back_off: {base_interval: 2s, max_interval: 1s}}",
            "retry_policy: {retry_back_off: {max_interval: 1s}}",
            "retry_policy: {retry_priority: {name: x}}",
            "retry_policy: {retry_host_predicate: [{name: x}]}",
        )
    },
    **{
        f"provider {text}": chain(JWT, provider(f"{LOCAL}, {text}"))
        for text in (
            "claim_to_headers: [{header_name: x, claim_name: a}]",
            "claim_to_headers: [{header_name: x}]",
            "claim_to_headers: [{header_name: '', claim_name: a}]",
            "claim_to_headers: [{header_name: x, claim_name: a, claim_path: [{key: a}]}]",
            "claim_to_headers: [{header_name: x, claim_path: [{key: a}, {key: b}]}]",
            "claim_to_headers: [{header_name: x, claim_path: [{key: ''}]}]",
            "claim_to_headers: [{header_name: 'x y', claim_name: a}]",
            "claim_to_headers: [{header_name: ':path', claim_name: a}]",
            "forward_payload_header: 'x y'",
            "from_headers: [{name: ''}]",
            'from_headers: [{name: a, value_prefix: "a\\nb"}]',
            "max_lifetime: -1s",
            "max_lifetime: 0s",
            "subjects: {}",
            "subjects: {safe_regex: {regex: '('}}",
            "jwt_cache_config: {}",
            "clock_skew_seconds: 4294967295",
        )
    },
    "two providers of an issuer": chain(JWT, f"providers: {{p: {{{LOCAL}}}, q: {{{LOCAL}}}}}"),
    "rule": chain(JWT, rule("requires: {provider_name: p}")),
    "rule of nothing": chain(JWT, rule("requires: {}")),
    "rule of another": chain(JWT, rule("requires: {provider_name: q}")),
    "rule of another's audiences": chain(JWT, rule("requires: {provider_and_audiences: {provider_name: q}}")),
    "rule of any": chain(JWT, rule(ANY.format("{provider_name: p}, {allow_missing: {}}"))),
    "rule of any of others": chain(JWT, rule(ANY.format("{provider_name: p}, {provider_name: q}"))),
    "rule of any of one": chain(JWT, rule(ANY.format("{provider_name: p}"))),
    "rule of a name": chain(JWT, rule("requirement_name: q")),
    "rule of no name": chain(JWT, rule("requirement_name: ''")),
    "rule without match": chain(JWT, provider(more=", rules: [{requires: {provider_name: p}}]")),
    "map of another": chain(JWT, provider(more=", requirement_map: {m: {provider_name: q}}")),
    "state of another": chain(
        JWT, provider(more=", filter_state_rules: {name: s, requires: {m: {provider_name: q}}}")
    ),
    "state": chain(JWT, provider(more=", filter_state_rules: {name: s, requires: {m: {provider_name: p}}}")),
    "state without a name": chain(JWT, provider(more=", filter_state_rules: {requires: {m: {}}}")),
    **{
        f"match {match}": chain(JWT, rule("requires: {provider_name: p}", match))
        for match in (
            "",
            "prefix: ''",
            "safe_regex: {regex: '('}",
            "path_separated_prefix: /a",
            "path_separated_prefix: a/",
            "connect_matcher: {}",
            TEMPLATE,
            "prefix: /, grpc: {}",
            "prefix: /, cookies: [{name: a, string_match: {exact: b}}]",
            "prefix: /, headers: [{name: a, safe_regex_match: {regex: '('}}]",
        )
    },
    "extract only": chain(
        JWT, rule("requires: {extract_only_without_validation: {verification_status_header: 'a b'}}")
    ),
    "route off": route(JWT, "jwt_authn.v3.PerRouteConfig", "disabled: true"),
    "route not off": route(JWT, "jwt_authn.v3.PerRouteConfig", "disabled: false"),
    "route of nothing": route(JWT, "jwt_authn.v3.PerRouteConfig"),
    "route of an unknown name": route(JWT, "jwt_authn.v3.PerRouteConfig", "requirement_name: x"),
    "route of no name": route(JWT, "jwt_authn.v3.PerRouteConfig", "requirement_name: ''"),
    "route of a filter": route(JWT, JWT, provider()),
}


@pytest.mark.parametrize("case", CASES)
def test_jwt_authn_gets_envoys_verdict(case: str, tmp_path: Path) -> None:
    file = tmp_path / "bootstrap.yaml"
    file.write_text(CASES[case], encoding="utf-8")
    theirs = envoy_verdict(file)
    status = main(["--mode", "validate", "-c", str(file)])
    assert (status == 0) is theirs.accepted, theirs.text
