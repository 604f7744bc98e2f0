"""What a Lua script leaves behind: fields that cannot be sent when it waits, and filter state objects."""

from __future__ import annotations

from ..configuration import bootstrap, cluster
from ..lab import Session
from ..lua_routes import code, lua_listener, script_routes
from ..scenario import Setup, scenario
from ..upstream import answers, ok
from ..wire import head

SUBJECT = "lua"

ASK = '{[":method"] = "GET", [":path"] = "/ask", [":authority"] = "auth.example"}'
#: Factories of filter state objects, with texts that some of them take.
FACTORIES = {
    "envoy.string": ("text", ""),
    "envoy.hashable_string": ("text", ""),
    "envoy.bool": ("true", "false", "yes", ""),
    "envoy.network.ip": ("10.0.0.1", "::1", "10.0.0.1:80", "x", ""),
    "envoy.network.upstream_server_name": ("a.example", ""),
    "envoy.network.application_protocols": ("h2,http/1.1", ""),
    "envoy.network.upstream_subject_alt_names": ("a.example,b.example", ""),
    "envoy.network.network_namespace": ("/run/netns/a", ""),
    "envoy.network.upstream_bind_override.network_namespace": ("/run/netns/a",),
    "envoy.network.transport_socket.original_dst_address": ("10.0.0.1:80", "[::1]:80", "10.0.0.1", "x:1", ""),
    "envoy.network.proxy_protocol_options": ("x",),
    "envoy.network.proxy_protocol.tlv": ("x",),
    "envoy.network.upstream_socket_options": ("x",),
    "envoy.filters.listener.original_dst.local_ip": ("10.0.0.1:80", "10.0.0.1", "x"),
    "envoy.filters.listener.original_dst.remote_ip": ("10.0.0.1:80", "10.0.0.1", "x"),
    "envoy.tcp_proxy.cluster": ("app", ""),
    "envoy.tcp_proxy.disable_tunneling": ("true", "false", "x"),
    "envoy.tcp_proxy.per_connection_idle_timeout_ms": ("100", "-1", "x", ""),
    "envoy.udp_proxy.cluster": ("app",),
    "envoy.upstream.dynamic_host": ("a.example", ""),
    "envoy.upstream.dynamic_port": ("80", "70000", "x", ""),
    "envoy.ratelimit.hits_addend": ("5", "-1", "x"),
    "envoy.string_list": ("a,b",),
    "envoy.uint64": ("5",),
    "envoy.int64": ("5",),
    "envoy.double": ("5",),
    "mine": ("x",),
}


def _objects(chosen: list[str]) -> str:
    lines = []
    for name in chosen:
        for number, value in enumerate(FACTORIES[name]):
            # By its own name, as what looks for it would find it, and by another.
            key = name if number == 0 else f"{name}-{number}"
            lines.append(
                f'try(h, "{len(lines)}", function() state:set("{key}", "{name}", "{value}") return state:get("{key}"), '
                f'type(state:get("{key}")), state:get("{key}", "ip"), state:get("{key}", "port"), state:get("{key}", "x") end)'
            )
    return code(
        "function envoy_on_request(h)\n  local state = h:streamInfo():filterState()\n  "
        + "\n  ".join(lines)
        + "\nend"
    )


NAMES = list(FACTORIES)
WAITING = ("body", "call", "removed", "replaced", "added", "answers", "fails", "pseudo", "chunks")
SCRIPTS = {
    "body": code("""
    function envoy_on_request(h)
      h:headers():add("x-bad", "a\\nb")
      h:body()
      h:headers():add("x-after", "1")
    end"""),
    "call": code(f"""
    function envoy_on_request(h)
      h:headers():add("x bad", "a")
      h:headers():add("x-bad", "a\\nb")
      h:httpCall("auth", {ASK}, nil, 5000)
    end"""),
    "removed": code("""
    function envoy_on_request(h)
      h:headers():add("x-bad", "a\\nb")
      h:body()
      h:headers():remove("x-bad")
    end"""),
    "replaced": code("""
    function envoy_on_request(h)
      h:headers():replace("x-bad", "a\\nb")
      h:headers():replace("x-bad", "good")
    end"""),
    "added": code("""
    function envoy_on_request(h)
      h:headers():add("x-bad", "a\\nb")
      h:headers():add("x-bad", "good")
    end"""),
    "answers": code("""
    function envoy_on_request(h)
      h:headers():add("x-bad", "a\\nb")
      h:body()
      h:respond({[":status"] = "200"}, "mine")
    end"""),
    "fails": code("""
    function envoy_on_request(h)
      h:headers():add("x-bad", "a\\nb")
      h:body()
      error("too late")
    end"""),
    "pseudo": code("""
    function envoy_on_request(h)
      h:headers():add(":other", "x")
      h:body()
    end"""),
    "chunks": code("""
    function envoy_on_request(h)
      h:headers():add("x-bad", "a\\nb")
      for chunk in h:bodyChunks() do end
    end"""),
    "address": code("""
    function envoy_on_request(h)
      h:streamInfo():filterState():set("ip", "envoy.network.ip", h:headers():get("x-ip"))
      h:clearRouteCache()
    end"""),
    "bools": code("""
    function envoy_on_request(h)
      local state = h:streamInfo():filterState()
      for n, text in ipairs{"1", "0", "T", "f", "YES", "n", "on", " true"} do
        try(h, tostring(n), function() state:set("b", "envoy.bool", text) return state:get("b") end)
      end
      for n, text in ipairs{"+5", " 5 ", "18446744073709551615", "18446744073709551616", "4294967296", "1.5"} do
        try(h, "hits-" .. n, function() state:set("h", "envoy.ratelimit.hits_addend", text) return state:get("h") end)
        try(h, "port-" .. n, function() state:set("p", "envoy.upstream.dynamic_port", text) return state:get("p") end)
      end
      state:set("a", "envoy.network.transport_socket.original_dst_address", "10.0.0.1:80")
      try(h, "types", function() return type(state:get("a", "ip")), type(state:get("a", "port")), state:get("a", "port") + 1 end)
      try(h, "number", function() return state:get("a", 5) end)
      try(h, "nil-field", function() return state:get("a", nil) end)
    end"""),
    "state-network": _objects([name for name in NAMES if name.startswith("envoy.network.")]),
    "state-listener": _objects([name for name in NAMES if name.startswith("envoy.filters.")]),
    "state-tcp": _objects([name for name in NAMES if name.startswith(("envoy.tcp", "envoy.udp", "envoy.up"))]),
    "state-plain": _objects([name for name in NAMES if name.count(".") < 2 or "ratelimit" in name]),
}  # fmt: skip
LOG = "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%\n"
#: Objects that not every factory's consumer makes visible otherwise.
SHOWN = " ".join(
    f"%FILTER_STATE({name}:PLAIN)% %FILTER_STATE({name}:TYPED)% %FILTER_STATE({name}:FIELD:ip)% "
    f"%FILTER_STATE({name}:FIELD:port)% %FILTER_STATE({name}:FIELD:port):1% |"
    for name in FACTORIES
)
BY_ADDRESS = {
    "match": {
        "prefix": "/address",
        "filter_state": [
            {"key": "ip", "address_match": {"ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}]}}
        ],
    },
    "name": "by-address",
    "direct_response": {"status": 204},
}
STATE = Setup(
    "lua-state",
    bootstrap(
        [
            lua_listener("main", [BY_ADDRESS, *script_routes(SCRIPTS)], log=LOG),
            lua_listener("shown", script_routes(SCRIPTS), log=SHOWN + "\n"),
        ],
        [cluster("app", "app"), cluster("auth", "auth")],
    ),
    {"app": "h1", "auth": "h1"},
)


@scenario(STATE, differs={"upstream app": "unsendable-requests-take-no-connection"})
async def lua_state_refused_field_before_a_wait(s: Session) -> None:
    """A request field that cannot be sent is answered when the request would go on, however long that takes."""
    s.upstream("auth").script = answers(ok(b"ok"))
    async with s.counting("http.main.lua.errors"), s.logging(len(WAITING)):
        for name in WAITING:
            client = await s.connect()
            await client.send(head(f"POST /{name} HTTP/1.1", "host: a", "content-length: 4") + b"body")
            await client.reply(name)
            client.close()


@scenario(STATE)
async def lua_state_objects(s: Session) -> None:
    """filterState(): what each factory makes of a text, and how it is read back: by scripts, logs and routes."""
    names = ("network", "listener", "tcp", "plain")
    # Some objects choose another connection in Envoy, whose number is nothing to compare.
    s.upstream().script = answers(ok(b"ok", "connection: close"))
    async with s.logging(len(names), "shown"):
        for name in names:
            await s.get(f"/state-{name}", to="shown", label=name)
    await s.get("/bools", label="numbers and words")
    for address in ("10.1.2.3", "11.1.2.3", "::1"):
        await s.get("/address", f"x-ip: {address}", label=address)
