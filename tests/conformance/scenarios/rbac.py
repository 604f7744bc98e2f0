"""envoy.filters.http.rbac: permissions and principals of requests, shadow rules, match trees, routes."""

from __future__ import annotations

from typing import Any

from tests.support import yaml_text

from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import answers, ok

SUBJECT = "filters"

EXT = "type.googleapis.com/envoy.extensions.filters.http"
RBAC = f"{EXT}.rbac.v3.RBAC"
LOG = (
    "%REQ(:METHOD)% %REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% "
    "%DYNAMIC_METADATA(envoy.filters.http.rbac)% %DYNAMIC_METADATA(envoy.common)%\n"
)
ANY: dict[str, Any] = {"any": True}


def rules(action: str = "ALLOW", **policies: dict[str, Any]) -> dict[str, Any]:
    return {"action": action, "policies": policies}


def policy(permission: dict[str, Any] = ANY, principal: dict[str, Any] = ANY) -> dict[str, Any]:
    return {"permissions": [permission], "principals": [principal]}


def header(name: str, **match: Any) -> dict[str, Any]:
    return {"header": {"name": name, **match}}


def exact(name: str, value: str) -> dict[str, Any]:
    return header(name, string_match={"exact": value})


def net(prefix: str, length: int) -> dict[str, Any]:
    return {"address_prefix": prefix, "prefix_len": length}


PERMISSIONS: dict[str, dict[str, Any]] = {
    "any": ANY,
    "method": exact(":method", "GET"),
    "header": exact("x-a", "v"),
    "present": header("x-a", present_match=True),
    "inverted": header("x-a", string_match={"exact": "v"}, invert_match=True),
    "path": {"url_path": {"path": {"exact": "/path/x"}}},
    "path-prefix": {"url_path": {"path": {"prefix": "/path-prefix/A", "ignore_case": True}}},
    "path-regex": {"url_path": {"path": {"safe_regex": {"regex": "/path-regex/[0-9]+"}}}},
    "raw-path": header(":path", string_match={"prefix": "/raw-path/x"}),
    "authority": exact(":authority", "example.com"),
    "host": exact("host", "example.com"),
    "port": {"destination_port": 1},
    "ports": {"destination_port_range": {"start": 1024, "end": 65536}},
    "destination": {"destination_ip": net("127.0.0.0", 8)},
    "server-name": {"requested_server_name": {"exact": ""}},
    "not": {"not_rule": exact("x-a", "v")},
    "and": {"and_rules": {"rules": [exact("x-a", "v"), exact("x-b", "w")]}},
    "or": {"or_rules": {"rules": [exact("x-a", "v"), exact("x-b", "w")]}},
    "metadata": {
        "metadata": {"filter": "dyn", "path": [{"key": "a"}], "value": {"string_match": {"exact": "dynamic"}}}
    },
    "no-metadata": {
        "metadata": {
            "filter": "dyn",
            "path": [{"key": "x"}],
            "value": {"string_match": {"exact": "other"}},
            "invert": True,
        }
    },
    "route-metadata": {
        "sourced_metadata": {
            "metadata_matcher": {
                "filter": "meta",
                "path": [{"key": "a"}],
                "value": {"string_match": {"exact": "route"}},
            },
            "metadata_source": "ROUTE",
        }
    },
    "dynamic-metadata": {
        "sourced_metadata": {
            "metadata_matcher": {
                "filter": "dyn",
                "path": [{"key": "a"}],
                "value": {"string_match": {"exact": "dynamic"}},
            }
        }
    },
    "template": {
        "uri_template": {
            "name": "x",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.path.match"
                ".uri_template.v3.UriTemplateMatchConfig",
                "path_template": "/template/*/y",
            },
        }
    },
}
PRINCIPALS: dict[str, dict[str, Any]] = {
    "id-authenticated": {"authenticated": {}},
    "id-named": {"authenticated": {"principal_name": {"exact": "x"}}},
    "id-source": {"source_ip": net("127.0.0.0", 8)},
    "id-direct": {"direct_remote_ip": net("127.0.0.0", 8)},
    "id-remote": {"remote_ip": net("10.0.0.0", 8)},
    "id-header": exact("x-a", "v"),
    "id-path": {"url_path": {"path": {"prefix": "/id-path/x"}}},
    "id-not": {"not_id": exact("x-a", "v")},
    "id-and": {"and_ids": {"ids": [exact("x-a", "v"), exact("x-b", "w")]}},
    "id-or": {"or_ids": {"ids": [exact("x-a", "v"), exact("x-b", "w")]}},
    "id-metadata": {
        "metadata": {"filter": "dyn", "path": [{"key": "a"}], "value": {"string_match": {"prefix": "dyn"}}}
    },
    "id-state": {"filter_state": {"key": "nobody", "string_match": {"exact": "x"}}},
}


def per_route(path: str, **config: Any) -> dict[str, Any]:
    return {
        "match": {"prefix": path},
        "route": {"cluster": "app"},
        "metadata": {"filter_metadata": {"meta": {"a": "route"}}},
        "typed_per_filter_config": {"rbac": {"@type": f"{EXT}.rbac.v3.RBACPerRoute", **config}},
    }


def of(path: str, **rbac: Any) -> dict[str, Any]:
    return per_route(path, rbac=rbac)


def action(name: str, how: str) -> dict[str, Any]:
    return {
        "action": {
            "name": "a",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.config.rbac.v3.Action",
                "name": name,
                "action": how,
            },
        }
    }


def taken(kind: str, **config: Any) -> dict[str, Any]:
    return {"name": "i", "typed_config": {"@type": f"type.googleapis.com/{kind}", **config}}


HEADER_INPUT = taken("envoy.type.matcher.v3.HttpRequestHeaderMatchInput", header_name="x-a")
SOURCE_INPUT = taken("envoy.extensions.matching.common_inputs.network.v3.DirectSourceIPInput")


def entry(input_: dict[str, Any], value: str, on_match: dict[str, Any]) -> dict[str, Any]:
    return {
        "predicate": {"single_predicate": {"input": input_, "value_match": {"exact": value}}},
        "on_match": on_match,
    }


TREE = {
    "matcher_list": {
        "matchers": [
            entry(HEADER_INPUT, "allow", action("of allow", "ALLOW")),
            entry(HEADER_INPUT, "deny", action("of deny", "DENY")),
            entry(HEADER_INPUT, "log", action("log", "LOG")),
            entry(
                HEADER_INPUT,
                "default",
                {"action": {"name": "x", "typed_config": action("z", "ALLOW")["action"]["typed_config"]}},
            ),
        ]
    }
}
TREE_ELSE = {**TREE, "on_no_match": action("else", "ALLOW")}
METADATA = "envoy.extensions.matching.common_inputs.network.v3.DynamicMetadataInput"
METADATA_INPUT = taken(METADATA, filter="dyn", path=[{"key": "a"}])


def of_metadata(path: list[str], *, invert: bool = False, **value: Any) -> dict[str, Any]:
    """A tree that allows where a value of the metadata fits."""
    given = taken(METADATA, filter="dyn", path=[{"key": key} for key in path])
    return by_value(given, value, invert)


def of_header(**value: Any) -> dict[str, Any]:
    """The same matcher with text."""
    return by_value(HEADER_INPUT, value, False)


def by_value(given: dict[str, Any], value: dict[str, Any], invert: bool) -> dict[str, Any]:
    matcher = taken(
        "envoy.extensions.matching.input_matchers.metadata.v3.Metadata", value=value, invert=invert
    )
    predicate = {"single_predicate": {"input": given, "custom_match": matcher}}
    return {"matcher_list": {"matchers": [{"predicate": predicate, "on_match": action("it", "ALLOW")}]}}


METADATA_TREES = {
    "meta-fits": of_metadata(["a"], string_match={"exact": "dynamic"}),
    "meta-other": of_metadata(["a"], string_match={"exact": "other"}),
    "meta-not": of_metadata(["a"], string_match={"exact": "other"}, invert=True),
    "meta-none": of_metadata(["b"], string_match={"exact": "other"}),
    "meta-none-not": of_metadata(["b"], string_match={"exact": "other"}, invert=True),
    "meta-present": of_metadata(["a"], present_match=True),
    "meta-absent": of_metadata(["a", "c"], present_match=True),
    "meta-null": of_metadata(["b"], null_match={}),
    "meta-as-text": {"matcher_list": {"matchers": [entry(METADATA_INPUT, "dynamic", action("it", "ALLOW"))]}},
    "meta-of-header": of_header(string_match={"exact": "v"}),
}
TREE_SOURCE = {"matcher_list": {"matchers": [entry(SOURCE_INPUT, "127.0.0.1", action("local", "ALLOW"))]}}
ROUTES = [
    *(of(f"/{name}/", rules=rules(it=policy(each))) for name, each in PERMISSIONS.items()),
    *(of(f"/{name}/", rules=rules(it=policy(ANY, each))) for name, each in PRINCIPALS.items()),
    of("/deny/", rules=rules("DENY", **{"the policy": policy(exact("x-a", "v"))})),
    of("/log/", rules=rules("LOG", logged=policy(exact("x-a", "v")))),
    of("/empty/", rules=rules()),
    of("/empty-deny/", rules=rules("DENY")),
    of("/order/", rules=rules(b=policy(), a=policy(exact("x-a", "v")))),
    of("/nothing/"),
    per_route("/off/"),
    of(
        "/shadow/",
        rules=rules(real=policy(exact("x-a", "v"))),
        shadow_rules=rules("DENY", shade=policy(exact("x-b", "w"))),
    ),
    of(
        "/shadow-only/", shadow_rules=rules(shade=policy(exact("x-b", "w"))), shadow_rules_stat_prefix="test_"
    ),
    of("/shadow-log/", shadow_rules=rules("LOG", shade=policy(exact("x-b", "w")))),
    of(
        "/prefixes/",
        rules=rules(real=policy(exact("x-a", "v"))),
        shadow_rules=rules(shade=policy(exact("x-a", "v"))),
        rules_stat_prefix="own.",
        shadow_rules_stat_prefix="shade",
        track_per_rule_stats=True,
    ),
    of("/tree/", matcher=TREE),
    *(of(f"/{name}/", matcher=each) for name, each in METADATA_TREES.items()),
    of("/tree-else/", matcher=TREE_ELSE, track_per_rule_stats=True),
    of("/tree-source/", matcher=TREE_SOURCE),
    of("/tree-shadow/", shadow_matcher=TREE, matcher=TREE_ELSE),
    of("/tree-both/", matcher=TREE, rules=rules(it=policy())),
    {"match": {"prefix": "/direct"}, "direct_response": {"status": 200}},
    {"match": {"prefix": "/"}, "route": {"cluster": "app"}},
]
META = """
- name: meta
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.set_metadata.v3.Config
    metadata: [{metadata_namespace: dyn, value: {a: dynamic}}]
"""
FILTER = yaml_text.dump(
    [
        {
            "name": "rbac",
            "typed_config": {"@type": RBAC, "rules": rules("DENY", chain=policy(exact("x-chain", "deny")))},
        }
    ]
)
SETUP = Setup(
    "rbac",
    bootstrap(
        [
            listener(
                "main",
                yaml_text.dump(
                    {"route_config": {"virtual_hosts": [{"name": "a", "domains": ["*"], "routes": ROUTES}]}},
                    width=100_000,
                ),
                filters=META + FILTER,
                log=LOG,
            )
        ],
        [cluster("app", "app")],
    ),
    {"app": "h1"},
)
STATS = tuple(f"http.main.rbac.{name}" for name in ("allowed", "denied", "shadow_allowed", "shadow_denied"))


@scenario(SETUP)
async def rbac_rules(s: Session) -> None:
    """Every kind of permission and principal, on requests that it fits and others."""
    s.upstream().script = answers(ok(b"ok"))
    names = (*PERMISSIONS, *PRINCIPALS)
    async with s.counting(*STATS), s.logging(len(names) * 4):
        for name in names:
            await s.get(f"/{name}/x", "x-a: v", "x-b: w", "x-forwarded-for: 10.1.2.3", label=f"{name} both")
            await s.get(f"/{name}/a/y?q=/x", "x-a: w", label=f"{name} other")
            await s.get(f"/{name}/12#x", "x-a: w", "x-a: v", label=f"{name} twice")
            await s.http(
                f"POST /{name}/x/../x HTTP/1.1\r\nhost: other\r\ncontent-length: 0\r\n\r\n",
                label=f"{name} POST",
            )


@scenario(SETUP)
async def rbac_actions(s: Session) -> None:
    """ALLOW, DENY and LOG, shadow rules, prefixes, and levels without rules."""
    s.upstream().script = answers(ok(b"ok"))
    paths = (
        *("deny", "log", "empty", "empty-deny", "order", "nothing", "off", "shadow", "shadow-only"),
        *("shadow-log", "prefixes", "plain"),
    )
    more = (
        *("http.main.rbac.test_.shadow_allowed", "http.main.rbac.test_.shadow_denied"),
        *(
            "http.main.rbac.own.allowed",
            "http.main.rbac.own.denied",
            "http.main.rbac.own.policy.real.allowed",
        ),
        *("http.main.rbac.shade.shadow_allowed", "http.main.rbac.shade.policy.shade.shadow_allowed"),
        *(
            "http.main.rbac.policy.real.allowed",
            "http.main.rbac.policy.shade.shadow_allowed",
            "http.main.rbac.logged",
        ),
    )
    async with s.counting(*STATS, *more), s.logging(len(paths) * 3 + 4):
        for path in paths:
            await s.get(f"/{path}/", "x-a: v", label=f"{path} a")
            await s.get(f"/{path}/", "x-b: w", label=f"{path} b")
            await s.get(f"/{path}/", "x-chain: deny", label=f"{path} chain")
        await s.get("/direct", "x-chain: deny", label="direct")
        await s.get("/plain/", "x-chain: deny", "content-type: application/grpc", label="gRPC")
        head = "HEAD /plain/ HTTP/1.1\r\nhost: a\r\nx-chain: deny\r\n\r\n"
        await s.http(head, has_body=False, label="HEAD")
        client = await s.connect_h2()
        fields = [
            (":method", "GET"),
            (":path", "/deny/"),
            (":scheme", "http"),
            (":authority", "h2"),
            ("x-a", "v"),
        ]
        await client.request(fields, label="h2")


@scenario(SETUP)
async def rbac_match_trees(s: Session) -> None:
    """matcher: what an action says, and what none is found for."""
    s.upstream().script = answers(ok(b"ok"))
    values = ("allow", "deny", "log", "default", "x", None)
    paths = ("tree", "tree-else", "tree-source", "tree-shadow", "tree-both")
    more = ("http.main.rbac.policy.of allow.allowed", "http.main.rbac.policy.else.allowed")
    async with s.counting(*STATS, *more), s.logging(len(values) * len(paths)):
        for path in paths:
            for value in values:
                fields = [] if value is None else [f"x-a: {value}"]
                await s.get(f"/{path}/", *fields, label=f"{path} {value}")


@scenario(SETUP)
async def rbac_match_trees_of_metadata(s: Session) -> None:
    """A value of the dynamic metadata, present and absent, and what does not fit."""
    s.upstream().script = answers(ok(b"ok"))
    async with s.logging(len(METADATA_TREES)):
        for name in METADATA_TREES:
            await s.get(f"/{name}/", "x-a: v", label=name)


@scenario(SETUP)
async def rbac_path_tricks(s: Session) -> None:
    """Ways to spell a path, which is judged as it stands."""
    s.upstream().script = answers(ok(b"ok"))
    paths = (
        "/path/x",
        "/path//x",
        "/path/./x",
        "/path/%78",
        "/PATH/x",
        "/path/x/",
        "/path/x;a",
        "/path/x?",
        "/path/x#",
    )
    async with s.logging(len(paths)):
        for path in paths:
            await s.get(path, label=path)
