"""envoy.filters.http.local_ratelimit: buckets, descriptors of every action, headers, routes, connections."""

from __future__ import annotations

from typing import Any

from tests.support import yaml_text

from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import answers, ok

SUBJECT = "filters"

EXT = "type.googleapis.com/envoy.extensions.filters.http"
LIMIT = f"{EXT}.local_ratelimit.v3.LocalRateLimit"
LOG = "%REQ(:METHOD)% %REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %GRPC_STATUS%\n"
ALWAYS = {"default_value": {"numerator": 100}}
#: So slow that nothing comes back while a scenario runs.
SLOW = "3600s"


def bucket(tokens: int, fill: str = SLOW, per_fill: int = 1) -> dict[str, Any]:
    return {"max_tokens": tokens, "tokens_per_fill": per_fill, "fill_interval": fill}


def limits(prefix: str, **fields: Any) -> dict[str, Any]:
    """The filter's message; on and enforced."""
    return {
        "@type": LIMIT,
        "stat_prefix": prefix,
        "filter_enabled": ALWAYS,
        "filter_enforced": ALWAYS,
        **fields,
    }


def descriptor(tokens: int, *entries: tuple[str, str], **fields: Any) -> dict[str, Any]:
    return {
        "entries": [{"key": key, "value": value} for key, value in entries],
        "token_bucket": bucket(tokens),
        **fields,
    }


def named(config: dict[str, Any], name: str = "limit") -> str:
    return yaml_text.dump([{"name": name, "typed_config": config}], sort_keys=False, width=100_000)


def route(
    path: str, config: dict[str, Any] | None = None, *, route_id: str = "", **action: Any
) -> dict[str, Any]:
    made: dict[str, Any] = {
        "match": {"prefix": path},
        "route": {"cluster": "app", **action},
        "metadata": {"filter_metadata": {"meta": {"a": {"b": "of-route"}, "num": 1}}},
    }
    if config is not None:
        made["typed_per_filter_config"] = {"limit": config}
    return made


def hcm(routes: list[dict[str, Any]], **host: Any) -> str:
    virtual_host = {"name": "all", "domains": ["*"], "routes": routes, **host}
    return yaml_text.dump({"route_config": {"virtual_hosts": [virtual_host]}}, width=100_000)


HEADERS = [
    {"header": {"key": "x-limited", "value": "yes"}},
    {"header": {"key": "x-path", "value": "%REQ(:path)%"}},
    {"header": {"key": "content-type", "value": "text/html"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"},
]
ROUTES = [
    route("/two", limits("two", token_bucket=bucket(2))),
    route("/none", limits("none", token_bucket=bucket(0))),
    route("/off", {"@type": LIMIT, "stat_prefix": "off", "token_bucket": bucket(0)}),
    route(
        "/quiet",
        {
            **limits("quiet", token_bucket=bucket(0)),
            "filter_enforced": {"default_value": {}},
            "request_headers_to_add_when_not_enforced": HEADERS[:2],
        },
    ),
    route(
        "/status",
        limits("status", token_bucket=bucket(0), status={"code": 503}, response_headers_to_add=HEADERS),
    ),
    route("/low", limits("low", token_bucket=bucket(0), status={"code": 200})),
    route("/exhausted", limits("exhausted", token_bucket=bucket(0), rate_limited_as_resource_exhausted=True)),
    route(
        "/headers",
        limits(
            "headers",
            token_bucket=bucket(2),
            enable_x_ratelimit_headers="DRAFT_VERSION_03",
            enable_retry_after_header=True,
        ),
    ),
    route(
        "/later",
        limits(
            "later",
            token_bucket=bucket(1, "10795s", 3),
            enable_retry_after_header=True,
            enable_x_ratelimit_headers="DRAFT_VERSION_03",
        ),
    ),
    route(
        "/retry-none",
        limits(
            "rnone",
            token_bucket=bucket(0),
            enable_retry_after_header=True,
            enable_x_ratelimit_headers="DRAFT_VERSION_03",
        ),
    ),
    route(
        "/own-retry",
        limits(
            "own",
            token_bucket=bucket(1),
            enable_retry_after_header=True,
            response_headers_to_add=[{"header": {"key": "retry-after", "value": "7"}}],
        ),
    ),
    route(
        "/retry-503",
        limits("r503", token_bucket=bucket(1), enable_retry_after_header=True, status={"code": 503}),
    ),
    route(
        "/connection",
        limits("connection", token_bucket=bucket(2), local_rate_limit_per_downstream_connection=True),
    ),
    route("/plain"),
]
SETUP = Setup(
    "local_ratelimit",
    bootstrap(
        [
            listener("main", hcm(ROUTES), filters=named(limits("main", token_bucket=bucket(3))), log=LOG),
            listener(
                "idle", hcm([route("/")]), filters=named({"@type": LIMIT, "stat_prefix": "idle"}), log=LOG
            ),
        ],
        [cluster("app", "app")],
    ),
    {"app": "h1"},
)


def stats(*prefixes: str) -> tuple[str, ...]:
    names = ("enabled", "enforced", "rate_limited", "ok")
    return tuple(f"{prefix}.http_local_rate_limit.{name}" for prefix in prefixes for name in names)


@scenario(SETUP)
async def local_ratelimit_buckets(s: Session) -> None:
    """The filter's bucket, a route's, none, and what is said to those who are too many."""
    s.upstream().script = answers(ok(b"ok"))
    grpc = "content-type: application/grpc"
    prefixes = ("main", "two", "none", "off", "quiet", "status", "low", "exhausted", "idle")
    async with s.counting(*stats(*prefixes)), s.logging(17):
        for path, times in (("/plain", 4), ("/two", 3), ("/none", 1), ("/off", 1), ("/quiet", 1)):
            for number in range(times):
                await s.get(path, to="main", label=f"{path} {number}")
        for path in ("/status", "/low", "/exhausted"):
            await s.get(path, label=path)
            await s.get(path, grpc, label=f"{path} gRPC")
        await s.http("HEAD /none HTTP/1.1\r\nhost: a\r\n\r\n", has_body=False, label="HEAD")
        await s.get("/idle", to="idle", label="idle")
    s.proxy.is_spent = True


@scenario(SETUP)
async def local_ratelimit_headers(s: Session) -> None:
    """x-ratelimit-* and retry-after."""
    s.upstream().script = answers(ok(b"ok", "x-ratelimit-limit: 5"))
    async with s.logging(13):
        for path, times in (
            ("/headers", 3),
            ("/later", 2),
            ("/retry-none", 1),
            ("/own-retry", 2),
            ("/retry-503", 2),
        ):
            for number in range(times):
                await s.get(path, label=f"{path} {number}")
        await s.get("/headers", "content-type: application/grpc", label="gRPC")
        for _ in range(2):
            await s.http("POST /headers HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc", label="POST")
    s.proxy.is_spent = True


@scenario(SETUP)
async def local_ratelimit_of_connections(s: Session) -> None:
    """A bucket for each connection."""
    s.upstream().script = answers(ok(b"ok"))
    async with s.counting(*stats("connection")), s.logging(7):
        for number in range(2):
            client = await s.connect()
            for turn in range(3):
                await client.send(b"GET /connection HTTP/1.1\r\nhost: a\r\n\r\n")
                await client.reply(f"connection {number}, {turn}")
        await s.get("/connection", label="another")


LIST = [
    ("destination", {"destination_cluster": {}}, ("destination_cluster", "app")),
    ("source", {"source_cluster": {}}, ("source_cluster", "me")),
    ("header", {"request_headers": {"header_name": "X-A", "descriptor_key": "k"}}, ("k", "v")),
    ("query", {"query_parameters": {"query_parameter_name": "q", "descriptor_key": "k"}}, ("k", "v")),
    ("remote", {"remote_address": {}}, ("remote_address", "10.1.2.3")),
    ("masked", {"masked_remote_address": {"v4_prefix_mask_len": 8}}, ("masked_remote_address", "10.0.0.0/8")),
    (
        "masked6",
        {"masked_remote_address": {"v6_prefix_mask_len": 64}},
        ("masked_remote_address", "1:2:3:4::/64"),
    ),
    ("masked-whole", {"masked_remote_address": {}}, ("masked_remote_address", "10.1.2.3/32")),
    (
        "address",
        {
            "remote_address_match": {
                "descriptor_value": "inside",
                "address_matcher": {"ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}]},
            }
        },
        ("remote_address_match", "inside"),
    ),
    (
        "not-address",
        {
            "remote_address_match": {
                "descriptor_value": "outside",
                "descriptor_key": "k",
                "address_matcher": {
                    "ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}],
                    "invert_match": True,
                },
            }
        },
        ("k", "outside"),
    ),
    ("generic", {"generic_key": {"descriptor_value": "v"}}, ("generic_key", "v")),
    ("generic-key", {"generic_key": {"descriptor_value": "v", "descriptor_key": "k"}}, ("k", "v")),
    (
        "generic-format",
        {"generic_key": {"descriptor_value": "%REQ(x-a)%", "descriptor_key": "k"}},
        ("k", "v"),
    ),
    (
        "generic-default",
        {"generic_key": {"descriptor_value": "%REQ(x-a)%", "descriptor_key": "k", "default_value": "d"}},
        ("k", "d"),
    ),
    (
        "generic-literal",
        {"generic_key": {"descriptor_value": "%REQ(x-a)%", "descriptor_key": "k"}},
        ("k", "%REQ(x-a)%"),
    ),
    ("generic-dash", {"generic_key": {"descriptor_value": "%REQ(x-a)%", "descriptor_key": "k"}}, ("k", "-")),
    ("generic-percent", {"generic_key": {"descriptor_value": "100%", "descriptor_key": "k"}}, ("k", "100%")),
    (
        "match",
        {
            "header_value_match": {
                "descriptor_value": "v",
                "headers": [{"name": "x-a", "string_match": {"exact": "v"}}],
            }
        },
        ("header_match", "v"),
    ),
    (
        "no-match",
        {
            "header_value_match": {
                "descriptor_value": "v",
                "descriptor_key": "k",
                "expect_match": False,
                "headers": [{"name": "x-a", "present_match": True}],
            }
        },
        ("k", "v"),
    ),
    (
        "query-match",
        {
            "query_parameter_value_match": {
                "descriptor_value": "v",
                "query_parameters": [{"name": "q", "string_match": {"prefix": "v"}}],
            }
        },
        ("query_match", "v"),
    ),
    (
        "meta-route",
        {
            "metadata": {
                "descriptor_key": "k",
                "source": "ROUTE_ENTRY",
                "metadata_key": {"key": "meta", "path": [{"key": "a"}, {"key": "b"}]},
            }
        },
        ("k", "of-route"),
    ),
    (
        "meta-dynamic",
        {"metadata": {"descriptor_key": "k", "metadata_key": {"key": "dyn", "path": [{"key": "a"}]}}},
        ("k", "dynamic"),
    ),
    (
        "meta-default",
        {
            "metadata": {
                "descriptor_key": "k",
                "default_value": "d",
                "metadata_key": {"key": "x", "path": [{"key": "a"}]},
            }
        },
        ("k", "d"),
    ),
    (
        "meta-number",
        {
            "metadata": {
                "descriptor_key": "k",
                "source": "ROUTE_ENTRY",
                "default_value": "d",
                "metadata_key": {"key": "meta", "path": [{"key": "num"}]},
            }
        },
        ("k", "d"),
    ),
    (
        "meta-cluster",
        {
            "metadata": {
                "descriptor_key": "k",
                "source": "CLUSTER_ENTRY",
                "default_value": "d",
                "metadata_key": {"key": "meta", "path": [{"key": "c"}]},
            }
        },
        ("k", "of-cluster"),
    ),
    (
        "input",
        {
            "extension": {
                "name": "k",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput",
                    "header_name": "x-a",
                },
            }
        },
        ("k", "v"),
    ),
]
GENERIC = {"generic_key": {"descriptor_value": "g"}}
SKIP = {"request_headers": {"header_name": "x-a", "descriptor_key": "k", "skip_if_absent": True}}


def described(
    name: str, *policies: dict[str, Any], descriptors: list[dict[str, Any]], **fields: Any
) -> dict[str, Any]:
    """A route whose default bucket is never empty, so that a descriptor alone decides."""
    config = limits(
        name,
        token_bucket=bucket(1000),
        descriptors=descriptors,
        enable_x_ratelimit_headers="DRAFT_VERSION_03",
        **fields,
    )
    return route(f"/{name}/", config, rate_limits=list(policies))


def policy(*actions: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"actions": list(actions), **fields}


ACTIONS = [
    *(described(name, policy(action), descriptors=[descriptor(0, entry)]) for name, action, entry in LIST),
    *(
        route(
            f"/own-{name}/",
            limits(
                f"own-{name}",
                token_bucket=bucket(1000),
                descriptors=[descriptor(0, entry)],
                rate_limits=[policy(action)],
            ),
        )
        for name, action, entry in LIST
    ),
    described(
        "several",
        policy(GENERIC, SKIP),
        policy(SKIP),
        descriptors=[
            descriptor(1, ("generic_key", "g"), ("k", "v")),
            descriptor(2, ("generic_key", "g")),
            descriptor(3, ("k", "v")),
        ],
    ),
    described("any", policy(SKIP), descriptors=[descriptor(1, ("k", ""))], max_dynamic_descriptors=2),
    described(
        "any-but",
        policy(GENERIC, SKIP),
        descriptors=[
            descriptor(1, ("generic_key", "g"), ("k", "")),
            descriptor(2, ("generic_key", "g"), ("k", "v")),
        ],
    ),
    described("shadow", policy(GENERIC), descriptors=[descriptor(1, ("generic_key", "g"), shadow_mode=True)]),
    described("staged", policy(GENERIC, stage=1), descriptors=[descriptor(0, ("generic_key", "g"))]),
    described(
        "staged-1", policy(GENERIC, stage=1), descriptors=[descriptor(0, ("generic_key", "g"))], stage=1
    ),
    described(
        "disabled", policy(GENERIC, disable_key="x"), descriptors=[descriptor(0, ("generic_key", "g"))]
    ),
    described(
        "done", policy(GENERIC, apply_on_stream_done=True), descriptors=[descriptor(0, ("generic_key", "g"))]
    ),
    described(
        "hits", policy(GENERIC, hits_addend={"number": 3}), descriptors=[descriptor(5, ("generic_key", "g"))]
    ),
    described(
        "option-off",
        policy(GENERIC, x_ratelimit_option="OFF"),
        descriptors=[descriptor(1, ("generic_key", "g"))],
    ),
    *(
        route(
            f"/{name}/",
            limits(
                name,
                token_bucket=bucket(1000),
                descriptors=[descriptor(tokens, ("generic_key", "g"))],
                rate_limits=[policy(GENERIC, **fields)],
                enable_x_ratelimit_headers="DRAFT_VERSION_03",
            ),
        )
        for name, tokens, fields in (
            ("own-hits", 5, {"hits_addend": {"number": 3}}),
            ("own-zero", 5, {"hits_addend": {"number": 0}}),
            ("own-format", 5, {"hits_addend": {"format": "%REQ(x-hits)%"}}),
            ("own-back", 2, {"hits_addend": {"format": "%REQ(x-hits)%", "is_negative_hits": True}}),
            ("own-done", 0, {"apply_on_stream_done": True}),
            ("own-off", 1, {"x_ratelimit_option": "OFF"}),
        )
    ),
    route(
        "/no-default/",
        limits(
            "no-default",
            token_bucket=bucket(2),
            always_consume_default_token_bucket=False,
            descriptors=[descriptor(5, ("generic_key", "g"))],
            enable_x_ratelimit_headers="DRAFT_VERSION_03",
        ),
        rate_limits=[policy(GENERIC)],
    ),
    route(
        "/default/",
        limits(
            "default",
            token_bucket=bucket(2),
            descriptors=[descriptor(5, ("generic_key", "g"))],
            enable_x_ratelimit_headers="DRAFT_VERSION_03",
        ),
        rate_limits=[policy(GENERIC)],
    ),
    route(
        "/inherit/",
        limits("inherit", token_bucket=bucket(1000), descriptors=[descriptor(0, ("generic_key", "host"))]),
    ),
    *(
        route(
            f"/host-{way.lower()}/",
            limits(
                f"host-{way}",
                token_bucket=bucket(1000),
                vh_rate_limits=way,
                descriptors=[descriptor(0, ("generic_key", "host"))],
            ),
            rate_limits=[policy(GENERIC)],
        )
        for way in ("OVERRIDE", "INCLUDE", "IGNORE")
    ),
    route(
        "/include/",
        limits("include", token_bucket=bucket(1000), descriptors=[descriptor(0, ("generic_key", "host"))]),
        rate_limits=[policy(GENERIC)],
        include_vh_rate_limits=True,
    ),
    route("/"),
]
META = """
- name: meta
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.set_metadata.v3.Config
    metadata: [{metadata_namespace: dyn, value: {a: dynamic}}]
"""
DESCRIPTORS = Setup(
    "local_ratelimit_descriptors",
    bootstrap(
        [
            listener(
                "main",
                "use_remote_address: false\n"
                + hcm(ACTIONS, rate_limits=[policy({"generic_key": {"descriptor_value": "host"}})]),
                filters=META + named({"@type": LIMIT, "stat_prefix": "main"}),
                log=LOG,
            )
        ],
        [cluster("app", "app", extra="metadata: {filter_metadata: {meta: {c: of-cluster}}}")],
        "node: {id: me, cluster: me}",
    ),
    {"app": "h1"},
)
FROM = "x-forwarded-for: 10.1.2.3"


@scenario(DESCRIPTORS)
async def local_ratelimit_actions(s: Session) -> None:
    """What each action makes of a request: with it the bucket is empty, without it there is none."""
    s.upstream().script = answers(ok(b"ok"))
    for way in ("", "own-"):
        for name, _, _ in LIST:
            await s.get(f"/{way}{name}/?q=v", "x-a: v", FROM, label=f"{way}{name}")
            await s.get(
                f"/{way}{name}/?q=", "x-a:", "x-forwarded-for: 1:2:3:4:5:6:7:8", label=f"{way}{name} other"
            )
            await s.get(f"/{way}{name}/?x&q=%76", "x-forwarded-for: nobody", label=f"{way}{name} none")
            await s.get(f"/{way}{name}/", "x-a: v", "x-a: w", label=f"{way}{name} twice")
    s.proxy.is_spent = True


@scenario(DESCRIPTORS)
async def local_ratelimit_descriptors(s: Session) -> None:
    """Which buckets are taken from, and in which order; values that stand for any."""
    s.upstream().script = answers(ok(b"ok"))
    asked = [
        *(("/several/", ["x-a: v"]) for _ in range(3)),
        *(("/several/", []) for _ in range(3)),
        *(("/any/", [f"x-a: {value}"]) for value in "aabbcca"),
        ("/any/", []),
        *(("/any-but/", [f"x-a: {value}"]) for value in "aavvv"),
        *(("/shadow/", []) for _ in range(3)),
        *((f"/{name}/", []) for name in ("staged", "staged-1", "disabled", "done")),
        *(("/hits/", []) for _ in range(2)),
        *(("/option-off/", []) for _ in range(2)),
        *(("/own-hits/", []) for _ in range(2)),
        *(("/own-zero/", []) for _ in range(2)),
        *(("/own-format/", [f"x-hits: {value}"]) for value in ("2", "1.9", "x", "-1", "1e1", "2", "1")),
        ("/own-format/", []),
        *(("/own-back/", [f"x-hits: {value}"]) for value in ("1", "5")),
        ("/own-done/", []),
        *(("/own-off/", []) for _ in range(2)),
        *(("/no-default/", []) for _ in range(6)),
        *(("/default/", []) for _ in range(3)),
        *(
            (f"/{name}/", [])
            for name in ("inherit", "host-override", "host-include", "host-ignore", "include")
        ),
    ]
    async with s.counting(*stats("several", "shadow", "any", "own-done")), s.logging(len(asked)):
        for path, fields in asked:
            await s.get(path, *fields, label=" ".join([path, *fields]))
    s.proxy.is_spent = True
