"""Where Lua scripts come from, which runs for a route, and what they do to routes, hosts and connections."""

from __future__ import annotations

import json

from ..configuration import bootstrap, cluster
from ..lab import Session
from ..lua_routes import code, lua_filter, lua_listener, per_route
from ..scenario import Setup, scenario

SUBJECT = "lua"


def says(word: str) -> dict[str, str]:
    return {"inline_string": f'function envoy_on_request(h) h:headers():add("x-script", "{word}") end'}


LEVELS = {
    "virtual_hosts": [
        {
            "name": "one",
            "domains": ["one.example"],
            "typed_per_filter_config": per_route(source_code=says("host")),
            "routes": [
                {"match": {"path": "/host"}, "route": {"cluster": "app"}},
                {
                    "match": {"path": "/route"},
                    "route": {"cluster": "app"},
                    "typed_per_filter_config": per_route(source_code=says("route")),
                },
                {
                    "match": {"path": "/weighted"},
                    "route": {
                        "weighted_clusters": {
                            "clusters": [
                                {
                                    "name": "app",
                                    "weight": 1,
                                    "typed_per_filter_config": per_route(source_code=says("cluster")),
                                }
                            ]
                        }
                    },
                    "typed_per_filter_config": per_route(source_code=says("route")),
                },
                {
                    "match": {"path": "/named"},
                    "route": {"cluster": "app"},
                    "typed_per_filter_config": per_route(name="named.lua"),
                },
                {
                    "match": {"path": "/unknown"},
                    "route": {"cluster": "app"},
                    "typed_per_filter_config": per_route(name="nothing.lua"),
                },
                {
                    "match": {"path": "/disabled"},
                    "route": {"cluster": "app"},
                    "typed_per_filter_config": per_route(disabled=True),
                },
                {
                    "match": {"path": "/context"},
                    "route": {"cluster": "app"},
                    "typed_per_filter_config": per_route(filter_context={"a": 1}),
                },
                {
                    "match": {"path": "/wrapped"},
                    "route": {"cluster": "app"},
                    "typed_per_filter_config": {
                        "lua": {
                            "@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig",
                            "config": per_route(source_code=says("wrapped"))["lua"],
                        }
                    },
                },
                {
                    "match": {"path": "/off"},
                    "route": {"cluster": "app"},
                    "typed_per_filter_config": {
                        "lua": {
                            "@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig",
                            "disabled": True,
                        }
                    },
                },
            ],
        },
        {
            "name": "rest",
            "domains": ["*"],
            "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "app"}}],
        },
    ]
}
MOVES = 'function envoy_on_request(h) h:headers():replace(":path", "/moved") %s end'
MOVING = [
    {"match": {"path": "/moved"}, "route": {"cluster": "app", "prefix_rewrite": "/second"}},
    {"match": {"prefix": "/"}, "route": {"cluster": "app", "prefix_rewrite": "/first"}},
]
COUNTS = code("""
function envoy_on_request(h)
  h:stats():counter("mine"):inc()
  if h:headers():get("x-fail") then error("on purpose") end
end
""")
#: Public keys, whose private halves made the signatures below of `data` and are gone.
RSA_KEY = bytes.fromhex(
    "30820122300d06092a864886f70d01010105000382010f003082010a0282010100d8f2a4fb8f64028bba950936762ffb35a5"
    "1481865e47aa938eed6304ddfbe21c815fd0bc107555e3bc86e125d731a58fd738054f88802bbd48b0a43d5089e1b2e0010f"
    "d0d2a05d7daae36e9001e1a4d69df01c737ab89d629b4c35398ae9fbfc52c3e6cc2681eb74e62d8b2edb0a7958e79a466421"
    "1232b81bb17b54ba3958e5d1d01804a823d8c45cd3fe30e09d4486f59b79c1d6e91a8a9fa76f41e95d99a0f7f94b4c6c8dc5"
    "d5684bef56163afa6d53dba7f52bac2028496a79436de35de187dcfa64cf79f16718862df4bc6ba954817d0da6bef2b5e16f"
    "66457e9f21a40d0fb9b9fdab58405538ef8f5a270b8de79a1ff6b982576910d2b188f4d5e1d42b0203010001"
)
EC_KEY = bytes.fromhex(
    "3059301306072a8648ce3d020106082a8648ce3d03010703420004effcead86905e6faa1e74aecedf976d0f491d3dff1dfc6"
    "6f037d2a02248c92db019b484d5416b8dda186b65e81d2fbe68de5761bcadd996890a55c2c855468d2"
)
RSA_SIGNATURE = (
    "q6NgBpS8tPmTcYq9y2k2/wSlJ+rFvyjFJE1ydIl7ORlbD+w8g3vK+kvPFpt6B1zQ5XZfUvhmx/AKou/7R1g/L6yOWYaQy/UAqrOx"
    "aSwkIrl5Z3H9AWqXUXTVZhHrUbvPNTkIo+GZhgKjBUY+zxdQWVnyFNvq/cpagcTg8k1+eUG2MQZcvrDppZwiUdX/XsZ1cpjgjCJH"
    "mTNyCprfI5O6ceh5tk0p8sqiwEZ2KlPjB/Z+gSUGvp1IfnoyiUdvUIpmdOYwbA8F/YXzaFQFmcL9kZbmgOyhHDUC49ocBcKdob0Z"
    "VaX0GSLU6S3W/V9eMJmxBjNbgkf6AGP/rhTzAVtmnw=="
)
EC_SIGNATURE = (
    "MEUCIFgPfVUtwzG2RTIFBTTSTT7rIwR1xhI9Yxvg+V4vNa1vAiEA2m9cbtcBKNak8RT0pAQyCEstUurkn10Pj/2AZmsUSOI="
)


def _lua_bytes(data: bytes) -> str:
    return '"' + "".join(f"\\{byte:03d}" for byte in data) + '"'


SIGNATURES = code(f"""
local rsa = {_lua_bytes(RSA_KEY)}
local ec = {_lua_bytes(EC_KEY)}
function envoy_on_request(h)
  local good = h:base64Decode(h:headers():get("x-signature"))
  local key = h:headers():get("x-kind") == "ec" and ec or rsa
  try(h, "early", function() local x, y = h:verifySignature("sha256", key, good, #good, "data", 4) return x, y end)
  local object = h:importPublicKey(key, #key)
  try(h, "kind", function() return type(object), type(object:get()) end)
  try(h, "good", function() return h:verifySignature("sha256", object:get(), good, #good, "data", 4) end)
  try(h, "by-key", function() return h:verifySignature("SHA256", key, good, #good, "data", 4) end)
  try(h, "other", function() return h:verifySignature("sha256", object:get(), good, #good, "DATA", 4) end)
  try(h, "short", function() return h:verifySignature("sha256", object:get(), good, 3, "data", 4) end)
  try(h, "part", function() return h:verifySignature("sha256", object:get(), good, #good, "data and more", 4) end)
  try(h, "hash", function() return h:verifySignature("sha512", object:get(), good, #good, "data", 4) end)
  try(h, "sha1", function() return h:verifySignature("sha1", object:get(), good, #good, "data", 4) end)
  try(h, "sha224", function() return h:verifySignature("sha224", object:get(), good, #good, "data", 4) end)
  try(h, "sha384", function() return h:verifySignature("sha384", object:get(), good, #good, "data", 4) end)
  try(h, "md5", function() return h:verifySignature("md5", object:get(), good, #good, "data", 4) end)
  try(h, "unknown", function() return h:verifySignature("nothing", object:get(), good, #good, "data", 4) end)
end
""")
BAD_KEY = code("""
function envoy_on_request(h)
  local object = h:importPublicKey("no key at all", 13)
  try(h, "get", function() return object:get() end)
  try(h, "verify", function() local x = h:verifySignature("sha256", "no key at all", "abc", 3, "data", 4) return x end)
end
""")
HOSTS = code("""
function envoy_on_request(h)
  local host, strict = h:headers():get("x-host"), h:headers():get("x-strict")
  if strict then h:setUpstreamOverrideHost(host, strict == "true") else h:setUpstreamOverrideHost(host) end
end
function envoy_on_response(h)
  h:setUpstreamOverrideHost("127.0.0.1:1", true)
end
""")
TLV = code("""
function envoy_on_request(h)
  local info = h:connectionStreamInfo()
  local map = info:dynamicMetadata()
  try(h, "get", function() return map:get("envoy.filters.listener.proxy_protocol"), map:get("none") end)
  try(h, "loop", function()
    local names = {}
    for k, v in pairs(map) do names[#names + 1] = k .. type(v) end
    table.sort(names)
    return table.concat(names, " ")
  end)
  try(h, "set", function() local x = map:set("a", "b", "c") return x end)
  try(h, "typed", function() return info:dynamicTypedMetadata("envoy.filters.listener.proxy_protocol") end)
  try(h, "typed-none", function() return info:dynamicTypedMetadata("none") end)
  try(h, "addresses", function()
    return h:streamInfo():downstreamRemoteAddress(), h:streamInfo():downstreamLocalAddress()
  end)
end
""")
PROXY_PROTOCOL = """
listener_filters:
- name: proxy
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol
    rules: [{tlv_type: 2, on_tlv_present: {key: name}}]
"""
TO_APP = {"match": {"prefix": "/"}, "route": {"cluster": "app"}}
CONFIG = Setup(
    "lua-config",
    bootstrap(
        [
            lua_listener(
                "levels",
                [],
                lua_filter(default_source_code=says("default"), source_codes={"named.lua": says("named")}),
                hcm=json.dumps({"route_config": LEVELS}),
            ),
            lua_listener("inline", [TO_APP], lua_filter(inline_code=says("inline")["inline_string"])),
            lua_listener("moves", MOVING, lua_filter(default_source_code={"inline_string": MOVES % ""})),
            lua_listener(
                "stays",
                MOVING,
                lua_filter(default_source_code={"inline_string": MOVES % ""}, clear_route_cache=False),
            ),
            lua_listener(
                "asks",
                MOVING,
                lua_filter(
                    default_source_code={"inline_string": MOVES % "h:clearRouteCache()"},
                    clear_route_cache=False,
                ),
            ),
            lua_listener(
                "prefix",
                [TO_APP],
                lua_filter(default_source_code={"inline_string": COUNTS}, stat_prefix="mine."),
            ),
            lua_listener(
                "two",
                [TO_APP],
                lua_filter("first", default_source_code=says("first")),
                lua_filter("second", default_source_code=says("second")),
            ),
            lua_listener("signed", [TO_APP], lua_filter(default_source_code={"inline_string": SIGNATURES})),
            lua_listener("unsigned", [TO_APP], lua_filter(default_source_code={"inline_string": BAD_KEY})),
            lua_listener(
                "hosts",
                [
                    {"match": {"path": "/app"}, "route": {"cluster": "app"}},
                    {"match": {"prefix": "/"}, "route": {"cluster": "both"}},
                ],
                lua_filter(default_source_code={"inline_string": HOSTS}),
            ),
            lua_listener(
                "tlv", [TO_APP], lua_filter(default_source_code={"inline_string": TLV}), extra=PROXY_PROTOCOL
            ),
        ],
        [cluster("app", "app"), cluster("both", "app", "other")],
    ),
    {"app": "h1", "other": "h1"},
)


@scenario(CONFIG)
async def lua_config_levels(s: Session) -> None:
    """The most specific script runs: of the cluster, the route, the virtual host, the filter."""
    for path in ("host", "route", "weighted", "named", "unknown", "disabled", "context", "wrapped", "off"):
        await s.http(f"GET /{path} HTTP/1.1\r\nhost: one.example\r\n\r\n", "levels", label=path)
    await s.get(to="levels", label="default")


@scenario(CONFIG)
async def lua_config_inline_code(s: Session) -> None:
    """inline_code."""
    await s.get(to="inline")


@scenario(CONFIG)
async def lua_config_clear_route_cache(s: Session) -> None:
    """Edits of headers have the route chosen again, unless that is off; then the script may ask for it."""
    for name in ("moves", "stays", "asks"):
        await s.get("/begin", to=name, label=name)


@scenario(CONFIG)
async def lua_config_stat_prefix(s: Session) -> None:
    """stat_prefix stands behind lua., for the script's own stats as well."""
    names = ("errors", "executions", "mine")
    async with s.counting(*(f"http.prefix.lua.mine.{name}" for name in names), "http.prefix.lua.errors"):
        await s.get(to="prefix")
        await s.get("/", "x-fail: 1", to="prefix")


@scenario(CONFIG)
async def lua_config_two_filters(s: Session) -> None:
    """Two Lua filters in one chain, in their order."""
    await s.get(to="two")


@scenario(CONFIG)
async def lua_config_signatures(s: Session) -> None:
    """importPublicKey and verifySignature with RSA and ECDSA."""
    await s.get("/", f"x-signature: {RSA_SIGNATURE}", to="signed")
    await s.get("/", "x-kind: ec", f"x-signature: {EC_SIGNATURE}", to="signed", label="ec")
    await s.get(to="unsigned", label="no key")


@scenario(CONFIG)
async def lua_config_override_host(s: Session) -> None:
    """setUpstreamOverrideHost: the host that is asked for, or another one, or nobody."""
    port = next(port for port, name in s.proxy.named_ports().items() if name == "other")
    for number in range(3):
        await s.get("/", f"x-host: 127.0.0.1:{port}", to="hosts", label=f"asked {number}")
    await s.get("/", f"x-host: 127.0.0.1:{port}", "x-strict: true", to="hosts", label="strict")
    await s.get("/", "x-host: 10.0.0.1:80", "x-strict: true", to="hosts", label="nobody")
    await s.get("/", "x-host: 10.0.0.1", "x-strict: true", to="hosts", label="no port")
    await s.get("/", "x-host: [::1]:80", "x-strict: true", to="hosts", label="v6")
    await s.get("/", "x-host: [::1]", "x-strict: true", to="hosts", label="v6 without port")
    await s.get("/app", "x-host: nonsense", "x-strict: true", to="hosts", label="no address")


@scenario(CONFIG)
async def lua_config_connection_metadata(s: Session) -> None:
    """connectionStreamInfo(): what the PROXY protocol brought."""
    addresses = bytes([10, 0, 0, 1, 10, 0, 0, 2]) + (1234).to_bytes(2, "big") + (80).to_bytes(2, "big")
    tlv = b"\x02\x00\x0bexample.com" + b"\xe0\x00\x03abc"
    size = (len(addresses) + len(tlv)).to_bytes(2, "big")
    first = b"\r\n\r\n\x00\r\nQUIT\n\x21\x11" + size + addresses + tlv
    await s.http(first + b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", "tlv")
    await s.http(
        "PROXY TCP4 10.0.0.1 10.0.0.2 1234 80\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n", "tlv", label="v1"
    )
