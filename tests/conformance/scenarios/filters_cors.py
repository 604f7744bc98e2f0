"""envoy.filters.http.cors and csrf: who may read answers, and from where changes may come."""

from __future__ import annotations

from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import answers, ok

SUBJECT = "filters"

EXT = "type.googleapis.com/envoy.extensions.filters.http"
POLICY = f'"@type": {EXT}.cors.v3.CorsPolicy'
APP = "route: {cluster: app}"


def typed(policy: str, kind: str = POLICY) -> str:
    return f"typed_per_filter_config: {{edge: {{{kind}, {policy}}}}}"


CORS_STATS = ("http.cors.cors.origin_valid", "http.cors.cors.origin_invalid")
CSRF_STATS = tuple(
    f"http.csrf.csrf.{name}" for name in ("missing_source_origin", "request_invalid", "request_valid")
)
HALF = "{default_value: {numerator: 0}}"
CORS = f"""
route_config:
  virtual_hosts:
  - name: typed
    domains: ["*"]
    response_headers_to_add: [{{header: {{key: x-host, value: added}}}}]
    {
    typed('''allow_origin_string_match: [{safe_regex: {regex: ".*[.]example[.]com"}}, {exact: "null"}],
      allow_methods: "GET, PUT", allow_headers: "x-one, x-two", expose_headers: x-shown, max_age: "600",
      allow_credentials: true, allow_private_network_access: true''')
}
    routes:
    - {{match: {{prefix: /host}}, {APP}}}
    - match: {{prefix: /route}}
      {APP}
      {
    typed('''allow_origin_string_match: [{prefix: "http://own"}], allow_methods: "*", allow_headers: "*",
        allow_credentials: false, forward_not_matching_preflights: false''')
}
    - match: {{prefix: /all}}
      {APP}
      {typed('allow_origin_string_match: [{prefix: "*"}], allow_private_network_access: false, max_age: "1"')}
    - {{match: {{prefix: /off}}, {APP}, {typed(f"filter_enabled: {HALF}")}}}
    - match: {{prefix: /shadow}}
      {APP}
      {typed(f"filter_enabled: {HALF}, shadow_enabled: {{default_value: {{numerator: 100}}}}")}
    - {{match: {{prefix: /direct}}, direct_response: {{status: 200, body: {{inline_string: d}}}}}}
    - {{match: {{prefix: /redirect}}, redirect: {{path_redirect: /host}}}}
  - name: legacy
    domains: [legacy]
    cors: {{allow_origin_string_match: [{{exact: "http://a.example.com"}}], allow_methods: GET, max_age: "3"}}
    routes:
    - {{match: {{prefix: /host}}, {APP}}}
    - match: {{prefix: /route}}
      route: {{cluster: app, cors: {{allow_methods: POST, expose_headers: x-own}}}}
    - {{match: {{prefix: /mixed}}, {APP}, {typed("allow_methods: PATCH")}}}
  - name: none
    domains: [none]
    routes: [{{match: {{prefix: /}}, {APP}}}]
local_reply_config: {{mappers: [{{filter: {{status_code_filter: {{comparison: {{op: EQ,
  value: {{default_value: 200, runtime_key: x}}}}}}}}, status_code: 299}}]}}
"""
CSRF = f"""
route_config:
  virtual_hosts:
  - name: all
    domains: ["*"]
    routes:
    - {{match: {{prefix: /plain}}, {APP}}}
    - match: {{prefix: /more}}
      {APP}
      {
    typed(
        'filter_enabled: {default_value: {numerator: 100}}, additional_origins: [{suffix: ".friend:8443"}]',
        f'"@type": {EXT}.csrf.v3.CsrfPolicy',
    )
}
    - match: {{prefix: /shadow}}
      {APP}
      {
    typed(
        f"filter_enabled: {HALF}, shadow_enabled: {{default_value: {{numerator: 100}}}}",
        f'"@type": {EXT}.csrf.v3.CsrfPolicy',
    )
}
    - match: {{prefix: /off}}
      {APP}
      {typed(f"filter_enabled: {HALF}", f'"@type": {EXT}.csrf.v3.CsrfPolicy')}
"""
SETUP = Setup(
    "filters_cors",
    bootstrap(
        [
            listener(
                "cors", CORS, filters=f'- {{name: edge, typed_config: {{"@type": {EXT}.cors.v3.Cors}}}}'
            ),
            listener(
                "csrf",
                CSRF,
                filters=f'- {{name: edge, typed_config: {{"@type": {EXT}.csrf.v3.CsrfPolicy, '
                "filter_enabled: {default_value: {numerator: 100}}}}",
            ),
        ],
        [cluster("app", "app")],
    ),
    {"app": "h1"},
)
PREFLIGHT = ("access-control-request-method: PUT", "access-control-request-headers: x-a, x-b")
ORIGIN = "http://a.example.com"


async def ask(s: Session, method: str, path: str, *fields: str, host: str = "a", to: str = "cors") -> None:
    """A request on a connection of its own."""
    head = [f"{method} {path} HTTP/1.1", f"host: {host}", "content-length: 0", *fields, "", ""]
    await s.http("\r\n".join(head), to, label=f"{method} {host}{path}", has_body=method != "HEAD")


@scenario(SETUP)
async def cors_preflights(s: Session) -> None:
    """A preflight is answered by the policy of the most specific level that says each thing."""
    s.upstream().script = answers(ok(b"ok"))
    async with s.counting(*CORS_STATS), s.logging(17, "cors"):
        for path in ("/host", "/route", "/all", "/off", "/shadow", "/direct", "/redirect"):
            await ask(s, "OPTIONS", path, f"origin: {ORIGIN}", *PREFLIGHT)
        await ask(s, "OPTIONS", "/host", "origin: http://evil.test", *PREFLIGHT)
        await ask(s, "OPTIONS", "/route", "origin: http://own.test", *PREFLIGHT)
        await ask(s, "OPTIONS", "/route", "origin: http://evil.test", *PREFLIGHT)
        await ask(s, "OPTIONS", "/host", "origin: null", *PREFLIGHT)
        private = "access-control-request-private-network: true"
        await ask(s, "OPTIONS", "/host", f"origin: {ORIGIN}", *PREFLIGHT, private)
        await ask(s, "OPTIONS", "/all", "origin: http://x", *PREFLIGHT, private)
        await ask(s, "OPTIONS", "/host", f"origin: {ORIGIN}")
        await ask(s, "OPTIONS", "/host", f"origin: {ORIGIN}", "access-control-request-method: ")
        await ask(s, "OPTIONS", "/host", *PREFLIGHT)
        await ask(s, "OPTIONS", "/route", "origin: http://own.test", PREFLIGHT[0])


@scenario(SETUP)
async def cors_simple_requests(s: Session) -> None:
    """The headers of an answer that is let through; what the upstream said of it is replaced."""
    own = ("access-control-allow-origin: *", "access-control-expose-headers: x-mine")
    s.upstream().script = answers(ok(b"ok", *own))
    async with s.counting(*CORS_STATS), s.logging(12, "cors"):
        for path in ("/host", "/route", "/all", "/off", "/shadow", "/direct", "/redirect", "/nowhere"):
            await ask(s, "GET", path, f"origin: {ORIGIN}")
        await ask(s, "GET", "/host", "origin: http://evil.test")
        await ask(s, "GET", "/host", "origin: ")
        await ask(s, "GET", "/host")
        await ask(s, "HEAD", "/host", f"origin: {ORIGIN}")


@scenario(SETUP)
async def cors_of_route_fields(s: Session) -> None:
    """The cors of routes and virtual hosts counts where no level has a typed policy."""
    s.upstream().script = answers(ok(b"ok"))
    async with s.counting(*CORS_STATS), s.logging(7, "cors"):
        for path in ("/host", "/route", "/mixed"):
            await ask(s, "OPTIONS", path, f"origin: {ORIGIN}", *PREFLIGHT, host="legacy")
            await ask(s, "GET", path, f"origin: {ORIGIN}", host="legacy")
        await ask(s, "OPTIONS", "/host", f"origin: {ORIGIN}", *PREFLIGHT, host="none")


@scenario(SETUP)
async def csrf_origins(s: Session) -> None:
    """Methods that change something need an origin, or a referer, that is the host or one of the others."""
    s.upstream().script = answers(ok(b"ok"))
    async with s.counting(*CSRF_STATS), s.logging(41, "csrf"):
        for method in ("GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE", "PATCH"):
            await ask(s, method, "/plain", host="me:80", to="csrf")
            await ask(s, method, "/plain", "origin: http://me:80", host="me:80", to="csrf")
        for fields in (
            ["origin: http://me"],
            ["origin: https://me:80"],
            ["origin: http://ME:80"],
            ["origin: me:80"],
            ["origin: null"],
            ["origin: "],
            ["origin: http://"],
            ["origin: ftp://me:80"],
            ["origin: http://you@me:80"],
            ["origin: http://me:80/path"],
            ["origin: http://other", "referer: http://me:80/page"],
            ["referer: http://me:80/page?x=1"],
            ["referer: http://me:80"],
            ["referer: /page"],
            ["origin: null", "referer: http://me:80/"],
        ):
            await ask(s, "POST", "/plain", *fields, host="me:80", to="csrf")
        for origin in ("http://a.friend:8443", "https://b.friend:8443", "http://a.friend", "http://me:80"):
            await ask(s, "POST", "/more", f"origin: {origin}", host="me:80", to="csrf")
        for path in ("/shadow", "/off", "/nowhere"):
            await ask(s, "POST", path, "origin: http://evil", host="me:80", to="csrf")
            await ask(s, "POST", path, host="me:80", to="csrf")
        await ask(s, "POST", "/plain", "origin: http://me", host="me", to="csrf")
        await ask(s, "POST", "/plain", "origin: http://me:80", host="me", to="csrf")
