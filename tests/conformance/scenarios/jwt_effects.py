"""envoy.filters.http.jwt_authn: places of tokens, what is made of claims, routes and rules."""

from __future__ import annotations

import json
from typing import Any

from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import answers, ok
from .jwt_authn import FUTURE, JWT, LOG, ONE, PAST, TWO, hs, jwt, local, rule

SUBJECT = "filters"

CLAIMS = (
    *(
        "sub",
        "num",
        "big",
        "neg",
        "frac",
        "ja",
        "nein",
        "list",
        "object",
        "nested.a.b",
        "nested.a",
        "nested.a.b.c",
    ),
    *(
        "missing",
        "null",
        "empty",
        "dotted.name",
        "list.0",
        "utf8",
        "crlf",
        "tiny",
        "huge",
        "small-list",
        "zero",
    ),
)
EFFECTS: dict[str, Any] = {
    "providers": {
        "claims": {
            "issuer": "claims",
            **local(ONE),
            "claim_to_headers": [
                *({"header_name": f"x-c{i}", "claim_name": name} for i, name in enumerate(CLAIMS)),
                {"header_name": "X-Path", "claim_path": [{"key": "dotted.name"}]},
                {"header_name": "x-deep", "claim_path": [{"key": "nested"}, {"key": "a"}, {"key": "b"}]},
                {"header_name": "x-twice", "claim_name": "sub"},
                {"header_name": "x-twice", "claim_name": "num"},
            ],
            "payload_in_metadata": "p",
            "normalize_payload_in_metadata": {"space_delimited_claims": ["scope", "num", "none", "blank"]},
        },
        "bearer": {
            "issuer": "bearer",
            **local(ONE),
            "forward_payload_header": "X-Payload",
            "pad_forward_payload_header": True,
        },
        "forward": {
            "issuer": "forward",
            **local(ONE),
            "forward": True,
            "from_headers": [
                {"name": "authorization", "value_prefix": "Bearer "},
                {"name": "authorization", "value_prefix": "JWT="},
                {"name": "x-forward"},
                {"name": "host"},
            ],
            "from_params": ["token", "other"],
            "from_cookies": ["session", "jwt"],
            "forward_payload_header": "x-payload-plain",
        },
        "places": {
            "issuer": "places",
            **local(ONE),
            "from_headers": [{"name": "x-place", "value_prefix": "Bearer "}],
            "from_params": ["token", "a b"],
            "from_cookies": ["session"],
        },
        "time": {
            "issuer": "time",
            **local(ONE),
            "require_expiration": True,
            "clock_skew_seconds": 1000,
            "subjects": {"prefix": "spiffe://"},
        },
        "short": {"issuer": "short", **local(ONE), "max_lifetime": "3600s"},
        "cached": {
            "issuer": "cached",
            **local(ONE),
            "jwt_cache_config": {"jwt_cache_size": 2, "jwt_max_token_size": 300},
            "payload_in_metadata": "p",
        },
        "clear": {
            "issuer": "clear",
            **local(ONE),
            "claim_to_headers": [{"header_name": "x-tier", "claim_name": "tier"}],
            "clear_route_cache": True,
        },
        "clear-payload": {
            "issuer": "clear-payload",
            **local(ONE),
            "forward_payload_header": "x-payload-clear",
            "payload_in_metadata": "p",
            "clear_route_cache": True,
        },
    },
    "requirement_map": {
        name: {"provider_name": name}
        for name in (
            "claims",
            "bearer",
            "forward",
            "places",
            "time",
            "short",
            "cached",
            "clear",
            "clear-payload",
        )
    },
    "filter_state_rules": {"name": "who", "requires": {"a": {"provider_name": "bearer"}, "b": {}}},
    "bypass_cors_preflight": True,
    "stat_prefix": "mine",
}
EFFECTS["rules"] = [
    {"match": {"path": "/exact"}, "requirement_name": "bearer"},
    {"match": {"path": "/Folded", "case_sensitive": False}, "requirement_name": "bearer"},
    {"match": {"safe_regex": {"regex": "/re[0-9]+"}}, "requirement_name": "bearer"},
    {"match": {"path_separated_prefix": "/sep"}, "requirement_name": "bearer"},
    {
        "match": {"prefix": "/", "headers": [{"name": "x-rule", "present_match": True}]},
        "requirement_name": "bearer",
    },
    {
        "match": {"prefix": "/query", "query_parameters": [{"name": "q", "string_match": {"exact": "1"}}]},
        "requirement_name": "bearer",
    },
    {
        "match": {"prefix": "/chance", "runtime_fraction": {"default_value": {"numerator": 0}}},
        "requirement_name": "bearer",
    },
    {"match": {"prefix": "/grpc", "grpc": {}}, "requirement_name": "bearer"},
    *(rule(f"/{name}/", requirement_name=name) for name in EFFECTS["requirement_map"]),
]


def route(path: str, **config: Any) -> str:
    inner = json.dumps({"@type": f"{JWT}.PerRouteConfig", **config})
    return f"""
- match: {{prefix: {path}}}
  name: of-route
  route: {{cluster: app}}
  typed_per_filter_config: {{jwt: {inner}}}"""


ROUTES = (
    """
- match: {prefix: /, headers: [{name: x-tier, string_match: {exact: gold}}]}
  name: gold
  route: {cluster: gold}
- match: {prefix: /, headers: [{name: x-payload-clear, present_match: true}]}
  name: paid
  route: {cluster: gold}"""
    + route("/route/named", requirement_name="bearer")
    + route("/route/off", disabled=True)
    + route("/route/wrong", requirement_name="nobody")
    + """
- {match: {prefix: /direct}, name: direct, direct_response: {status: 200, body: {inline_string: d}}}
- {match: {prefix: /}, name: plain, route: {cluster: app}}
"""
)
SETUP = Setup(
    "jwt_effects",
    bootstrap(
        [
            listener("main", routes=ROUTES, filters=jwt(EFFECTS), log=LOG),
            listener(
                "strip",
                routes=ROUTES,
                filters=jwt({**EFFECTS, "strip_failure_response": True, "bypass_cors_preflight": False}),
                log=LOG,
            ),
        ],
        [cluster("app", "app"), cluster("gold", "app")],
    ),
    {"app": "h1"},
)
STATS = tuple(
    f"http.main.jwt_authn.mine.{name}"
    for name in ("allowed", "cors_preflight_bypassed", "denied", "jwt_cache_hit", "jwt_cache_miss")
)


def bearer(issuer: str, **claims: Any) -> str:
    return f"authorization: Bearer {hs(ONE, {'iss': issuer, **claims})}"


@scenario(SETUP)
async def jwt_claims_to_headers(s: Session) -> None:
    """Claims of every kind as headers; what the client sends under their names goes."""
    s.upstream().script = answers(ok(b"ok"))
    claims: dict[str, Any] = {
        "sub": "me",
        "num": 42,
        "big": 12345678901234567890,
        "neg": -3,
        "frac": 1.5,
        "ja": True,
        "nein": False,
        "list": [
            "a",
            1,
            2.5,
            None,
            True,
            {"x": "y"},
            4000000000,
            1e22,
            1e-7,
            '\u00e4"<\u2028',
            12345678901234567890,
            0.1,
            1 / 3,
            -0.0,
        ],
        "object": {"k": ["\u007f\u00ad\b\f\n\r\t\u0001/'&>\U0001f600\ufeff\U0001d173\u0600"]},
        "nested": {"a": {"b": "deep"}},
        "null": None,
        "empty": "",
        "dotted.name": "dotted",
        "utf8": "gr\u00fcn",
        "tiny": 1e-9,
        "huge": 1e300,
        "small-list": [],
        "zero": 0,
        "scope": "a  b c ",
        "blank": "  ",
        "none": ["x y"],
    }
    async with s.counting(*STATS), s.logging(3):
        await s.get("/claims/", bearer("claims", **claims), "x-c0: forged", "x-path: forged", "x-c12: forged")
        await s.get("/claims/", "x-c0: forged")
        await s.get("/elsewhere", "x-c0: forged", "x-payload: forged", "x-tier: gold")


@scenario(SETUP, differs={"upstream app": "unsendable-requests-take-no-connection"})
async def jwt_claims_that_cannot_be_sent(s: Session) -> None:
    """A claim with a line in it is no header, nor two: the request is answered and goes nowhere."""
    s.upstream().script = answers(ok(b"ok"))
    lines = ("a\r\nx-admin: root", "a\nb", "a\rb", "a\0b", "a\x7fb", "\x01", "a\tb", "a b")
    async with s.counting(*STATS), s.logging(len(lines) + 1):
        for number, text in enumerate(lines):
            await s.get("/claims/", bearer("claims", crlf=text), label=f"claim {number}")
        await s.get("/claims/", bearer("claims", sub="first\r\n", crlf="second\r\n"), label="two")


@scenario(SETUP)
async def jwt_places(s: Session) -> None:
    """Where tokens stand, in which order they are judged, and how they are taken out."""
    s.upstream().script = answers(ok(b"ok"))
    good, bad = hs(ONE, {"iss": "places"}), hs(ONE, {"iss": "places", "exp": PAST})
    quoted = good.replace(".", "%2E")
    asked = [
        ("/places/", [f"x-place: Bearer {good}"]),
        ("/places/", [f"x-place: Bearer{good}"]),
        ("/places/", [f"x-place: bearer {good}"]),
        ("/places/", [f"x-place: Basic x, Bearer {good}"]),
        ("/places/", [f"x-place: Bearer   {good}"]),
        ("/places/", [f"x-place: Bearer {good} x"]),
        ("/places/", ["x-place: Bearer "]),
        ("/places/", ["x-place: Bearer ???"]),
        ("/places/", [f"x-place: Bearer {good}", "x-place: Other"]),
        ("/places/", [f"x-place: Bearer {good}", f"x-place: Bearer {bad}"]),
        (f"/places/?token={good}", []),
        (f"/places/?z=1&token={good}&b=%2F&a=1&a=&c", []),
        (f"/places/?token={quoted}", []),
        (f"/places/?t%6Fken={good}", []),
        (f"/places/?token={good}&token={bad}", []),
        (f"/places/?token={bad}&token={good}", []),
        ("/places/?token=", []),
        ("/places/?token", []),
        (f"/places/?a%20b={good}", []),
        (f"/places/?a+b={good}", []),
        (f"/places/?token={good}#frag", []),
        ("/places/", [f"cookie: session={good}"]),
        ("/places/", [f'cookie: a=b; session="{good}"; c=d']),
        ("/places/", [f"cookie: session={bad}", f"cookie: session={good}"]),
        ("/places/", ["cookie: session="]),
        (f"/places/?token={bad}", [f"x-place: Bearer {good}", "cookie: session=x.y"]),
        (f"/places/?token={good}", [f"x-place: Bearer {good}", f"cookie: session={good}"]),
        (f"/places/?token={good}&a b={bad}", []),
        (f"/places/?access_token={good}", []),
    ]
    async with s.counting(*STATS), s.logging(len(asked)):
        for path, fields in asked:
            await s.get(path, *fields)


@scenario(SETUP)
async def jwt_default_places(s: Session) -> None:
    """Without places: the bearer of authorization, or access_token; the payload is handed on with padding."""
    s.upstream().script = answers(ok(b"ok"))
    for length in range(3):
        await s.get("/bearer/", bearer("bearer", a="x" * length), "x-payload: forged", "x-payload: twice")
    text = hs(ONE, {"iss": "bearer"})
    await s.get(f"/bearer/?access_token={text}&x=y")
    await s.get("/bearer/", f"authorization: bearer {text}")
    await s.get("/bearer/", f"authorization: Bearer {text}", f"authorization: Bearer {text}")
    await s.get("/bearer/", "authorization: Basic eDp5")


@scenario(SETUP)
async def jwt_forward(s: Session) -> None:
    """A token that stays."""
    s.upstream().script = answers(ok(b"ok"))
    text = hs(ONE, {"iss": "forward"})
    for fields in (
        [f"authorization: Bearer {text}"],
        [f"authorization: JWT={text}"],
        [f"authorization: JWT={text} Bearer {text}"],
        [f"x-forward: {text}"],
        [f"cookie: jwt={text}; session={text}"],
        [f"authorization: Bearer {text}", f"x-forward: {text}", f"cookie: jwt={text}"],
    ):
        await s.get("/forward/", *fields)
    await s.get(f"/forward/?other={text}&token={text}&b=1&a=%2f")
    await s.http(f"GET /forward/ HTTP/1.1\r\nhost: {text}\r\n\r\n")


@scenario(SETUP)
async def jwt_times(s: Session) -> None:
    """Expiry that has to be, that must not be far, and subjects."""
    s.upstream().script = answers(ok(b"ok"))
    async with s.logging(9):
        await s.get("/time/", bearer("time", sub="spiffe://a", exp=FUTURE), label="good")
        await s.get("/time/", bearer("time", sub="spiffe://a"), label="no exp")
        await s.get("/time/", bearer("time", sub="spiffe://a", exp=0), label="exp 0")
        await s.get("/time/", bearer("time", sub="x", exp=FUTURE), label="other subject")
        await s.get("/time/", bearer("time", exp=FUTURE), label="no subject")
        await s.get("/time/", bearer("time", sub="x"), label="neither")
        await s.get("/short/", bearer("short", exp=FUTURE), label="far")
        await s.get("/short/", bearer("short"), label="never")
        await s.get("/short/", bearer("short", exp=PAST), label="over")


@scenario(SETUP)
async def jwt_cache(s: Session) -> None:
    """jwt_cache_config: hits, misses, what is too long, what leaves."""
    s.upstream().script = answers(ok(b"ok"))
    async with s.counting(*STATS), s.logging(14):
        for name in ("a", "a", "b", "a", "c", "b", "a", "c"):
            await s.get("/cached/", bearer("cached", sub=name, exp=FUTURE))
        for _ in range(2):
            await s.get("/cached/", bearer("cached", sub="x" * 300, exp=FUTURE))
        for _ in range(2):
            await s.get("/cached/", bearer("cached", exp=PAST))
        for _ in range(2):
            await s.get("/cached/", f"authorization: Bearer {hs(TWO, {'iss': 'cached'})}")
    s.proxy.is_spent = True  # it has the tokens now


@scenario(SETUP)
async def jwt_routes_cleared(s: Session) -> None:
    """clear_route_cache: a claim decides where the request goes."""
    s.upstream().script = answers(ok(b"ok"))
    async with s.logging(6):
        await s.get("/clear/", bearer("clear", tier="gold"))
        await s.get("/clear/", bearer("clear", tier="lead"))
        await s.get("/clear/", bearer("clear"))
        await s.get("/clear/", bearer("clear", tier="lead"), "x-tier: gold")
        await s.get("/clear-payload/", bearer("clear-payload"))
        await s.get("/claims/", bearer("claims", sub="gold"))


@scenario(SETUP)
async def jwt_of_routes(s: Session) -> None:
    """What routes say goes before rules."""
    s.upstream().script = answers(ok(b"ok"))
    async with s.counting(*STATS), s.logging(8), s.logging(4, "strip"):
        for path in ("/route/named", "/route/off", "/route/wrong", "/direct"):
            await s.get(path, label=path)
            await s.get(path, bearer("bearer"), label=f"{path} with a token")
            await s.get(path, to="strip", label=f"{path} stripped")


@scenario(SETUP)
async def jwt_rules(s: Session) -> None:
    """Which requests a rule matches."""
    s.upstream().script = answers(ok(b"ok"))
    paths = [
        *("/exact", "/exact?x=y", "/exact/", "/Exact", "/exact#x", "/FOLDED", "/folded?q", "/folded2"),
        *("/re1", "/re", "/re12?x", "/xre1", "/sep", "/sep/", "/sep/x", "/separate", "/sep?x"),
        *("/query?q=1", "/query?q=2", "/query", "/query?q=2&q=1", "/chance", "/grpc", "/bearer", "/bearer/x"),
        *("//bearer/", "/./bearer/", "/%62earer/", "/bearer/../free", "/BEARER/"),
    ]
    async with s.logging(len(paths) + 3):
        for path in paths:
            await s.get(path, label=path)
        await s.get("/free", "x-rule: 1", label="header")
        await s.get("/claims/", "x-rule: 1", label="first rule counts")
        await s.http("OPTIONS * HTTP/1.1\r\nhost: example.com\r\n\r\n", label="star")


@scenario(SETUP)
async def jwt_challenges(s: Session) -> None:
    """www-authenticate shows where the client went, or the beginning of it."""
    s.upstream().script = answers(ok(b"ok"))
    async with s.counting(*STATS), s.logging(8), s.logging(3, "strip"):
        await s.get("/bearer/" + "p" * 300, label="long")
        await s.get("/bearer/?q=" + "p" * 300, label="long query")
        await s.get('/bearer/"quoted\\', label="quotes")
        await s.get("/bearer/", "x-envoy-original-path: /shown", label="original path")
        await s.get("/bearer/", "x-forwarded-proto: https", label="https")
        await s.http("HEAD /bearer/ HTTP/1.1\r\nhost: EXAMPLE.com:80\r\n\r\n", label="HEAD", has_body=False)
        await s.get("/bearer/", "content-type: application/grpc", label="grpc")
        client = await s.connect_h2()
        head = [(":method", "GET"), (":path", "/bearer/"), (":scheme", "https"), (":authority", "h2")]
        await client.request(head, label="h2")
        for path in ("/bearer/", "/short/"):
            await s.get(path, bearer("short", exp=FUTURE), to="strip", label=f"stripped {path}")
        await s.get("/bearer/", to="strip", label="stripped, none")


@scenario(SETUP)
async def jwt_preflights(s: Session) -> None:
    """bypass_cors_preflight lets pass what asks for leave, and only that."""
    s.upstream().script = answers(ok(b"ok"))
    asks = ("origin: http://a", "access-control-request-method: GET")
    async with s.counting(*STATS), s.logging(5):
        for method, fields in (
            ("OPTIONS", asks),
            ("OPTIONS", asks[:1]),
            ("OPTIONS", ("origin: ", asks[1])),
            ("GET", asks),
        ):
            await s.http(
                "\r\n".join([f"{method} /bearer/ HTTP/1.1", "host: a", *fields, "", ""]),
                label=f"{method} {fields}",
            )
        await s.http(
            "\r\n".join(["OPTIONS /route/wrong HTTP/1.1", "host: a", *asks, "", ""]), label="wrong route"
        )
        await s.http(
            "\r\n".join(["OPTIONS /bearer/ HTTP/1.1", "host: a", *asks, "", ""]),
            "strip",
            label="not bypassed",
        )
