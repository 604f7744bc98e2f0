"""ORIGINAL_DST clusters: where the address comes from, which hosts are made, and when they go."""

from __future__ import annotations

import json
import re

from ..configuration import bootstrap, cluster, listener
from ..endpoints import hosts
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import answers, ok

SUBJECT = "upstream"

LUA = "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua"
PROXY_PROTOCOL = "type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol"
SCRIPT = """
function envoy_on_request(handle)
  local headers = handle:headers()
  local info = handle:streamInfo()
  if headers:get("x-metadata") then
    info:dynamicMetadata():set("dst", "where", headers:get("x-metadata"))
  end
  if headers:get("x-list") then
    info:dynamicMetadata():set("dst", "where", {headers:get("x-list"), "192.0.2.1:9"})
  end
  if headers:get("x-number") then
    info:dynamicMetadata():set("dst", "where", 5)
  end
  if headers:get("x-state") then
    info:filterState():set("envoy.network.transport_socket.original_dst_address",
      "envoy.network.transport_socket.original_dst_address", headers:get("x-state"))
  end
end
"""
BY = {
    "header": "{use_http_header: true}",
    "named": "{use_http_header: true, http_header_name: X-Where}",
    "metadata": "{metadata_key: {key: dst, path: [{key: where}]}, use_http_header: true}",
    "port": "{use_http_header: true, upstream_port_override: PORT(b)}",
    "none": "{}",
}


def original(name: str, settings: str, extra: str = "") -> dict[str, object]:
    out = cluster(
        name,
        extra=f"type: ORIGINAL_DST\nlb_policy: CLUSTER_PROVIDED\noriginal_dst_lb_config: {settings}\n{extra}",
    )
    del out["load_assignment"]
    return out


DST = Setup(
    "original_dst",
    bootstrap(
        [
            listener(
                "main",
                routes="".join(
                    f"- {{match: {{prefix: /{name}/}}, route: {{cluster: {name}}}}}\n"
                    for name in (*BY, "swept")
                ),
                filters=f'- {{name: lua, typed_config: {{"@type": {LUA}, '
                f"default_source_code: {{inline_string: {json.dumps(SCRIPT)}}}}}}}",
            ),
            listener(
                "proxied",
                routes="- {match: {prefix: /port/}, route: {cluster: port}}\n"
                "- {match: {prefix: /}, route: {cluster: none}}\n",
                extra=f'listener_filters: [{{name: p, typed_config: {{"@type": {PROXY_PROTOCOL}}}}}]',
            ),
        ],
        [
            *(original(name, settings) for name, settings in BY.items()),
            original("swept", "{use_http_header: true}", "cleanup_interval: 0.05s"),
        ],
    ),
    {"a": "h1", "b": "h1", "dead": "dead"},
)
INVALID = (
    "", "nothing", "127.0.0.1", "127.0.0.1:", "127.0.0.1:99999", "127.0.0.1:x", "localhost:80", "[::1]",
    "::1:80",
    "[127.0.0.1]:80", "127.1:80", "/tmp/socket", "http://127.0.0.1:80", "127.0.0.1:80:80", "127.0.0.01:80",
)  # fmt: skip


def address(s: Session, upstream: str) -> str:
    return s.proxy.fill(f"127.0.0.1:PORT({upstream})")


def serve(s: Session) -> None:
    s.proxy.is_spent = True
    for name in ("a", "b"):
        s.upstream(name).script = answers(ok(name.encode()))


async def stats(s: Session, name: str) -> None:
    found = await s.counters(
        rf"^cluster\.{name}\.(membership|original_dst|upstream_cx_none|upstream_rq_(total|503)|max_host"
        r"|default\.total)"
    )
    s.see(f"stats of {name}", {key: value for key, value in found.items() if value})


KEYS = ("cx_total", "rq_total", "hostname", "health_flags", "weight", "priority")


@scenario(DST)
async def original_dst_by_header(s: Session) -> None:
    """The header's first value names the host; another request finds the host; what is none is counted."""
    serve(s)
    for upstream in ("a", "b", "a"):
        await s.get("/header/x", f"x-envoy-original-dst-host: {address(s, upstream)}", label=f"to {upstream}")
    async with s.logging(1, shown=lambda line: re.sub(r"\d+$", "", line)):
        await s.get("/header/dead", f"x-envoy-original-dst-host: {address(s, 'dead')}", label="to nobody")
    await s.get(
        "/header/two",
        f"x-envoy-original-dst-host: {address(s, 'b')}",
        f"x-envoy-original-dst-host: {address(s, 'a')}",
        label="two values",
    )
    await s.get("/header/none", label="without it")
    for value in INVALID:
        await s.get("/header/none", f"x-envoy-original-dst-host: {value}", label=f"invalid {value}")
    await stats(s, "header")
    await s.get("/named/x", f"x-where: {address(s, 'a')}", label="named")
    await s.get("/named/x", f"x-envoy-original-dst-host: {address(s, 'a')}", label="the other name")
    await s.get("/port/x", f"x-envoy-original-dst-host: {address(s, 'a')}", label="port")
    await hosts(s, "header", "hosts", KEYS)
    await hosts(s, "port", "hosts of port", KEYS)
    dump = await s.proxy.admin(
        "GET", "/config_dump?include_eds&resource=static_endpoint_configs&name_regex=port"
    )
    s.see("dump", dump.body.decode().replace(f": {address(s, 'b').rpartition(':')[2]}", ": <b>"))


@scenario(DST)
async def original_dst_by_metadata_and_state(s: Session) -> None:
    """Filter state goes before metadata, metadata before the header; the first of a list counts."""
    serve(s)
    a, b = address(s, "a"), address(s, "b")
    header = f"x-envoy-original-dst-host: {b}"
    for label, lines in {
        "metadata": (f"x-metadata: {a}", header),
        "list": (f"x-list: {a}", header),
        "number": ("x-number: 1", header),
        "invalid": ("x-metadata: nothing", header),
        "state": (f"x-state: {a}", f"x-metadata: {b}", header),
        "state alone": (f"x-state: {b}",),
        "invalid state": ("x-state: nothing", header),
    }.items():
        await s.get("/metadata/x", *lines, label=label)
    await s.get("/none/x", f"x-state: {a}", label="no settings, state")
    await s.get("/none/x", header, label="no settings, header")
    for name in ("metadata", "none"):
        await stats(s, name)


@scenario(DST)
async def original_dst_sweep(s: Session) -> None:
    """A host goes when nobody asked for it in an interval and it has no connection; a connection keeps it."""
    serve(s)
    total = "cluster.swept.membership_total"
    await s.get("/swept/x", f"x-envoy-original-dst-host: {address(s, 'dead')}", label="dead")
    await s.until_stats(lambda found: found[total] == 0, total)
    await s.get("/swept/x", f"x-envoy-original-dst-host: {address(s, 'a')}", label="a")
    await s.get("/swept/x", f"x-envoy-original-dst-host: {address(s, 'dead')}", label="dead again")
    await s.until_stats(lambda found: found[total] == 1, total)
    await hosts(s, "swept", "kept", KEYS)
    s.upstream("a").script = answers(ok(b"last", "connection: close"))
    await s.get("/swept/x", f"x-envoy-original-dst-host: {address(s, 'a')}", label="a closes")
    await s.until_stats(lambda found: found[total] == 0, total)
    await stats(s, "swept")


@scenario(DST)
async def original_dst_of_the_connection(s: Session) -> None:
    """A connection whose destination a listener filter restored goes there; a header goes before it."""
    serve(s)
    for label, to, path, lines in (
        ("restored", "a", "/x", ""),
        ("port", "a", "/port/x", ""),
        ("header first", "a", "/port/x", f"x-envoy-original-dst-host: {address(s, 'dead')}\r\n"),
        ("nobody there", "dead", "/x", ""),
    ):
        client = await s.connect("proxied")
        port = address(s, to).rpartition(":")[2]
        await client.send(f"PROXY TCP4 192.0.2.1 127.0.0.1 1000 {port}\r\n".encode())
        await client.send(f"GET {path} HTTP/1.1\r\nhost: h\r\n{lines}\r\n".encode())
        await client.reply(label)
    # Without an address in its head the connection is where it came to.
    client = await s.connect("proxied")
    await client.send(b"PROXY UNKNOWN\r\nGET /x HTTP/1.1\r\nhost: h\r\n\r\n")
    await client.reply("unknown")
    for name in ("none", "port"):
        await stats(s, name)
        await hosts(s, name, f"hosts of {name}", KEYS)
