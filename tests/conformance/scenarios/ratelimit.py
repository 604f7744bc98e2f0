# ruff: noqa: E501  (a line of configuration reads best unbroken)
"""envoy.filters.http.ratelimit: descriptors of every kind, and what becomes of the service's answers."""

from __future__ import annotations

from typing import Any

import trio
from envoy.service.ratelimit.v3 import rls_pb2
from google.protobuf import json_format

import sidecar.config.messages  # noqa: F401 - before the API's modules: it completes them

from ..authz import GOOD, HEAD, frame
from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import H2Call

SUBJECT = "filters"

EXT = "type.googleapis.com/envoy.extensions.filters.http"
LIMIT = f"{EXT}.ratelimit.v3.RateLimit"
PER_ROUTE = f"{EXT}.ratelimit.v3.RateLimitPerRoute"
SET = f"{EXT}.set_metadata.v3.Config"
LOG = (
    "%REQ(:METHOD)% %REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% "
    "%DYNAMIC_METADATA(envoy.filters.http.ratelimit:a)% %DYNAMIC_METADATA(mine:a)%\n"
)
SERVICE = "rate_limit_service: {transport_api_version: V3, grpc_service: {envoy_grpc: {cluster_name: limits}, timeout: 9s}}"
KEY = "metadata_key: {key: of.request, path: [{key: a}, {key: b}]}"


def actions(*texts: str, more: str = "") -> str:
    return f"{{actions: [{', '.join(texts)}]{more}}}"


ENTRIES: dict[str, str] = {
    "clusters": actions("{source_cluster: {}}", "{destination_cluster: {}}"),
    "headers": actions(
        "{request_headers: {header_name: x-a, descriptor_key: a}}",
        "{request_headers: {header_name: ':path', descriptor_key: p}}",
        "{request_headers: {header_name: x-none, descriptor_key: nn, skip_if_absent: true}}",
    ),
    "absent": actions("{request_headers: {header_name: x-none, descriptor_key: nn}}"),
    "onlyskipped": actions(
        "{request_headers: {header_name: x-none, descriptor_key: nn, skip_if_absent: true}}"
    ),
    "addresses": actions(
        "{remote_address: {}}",
        "{masked_remote_address: {v4_prefix_mask_len: 8}}",
        "{masked_remote_address: {}}",
    ),
    "generic": actions(
        "{generic_key: {descriptor_value: v}}",
        "{generic_key: {descriptor_value: w, descriptor_key: k}}",
        "{generic_key: {descriptor_value: '%REQ(x-a)%', descriptor_key: f}}",
        "{generic_key: {descriptor_value: '%REQ(x-none)%', descriptor_key: d, default_value: dflt}}",
    ),
    "empty": actions("{generic_key: {descriptor_value: '%REQ(x-none)%'}}"),
    "matches": actions(
        "{header_value_match: {descriptor_value: h, headers: [{name: x-a, string_match: {prefix: '1'}}]}}",
        "{header_value_match: {descriptor_value: i, descriptor_key: j, expect_match: false, headers: [{name: x-none, present_match: true}]}}",
        "{query_parameter_value_match: {descriptor_value: q, query_parameters: [{name: q, string_match: {exact: '1'}}]}}",
        "{query_parameter_value_match: {descriptor_value: r, descriptor_key: s, expect_match: false, query_parameters: [{name: none, present_match: true}]}}",
    ),
    "unmatched": actions(
        "{header_value_match: {descriptor_value: h, headers: [{name: x-a, string_match: {prefix: '2'}}]}}"
    ),
    "query": actions(
        "{query_parameters: {query_parameter_name: q, descriptor_key: q}}",
        "{query_parameters: {query_parameter_name: e, descriptor_key: e}}",
        "{query_parameters: {query_parameter_name: none, descriptor_key: nn, skip_if_absent: true}}",
    ),
    "metadata": actions(
        f"{{metadata: {{descriptor_key: d, {KEY}}}}}",
        "{metadata: {descriptor_key: r, source: ROUTE_ENTRY, metadata_key: {key: on.route, path: [{key: r}]}}}",
        "{metadata: {descriptor_key: x, default_value: dflt, metadata_key: {key: of.request, path: [{key: none}]}}}",
        "{metadata: {descriptor_key: yy, skip_if_absent: true, metadata_key: {key: of.request, path: [{key: num}]}}}",
        "{metadata: {descriptor_key: c, source: CLUSTER_ENTRY, metadata_key: {key: of.cluster, path: [{key: c}]}}}",
    ),
    "addressmatch": actions(
        "{remote_address_match: {descriptor_value: local, address_matcher: {ranges: [{address_prefix: 127.0.0.0, prefix_len: 8}]}}}",
        "{remote_address_match: {descriptor_value: far, descriptor_key: k, address_matcher: {ranges: [{address_prefix: 10.0.0.0, prefix_len: 8}], invert_match: true}}}",
    ),
    "override": actions(
        "{generic_key: {descriptor_value: o}}",
        more=", limit: {dynamic_metadata: {metadata_key: {key: of.request, path: [{key: limit}]}}}",
    ),
    "fixedoverride": actions(
        "{generic_key: {descriptor_value: o}}",
        more=", limit: {rate_limit: {requests_per_unit: 7, unit: HOUR}}",
    ),
    "badoverride": actions(
        "{generic_key: {descriptor_value: o}}",
        more=", limit: {dynamic_metadata: {metadata_key: {key: of.request, path: [{key: bad}]}}}",
    ),
    "hits": actions("{generic_key: {descriptor_value: o}}", more=", hits_addend: {number: 3}"),
    "hitsformat": actions(
        "{generic_key: {descriptor_value: o}}", more=", hits_addend: {format: '%REQ(x-a)%'}"
    ),
    "nohits": actions("{generic_key: {descriptor_value: o}}", more=", hits_addend: {number: 0}"),
    "badhits": actions(
        "{generic_key: {descriptor_value: o}}", more=", hits_addend: {format: '%REQ(:path)%'}"
    ),
    "negative": actions(
        "{generic_key: {descriptor_value: o}}", more=", hits_addend: {number: 2, is_negative_hits: true}"
    ),
    "stage": actions("{generic_key: {descriptor_value: one}}", more=", stage: 1"),
    "several": f"{actions('{generic_key: {descriptor_value: one}}')}, {actions('{generic_key: {descriptor_value: two}}')}",
    "optionon": actions("{generic_key: {descriptor_value: a}}", more=", x_ratelimit_option: DRAFT_VERSION_03")
    + ", "
    + actions("{generic_key: {descriptor_value: b}}"),
    "optionoff": actions("{generic_key: {descriptor_value: a}}", more=", x_ratelimit_option: 'OFF'")
    + ", "
    + actions("{generic_key: {descriptor_value: b}}"),
    "done": (
        actions("{generic_key: {descriptor_value: start}}")
        + ", "
        + actions(
            "{generic_key: {descriptor_value: 'end %RESPONSE_CODE%'}}", more=", apply_on_stream_done: true"
        )
    ),
}
FOUND = "metadata: {filter_metadata: {on.route: {r: route}}}"
ROUTES = "".join(
    f"- {{match: {{path: /{name}}}, {FOUND}, route: {{cluster: app, rate_limits: [{text}]}}}}\n"
    for name, text in ENTRIES.items()
)
ONE = actions("{generic_key: {descriptor_value: route}}")
HOST = actions("{generic_key: {descriptor_value: host}}")


def of_route(path: str, settings: str, limits: str = "") -> str:
    given = f", rate_limits: [{limits}]" if limits else ""
    return (
        f"- {{match: {{path: {path}}}, route: {{cluster: app{given}}}, typed_per_filter_config: "
        f'{{limit: {{"@type": {PER_ROUTE}, {settings}}}}}}}\n'
    )


HOSTED = f"""
route_config:
  virtual_hosts:
  - name: all
    domains: ["*"]
    rate_limits: [{HOST}]
    routes:
"""
HOST_ROUTES = (
    "- {match: {path: /none}, route: {cluster: app}}\n"
    f"- {{match: {{path: /own}}, route: {{cluster: app, rate_limits: [{ONE}]}}}}\n"
    f"- {{match: {{path: /both}}, route: {{cluster: app, include_vh_rate_limits: true, rate_limits: [{ONE}]}}}}\n"
    + of_route("/include", "vh_rate_limits: INCLUDE", ONE)
    + of_route("/ignore", "vh_rate_limits: IGNORE")
    + of_route("/override", "vh_rate_limits: OVERRIDE", ONE)
    + of_route("/option", "override_option: INCLUDE_POLICY", ONE)
    + of_route("/ignoreoption", "override_option: IGNORE_POLICY")
    + of_route("/domain", "domain: other", ONE)
    + of_route("/inside", f"rate_limits: [{actions('{generic_key: {descriptor_value: inside}}')}]", ONE)
    + "".join(
        of_route(f"/inside/{name}", f"rate_limits: [{ENTRIES[name]}]", ONE)
        for name in (
            *("override", "fixedoverride", "hits", "hitsformat", "nohits", "badhits", "negative", "absent"),
            *("onlyskipped", "several", "metadata", "optionon", "optionoff"),
        )
    )
    + "- {match: {path: /direct}, direct_response: {status: 200}}\n"
)
SETS = (
    f'- {{name: set, typed_config: {{"@type": {SET}, metadata: ['
    "{metadata_namespace: of.request, value: {a: {b: text}, num: 1, limit: {requests_per_unit: 42, unit: MINUTE},"
    "bad: {requests_per_unit: x, unit: MINUTE}}}]}}\n"
)


def on(name: str, fields: str = "", service: str = SERVICE, *, hosted: bool = False) -> dict[str, Any]:
    chain = (
        SETS
        + f'- {{name: limit, typed_config: {{"@type": {LIMIT}, domain: dom, timeout: 5s, {service}, {fields}}}}}'
    )
    if hosted:
        hcm = HOSTED + "\n".join("    " + line for line in HOST_ROUTES.splitlines())
        return listener(name, hcm, filters=chain, log=LOG)
    return listener(name, routes=ROUTES, filters=chain, log=LOG)


SETUP = Setup(
    "ratelimit",
    bootstrap(
        [
            on("main"),
            on("hosts", hosted=True),
            on("stage", "stage: 1"),
            on(
                "inside",
                "request_type: both, "
                + f"rate_limits: [{actions('{generic_key: {descriptor_value: filter}}')}]",
            ),
            on(
                "draft",
                "enable_x_ratelimit_headers: DRAFT_VERSION_03, disable_x_envoy_ratelimited_header: true, enable_retry_after_header: true",
            ),
            on(
                "custom",
                "rate_limited_status: {code: 503}, rate_limited_as_resource_exhausted: true, stat_prefix: waf, metadata_namespace: mine,"
                "response_headers_to_add: [{header: {key: x-limited, value: '%RESPONSE_CODE%'}}, {header: {key: x-of-service, value: mine}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}]",
            ),
            on("odd", "rate_limited_status: {code: 200}, filter_enforced: {default_value: {numerator: 0}}"),
            on("deny", "failure_mode_deny: true", SERVICE.replace("limits}", "dead}")),
            on(
                "denystatus",
                "failure_mode_deny: true, status_on_error: {code: 502}",
                SERVICE.replace("limits}", "dead}"),
            ),
            on(
                "percent",
                "failure_mode_deny_percent: {default_value: {numerator: 0}}, failure_mode_deny: true",
                SERVICE.replace("limits}", "dead}"),
            ),
            on("allow", "", SERVICE.replace("limits}", "dead}")),
            on("unable", "filter_enabled: {default_value: {numerator: 0}}"),
            on("internal", "request_type: internal"),
            on("external", "request_type: external"),
        ],
        [
            cluster("app", "app", extra="metadata: {filter_metadata: {of.cluster: {c: cluster}}}"),
            cluster("limits", "limits", http2=True),
            cluster("dead", "dead", http2=True),
        ],
        "node: {id: me, cluster: mine}",
    ),
    {"app": "h1", "limits": "h2", "dead": "dead"},
)
STATS = ("ok", "error", "over_limit", "failure_mode_allowed")


def serve(s: Session, *answers: dict[str, Any], sees: bool = True) -> None:
    """Answer with the next of these (the last one again and again), and see what is asked."""
    left = list(answers)

    async def script(call: H2Call) -> None:
        body = await call.body()
        if sees:
            s.see("asked", json_format.MessageToDict(rls_pb2.RateLimitRequest.FromString(body[5:])))
        call.stream.body.clear()
        answer = left.pop(0) if len(left) > 1 else left[0]
        data = json_format.ParseDict(answer, rls_pb2.RateLimitResponse()).SerializeToString()
        await call.answer(HEAD, frame(data), GOOD)

    s.upstream("limits").h2_script = script


OK: dict[str, Any] = {"overall_code": "OK"}
OVER: dict[str, Any] = {"overall_code": "OVER_LIMIT"}


@scenario(SETUP)
async def ratelimit_actions(s: Session) -> None:
    """What the service is asked for every kind of action, override and addend."""
    serve(s, OK)
    for name in ENTRIES:
        if name != "done":
            s.see("path", name)
            await s.get(f"/{name}?q=1&q=2&e=", "x-a: 1", "x-a: 2")


@scenario(SETUP)
async def ratelimit_levels(s: Session) -> None:
    """Limits of virtual hosts, routes, their filter configurations and the filter; domains and stages."""
    serve(s, OK)
    for line in HOST_ROUTES.splitlines():
        path = line.partition("path: ")[2].partition("}")[0]
        s.see("path", path)
        await s.get(path, "x-a: 5", to="hosts")
    await s.get("/stage", to="stage")
    await s.get("/generic", to="stage")
    await s.get("/stage", to="inside")
    await s.get("/several", to="unable")


ANSWERS: tuple[dict[str, Any], ...] = (
    OK,
    {
        **OK,
        "response_headers_to_add": [{"key": "x-of-service", "value": "r"}, {"key": "X-Two", "value": "2"}],
        "request_headers_to_add": [{"key": "x-up", "value": "u"}, {"key": "X-A", "value": "3"}],
        "dynamic_metadata": {"a": "text"},
        "raw_body": "bm90aGluZw==",
    },
    OVER,
    {
        **OVER,
        "response_headers_to_add": [
            {"key": "x-of-service", "value": "r"},
            {"key": "content-type", "value": "text/html"},
        ],
        "request_headers_to_add": [{"key": "x-up", "value": "u"}],
        "raw_body": "dG9vIG11Y2g=",
        "dynamic_metadata": {"a": {"b": 1}},
    },
    {"overall_code": "UNKNOWN"},
)


@scenario(SETUP)
async def ratelimit_answers(s: Session) -> None:
    """Answers that allow and refuse, with headers, bodies and metadata, by several configurations."""
    for to in ("main", "custom", "odd"):
        serve(s, *ANSWERS, sees=False)
        prefix = "cluster.app.ratelimit." + ("waf." if to == "custom" else "")
        async with (
            s.counting(
                *(prefix + name for name in STATS),
                "cluster.app.upstream_rq_429",
                "cluster.app.internal.upstream_rq_429",
            ),
            s.logging(len(ANSWERS), to),
        ):
            for _ in ANSWERS:
                await s.get("/several", "x-a: 1", to=to)


@scenario(SETUP)
async def ratelimit_answers_of_grpc(s: Session) -> None:
    """Refusals of requests of gRPC."""
    serve(s, OVER, ANSWERS[3], sees=False)
    for to in ("main", "custom"):
        for _ in range(2):
            await s.http(
                "POST /several HTTP/1.1\r\nhost: a\r\ncontent-type: application/grpc\r\ncontent-length: 0\r\n\r\n",
                to=to,
            )


def status(code: str = "OK", remaining: int = 0, reset: str = "0s", **limit: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"code": code, "limit_remaining": remaining, "duration_until_reset": reset}
    if limit:
        found["current_limit"] = limit
    return found


@scenario(SETUP)
async def ratelimit_draft_headers(s: Session) -> None:
    """x-ratelimit-* of several descriptors, and retry-after."""
    cases: tuple[list[dict[str, Any]], ...] = (
        [],
        [status()],
        [status("OK", 5, "30s", requests_per_unit=10, unit="MINUTE")],
        [
            status("OK", 5, "30s", requests_per_unit=10, unit="MINUTE", name="first"),
            status("OVER_LIMIT", 2, "1.9s", requests_per_unit=4, unit="HOUR", name='se"cond'),
        ],
        [
            status("OK", 1, "3s", requests_per_unit=1, unit="UNKNOWN"),
            status("OK", 1, "4s", requests_per_unit=2, unit="WEEK"),
        ],
        [
            status("OVER_LIMIT", 0, "7s", requests_per_unit=1, unit=unit)
            for unit in ("SECOND", "DAY", "MONTH", "YEAR")
        ],
        [status("OVER_LIMIT", 0, "0s", requests_per_unit=1, unit="SECOND")],
    )
    for verdict in (OK, OVER):
        serve(s, *({**verdict, "statuses": each} for each in cases), sees=False)
        for _ in cases:
            await s.get("/several", to="draft")


@scenario(SETUP)
async def ratelimit_draft_options(s: Session) -> None:
    """x_ratelimit_option of a descriptor, against what the filter says."""
    least = [
        status("OK", 1, "3s", requests_per_unit=1, unit="SECOND"),
        status("OK", 2, "4s", requests_per_unit=2, unit="DAY"),
    ]
    for statuses in (least, least[::-1]):
        serve(s, {**OK, "statuses": statuses}, sees=False)
        for path in ("/optionon", "/optionoff", "/several"):
            for to in ("main", "draft"):
                await s.get(path, to=to, label=f"{path} {to}")
        for path in ("/inside/optionon", "/inside/optionoff"):
            await s.get(path, to="hosts", label=path)


@scenario(SETUP)
async def ratelimit_failures(s: Session) -> None:
    """A service that is not there, by the modes of failure."""
    async with s.counting(
        *(f"cluster.app.ratelimit.{name}" for name in STATS), "cluster.dead.upstream_rq_503"
    ):
        for to in ("deny", "denystatus", "percent", "allow"):
            async with s.logging(1, to):
                await s.get("/several", to=to)


@scenario(SETUP)
async def ratelimit_kinds_of_request(s: Session) -> None:
    """Requests from inside and outside, where the filter is for one of them."""
    serve(s, OK)
    for to in ("internal", "external"):
        for headers in (
            (),
            ("x-envoy-internal: true",),
            ("x-forwarded-for: 10.0.0.1",),
            ("x-forwarded-for: 8.8.8.8",),
        ):
            s.see("request", [to, *headers])
            await s.get("/several", *headers, to=to)


@scenario(SETUP)
async def ratelimit_at_the_end(s: Session) -> None:
    """apply_on_stream_done: asked once the stream is over, with what is known then."""
    arrived = trio.Event()
    count = 0

    async def script(call: H2Call) -> None:
        nonlocal count
        body = await call.body()
        s.see("asked", json_format.MessageToDict(rls_pb2.RateLimitRequest.FromString(body[5:])))
        call.stream.body.clear()
        count += 1
        if count == 2:
            arrived.set()
        data = rls_pb2.RateLimitResponse(overall_code=1).SerializeToString()
        await call.answer(HEAD, frame(data), GOOD)

    s.upstream("limits").h2_script = script
    async with s.counting("cluster.app.ratelimit.ok", "cluster.limits.upstream_rq_total"):
        await s.get("/done")
        await arrived.wait()


@scenario(SETUP)
async def ratelimit_client_leaves(s: Session) -> None:
    """A client that does not wait for the answer."""
    arrived = trio.Event()

    async def script(call: H2Call) -> None:
        await call.body()
        call.stream.body.clear()
        arrived.set()
        await trio.sleep_forever()

    s.upstream("limits").h2_script = script
    async with (
        s.counting("cluster.app.ratelimit.ok", "cluster.limits.upstream_rq_tx_reset"),
        s.logging(1),
    ):
        client = await s.connect()
        await client.send(b"GET /several HTTP/1.1\r\nhost: example.com\r\n\r\n")
        await arrived.wait()
        client.close()
        await s.until_stats(lambda found: not any(found.values()), r"^cluster\.limits\.upstream_rq_active$")
