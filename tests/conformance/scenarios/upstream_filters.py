"""HTTP filters of a cluster, and of a router: they see every try, on its way out and on its way back."""

from __future__ import annotations

import json
from typing import Any

from ..client import get
from ..configuration import HTTP_OPTIONS, ROUTER, bootstrap, cluster, listener, parse
from ..lab import Session
from ..lua_routes import code, lua_filter, per_route
from ..scenario import Setup, scenario
from ..upstream import Call, H2Call, answers, ok
from ..wire import head
from .hedging import legs, sends, stall
from .retries import BAD, DONE, FAST

SUBJECT = "upstream"

_TYPES = "type.googleapis.com/envoy.extensions.filters.http"
LOG = (
    "%REQ(:METHOD)% %REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% "
    "tries=%REQ(X-TRIES)% in=%BYTES_RECEIVED% out=%BYTES_SENT% attempts=%UPSTREAM_REQUEST_ATTEMPT_COUNT% "
    "said=%DYNAMIC_METADATA(said)% cluster=%UPSTREAM_CLUSTER%\n"
)
CODEC = {
    "name": "envoy.filters.http.upstream_codec",
    "typed_config": {"@type": f"{_TYPES}.upstream_codec.v3.UpstreamCodec"},
}
NOTHING = lua_filter()


def mutations(word: str) -> dict[str, Any]:
    """A header_mutation filter that adds ``word`` to what passes, trailers as well."""

    def add(value: str) -> list[dict[str, Any]]:
        return [{"append": {"header": {"key": "x-passed", "value": value}}}]

    return {
        "name": f"mutation-{word}",
        "typed_config": {
            "@type": f"{_TYPES}.header_mutation.v3.HeaderMutation",
            "mutations": {
                "request_mutations": add(word),
                "response_mutations": add(word),
                "request_trailers_mutations": add(word),
                "response_trailers_mutations": add(word),
            },
        },
    }


def buffer(size: int) -> dict[str, Any]:
    return {
        "name": "buffer",
        "typed_config": {"@type": f"{_TYPES}.buffer.v3.Buffer", "max_request_bytes": size},
    }


GUARD = {
    "name": "rbac",
    "typed_config": {
        "@type": f"{_TYPES}.rbac.v3.RBAC",
        "rules": {
            "action": "DENY",
            "policies": {
                "no": {
                    "permissions": [{"header": {"name": "x-forbidden", "present_match": True}}],
                    "principals": [{"any": True}],
                }
            },
        },
    },
}


def with_filters(name: str, *upstreams: str, filters: list[Any], http2: bool = False) -> dict[str, Any]:
    """A cluster with these filters and the codec behind them."""
    protocol: dict[str, Any] = {"http2_protocol_options": {}} if http2 else {"http_protocol_options": {}}
    options = {
        "@type": f"type.googleapis.com/{HTTP_OPTIONS}",
        "explicit_http_config": protocol,
        "http_filters": [*filters, CODEC],
    }
    extra = json.dumps({"typed_extension_protocol_options": {HTTP_OPTIONS: options}})
    return cluster(name, *upstreams, extra=extra)


SCRIPTS = {
    "headers": """
        function envoy_on_request(h)
          local headers = h:headers()
          headers:add("x-tries", "1")
          headers:add("x-host", tostring(headers:get(":authority")) .. headers:get(":path"))
          headers:remove("x-gone")
        end
        function envoy_on_response(h)
          h:headers():add("x-answered", h:headers():get(":status"))
          h:headers():remove("x-up-gone")
        end
    """,
    "status": """
        function envoy_on_response(h)
          local status = h:headers():get("x-becomes")
          if status then h:headers():replace(":status", status) end
        end
    """,
    "body": """
        function envoy_on_request(h)
          local body = h:body()
          if not body then h:headers():add("x-body", "none") return end
          local text = body:getBytes(0, body:length())
          h:headers():add("x-tries", #text)
          h:headers():replace("content-length", body:setBytes(text .. "+1"))
        end
        function envoy_on_response(h)
          local body = h:body()
          local text = body and body:getBytes(0, body:length()) or "none"
          if body then h:headers():replace("content-length", body:setBytes("<" .. text .. ">")) end
        end
    """,
    "chunks": """
        function envoy_on_request(h)
          local count = 0
          for chunk in h:bodyChunks() do count = count + chunk:length() end
          local trailers = h:trailers()
          h:streamInfo():dynamicMetadata():set("said", "count", count)
          if trailers then trailers:add("x-trailed", count) end
        end
        function envoy_on_response(h)
          for chunk in h:bodyChunks() do
            if chunk:length() > 0 then chunk:setBytes("(" .. chunk:getBytes(0, chunk:length()) .. ")") end
          end
          local trailers = h:trailers()
          if trailers then trailers:add("x-trailed", "back") end
        end
    """,
    "respond": """
        function envoy_on_request(h)
          h:headers():add("x-tries", "1")
          h:respond({[":status"] = h:headers():get("x-status")}, "of Lua")
        end
        function envoy_on_response(h) h:headers():add("x-answered", h:headers():get(":status")) end
    """,
    "answer": """
        function envoy_on_response(h)
          h:headers():add("x-before", "1")
          h:respond({[":status"] = "202"}, "of Lua")
        end
    """,
    "fails": """
        function envoy_on_request(h) h:headers():add("x-before", "1") error("on purpose") end
        function envoy_on_response(h) h:headers():add("x-before", "1") error("on purpose") end
    """,
    "removes": """
        function envoy_on_request(h) h:headers():remove(h:headers():get("x-which")) end
    """,
    "calls": """
        function envoy_on_request(h)
          local asked = {[":method"] = "GET", [":path"] = "/side", [":authority"] = "s"}
          local headers, body = h:httpCall("side", asked, nil, 1000)
          h:headers():add("x-side", headers[":status"] .. body)
        end
        function envoy_on_response(h)
          local asked = {[":method"] = "GET", [":path"] = "/back", [":authority"] = "s"}
          local headers, body = h:httpCall("side", asked, nil, 1000)
          h:headers():add("x-side", headers[":status"] .. body)
        end
    """,
    "info": code("""
        function envoy_on_request(h)
          local info = h:streamInfo()
          try(h, "protocol", function() return info:protocol() end)
          try(h, "route", function() return info:routeName() end)
          try(h, "sni", function() return info:requestedServerName() end)
          try(h, "metadata", function() return h:metadata():get("kind") end)
          try(h, "route-metadata", function() return h:route():metadata():get("kind") end)
          try(h, "context", function() return h:filterContext():get("kind") end)
          try(h, "ssl", function() return h:connection():ssl() end)
          try(h, "clear", function() h:clearRouteCache() end)
          try(h, "override", function() h:setUpstreamOverrideHost("127.0.0.1:1", true) end)
          try(h, "counter", function() h:stats():counter("mine"):inc() end)
          info:dynamicMetadata():set("said", "request", "yes")
          h:headers():replace("x-moved", "1")
        end
        function envoy_on_response(h)
          try(h, "reason", function() return h:streamInfo():dynamicMetadata():get("said").request end)
        end
    """),
}
RETRIED = f"retry_policy: {{retry_on: '5xx,connect-failure', num_retries: 2, {FAST}}}"


def routes(*targets: tuple[str, str], more: str = RETRIED) -> list[dict[str, Any]]:
    """For each prefix and cluster a route per script, and one without; all of them try again."""
    action = parse(f"{{timeout: 0s, {more}}}")
    made: list[dict[str, Any]] = []
    for prefix, to in targets:
        made += [
            {
                "match": {"path_separated_prefix": f"{prefix}/{name}"},
                "name": f"route-{name}",
                "route": {"cluster": to, **action},
                "metadata": {"filter_metadata": {"lua": {"kind": "of the route"}}},
                "typed_per_filter_config": per_route(
                    source_code={"inline_string": text}, filter_context={"kind": "of the filter"}
                ),
            }
            for name, text in SCRIPTS.items()
        ]
        made.append(
            {
                "match": {"path_separated_prefix": prefix} if prefix else {"prefix": "/"},
                "route": {"cluster": to, **action},
            }
        )
    return made


def chain(name: str, *upstream_filters: dict[str, Any], more: str = RETRIED, **fields: Any) -> dict[str, Any]:
    """A listener whose router has these filters for what it sends."""
    router: dict[str, Any] = {"@type": ROUTER}
    if upstream_filters:
        router["upstream_http_filters"] = [*upstream_filters, CODEC]
    filters = [{"name": "envoy.filters.http.router", "typed_config": router}]
    targets = (("/h2", "h2app"), ("/h2plain", "h2plain"), ("/plain", "plain"), ("/mutating", "mutating"))
    targets += (("/buffered", "buffered"), ("/dead", "dead"))
    targets += (("/guarded", "guarded"), ("", "app"))
    hosts = [{"name": "all", "domains": ["*"], "routes": routes(*targets, more=more)}]
    manager = {"http_filters": filters, "route_config": {"virtual_hosts": hosts}, **fields}
    return listener(name, json.dumps(manager), log=LOG)


HEDGED = (
    "retry_policy: {retry_on: 5xx, per_try_timeout: 0.1s, " + FAST + "}, "
    "hedge_policy: {hedge_on_per_try_timeout: true}"
)
_SWITCH = "type.googleapis.com/envoy.config.route.v3.FilterConfig"
_OWN = f"{_TYPES}.header_mutation.v3.HeaderMutationPerRoute"


def switch(path: str, name: str, **fields: Any) -> dict[str, Any]:
    """A route that says something of one filter."""
    config = {"@type": _SWITCH, **fields}
    return {
        "match": {"prefix": path},
        "route": {"cluster": "plain"},
        "typed_per_filter_config": {f"mutation-{name}": config},
    }


SWITCHING = [
    switch("/on", "other", config={"@type": _OWN}),
    switch("/off", "one", disabled=True),
    {"match": {"prefix": "/"}, "route": {"cluster": "plain"}},
]
UPSTREAM_FILTERS = Setup(
    "upstream-filters",
    bootstrap(
        [
            chain("main"),
            chain("routed", mutations("router")),
            chain("hedged", more=HEDGED),
            chain("once", more=""),
            chain("upgrading", more="", upgrade_configs=[{"upgrade_type": "websocket"}]),
            chain(
                "switching",
                mutations("one"),
                {**mutations("other"), "disabled": True},
                route_config={"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": SWITCHING}]},
            ),
        ],
        [
            with_filters("app", "app", filters=[NOTHING]),
            with_filters("h2app", "h2app", filters=[NOTHING, mutations("cluster")], http2=True),
            with_filters("mutating", "app", filters=[mutations("one"), mutations("two")]),
            with_filters("buffered", "app", filters=[buffer(5)]),
            with_filters("dead", "dead", filters=[NOTHING]),
            with_filters("guarded", "app", filters=[GUARD]),
            cluster("plain", "app"),
            cluster("h2plain", "h2app", http2=True),
            cluster("side", "side"),
        ],
    ),
    {"app": "h1", "h2app": "h2", "dead": "dead", "side": "h1"},
)
OF_APP = tuple(
    f"cluster.app.{name}"
    for name in (
        *("upstream_rq_total", "upstream_rq_retry", "upstream_rq_retry_success", "upstream_rq_completed"),
        *("upstream_rq_200", "upstream_rq_503", "upstream_rq_cancelled", "upstream_rq_tx_reset"),
        *("lua.errors", "lua.executions", "upstream_cx_destroy_local_with_active_rq"),
    )
)


def post(path: str, body: bytes = b"hello", *headers: str) -> bytes:
    return head(f"POST {path} HTTP/1.1", "host: a", f"content-length: {len(body)}", *headers) + body


@scenario(UPSTREAM_FILTERS)
async def upstream_filters_headers(s: Session) -> None:
    """Heads in both directions, after what the router does to a request, before what it does to an answer."""
    async with s.logging(2), s.counting(*OF_APP):
        s.upstream().script = answers(ok(b"ok", "x-up-gone: 1", "x-up: 1"))
        await s.get("/headers", "x-gone: 1")
        await s.http(post("/headers"))


@scenario(UPSTREAM_FILTERS)
async def upstream_filters_each_try(s: Session) -> None:
    """Every try passes, with the head that the one before it left."""
    async with s.logging(3), s.counting(*OF_APP):
        for path in ("/headers", "/mutating"):
            s.upstream().script = answers(BAD, BAD, DONE)
            await s.get(path)
        s.upstream().script = answers(BAD, DONE)
        await s.http(post("/body"))


@scenario(UPSTREAM_FILTERS)
async def upstream_filters_decide_on_a_retry(s: Session) -> None:
    """The router sees the status that a filter made."""
    async with s.logging(2), s.counting(*OF_APP):
        s.upstream().script = answers(ok(b"no", "x-becomes: 503"), DONE)
        await s.get("/status")
        s.upstream().script = answers(BAD.replace(b"\r\n", b"\r\nx-becomes: 201\r\n", 1))
        await s.get("/status")


@scenario(UPSTREAM_FILTERS)
async def upstream_filters_no_connection(s: Session) -> None:
    """The head passes, whether there is a connection to a host or not."""
    async with s.logging(1), s.counting("cluster.dead.lua.executions", "cluster.dead.upstream_rq_total"):
        await s.get("/dead/headers")


@scenario(
    UPSTREAM_FILTERS,
    differs=dict.fromkeys(
        (
            "reply 4",
            "log main",
            "reply, then",
        ),
        "framing-is-the-codecs",
    ),
)
async def upstream_filters_bodies(s: Session) -> None:
    """Whole bodies and pieces of them are changed, in both directions."""
    async with s.logging(5):
        s.upstream().script = answers(ok(b"answer"))
        await s.get("/body")
        await s.http(post("/body"))
        await s.http(
            head("POST /body HTTP/1.1", "host: a", "transfer-encoding: chunked") + b"5\r\nhello\r\n0\r\n\r\n"
        )
        await s.http(post("/chunks"))
        s.upstream().script = answers(
            head("HTTP/1.1 200 OK", "transfer-encoding: chunked") + b"2\r\nok\r\n0\r\n\r\n"
        )
        await s.get("/chunks")


@scenario(UPSTREAM_FILTERS)
async def upstream_filters_trailers(s: Session) -> None:
    """Trailers pass, too."""

    async def trailed(call: H2Call) -> None:
        await call.body()
        await call.answer([(":status", "200")], b"ok", [("x-end", "1")])

    s.upstream("h2app").h2_script = trailed
    async with s.logging(2, "once"):
        client = await s.connect_h2("once")
        for path in ("/h2/headers", "/h2/chunks"):
            await client.request(get(path, method="POST"), b"hello", [("x-begin", "1")])


@scenario(UPSTREAM_FILTERS)
async def upstream_filters_of_cluster_and_router(s: Session) -> None:
    """A cluster's own filters take the place of the router's."""
    async with s.logging(3, "routed"):
        s.upstream().script = answers(ok())
        await s.get("/plain/headers", to="routed", label="the router's")
        await s.get("/mutating", to="routed", label="the cluster's")
        await s.get("/plain/headers", label="none")
        client = await s.connect_h2("routed")
        await client.request(get("/h2plain", method="POST"), b"hello", [("x-begin", "1")])


@scenario(UPSTREAM_FILTERS)
async def upstream_filters_respond(s: Session) -> None:
    """A filter answers in the place of the upstream."""
    # Whether there was a connection, for which that would count, is chance.
    async with s.logging(3), s.counting("cluster.app.lua.errors", "cluster.app.lua.executions"):
        await s.get("/respond", "x-status: 200")
        await s.get("/respond", "x-status: 503")
        await s.http(post("/respond", b"hello", "x-status: 200"))


@scenario(UPSTREAM_FILTERS)
async def upstream_filters_local_reply(s: Session) -> None:
    """A local reply of a filter is the proxy's, and no try follows."""
    async with (
        s.logging(3),
        s.counting("cluster.buffered.upstream_rq_total", "cluster.buffered.upstream_rq_retry"),
    ):
        await s.http(post("/buffered"))
        await s.http(post("/buffered", b"too long"))
        await s.http(
            head("POST /buffered HTTP/1.1", "host: a", "transfer-encoding: chunked")
            + b"4\r\nfour\r\n3\r\nfor\r\n0\r\n\r\n"
        )


@scenario(UPSTREAM_FILTERS)
async def upstream_filters_broken(s: Session) -> None:
    """Scripts that fail, and heads that they make unusable."""
    async with s.logging(5), s.counting(*OF_APP):
        await s.get("/fails")
        await s.get("/answer")
        await s.get("/removes", "x-which: :path")
        await s.get("/removes", "x-which: :method")
        await s.get("/removes", "x-which: :authority")


@scenario(UPSTREAM_FILTERS)
async def upstream_filters_calls(s: Session) -> None:
    """A script asks another cluster on the way."""
    s.upstream("side").script = answers(ok(b"side"))
    async with s.logging(2):
        await s.get("/calls")
        await s.http(post("/calls"))


@scenario(UPSTREAM_FILTERS)
async def upstream_filters_info(s: Session) -> None:
    """What a script may know there."""
    async with s.logging(1), s.counting("cluster.app.lua.mine"):
        await s.get("/info")


@scenario(UPSTREAM_FILTERS)
async def upstream_filters_hedged(s: Session) -> None:
    """Each of two tries that are under way at the same time."""
    async with s.logging(3, "hedged"):
        s.upstream().script = legs(stall, sends(DONE))
        await s.get("/headers", to="hedged")
        s.upstream().script = legs(stall, sends(DONE))
        await s.http(post("/body"), to="hedged")
        await s.get("/respond", "x-status: 200", to="hedged")


@scenario(UPSTREAM_FILTERS)
async def upstream_filters_switched(s: Session) -> None:
    """Filters that are off, and routes that turn one on or off."""
    async with s.logging(3, "switching"):
        s.upstream().script = answers(ok())
        await s.get("/", to="switching", label="as they stand")
        await s.get("/on", to="switching", label="the other on")
        await s.get("/off", to="switching", label="one off")


@scenario(UPSTREAM_FILTERS)
async def upstream_filters_upgrade(s: Session) -> None:
    """The head of an upgrade and of its answer."""

    async def accept(call: Call) -> None:
        await call.send(head("HTTP/1.1 101 Switching Protocols", "upgrade: websocket", "connection: upgrade"))
        await call.send(await call.tunnel(4))
        await call.close()

    s.upstream().script = accept
    async with s.logging(1, "upgrading"):
        client = await s.connect("upgrading")
        await client.send(
            head("GET /mutating HTTP/1.1", "host: a", "upgrade: websocket", "connection: upgrade") + b"ping"
        )
        await client.reply(has_body=False)
        await client.tunnel(4)
        await client.closed()


@scenario(UPSTREAM_FILTERS)
async def upstream_filters_rbac(s: Session) -> None:
    """Rules for what goes to a cluster."""
    names = tuple(f"cluster.guarded.rbac.{name}" for name in ("allowed", "denied"))
    async with s.logging(3), s.counting(*names):
        await s.get("/guarded")
        await s.get("/guarded", "x-forbidden: 1")
        await s.http(post("/guarded", b"hello", "x-forbidden: 1"))
