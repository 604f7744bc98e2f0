# ruff: noqa: E501  (a line of configuration reads best unbroken)
"""The chain of filters that Envoy's documentation recommends, in one file, and requests of every kind for it.

cors, jwt_authn, ext_authz and ratelimit by gRPC, lua, wasm (`filters_rust/header-edit`), compressor, router.
"""

from __future__ import annotations

import json
import textwrap
import zlib
from typing import Any

import brotli
from envoy.service.ratelimit.v3 import rls_pb2
from google.protobuf import json_format

import sidecar.config.messages  # noqa: F401 - before the API's modules: it completes them
from tests.support import jose, yaml_text

from .authz import GOOD, HEAD, asked, frame, said
from .configuration import HCM, LINE, ROUTER, bootstrap, cluster, file_log
from .lab import Session
from .rust_filters import Modules, built, sample_listener
from .scenario import Setup
from .upstream import Call, H2Call, ok
from .wire import Ended, head, read_response, show_headers

__all__ = ["CHAIN", "EXPIRED", "FOREIGN", "STATS", "TOKEN", "Services", "bearer", "exchange", "request"]

_EXT = "type.googleapis.com/envoy.extensions.filters.http"
_COMPRESSION = "type.googleapis.com/envoy.extensions.compression"
_CLAIMS: dict[str, Any] = {"iss": "shop", "aud": "api", "sub": "al", "tier": "gold", "exp": 4_000_000_000}
TOKEN = jose.token(jose.ed_key(), "EdDSA", _CLAIMS)
EXPIRED = jose.token(jose.ed_key(), "EdDSA", {**_CLAIMS, "exp": 1_000_000_000})
FOREIGN = jose.token(jose.ed_key(), "EdDSA", {**_CLAIMS, "aud": "elsewhere"})
_TEXT = b"the quick brown fox jumps over the lazy dog " * 20
_LOG = (
    LINE.rstrip("\n").replace(" out=%BYTES_SENT%", "")
    + " route=%ROUTE_NAME% jwt=%DYNAMIC_METADATA(envoy.filters.http.jwt_authn)% "
    "authz=%DYNAMIC_METADATA(envoy.filters.http.ext_authz:group)% "
    "limit=%DYNAMIC_METADATA(envoy.filters.http.ratelimit)% "
    "lua=%DYNAMIC_METADATA(lua)% type=%RESP(content-type)% coding=%RESP(content-encoding)%\n"
)

_LUA = """
function envoy_on_request(h)
  local path = h:headers():get(":path")
  h:streamInfo():dynamicMetadata():set("lua", "path", path)
  h:headers():replace("x-lua", h:headers():get("x-user") or "nobody")
  if string.find(path, "^/lua/respond") then
    h:respond({[":status"] = "418", ["x-by"] = "lua"}, "of the script")
  elseif string.find(path, "^/lua/fail") then
    error("as it was asked to")
  elseif string.find(path, "^/lua/call") then
    local headers, body = h:httpCall("lookup", {
      [":method"] = "GET", [":path"] = "/who", [":authority"] = "lookup", ["x-user"] = h:headers():get("x-user"),
    }, nil, 5000)
    h:headers():add("x-lookup", headers[":status"] .. " " .. body)
  elseif string.find(path, "^/lua/body") then
    local body = h:body()
    h:headers():add("x-length", body and body:length() or 0)
  end
end
function envoy_on_response(h)
  h:headers():add("x-lua-response", h:headers():get(":status"))
  local body = h:headers():get("x-wants-body") and h:body()
  if body then body:setBytes("the script's: " .. body:getBytes(0, body:length())) end
end
"""
_RULES = {
    "rules": [
        {"on": "request", "remove": ["x-internal"], "copy": {"x-lua": "x-copied"}},
        {
            "on": "request",
            "when": {"path_prefix": "/api", "methods": ["GET", "HEAD"]},
            "set": {"x-tier": "read"},
        },
        {"on": "response", "remove": ["x-powered-by"], "set": {"x-frame-options": "DENY"}},
        {"on": "response", "when": {"statuses": [500, 502, 503]}, "set": {"cache-control": "no-store"}},
    ]
}


def _wasm() -> dict[str, Any]:
    manager = sample_listener("header-edit")["filter_chains"][0]["filters"][0]["typed_config"]
    [entry] = [each for each in manager["http_filters"] if each["name"] == "header-edit"]
    entry["typed_config"]["config"]["configuration"]["value"] = json.dumps(_RULES)
    return dict(entry)


def _compressor(name: str, library: str) -> dict[str, Any]:
    return {
        "name": name,
        "typed_config": {
            "@type": f"{_EXT}.compressor.v3.Compressor",
            "response_direction_config": {
                "common_config": {"min_content_length": 100},
                "disable_on_etag_header": True,
            },
            "compressor_library": {
                "name": name,
                "typed_config": {"@type": f"{_COMPRESSION}.{library}.compressor.v3.{library.title()}"},
            },
        },
    }


_FILTERS: list[dict[str, Any]] = [
    *yaml_text.load(
        textwrap.dedent(f"""
        - name: cors
          typed_config: {{"@type": {_EXT}.cors.v3.Cors}}
        - name: jwt
          typed_config:
            "@type": {_EXT}.jwt_authn.v3.JwtAuthentication
            bypass_cors_preflight: true
            providers:
              shop:
                issuer: shop
                audiences: [api]
                from_headers: [{{name: authorization, value_prefix: "Bearer "}}]
                from_params: [token]
                from_cookies: [session]
                forward: true
                forward_payload_header: x-payload
                payload_in_metadata: claims
                failed_status_in_metadata: failure
                claim_to_headers: [{{header_name: x-user, claim_name: sub}}, {{header_name: x-tier, claim_name: tier}}]
                clear_route_cache: true
            rules:
            - match: {{prefix: /public}}
            - match: {{prefix: /optional}}
              requires: {{requires_any: {{requirements: [{{provider_name: shop}}, {{allow_missing: {{}}}}]}}}}
            - match: {{prefix: /}}
              requires: {{provider_name: shop}}
        - name: authz
          typed_config:
            "@type": {_EXT}.ext_authz.v3.ExtAuthz
            transport_api_version: V3
            grpc_service: {{envoy_grpc: {{cluster_name: authz}}, timeout: 5s}}
            with_request_body: {{max_request_bytes: 64, allow_partial_message: false}}
            metadata_context_namespaces: [envoy.filters.http.jwt_authn]
            include_peer_certificate: true
            status_on_error: {{code: 503}}
        - name: limit
          typed_config:
            "@type": {_EXT}.ratelimit.v3.RateLimit
            domain: shop
            timeout: 5s
            enable_x_ratelimit_headers: DRAFT_VERSION_03
            rate_limited_as_resource_exhausted: true
            rate_limit_service:
              transport_api_version: V3
              grpc_service: {{envoy_grpc: {{cluster_name: limits}}, timeout: 5s}}
        """)
    ),
    {
        "name": "lua",
        "typed_config": {
            "@type": f"{_EXT}.lua.v3.Lua",
            "default_source_code": {"inline_string": _LUA},
        },
    },
    _wasm(),
    _compressor("gzip", "gzip"),
    _compressor("brotli", "brotli"),
    {"name": "envoy.filters.http.router", "typed_config": {"@type": ROUTER}},
]
_OFF = f'{{authz: {{"@type": {_EXT}.ext_authz.v3.ExtAuthzPerRoute, disabled: true}}}}'
_HOSTS = yaml_text.load(
    textwrap.dedent(f"""
    - name: all
      domains: ["*"]
      typed_per_filter_config:
        cors:
          "@type": {_EXT}.cors.v3.CorsPolicy
          allow_origin_string_match: [{{suffix: .shop.test}}]
          allow_methods: GET, POST
          allow_headers: authorization
          expose_headers: x-ratelimit-remaining
          max_age: "600"
          allow_credentials: true
      rate_limits:
      - actions:
        - request_headers: {{header_name: x-user, descriptor_key: user, skip_if_absent: true}}
        - metadata:
            descriptor_key: tier
            default_value: none
            metadata_key: {{key: envoy.filters.http.jwt_authn, path: [{{key: claims}}, {{key: tier}}]}}
      routes:
      - {{name: public, match: {{prefix: /public}}, route: {{cluster: app}}, typed_per_filter_config: {_OFF}}}
      - name: gold
        match: {{prefix: /tiers, headers: [{{name: x-tier, string_match: {{exact: gold}}}}]}}
        route: {{cluster: app, prefix_rewrite: /for/gold}}
      - {{name: tiers, match: {{prefix: /tiers}}, direct_response: {{status: 200, body: {{inline_string: plain}}}}}}
      - name: own
        match: {{prefix: /own}}
        route: {{cluster: app, rate_limits: [{{actions: [{{generic_key: {{descriptor_value: own}}}}]}}]}}
        typed_per_filter_config:
          authz:
            "@type": {_EXT}.ext_authz.v3.ExtAuthzPerRoute
            check_settings: {{context_extensions: {{kind: own}}, disable_request_body_buffering: true}}
          lua: {{"@type": {_EXT}.lua.v3.LuaPerRoute, disabled: true}}
          gzip: {{"@type": {_EXT}.compressor.v3.CompressorPerRoute, disabled: true}}
          brotli: {{"@type": {_EXT}.compressor.v3.CompressorPerRoute, disabled: true}}
      - {{name: slow, match: {{prefix: /slow}}, route: {{cluster: app, timeout: 0.05s}}}}
      - {{name: dead, match: {{prefix: /dead}}, route: {{cluster: dead}}}}
      - {{name: nobody, match: {{prefix: /nobody}}, route: {{cluster_header: x-cluster}}}}
      - {{name: moved, match: {{prefix: /moved}}, redirect: {{path_redirect: /api}}}}
      - name: direct
        match: {{prefix: /direct}}
        direct_response: {{status: 200, body: {{inline_string: {"d" * 200}}}}}
      - {{name: rpc, match: {{prefix: /pkg., grpc: {{}}}}, route: {{cluster: rpc}}}}
      - name: retried
        match: {{prefix: /retried}}
        route: {{cluster: app, timeout: 0s, retry_policy: {{retry_on: 5xx, num_retries: 1}}}}
      - {{name: api, match: {{prefix: /api}}, route: {{cluster: app}}}}
      - {{name: lua, match: {{prefix: /lua}}, route: {{cluster: app}}}}
      - {{name: optional, match: {{prefix: /optional}}, route: {{cluster: app}}}}
    """)
)
_MANAGER = {
    "@type": HCM,
    "stat_prefix": "main",
    "delayed_close_timeout": "0.1s",
    "http_filters": _FILTERS,
    "normalize_path": True,
    "merge_slashes": True,
    "access_log": [file_log("FILE(main.log)", _LOG)],
    "route_config": {"name": "main", "virtual_hosts": _HOSTS},
}
_UNDO = yaml_text.load(
    f"""
- name: undo
  typed_config:
    "@type": {_EXT}.decompressor.v3.Decompressor
    decompressor_library:
      name: gzip
      typed_config: {{"@type": {_COMPRESSION}.gzip.decompressor.v3.Gzip}}
- {{name: buffer, typed_config: {{"@type": {_EXT}.buffer.v3.Buffer, max_request_bytes: 65536}}}}
"""
)


def _listener(name: str, **fields: Any) -> dict[str, Any]:
    """The chain on a port of its own."""
    manager = {**_MANAGER, "stat_prefix": name, "access_log": [file_log(f"FILE({name}.log)", _LOG)], **fields}
    network = {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}
    return {
        "name": name,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "filter_chains": [{"filters": [network]}],
    }


class _Files(Modules):
    """The key set beside the modules."""

    def __getitem__(self, name: str) -> bytes:
        if name == "keys.json":
            return jose.jwks(jose.jwk(jose.ed_key())).encode()
        return super().__getitem__(name)

    def __iter__(self) -> Any:
        yield "keys.json"
        yield "header-edit.wasm"


_FILTERS[1]["typed_config"]["providers"]["shop"]["local_jwks"] = {"filename": "FILE(keys.json)"}
CHAIN = Setup(
    "chain",
    bootstrap(
        [
            _listener("main"),
            _listener("raw", normalize_path=False, merge_slashes=False),
            _listener("undo", http_filters=[*_UNDO, _FILTERS[-1]]),
        ],
        [
            cluster("app", "app"),
            cluster("rpc", "rpc", http2=True),
            cluster("lookup", "lookup"),
            cluster("authz", "authz", http2=True),
            cluster("limits", "limits", http2=True),
            cluster("dead", "dead"),
        ],
        "node: {id: one, cluster: shops}",
    ),
    {
        **dict.fromkeys(("app", "lookup"), "h1"),
        **dict.fromkeys(("rpc", "authz", "limits"), "h2"),
        "dead": "dead",
    },
    _Files(),
    lambda: built("header-edit") and None,
)
STATS = (
    *(f"http.main.{name}" for name in ("downstream_rq_2xx", "downstream_rq_4xx", "downstream_rq_5xx")),
    *(f"http.main.cors.{name}" for name in ("origin_valid", "origin_invalid")),
    *(f"http.main.jwt_authn.{name}" for name in ("allowed", "cors_preflight_bypassed", "denied")),
    *(
        f"http.main.ext_authz.{name}"
        for name in ("ok", "denied", "error", "disabled", "failure_mode_allowed")
    ),
    *(f"cluster.app.ext_authz.{name}" for name in ("ok", "denied", "error")),
    *(f"cluster.app.ratelimit.{name}" for name in ("ok", "over_limit", "error", "failure_mode_allowed")),
    *(f"http.main.lua.{name}" for name in ("errors", "executions")),
    *(f"http.main.compressor.{name}.{name}.compressed" for name in ("gzip", "brotli")),
    *(f"http.main.compressor.{name}.{name}.not_compressed" for name in ("gzip", "brotli")),
    *(f"cluster.app.upstream_rq_{name}" for name in ("total", "200", "403", "429", "503", "completed")),
    *(f"cluster.{name}.upstream_rq_total" for name in ("authz", "limits", "lookup")),
)


class Services:
    """What stands behind the proxy: the application, and the services that filters ask."""

    def __init__(self, s: Session) -> None:
        self._session = s
        #: The next answers; the defaults let all pass.
        self.check: dict[str, Any] = {}
        self.limit: dict[str, Any] = {}
        #: Status of gRPC that the services end with in the place of an answer.
        self.check_fails = self.limit_fails = ""
        s.upstream("app").script = self._app
        s.upstream("lookup").script = self._lookup
        s.upstream("authz").h2_script = self._authz
        s.upstream("limits").h2_script = self._limits
        s.upstream("rpc").h2_script = self._rpc

    async def _authz(self, call: H2Call) -> None:
        self._session.see("authz is asked", asked((await call.body())[5:]))
        call.stream.body.clear()
        if self.check_fails:
            await call.answer([*HEAD, ("grpc-status", self.check_fails)])
            return
        await call.answer(HEAD, frame(said({"status": {"code": 0}, **self.check})), GOOD)

    async def _limits(self, call: H2Call) -> None:
        question = rls_pb2.RateLimitRequest.FromString((await call.body())[5:])
        self._session.see("limits are asked", json_format.MessageToDict(question))
        call.stream.body.clear()
        if self.limit_fails:
            await call.answer([*HEAD, ("grpc-status", self.limit_fails)])
            return
        answer = json_format.ParseDict({"overall_code": "OK", **self.limit}, rls_pb2.RateLimitResponse())
        await call.answer(HEAD, frame(answer.SerializeToString()), GOOD)

    async def _lookup(self, call: Call) -> None:
        await call.body()
        await call.send(ok(b"known"))

    async def _rpc(self, call: H2Call) -> None:
        await call.body()
        await call.answer(HEAD, b"\0\0\0\0\2ok", GOOD)

    async def _app(self, call: Call) -> None:
        if call.path.startswith("/slow"):
            await call.gone()
            return
        body = await call.body()
        await call.send(_answer(call.path, body))


def _answer(path: str, body: bytes) -> bytes:
    """What the application says."""
    if "large" in path:
        more = ["etag: e"] if "etag" in path else []
        if "private" in path:
            more = ["cache-control: no-transform"]
        if "vary" in path:
            more = ["vary: origin", "set-cookie: a=1", "set-cookie: b=2"]
        return ok(_TEXT, "content-type: text/plain", *more)
    if "image" in path:
        return ok(_TEXT, "content-type: image/png")
    if "broken" in path or "retried" in path:
        return b"HTTP/1.1 503 Oh\r\nx-powered-by: it\r\ncontent-length: 2\r\n\r\nno"
    if "absent" in path:
        return b"HTTP/1.1 404 Not Found\r\nx-powered-by: it\r\ncontent-length: 0\r\n\r\n"
    if "chunks" in path:
        return (
            b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n"
            + b"%x\r\n%s\r\n0\r\n\r\n" % (len(_TEXT), _TEXT)
        )
    if "wants" in path:
        return ok(b"wanted", "x-wants-body: 1")
    if "head" in path:
        return b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 880\r\n\r\n"
    return ok(b"ok %d" % len(body), "x-powered-by: it")


def bearer(token: str = TOKEN) -> str:
    """The field that brings a token."""
    return f"authorization: Bearer {token}"


def request(start: str, *fields: str, body: bytes = b"", token: str | None = TOKEN) -> bytes:
    """A request of HTTP/1.1 with a token."""
    given = [] if token is None else [bearer(token)]
    return head(f"{start} HTTP/1.1", "host: shop.test", *given, *fields) + body


async def exchange(s: Session, name: str, data: bytes, *, has_body: bool = True, to: str = "main") -> None:
    """Send a request on a connection of its own, and see the answer with its body decoded."""
    client = await s.connect(to)
    await client.send(data)
    try:
        reply = await read_response(client.wire, has_body=has_body)
    except Ended as end:
        s.see(name, str(end.how))
        return
    coding = next(iter(reply.values("content-encoding")), "")
    body = reply.body
    if coding == "gzip":
        body = zlib.decompress(body, 31)
    elif coding == "br":
        body = brotli.decompress(body)
    s.see(
        name,
        {
            "start": reply.start_line,
            "headers": show_headers(reply.headers),
            "framing": reply.framing,
            "body": f"{len(body)} {body[:60]!r}",
            "cut": reply.cut,
        },
    )
    client.close()
