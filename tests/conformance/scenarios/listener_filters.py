# ruff: noqa: E501  (a line of configuration reads best unbroken)
"""Listener filters: what is found out before a filter chain is chosen, and the choice that follows from it."""

from __future__ import annotations

import re
import ssl
import struct
from collections.abc import Sequence
from typing import Any

import trio

from ..configuration import bootstrap
from ..lab import Session
from ..scenario import Setup, scenario
from .filter_chains import chain, chains

SUBJECT = "connections"

FILTERS = "type.googleapis.com/envoy.extensions.filters.listener"
LOG = (
    "chain=%FILTER_CHAIN_NAME% %RESPONSE_CODE% sni=%REQUESTED_SERVER_NAME% remote=%DOWNSTREAM_REMOTE_ADDRESS% "
    "local=%DOWNSTREAM_LOCAL_ADDRESS% directremote=%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT% "
    "directlocal=%DOWNSTREAM_DIRECT_LOCAL_ADDRESS% xff=%REQ(x-forwarded-for)% "
    "tlv=%DYNAMIC_METADATA(envoy.filters.listener.proxy_protocol:name)% state=%FILTER_STATE(envoy.network.proxy_protocol.tlv:FIELD:name)%\n"
)
REQUEST = b"GET / HTTP/1.1\r\nhost: example.com\r\n\r\n"
V2 = b"\r\n\r\n\x00\r\nQUIT\n"


def inspecting(*filters: str, more: str = "") -> str:
    """``listener_filters`` of these kinds, with fields where there are any (``tls_inspector.v3.TlsInspector, a: b``)."""
    entries = []
    for text in filters:
        kind, _, fields = text.partition(",")
        entries.append(f"{{name: f, typed_config: {{'@type': {FILTERS}.{kind}{fields and ',' + fields}}}}}")
    return f"listener_filters: [{', '.join(entries)}]\n{more}"


TLS = "tls_inspector.v3.TlsInspector"
HTTP = "http_inspector.v3.HttpInspector"
PROXY = "proxy_protocol.v3.ProxyProtocol"
RULE = "rules: [{tlv_type: 2, on_tlv_present: {key: name}}]"


def made(name: str, *found: dict[str, Any], extra: str = "", default: str = "other") -> dict[str, Any]:
    return chains(name, *found, extra=extra, default=default)


def logged(name: str, match: str = "") -> dict[str, Any]:
    return chain(name, match, log=LOG)


def counting(name: str, match: str) -> dict[str, Any]:
    """A chain whose connection manager has stats of its own, which tell that it was chosen."""
    return chain(name, match, name, LOG)


#: Chains of the listener ``tls``.
NAMES = ("exact", "wild", "wider", "h2", "tls", "plain")


SETUP = Setup(
    "listener-filters",
    bootstrap(
        [
            made(
                "tls",
                counting("exact", "{server_names: [www.example.com]}"),
                counting("wild", "{server_names: ['*.example.com']}"),
                counting("wider", "{server_names: ['*.com']}"),
                counting("h2", "{transport_protocol: tls, application_protocols: [h2]}"),
                counting("tls", "{transport_protocol: tls}"),
                counting("plain", "{transport_protocol: raw_buffer}"),
                extra=inspecting(TLS),
            ),
            made(
                "tiny",
                logged("tls", "{transport_protocol: tls}"),
                extra=inspecting(f"{TLS}, max_client_hello_size: 300, initial_read_buffer_size: 256"),
            ),
            made(
                "strict",
                logged("tls", "{transport_protocol: tls}"),
                extra=inspecting(f"{TLS}, close_connection_on_client_hello_parsing_errors: true"),
            ),
            made(
                "http",
                logged("one", "{application_protocols: [http/1.1]}"),
                logged("zero", "{application_protocols: [http/1.0]}"),
                logged("two", "{application_protocols: [h2c]}"),
                extra=inspecting(TLS, HTTP),
            ),
            made("proxy", logged("all"), extra=inspecting(f"{PROXY}, {RULE}"), default=""),
            made(
                "optional",
                logged("all"),
                extra=inspecting(
                    f"{PROXY}, allow_requests_without_proxy_protocol: true, stat_prefix: optional"
                ),
                default="",
            ),
            made(
                "only1",
                logged("all"),
                extra=inspecting(f"{PROXY}, disallowed_versions: [V2], stat_prefix: one"),
                default="",
            ),
            made(
                "only2",
                logged("all"),
                extra=inspecting(f"{PROXY}, disallowed_versions: [V1], stat_prefix: two"),
                default="",
            ),
            made(
                "state",
                logged("all"),
                extra=inspecting(
                    f"{PROXY}, tlv_location: FILTER_STATE, rules: [{{tlv_type: 2, on_tlv_present: {{key: name, value_string_encoding: BASE64}}}}]"
                ),
                default="",
            ),
            made(
                "byproxy",
                logged("port", "{destination_port: 81}"),
                logged("range", "{prefix_ranges: [{address_prefix: 10.1.0.0, prefix_len: 16}]}"),
                logged(
                    "both", "{prefix_ranges: [{address_prefix: 10.1.2.0, prefix_len: 24}], source_ports: [5]}"
                ),
                logged(
                    "direct",
                    "{prefix_ranges: [{address_prefix: 10.2.0.0, prefix_len: 16}], direct_source_prefix_ranges: [{address_prefix: 127.0.0.0, prefix_len: 8}]}",
                ),
                logged("external", "{source_type: EXTERNAL}"),
                logged("local", "{source_type: SAME_IP_OR_LOOPBACK}"),
                extra=inspecting(PROXY),
            ),
            made(
                "late",
                logged("all"),
                extra=inspecting(HTTP, more="listener_filters_timeout: 0.1s"),
                default="",
            ),
            made(
                "lateon",
                logged("all"),
                extra=inspecting(
                    HTTP, more="listener_filters_timeout: 0.1s\ncontinue_on_listener_filters_timeout: true"
                ),
                default="",
            ),
            made(
                "skipped",
                logged("all"),
                extra=f"listener_filters: [{{name: p, filter_disabled: {{any_match: true}}, typed_config: {{'@type': {FILTERS}.{PROXY}}}}}]",
                default="",
            ),
            made(
                "notskipped",
                logged("all"),
                extra=f"listener_filters: [{{name: p, filter_disabled: {{not_match: {{destination_port_range: {{start: 1, end: 65535}}}}}}, typed_config: {{'@type': {FILTERS}.{PROXY}}}}}]",
                default="",
            ),
            made(
                "rate",
                logged("all"),
                extra=inspecting(
                    "local_ratelimit.v3.LocalRateLimit, stat_prefix: rate, token_bucket: {max_tokens: 2, fill_interval: 3600s}"
                ),
                default="",
            ),
            made("twice", logged("all"), extra=inspecting(PROXY, PROXY, HTTP), default=""),
            made("original", logged("all"), extra=inspecting("original_dst.v3.OriginalDst"), default=""),
            made("useoriginal", logged("all"), extra="use_original_dst: true", default=""),
        ]
    ),
)


def client_hello(name: str | None, alpn: Sequence[str] = ()) -> bytes:
    """The first flight of a TLS client."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if alpn:
        context.set_alpn_protocols(list(alpn))
    outgoing = ssl.MemoryBIO()
    try:
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name).do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


def counted(prefix: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{prefix}.{name}" for name in names)


INSPECTED = counted(
    "tls_inspector",
    "tls_found",
    "tls_not_found",
    "sni_found",
    "sni_not_found",
    "alpn_found",
    "alpn_not_found",
    "client_hello_too_large",
)


def proxied(prefix: str = "proxy_proto") -> tuple[str, ...]:
    general = counted(prefix, "not_found_allowed", "not_found_disallowed")
    found = (f"versions.v{number}.{name}" for number in (1, 2) for name in ("found", "disallowed", "error"))
    return (*general, *counted(prefix, *found), "downstream_cx_proxy_proto_error")


async def pieces(s: Session, to: str, data: bytes, size: int, label: str) -> None:
    """A request that comes in pieces, so that a filter sees it grow."""
    client = await s.connect(to)
    for at in range(0, len(data), size):
        await client.send(data[at : at + size])
        await trio.sleep(0.002)
    await client.reply(label)
    client.close()


def v1(text: str = "TCP4 192.0.2.7 10.9.9.9 1234 443") -> bytes:
    return f"PROXY {text}\r\n".encode()


def v2(command: int = 0x21, family: int = 0x11, block: bytes | None = None, tlvs: bytes = b"") -> bytes:
    if block is None:
        block = bytes((192, 0, 2, 8, 10, 9, 9, 8)) + struct.pack(">HH", 1235, 444)
    return V2 + struct.pack(">BBH", command, family, len(block) + len(tlvs)) + block + tlvs


def tlv(kind: int, value: bytes) -> bytes:
    return struct.pack(">BH", kind, len(value)) + value


async def more_connections(s: Session, to: str, before: int) -> None:
    """Wait until the listener has had more than ``before`` connections."""
    name = f"listener.{to}.downstream_cx_total"
    await s.until_stats(lambda stats: stats[name] > before, f"^{re.escape(name)}")


async def chosen(s: Session, name: str, *parts: bytes) -> None:
    """Send these bytes to the listener ``tls`` and observe which chain they lead to."""
    async with s.counting(*INSPECTED, *(f"http.{each}.downstream_cx_total" for each in NAMES)):
        before = (await s.counters(r"^listener\.tls\.downstream_cx_total"))[
            "listener.tls.downstream_cx_total"
        ]
        client = await s.connect("tls")
        for part in parts:
            await client.send(part)
            await trio.sleep(0.002)
        await more_connections(s, "tls", before)
        client.close()
    s.see("of", name)


@scenario(SETUP)
async def listener_filter_tls_chooses(s: Session) -> None:
    """SNI and ALPN of a ClientHello choose the chain: exact names, wildcards, protocols."""
    await chosen(s, "exact", client_hello("www.example.com"))
    await chosen(s, "capitals", client_hello("WWW.Example.COM"))
    await chosen(s, "wildcard", client_hello("api.example.com", ("h2",)))
    await chosen(s, "two levels", client_hello("a.b.example.com"))
    await chosen(s, "the domain itself", client_hello("example.com"))
    await chosen(s, "other name, h2", client_hello("example.org", ("http/1.1", "h2")))
    await chosen(s, "other name", client_hello("example.org", ("http/1.1",)))
    await chosen(s, "no name", client_hello(None))
    await chosen(s, "plain text", REQUEST)


@scenario(SETUP)
async def listener_filter_tls_lets_plain_text_pass(s: Session) -> None:
    """Plain text is no TLS after five bytes, and nothing of it is lost."""
    async with s.logging(3, "plain"), s.counting(*INSPECTED):
        await s.get(to="tls")
        await pieces(s, "tls", REQUEST, 1, "byte by byte")
        await pieces(s, "tls", REQUEST, 7, "in pieces")


@scenario(SETUP)
async def listener_filter_tls_in_pieces(s: Session) -> None:
    """A ClientHello in pieces of TCP, and one in several records."""
    hello = client_hello("www.example.com", ("h2",))
    await chosen(s, "pieces", *(hello[at : at + 60] for at in range(0, len(hello), 60)))
    body = hello[5:]
    records = [
        b"\x16\x03\x01" + struct.pack(">H", len(part)) + part for part in (body[:3], body[3:100], body[100:])
    ]
    await chosen(s, "records", b"".join(records))
    await chosen(s, "records in pieces", *records)
    await chosen(s, "warning between", records[0], b"\x15\x03\x01\x00\x02\x01\x28", *records[1:])
    await chosen(s, "more behind", hello + b"\x17\x03\x01\x00\x01a")


@scenario(SETUP)
async def listener_filter_tls_that_is_broken(s: Session) -> None:
    """What is a ClientHello and what is none: names, versions, records, alerts."""
    hello = client_hello("www.example.com")
    at = hello.index(b"www.example.com")
    ssl2 = b"\x80\x1c\x01\x03\x01\x00\x03\x00\x00\x00\x10\x00\x00\x2f" + b"C" * 16
    await chosen(s, "zero in the name", hello.replace(b"www.example.com", b"www\0example.com"))
    await chosen(s, "kind of the name", hello[: at - 3] + b"\x01" + hello[at - 2 :])
    await chosen(s, "message", hello[:5] + b"\x02" + hello[6:])
    await chosen(s, "record too long", b"\x16\x03\x01\xff\xff" + hello[5:])
    await chosen(s, "other record", b"\x17\x03\x01\x00\x01a" + hello)
    await chosen(s, "alert", b"\x15\x03\x01\x00\x02\x02\x28")
    await chosen(s, "short", b"\x16\x03\x01\x00\x06\x01\x00\x00\x02\x03\x03")
    await chosen(s, "message too long", b"\x16\x03\x01\x00\x04\x01\x00\x50\x00")
    await chosen(s, "SSL 2", ssl2)
    async with s.counting(*INSPECTED):
        client = await s.connect("tls")
        await client.send(b"\x15\x03\x01\x00\x02\x01\x00")
        await client.closed("close notify")
        for version in (b"\x03\x00", b"\x03\x05"):
            client = await s.connect("tls")
            await client.send(hello[:9] + version + hello[11:])
            await client.closed(f"version {version.hex()}")


@scenario(SETUP)
async def listener_filter_tls_limits(s: Session) -> None:
    """A ClientHello beyond max_client_hello_size closes the connection; so does plain text where errors do."""
    names = (
        "downstream_cx_total",
        "downstream_listener_filter_error",
        "downstream_listener_filter_remote_close",
        "downstream_pre_cx_active",
    )
    async with s.counting(*INSPECTED, *counted("listener.tiny", *names), *counted("listener.strict", *names)):
        client = await s.connect("tiny")
        await client.send(client_hello("www.example.com", ("h2", "http/1.1", "a" * 200)))
        await client.closed("too large")
        client = await s.connect("tiny")
        await client.send(REQUEST)
        await client.reply("plain")
        client = await s.connect("strict")
        await client.send(REQUEST)
        await client.closed("strict")


@scenario(SETUP)
async def listener_filter_http_chooses(s: Session) -> None:
    """The first line tells HTTP/1.0, 1.1 and 2."""
    names = counted(
        "http_inspector", "http10_found", "http11_found", "http2_found", "http_not_found", "read_error"
    )
    async with s.logging(5, "chains"), s.counting(*names):
        await s.get(to="http", label="1.1")
        await s.http(b"GET / HTTP/1.0\r\nhost: a\r\n\r\n", "http", label="1.0")
        await pieces(s, "http", REQUEST, 3, "pieces")
        client = await s.connect_h2("http")
        await client.request([(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")])
        await pieces(s, "http", b"UNKNOWN / HTTP/1.1\r\nhost: a\r\n\r\n", 100, "another method")


@scenario(SETUP)
async def listener_filter_http_that_is_none(s: Session) -> None:
    """What is no HTTP goes to the chain that asks for none, once that is known."""
    names = counted(
        "http_inspector", "http10_found", "http11_found", "http2_found", "http_not_found", "read_error"
    )
    odd = {
        "empty line": b"\r\nGET / HTTP/1.1\r\n\r\n",
        "one word": b"HELLO\r\n\r\n",
        "two words": b"GET /\r\n\r\n",
        "version": b"GET / HTTP/11\r\n\r\n",
        "version 2": b"GET / HTTP/2.0\r\n\r\n",
        "other protocol": b"GET / FTP/1.1\r\n\r\n",
        "four words": b"GET / a HTTP/1.1\r\n\r\n",
        "method": b"G(T / HTT",
        "binary": b"\x01\x02\x03\x04\x05",
        "blank in front": b" GET / HTTP/1.1\r\n\r\n",
        "line feed": b"GET / HTTP/1.1\n\n",
        "target": b"GET x HTTP/1.1\r\n\r\n",
        "URL": b"GET http://a/b HTTP/1.1\r\n\r\n",
        "authority": b"CONNECT a:1 HTTP/1.1\r\n\r\n",
        "preface that goes wrong": b"PRI * HTTP/2.0\r\n\r\nXX",
    }
    for name, data in odd.items():
        async with s.counting(*names):
            before = (await s.counters(r"^listener\.http\.downstream_cx_total"))[
                "listener.http.downstream_cx_total"
            ]
            client = await s.connect("http")
            await client.send(data)
            await more_connections(s, "http", before)
            client.close()
        s.see("of", name)


@scenario(SETUP)
async def listener_filter_http_of_a_long_line(s: Session) -> None:
    """A first line beyond 64 KiB closes the connection."""
    names = counted("http_inspector", "http10_found", "http11_found", "http_not_found", "read_error")
    async with s.counting(
        *names,
        *counted(
            "listener.http",
            "downstream_cx_total",
            "downstream_listener_filter_error",
            "downstream_listener_filter_remote_close",
        ),
    ):
        client = await s.connect("http")
        await client.send(b"GET /")
        for _ in range(66):
            await client.send(b"a" * 1000)
            await trio.sleep(0.001)
        await client.closed()


@scenario(SETUP)
async def listener_filter_proxy_v1(s: Session) -> None:
    """Version 1 says who is connected to whom; its head is taken away, what follows stays."""
    async with s.logging(5, "chains"), s.counting(*proxied()):
        await s.http(v1() + REQUEST, "proxy", label="v4")
        await s.http(v1("TCP6 2001:db8::7 2001:DB8:0::9 1234 443") + REQUEST, "proxy", label="v6")
        await s.http(v1("TCP6 ::ffff:1.2.3.4 ::1 1 2") + REQUEST, "proxy", label="mapped")
        await s.http(b"PROXY UNKNOWN whatever\r\n" + REQUEST, "proxy", label="unknown")
        await pieces(s, "proxy", v1() + REQUEST, 1, "byte by byte")


@scenario(SETUP)
async def listener_filter_proxy_v1_that_is_broken(s: Session) -> None:
    """What is no head of version 1 closes the connection."""
    broken = {
        "request": REQUEST,
        "short": b"ab\r\n",
        "family": v1("TCP5 1.1.1.1 2.2.2.2 1 2"),
        "small letters": v1().lower(),
        "few": v1("TCP4 1.1.1.1 2.2.2.2 1"),
        "many": v1("TCP4 1.1.1.1 2.2.2.2 1 2 3"),
        "blanks": v1("TCP4  1.1.1.1 2.2.2.2 1 2"),
        "wrong family": v1("TCP4 ::1 ::1 1 2"),
        "other family": v1("TCP6 1.1.1.1 2.2.2.2 1 2"),
        "short address": v1("TCP4 1.1.1 2.2.2.2 1 2"),
        "port beyond": v1("TCP4 1.1.1.1 2.2.2.2 1 65536"),
        "negative port": v1("TCP4 1.1.1.1 2.2.2.2 -1 2"),
        "no port": v1("TCP4 1.1.1.1 2.2.2.2 a 2"),
        "any": v1("TCP4 0.0.0.0 2.2.2.2 1 2"),
        "multicast": v1("TCP4 224.0.0.1 2.2.2.2 1 2"),
        "broadcast": v1("TCP4 1.1.1.1 255.255.255.255 1 2"),
        "any of 6": v1("TCP6 :: ::1 1 2"),
        "multicast of 6": v1("TCP6 ff02::1 ::1 1 2"),
        "long": b"PROXY " + b"a" * 200 + b"\r\n",
        "long without end": b"PROXY " + b"a" * 200,
    }
    async with s.counting(
        *proxied(),
        *counted(
            "listener.proxy",
            "downstream_cx_total",
            "no_filter_chain_match",
            "downstream_listener_filter_error",
            "downstream_listener_filter_remote_close",
        ),
    ):
        for name, data in broken.items():
            client = await s.connect("proxy")
            await client.send(data)
            await client.closed(name)


@scenario(SETUP)
async def listener_filter_proxy_v1_ports(s: Session) -> None:
    """Numbers that are odd and yet ports."""
    async with s.logging(3, "chains"), s.counting(*proxied()):
        for ports in ("0 0", "080 00443", "+80 443"):
            await s.http(v1(f"TCP4 192.0.2.7 10.9.9.9 {ports}") + REQUEST, "proxy", label=ports)


@scenario(SETUP)
async def listener_filter_proxy_v2(s: Session) -> None:
    """Version 2: addresses of both families, datagrams too, its own connections, and TLVs."""
    six = (
        bytes.fromhex("20010db8000000000000000000000008")
        + bytes.fromhex("20010db8000000000000000000000009")
        + struct.pack(">HH", 7, 8)
    )
    async with s.logging(8, "chains"), s.counting(*proxied()):
        await s.http(v2() + REQUEST, "proxy", label="v4")
        await s.http(v2(family=0x21, block=six) + REQUEST, "proxy", label="v6")
        await s.http(v2(family=0x12) + REQUEST, "proxy", label="datagram")
        await s.http(v2(0x20, 0, b"") + REQUEST, "proxy", label="local")
        await s.http(v2(0x20) + REQUEST, "proxy", label="local with addresses")
        await s.http(v2(tlvs=tlv(2, b"hello") + tlv(3, b"")) + REQUEST, "proxy", label="tlvs")
        await s.http(
            v2(tlvs=tlv(2, b"a\xffb\xc3\xa9") + tlv(9, b"x" * 4000)) + REQUEST, "proxy", label="many"
        )
        await pieces(s, "proxy", v2(tlvs=tlv(9, b"x" * 300)) + REQUEST, 40, "in pieces")


@scenario(SETUP)
async def listener_filter_proxy_v2_that_is_broken(s: Session) -> None:
    """What is no head of version 2 closes the connection."""
    broken = {
        "version": v2(0x11),
        "command": v2(0x22),
        "family": v2(family=0x31, block=b"x" * 216),
        "no family": v2(family=0),
        "transport": v2(family=0x10),
        "short": v2(block=b"x" * 11),
        "multicast": v2(block=bytes((224, 0, 0, 1, 10, 9, 9, 8)) + b"\0\1\0\2"),
        "any": v2(block=bytes((1, 1, 1, 1, 0, 0, 0, 0)) + b"\0\1\0\2"),
        "tlv without length": v2(tlvs=b"\x01"),
        "tlv of half a length": v2(tlvs=b"\x01\x00"),
        "tlv too long": v2(tlvs=b"\x01\x00\x05abcd"),
    }
    async with s.counting(*proxied()):
        for name, data in broken.items():
            client = await s.connect("proxy")
            await client.send(data + REQUEST)
            await client.closed(name)


@scenario(SETUP)
async def listener_filter_proxy_that_may_be_missing(s: Session) -> None:
    """allow_requests_without_proxy_protocol: what begins otherwise goes on at once."""
    async with s.logging(5, "chains"), s.counting(*proxied("proxy_proto.optional")):
        await s.get(to="optional", label="none")
        await s.http(v1() + REQUEST, "optional", label="v1")
        await s.http(v2() + REQUEST, "optional", label="v2")
        await pieces(s, "optional", REQUEST, 1, "byte by byte")
        await pieces(s, "optional", b"PROXI / HTTP/1.1\r\nhost: a\r\n\r\n", 2, "nearly")
        client = await s.connect("optional")
        await client.send(b"PROXY TCP4 a b c d\r\n")
        await client.closed("broken")


@scenario(SETUP)
async def listener_filter_proxy_versions(s: Session) -> None:
    """disallowed_versions close the connection, and are counted."""
    async with s.logging(2, "chains"), s.counting(*proxied("proxy_proto.one"), *proxied("proxy_proto.two")):
        await s.http(v1() + REQUEST, "only1", label="1 of 1")
        await s.http(v2() + REQUEST, "only2", label="2 of 2")
        for to, data in (("only1", v2()), ("only2", v1()), ("only1", REQUEST), ("only2", REQUEST)):
            client = await s.connect(to)
            await client.send(data + REQUEST)
            await client.closed(to)


@scenario(SETUP)
async def listener_filter_proxy_chooses(s: Session) -> None:
    """Addresses of the PROXY protocol choose the chain."""
    heads = [
        "TCP4 192.0.2.7 10.9.9.9 1234 81",
        "TCP4 192.0.2.7 10.1.9.9 1234 80",
        "TCP4 192.0.2.7 10.1.2.9 5 80",
        "TCP4 192.0.2.7 10.2.2.9 5 80",
        "TCP4 192.0.2.7 10.3.2.9 5 80",
        "TCP4 10.3.2.9 10.3.2.9 5 80",
        "TCP4 127.0.0.1 10.3.2.9 5 80",
        "TCP6 2001:db8::1 2001:db8::2 5 80",
    ]
    async with s.logging(8, "chains"):
        for head in heads:
            await s.http(v1(head) + REQUEST, "byproxy", label=head)
    async with s.counting("listener.byproxy.downstream_cx_total"):
        client = await s.connect("byproxy")
        await client.send(v1("TCP4 192.0.2.7 10.1.2.9 6 80") + REQUEST)
        await client.reply("source port that is not there")


@scenario(SETUP)
async def listener_filter_proxy_in_filter_state(s: Session) -> None:
    """tlv_location FILTER_STATE keeps a TLV where an HTTP request can see it, in base64."""
    async with s.logging(1, "chains"):
        await s.http(v2(tlvs=tlv(2, b"hello\xff")) + REQUEST, "state")


@scenario(SETUP)
async def listener_filter_twice(s: Session) -> None:
    """Two PROXY filters take two heads, each its own, and the HTTP inspector sees what is left."""
    async with s.logging(1, "chains"), s.counting(*proxied(), "http_inspector.http11_found"):
        await s.http(v1() + v2() + REQUEST, "twice")


@scenario(SETUP)
async def listener_filter_timeout(s: Session) -> None:
    """A client that says nothing is closed in time, or goes on without."""
    names = ("downstream_pre_cx_timeout", "downstream_cx_total", "downstream_pre_cx_active")
    async with s.counting(*counted("listener.late", *names), *counted("listener.lateon", *names)):
        client = await s.connect("late")
        await client.send(b"GET /")
        await client.closed("late")
        client = await s.connect("lateon")
        await client.send(b"GET /")
        await s.until_stats(
            lambda stats: bool(stats.get("listener.lateon.downstream_cx_active")),
            r"^listener\.lateon\.downstream_cx_active",
        )
        await client.send(REQUEST[5:])
        await client.reply("late, and served")


@scenario(SETUP)
async def listener_filter_of_a_client_that_leaves(s: Session) -> None:
    """The client closes, at once, with bytes that are not enough, or with all that is needed."""
    names = (
        "downstream_listener_filter_error",
        "downstream_listener_filter_remote_close",
        "downstream_pre_cx_timeout",
        "downstream_cx_total",
    )
    async with s.counting(*counted("listener.proxy", *names)):
        client = await s.connect("proxy")
        client.half_close()
        await client.closed("nothing")
        client = await s.connect("proxy")
        await client.send(b"PROXY")
        client.half_close()
        await client.closed("something")
        client = await s.connect("proxy")
        await client.send(b"PROXY")
        await s.until_stats(
            lambda stats: bool(stats.get("listener.proxy.downstream_pre_cx_active")),
            r"^listener\.proxy\.downstream_pre_cx_active",
        )
        client.half_close()
        await client.closed("something, later")


@scenario(SETUP)
async def listener_filter_that_is_left_out(s: Session) -> None:
    """filter_disabled leaves a filter out for the connections that fit."""
    async with s.logging(1, "chains"), s.counting(*proxied()):
        await s.get(to="skipped")
        client = await s.connect("notskipped")
        await client.send(REQUEST)
        await client.closed("not left out")


@scenario(SETUP)
async def listener_filter_rate_limit(s: Session) -> None:
    """Connections beyond the bucket are closed before they are any."""
    s.proxy.is_spent = True
    async with s.counting("listener_local_ratelimit.rate.rate_limited", "listener.rate.downstream_cx_total"):
        await s.get(to="rate", label="first")
        await s.get(to="rate", label="second")
        client = await s.connect("rate")
        await client.closed("third")


@scenario(SETUP)
async def listener_filter_original_destination(s: Session) -> None:
    """A connection that nobody redirected has the address that it came to."""
    async with s.logging(2, "chains"):
        await s.get(to="original")
        await s.get(to="useoriginal")
