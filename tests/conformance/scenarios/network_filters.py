# ruff: noqa: E501  (a line of configuration reads best unbroken)
"""Network filters in front of a TCP proxy or a connection manager, and those that answer themselves."""

from __future__ import annotations

import struct
from typing import Any

from ..configuration import bootstrap, cluster, file_log, listener, parse
from ..lab import Session
from ..scenario import Setup, scenario
from ..wire import Wire
from .listener_filters import client_hello
from .tcp_proxy import TCP, settled

SUBJECT = "connections"

KIND = "type.googleapis.com/envoy.extensions.filters.network"
LOG = (
    "in=%BYTES_RECEIVED% out=%BYTES_SENT% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% host=%UPSTREAM_HOST% cluster=%UPSTREAM_CLUSTER% "
    "%CONNECTION_TERMINATION_DETAILS% sni=%REQUESTED_SERVER_NAME% ja3=%TLS_JA3_FINGERPRINT% ja4=%TLS_JA4_FINGERPRINT%\n"
)


def entry(text: str) -> dict[str, Any]:
    """``sni_cluster.v3.SniCluster, a: b``: a filter of this kind with these fields."""
    kind, _, fields = text.partition(",")
    return {"name": kind, "typed_config": {"@type": f"{KIND}.{kind}", **(parse(f"{{{fields}}}") or {})}}


def chain(name: str, *filters: str, to: str = "app", extra: str = "") -> dict[str, Any]:
    """A listener with these filters, and a TCP proxy behind them unless ``to`` is empty."""
    out = listener(name, extra=extra)
    out["stat_prefix"] = name
    entries = [entry(each) for each in filters]
    if to:
        log = [file_log(f"FILE({name}.log)", LOG)]
        entries.append(
            {
                "name": "tcp",
                "typed_config": {"@type": TCP, "stat_prefix": name, "cluster": to, "access_log": log},
            }
        )
    out["filter_chains"] = [{"filters": entries}]
    return out


def web(name: str, *filters: str) -> dict[str, Any]:
    """A listener with these filters in front of a connection manager."""
    out = listener(name, routes="- {match: {prefix: /}, direct_response: {status: 200}}")
    out["stat_prefix"] = name
    out["filter_chains"][0]["filters"][:0] = [entry(each) for each in filters]
    return out


BUCKET = "token_bucket: {max_tokens: 1, fill_interval: 3600s}"
TLS = "listener_filters: [{name: t, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector, enable_ja3_fingerprinting: true, enable_ja4_fingerprinting: true}}]"
ANY = "{any: true}"
LOCAL = "{direct_remote_ip: {address_prefix: 127.0.0.0, prefix_len: 8}}"
FAR = "{remote_ip: {address_prefix: 192.0.2.0, prefix_len: 24}}"


def rules(action: str, **policies: tuple[str, str]) -> str:
    """An RBAC: by name what is permitted, and to whom."""
    found = ", ".join(
        f"{name}: {{permissions: [{permission}], principals: [{principal}]}}"
        for name, (permission, principal) in policies.items()
    )
    return f"{{action: {action}, policies: {{{found}}}}}"


def rbac(prefix: str, text: str) -> str:
    return f"rbac.v3.RBAC, stat_prefix: {prefix}, {text}"


def tree(kind: str, value: str, how: str) -> str:
    """A match tree: what becomes of a connection of which this input is ``value``."""
    given = f"{{'@type': type.googleapis.com/envoy.extensions.matching.common_inputs.network.v3.{kind}}}"
    done = f"{{'@type': type.googleapis.com/envoy.config.rbac.v3.Action, name: it, action: {how}}}"
    return (
        "{matcher_list: {matchers: [{predicate: {single_predicate: {input: {name: i, typed_config: "
        f"{given}}}, value_match: {{exact: '{value}'}}}}}}, on_match: {{action: {{name: a, typed_config: {done}}}}}}}]}}}}"
    )


RBAC = {
    "allow": rbac("allow.", "rules: " + rules("ALLOW", b=(ANY, LOCAL), a=(ANY, FAR))),
    "notallow": rbac("notallow", "rules: " + rules("ALLOW", a=(ANY, FAR))),
    "deny": rbac(
        "deny.", "rules: " + rules("DENY", z=(ANY, ANY), b=("{not_rule: {destination_port: 1}}", LOCAL))
    ),
    "notdeny": rbac(
        "notdeny.", "rules: " + rules("DENY", a=("{destination_port_range: {start: 1, end: 2}}", ANY))
    ),
    "empty": rbac("empty.", "rules: " + rules("ALLOW")),
    "norules": rbac("norules.", "enforcement_type: CONTINUOUS"),
    "shadow": rbac(
        "shadow.",
        "shadow_rules_stat_prefix: s., rules: "
        + rules("ALLOW", a=(ANY, ANY))
        + ", shadow_rules: "
        + rules("DENY", p=(ANY, "{not_id: {authenticated: {}}}")),
    ),
    "always": rbac(
        "always.",
        "enforcement_type: CONTINUOUS, rules: "
        + rules(
            "ALLOW",
            a=(
                "{or_rules: {rules: [{requested_server_name: {exact: ''}}, {destination_ip: {address_prefix: 1.2.3.4, prefix_len: 32}}]}}",
                "{and_ids: {ids: [{any: true}, {source_ip: {address_prefix: 127.0.0.1, prefix_len: 32}}]}}",
            ),
        ),
    ),
    "delayed": rbac("delayed.", "delay_deny: 0.2s, rules: " + rules("DENY", a=(ANY, ANY))),
    "metadata": rbac(
        "metadata.",
        "rules: "
        + rules(
            "ALLOW",
            b=("{url_path: {path: {prefix: /}}}", ANY),
            c=("{metadata: {filter: a, path: [{key: b}], value: {present_match: true}}}", ANY),
        ),
    ),
    "log": rbac("log.", "rules: " + rules("LOG", a=(ANY, ANY))),
    "tree": rbac("tree.", "matcher: " + tree("SourceIPInput", "127.0.0.1", "ALLOW")),
    "treedeny": rbac("treedeny.", "matcher: " + tree("DirectSourceIPInput", "127.0.0.1", "DENY")),
    "treelog": rbac("treelog.", "matcher: " + tree("DestinationIPInput", "127.0.0.1", "LOG")),
    "treenone": rbac("treenone.", "matcher: " + tree("ServerNameInput", "a.example", "ALLOW")),
    "treeshadow": rbac(
        "treeshadow.",
        "shadow_matcher: "
        + tree("SourcePortInput", "1", "ALLOW")
        + ", rules: "
        + rules("DENY", a=(ANY, ANY))
        + ", matcher: "
        + tree("SourceIPInput", "127.0.0.1", "ALLOW"),
    ),
}
SETUP = Setup(
    "network-filters",
    bootstrap(
        [
            *(chain(name, text) for name, text in RBAC.items()),
            web("webdeny", rbac("webdeny.", "rules: " + rules("DENY", a=(ANY, ANY)))),
            chain("echo", "echo.v3.Echo", to=""),
            chain("direct", "direct_response.v3.Config, response: {inline_string: hello}", to=""),
            chain("silent", "direct_response.v3.Config", to=""),
            chain("sni", "sni_cluster.v3.SniCluster", to="other", extra=TLS),
            chain("limit", "connection_limit.v3.ConnectionLimit, stat_prefix: one, max_connections: 1"),
            chain(
                "slow",
                "connection_limit.v3.ConnectionLimit, stat_prefix: slow, max_connections: 1, delay: 0.2s",
            ),
            chain(
                "off",
                "connection_limit.v3.ConnectionLimit, stat_prefix: unlimited, max_connections: 1, runtime_enabled: {default_value: false, runtime_key: a}",
            ),
            web("weblimit", "connection_limit.v3.ConnectionLimit, stat_prefix: web, max_connections: 1"),
            chain("rate", f"local_ratelimit.v3.LocalRateLimit, stat_prefix: rate, {BUCKET}"),
            web("webrate", f"local_ratelimit.v3.LocalRateLimit, stat_prefix: webrate, {BUCKET}"),
            chain(
                "rateoff",
                f"local_ratelimit.v3.LocalRateLimit, stat_prefix: rateoff, {BUCKET}, runtime_enabled: {{default_value: false, runtime_key: a}}",
            ),
        ],
        [cluster("app", "app"), cluster("www.example.com", "named"), cluster("other", "other")],
    ),
    {"app": "raw", "named": "raw", "other": "raw"},
)


async def echoed(s: Session, to: str, label: str) -> None:
    client = await s.connect(to)
    await client.send(b"hello")
    await client.tunnel(5, label)
    client.half_close()
    await client.closed(f"{label}, then")


@scenario(SETUP)
async def network_echo(s: Session) -> None:
    """Bytes come back, and the end of the client's side ends it."""
    async with s.counting("listener.echo.downstream_cx_total", "listener.echo.downstream_cx_destroy"):
        await echoed(s, "echo", "echo")
        await settled(s, "echo")


@scenario(SETUP)
async def network_direct_response(s: Session) -> None:
    """Everybody gets the same, and is closed; where there is nothing to say, too."""
    for name in ("direct", "silent"):
        client = await s.connect(name)
        await client.closed(name)
        await settled(s, name)


@scenario(SETUP)
async def network_cluster_by_server_name(s: Session) -> None:
    """sni_cluster: the server name is the cluster; without one, the proxy's own."""
    for name, hello in (
        ("named", client_hello("www.example.com", ("h2",))),
        ("unknown", client_hello("nowhere.example.com")),
        ("plain", b"hello\r\n"),
    ):
        async with s.logging(1, "sni", shown=lambda line: line.split(" ja3=")[0]):
            client = await s.connect("sni")
            await client.send(hello)
            if name == "unknown":
                await client.closed(name)
            else:
                s.see(name, len(await client.wire.exactly(5)))
                client.close()
            await settled(s, "sni")


def odd_hello() -> bytes:
    """The first flight of a client that sends values without a meaning (GREASE)."""

    def extension(number: int, body: str) -> bytes:
        data = bytes.fromhex(body)
        return struct.pack(">HH", number, len(data)) + data

    extensions = b"".join(
        (
            extension(0, "0008000005612e636f6d"),
            extension(0x1A1A, ""),
            extension(10, "00042a2a001d"),
            extension(11, "0100"),
            extension(13, "000404030804"),
            extension(16, "0003026832"),
            extension(43, "043a3a0304"),
        )
    )
    body = (
        b"\x03\x03"
        + b"R" * 32
        + b"\0"
        + bytes.fromhex("00080a0a1301c02bc02f")
        + b"\1\0"
        + struct.pack(">H", len(extensions))
        + extensions
    )
    message = b"\x01" + len(body).to_bytes(3, "big") + body
    return b"\x16\x03\x01" + struct.pack(">H", len(message)) + message


@scenario(SETUP)
async def network_fingerprints(s: Session) -> None:
    """JA3 and JA4 of a ClientHello are in the log."""
    async with s.logging(1, "sni"):
        client = await s.connect("sni")
        await client.send(odd_hello())
        await client.closed()
        await settled(s, "sni")


async def one_left(s: Session, name: str) -> None:
    """Wait until the listener has one connection left."""
    gauge = f"listener.{name}.downstream_cx_active"
    await s.until_stats(lambda stats: stats[gauge] == 1, f"^listener.{name}.downstream_cx_active$")


@scenario(SETUP)
async def network_connection_limit(s: Session) -> None:
    """Connections over the limit are closed at once, or after the delay; others come when one has gone."""
    names = {"limit": "one", "slow": "slow"}
    for to, prefix in names.items():
        stats = [
            f"connection_limit.{prefix}.limited_connections",
            f"tcp.{to}.downstream_cx_total",
            f"listener.{to}.downstream_cx_total",
        ]
        async with s.counting(*stats), s.logging(3, to):
            first = await s.connect(to)
            await first.send(b"hello")
            await first.tunnel(5, f"{to} first")
            s.see(f"{to} active", await s.counters(rf"^connection_limit\.{prefix}\.active_connections"))
            second = await s.connect(to)
            await second.send(b"hello")
            await second.closed(f"{to} second")
            await one_left(s, to)
            first.half_close()
            await first.closed(f"{to} first, then")
            await settled(s, to)
            await echoed(s, to, f"{to} third")
            await settled(s, to)
        s.see(
            f"{to} active at the end", await s.counters(rf"^connection_limit\.{prefix}\.active_connections")
        )


@scenario(SETUP)
async def network_connection_limit_that_is_off(s: Session) -> None:
    """runtime_enabled that is false by default leaves the limit out."""
    async with s.counting("connection_limit.unlimited.limited_connections"):
        first = await s.connect("off")
        await first.send(b"hello")
        await first.tunnel(5, "first")
        await echoed(s, "off", "second")
        first.half_close()
        await first.closed("first, then")
        await settled(s, "off")


@scenario(SETUP)
async def network_limits_of_http(s: Session) -> None:
    """The same filters in front of a connection manager, which counts what does not get to it."""
    names = [
        f"http.{name}.downstream_cx_{each}"
        for name in ("weblimit", "webrate")
        for each in ("total", "active", "destroy", "destroy_local", "destroy_remote", "http1_total")
    ]
    async with s.counting(
        *names, "connection_limit.web.limited_connections", "local_rate_limit.webrate.rate_limited"
    ):
        first = await s.connect("weblimit")
        await first.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        await first.reply("first")
        second = await s.connect("weblimit")
        await second.closed("second")
        first.close()
        await settled(s, "weblimit")
        await s.get(to="webrate", label="of the bucket")
        client = await s.connect("webrate")
        await client.closed("beyond the bucket")
        await settled(s, "webrate")
    s.proxy.is_spent = True


@scenario(SETUP)
async def network_rate_limit(s: Session) -> None:
    """Connections beyond the bucket are closed, and are in the log of the proxy behind."""
    async with (
        s.counting(
            "local_rate_limit.rate.rate_limited",
            "tcp.rate.downstream_cx_total",
            "local_rate_limit.rateoff.rate_limited",
        ),
        s.logging(2, "rate"),
    ):
        await echoed(s, "rate", "of the bucket")
        await settled(s, "rate")
        client = await s.connect("rate")
        await client.closed("beyond the bucket")
        await settled(s, "rate")
        await echoed(s, "rateoff", "without a limit")
        await echoed(s, "rateoff", "and again")
    s.proxy.is_spent = True


@scenario(SETUP)
async def network_rbac(s: Session) -> None:
    """Policies in the order of their names, to allow and to deny; counted, and told in the log."""
    for name in RBAC:
        stats = [
            f"{name}.rbac.{each}"
            for each in (
                "allowed",
                "denied",
                "shadow_allowed",
                "shadow_denied",
                "s.shadow_allowed",
                "s.shadow_denied",
            )
        ]
        async with s.counting(*stats, f"tcp.{name}.downstream_cx_total"), s.logging(1, name):
            client = await s.connect(name)
            await client.send(b"hello")
            reply = await client.wire.some()
            s.see(name, reply.decode() or "closed")
            client.half_close()
            await client.closed(f"{name}, then")
            await settled(s, name)


@scenario(SETUP)
async def network_rbac_lets_the_server_speak_first(s: Session) -> None:
    """Nothing is asked before the client says something: a server's greeting gets through."""

    async def greet(wire: Wire) -> None:
        await wire.send(b"welcome")
        await wire.rest()

    s.upstream().raw_script = greet
    async with s.counting("deny.rbac.denied", "tcp.deny.downstream_cx_tx_bytes_total"), s.logging(1, "deny"):
        client = await s.connect("deny")
        await client.tunnel(7)
        await client.send(b"hello")
        await client.closed()
        await settled(s, "deny")


@scenario(SETUP)
async def network_rbac_of_http(s: Session) -> None:
    """In front of a connection manager a request gets no answer."""
    async with s.counting(
        "webdeny.rbac.denied",
        "http.webdeny.downstream_cx_total",
        "http.webdeny.downstream_rq_total",
        "http.webdeny.downstream_cx_destroy_local",
    ):
        client = await s.connect("webdeny")
        await client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        await client.closed()
        await settled(s, "webdeny")
