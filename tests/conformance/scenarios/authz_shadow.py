# ruff: noqa: E501  (a line of configuration reads best unbroken)
"""envoy.filters.http.ext_authz whose decisions are only watched, and what it tells about its calls."""

from __future__ import annotations

import re
from typing import Any

from ..authz import serve_checks
from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import ok
from .authz_http import AUTHZ, URI, reply, serve

SUBJECT = "filters"

LOG = (
    "%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %ROUTE_NAME% "
    + " ".join(
        f"%FILTER_STATE({name}:{kind})%" for name in ("authz", "authz.shadow") for kind in ("PLAIN", "TYPED")
    )
    + " "
    + " ".join(f"%FILTER_STATE(authz:FIELD:{name})%" for name in ("latency_us", "latency"))
    + " %DYNAMIC_METADATA(envoy.filters.http.ext_authz:x-meta)%\n"
)
ROUTES = """
- match: {prefix: /, headers: [{name: x-up-1, present_match: true}]}
  name: by-1
  route: {cluster: app}
- match: {prefix: /, headers: [{name: x-up-2, present_match: true}]}
  name: by-2
  route: {cluster: app}
- match: {prefix: /, headers: [{name: x-gone, present_match: true, invert_match: true}, {name: x-else, present_match: true}]}
  name: gone
  route: {cluster: app}
- match: {prefix: /}
  name: all
  route: {cluster: app}
"""


def on(name: str, fields: str, service: str = URI) -> dict[str, object]:
    chain = f'- {{name: authz, typed_config: {{"@type": {AUTHZ}, {fields} http_service: {{{service}}}}}}}'
    return listener(name, routes=ROUTES, filters=chain, log=LOG)


def on_grpc(name: str, fields: str) -> dict[str, object]:
    service = "transport_api_version: V3, grpc_service: {envoy_grpc: {cluster_name: service}, timeout: 5s}"
    chain = f'- {{name: authz, typed_config: {{"@type": {AUTHZ}, {fields} {service}}}}}'
    return listener(name, routes=ROUTES, filters=chain, log=LOG)


ANSWERS = (
    "authorization_response: {allowed_upstream_headers: {patterns: [{prefix: x-up}]},"
    "allowed_client_headers: {patterns: [{prefix: x-cl}]},"
    "allowed_client_headers_on_success: {patterns: [{prefix: x-ok}]},"
    "dynamic_metadata_from_headers: {patterns: [{prefix: x-meta}]}}"
)
DISABLED = (
    "filter_enabled: {default_value: {numerator: 0}}, deny_at_disable: {default_value: true, runtime_key: k},"
)

SETUP = Setup(
    "authz_shadow",
    bootstrap(
        [
            on("shadow", "shadow_mode: true,", f"{URI}, {ANSWERS}"),
            on(
                "named",
                "shadow_mode: true, stat_prefix: p, status_on_error: {code: 503},",
                f"{URI}, {ANSWERS}",
            ),
            on(
                "allows",
                "shadow_mode: true, failure_mode_allow: true, failure_mode_allow_header_add: true, validate_mutations: true,",
                f"{URI}, {ANSWERS}",
            ),
            on("disabled", f"shadow_mode: true, {DISABLED}"),
            on(
                "clears",
                "clear_route_cache: true, clear_route_cache_headers: [X-Up-1, x-gone],",
                f"{URI}, {ANSWERS}",
            ),
            on_grpc("judged", "shadow_mode: true, validate_mutations: true,"),
            on_grpc("told", "emit_filter_state_stats: true,"),
            on("states", "emit_filter_state_stats: true, filter_metadata: {a: b},", f"{URI}, {ANSWERS}"),
            on("metadata", "filter_metadata: {a: b, c: 1},", f"{URI}, {ANSWERS}"),
        ],
        [cluster("app", "app"), cluster("authz", "authz"), cluster("service", "service", http2=True)],
    ),
    {"app": "h1", "authz": "h1", "service": "h2"},
)


def took(line: str) -> str:
    """A line without the time that a call took, which stands alone."""
    return re.sub(r" \d{2,} -", " <us> -", line)


STATS = [
    f"http.shadow.ext_authz.{each}"
    for each in (
        "ok",
        "denied",
        "error",
        "disabled",
        "failure_mode_allowed",
        "invalid",
        "shadow_denied",
        "shadow_error",
    )
]
FIELDS = ("x-up-1: u", "x-cl: c", "x-cl: d", "x-ok: o", "x-meta: m")
CASES = (
    reply("200 OK", *FIELDS),
    reply("401 Unauthorized", *FIELDS, "www-authenticate: Basic", body=b"who?"),
    reply("503 Service Unavailable", *FIELDS),
    reply("302 Found", *FIELDS, "location: /l"),
    reply("200 OK", "x-up-1: a\x01b"),
)


@scenario(SETUP)
async def authz_shadow_decisions(s: Session) -> None:
    """A decision that is only watched stands in filter state, and nothing else comes of it."""
    for to in ("shadow", "named", "allows"):
        stats = [
            each.replace("shadow.ext_authz", "named.ext_authz.p" if to == "named" else f"{to}.ext_authz")
            for each in STATS
        ]
        async with (
            s.logging(len(CASES), to),
            s.counting(
                *stats,
                "cluster.app.ext_authz.denied",
                "cluster.app.ext_authz.ok",
                "cluster.app.ext_authz.shadow_denied",
                "cluster.app.upstream_rq_401",
            ),
        ):
            for number, each in enumerate(CASES):
                serve(s, each)
                await s.get(f"/{number}", to=to)
    async with (
        s.logging(1, "disabled"),
        s.counting(*[each.replace("shadow.ext", "disabled.ext") for each in STATS]),
    ):
        await s.get("/disabled", to="disabled")


@scenario(SETUP)
async def authz_clears_for_some_headers(s: Session) -> None:
    """clear_route_cache_headers names the changes that make the route be looked up again."""
    async with s.logging(5, "clears"):
        for number, fields in enumerate(
            (
                ("x-up-1: u",),
                ("x-up-2: u",),
                ("x-envoy-auth-headers-to-remove: x-gone",),
                ("x-envoy-auth-headers-to-remove: x-else",),
                (),
            )
        ):
            serve(s, reply("200 OK", *fields))
            await s.get(f"/{number}", "x-gone: g", "x-else: e", to="clears")


@scenario(SETUP)
async def authz_tells_of_its_calls(s: Session) -> None:
    """What a call took is in filter state, with what the configuration adds."""
    async with s.logging(2, "states", took), s.logging(1, "metadata"):
        serve(s, ok(b""))
        await s.get("/1", to="states")
        await s.get("/2", to="metadata")
        serve(s, reply("401 Unauthorized", body=b"who?"))
        await s.get("/3", to="states")


@scenario(SETUP)
async def authz_shadow_by_grpc(s: Session) -> None:
    """The same of a service of gRPC, and of an answer that cannot be done."""
    bad = [{"header": {"key": "x bad", "value": "v"}}]
    cases: tuple[dict[str, Any], ...] = (
        {
            "ok_response": {"headers": [{"header": {"key": "x-up-1", "value": "u"}}]},
            "dynamic_metadata": {"a": "b"},
        },
        {"ok_response": {"headers": bad}},
        {
            "status": {"code": 7},
            "denied_response": {
                "status": {"code": "NotFound"},
                "body": "b",
                "headers": [{"header": {"key": "X-Cl", "value": "c"}}],
            },
        },
        {"status": {"code": 7}},
        {"status": {"code": 7}, "denied_response": {"headers": bad}},
        {
            "status": {"code": 7},
            "error_response": {
                "status": {"code": "BadGateway"},
                "headers": [{"header": {"key": "X-Cl", "value": "c"}}],
            },
        },
    )
    stats = [each.replace("shadow.ext_authz", "judged.ext_authz") for each in STATS]
    serve_checks(s, *cases, name="service", sees=False)
    async with s.logging(len(cases), "judged"), s.counting(*stats):
        for number in range(len(cases)):
            await s.get(f"/{number}", to="judged")
    async with s.logging(1, "told", took):
        await s.get("/", to="told")
