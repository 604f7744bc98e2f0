# ruff: noqa: E501  (a line of configuration reads best unbroken)
"""filter_chain_matcher by ranges of addresses, domains, prefixes and predicates, with what clients say of themselves."""

from __future__ import annotations

from typing import Any

from ..configuration import bootstrap, listener
from ..lab import Session
from ..scenario import Setup, scenario
from .filter_chains import NETWORK, taken, to
from .listener_filters import client_hello, tlv, v1, v2

SUBJECT = "connections"

KIND = "type.googleapis.com/envoy.extensions.filters"
SOURCE_PORT = taken("SourcePortInput")


def answering(name: str) -> dict[str, Any]:
    """A chain that says its name and closes."""
    config = {
        "@type": f"{KIND}.network.direct_response.v3.Config",
        "response": {"inline_string": name},
    }
    return {"name": name, "filters": [{"name": "direct", "typed_config": config}]}


def by_port(port: int, name: str) -> str:
    """A tree that finds a chain for one source port alone."""
    return f"matcher: {{matcher_tree: {{{SOURCE_PORT}, exact_match_map: {{map: {{'{port}': {{{to(name)}}}}}}}}}}}"


def custom(kind: str, fields: str) -> str:
    return f"custom_match: {{name: c, typed_config: {{'@type': type.googleapis.com/xds.type.matcher.v3.{kind}, {fields}}}}}"


def ranges(*entries: tuple[str, str, bool]) -> str:
    """An IPMatcher of (ranges, what they lead to, exclusive)."""
    listed = ", ".join(
        f"{{ranges: [{networks}], on_match: {{{found}}}, exclusive: {str(exclusive).lower()}}}"
        for networks, found, exclusive in entries
    )
    return custom("IPMatcher", f"range_matchers: [{listed}]")


def net(address: str, length: int) -> str:
    return f"{{address_prefix: '{address}', prefix_len: {length}}}"


def domains(*entries: tuple[str, str]) -> str:
    listed = ", ".join(f"{{domains: [{names}], on_match: {{{found}}}}}" for names, found in entries)
    return custom("ServerNameMatcher", f"domain_matchers: [{listed}]")


def tree(take: str, kind: str, rest: str = "other") -> str:
    return f"matcher_tree: {{{take}, {kind}}}, on_no_match: {{{to(rest)}}}"


def asked(take: str, test: str) -> str:
    """A predicate."""
    return f"single_predicate: {{{take}, {test}}}"


def listed(*entries: tuple[str, str]) -> str:
    """A list of (predicate, chain)."""
    each = ", ".join(
        f"{{predicate: {{{predicate}}}, on_match: {{{to(name)}}}}}" for predicate, name in entries
    )
    return f"matcher_list: {{matchers: [{each}]}}, on_no_match: {{{to('other')}}}"


PROXIED = (
    f"listener_filters: [{{name: pp, typed_config: {{'@type': {KIND}.listener.proxy_protocol.v3.ProxyProtocol, "
    "tlv_location: FILTER_STATE, rules: [{tlv_type: 224, on_tlv_present: {key: color}}]}}, "
    f"{{name: tls, typed_config: {{'@type': {KIND}.listener.tls_inspector.v3.TlsInspector}}}}]"
)


def choosing(name: str, matcher: str, *chains: str) -> dict[str, Any]:
    out = listener(name, extra=f"{PROXIED}\nfilter_chain_matcher: {{{matcher}}}")
    out["filter_chains"] = [answering(each) for each in (*chains, "other")]
    return out


IP_TEST = "custom_match: {name: ip, typed_config: {'@type': type.googleapis.com/envoy.extensions.matching.input_matchers.ip.v3.Ip, stat_prefix: a, cidr_ranges: [{address_prefix: 10.0.0.0, prefix_len: 8}, {address_prefix: '2001:db8::', prefix_len: 32}]}}"
SEVEN, EIGHT, H2 = "value_match: {exact: '7'}", "value_match: {exact: '8'}", "value_match: {contains: h2}"


def both(first: str, second: str, word: str = "and") -> str:
    return f"{word}_matcher: {{predicate: [{{{first}}}, {{{second}}}]}}"


PROTOCOLS = (
    "exact_match_map: {map: {\"'h2','http/1.1'\": {" + to("both") + "}, \"'h2'\": {" + to("h2") + "}}}"
)
STATE = (
    f"input: {{name: a, typed_config: {{'@type': {NETWORK}.FilterStateInput, "
    "key: envoy.network.proxy_protocol.tlv, field: color}}"
)
SETUP = Setup(
    "chain-trees",
    bootstrap(
        [
            choosing(
                "ranges",
                tree(
                    taken("SourceIPInput"),
                    ranges(
                        (f"{net('10.0.0.0', 8)}, {net('2001:db8::', 32)}", to("wide"), False),
                        (net("10.1.0.0", 16), by_port(7, "seven"), False),
                        (net("10.1.2.0", 24), by_port(8, "eight"), True),
                        (net("10.0.0.0", 8), to("never"), True),
                        (net("10.2.3.0", 24), by_port(7, "seven"), False),
                        (net("10.2.0.0", 15), to("exclusive"), True),
                        (net("11.1.1.1", 40), to("single"), False),
                        (net("12.1.1.1", 8), by_port(7, "seven"), False),
                    ),
                ),
                "wide",
                "seven",
                "eight",
                "never",
                "exclusive",
                "single",
            ),
            choosing(
                "destinations",
                tree(
                    taken("DestinationIPInput"),
                    ranges((net("10.9.9.9", 32), to("found"), False), (net("0.0.0.0", 0), to("any"), False)),
                ),
                "found",
                "any",
            ),
            choosing(
                "domains",
                tree(
                    taken("ServerNameInput"),
                    domains(
                        ("a.example.com", to("exact")),
                        ("'*.example.com', '*.org'", to("suffix")),
                        ("'*.b.example.com', UP.example.com", by_port(7, "seven")),
                        ("b.b.example.com", by_port(8, "eight")),
                    ),
                ),
                "exact",
                "suffix",
                "seven",
                "eight",
            ),
            choosing(
                "everything",
                tree(taken("ServerNameInput"), domains(("'*'", to("any")), ("a.b", by_port(7, "seven")))),
                "any",
                "seven",
            ),
            choosing(
                "prefixes",
                tree(
                    taken("DestinationIPInput"),
                    f"prefix_match_map: {{map: {{'10.': {{{to('ten')}}}, '10.9.': {{{by_port(7, 'seven')}}}, '10.9.9.8': {{{to('exact')}}}}}}}",
                ),
                "ten",
                "seven",
                "exact",
            ),
            choosing(
                "ports",
                tree(
                    taken("DestinationPortInput"),
                    f"exact_match_map: {{map: {{'443': {{{to('tls')}}}, '80': {{{to('plain')}}}}}}}",
                ),
                "tls",
                "plain",
            ),
            choosing(
                "predicates",
                listed(
                    (both(asked(taken("SourceIPInput"), IP_TEST), asked(SOURCE_PORT, SEVEN)), "both"),
                    (
                        both(asked(SOURCE_PORT, EIGHT), asked(taken("ApplicationProtocolInput"), H2), "or"),
                        "either",
                    ),
                    (f"not_matcher: {{{asked(taken('SourceIPInput'), IP_TEST)}}}", "neither"),
                ),
                "both",
                "either",
                "neither",
            ),
            choosing("protocols", tree(taken("ApplicationProtocolInput"), PROTOCOLS), "both", "h2"),
            choosing(
                "transports",
                tree(
                    taken("TransportProtocolInput"),
                    f"exact_match_map: {{map: {{tls: {{{to('tls')}}}, raw_buffer: {{{to('raw')}}}}}}}",
                ),
                "tls",
                "raw",
            ),
            choosing("states", tree(STATE, f"exact_match_map: {{map: {{red: {{{to('red')}}}}}}}"), "red"),
            choosing(
                "types",
                tree(taken("SourceTypeInput"), f"exact_match_map: {{map: {{local: {{{to('local')}}}}}}}"),
                "local",
            ),
            choosing(
                "direct",
                tree(taken("DirectSourceIPInput"), ranges((net("127.0.0.0", 8), to("loopback"), False))),
                "loopback",
            ),
        ]
    ),
)


#: Bytes that are no TLS.
PLAIN = b"plain text\r\n"


async def chosen(s: Session, name: str, label: str, data: bytes) -> None:
    """Which chain a connection that begins with these bytes gets."""
    client = await s.connect(name)
    await client.send(data)
    s.see(f"{name} {label}", (await client.wire.rest())[0].decode("latin-1"))


def source(address: str, port: int = 1, data: bytes = PLAIN) -> bytes:
    kind = "TCP6" if ":" in address else "TCP4"
    target = "2001:db8::9" if ":" in address else "10.9.9.9"
    return v1(f"{kind} {address} {target} {port} 443") + data


@scenario(SETUP)
async def chain_tree_of_ranges(s: Session) -> None:
    """The narrowest range, then the wider ones where it finds nothing; exclusive ones only in the first place."""
    for address, port in (
        ("9.9.9.9", 1), ("10.9.9.9", 1), ("10.1.1.1", 7), ("10.1.1.1", 1), ("10.1.2.3", 8), ("10.1.2.3", 7),
        ("10.1.2.3", 1), ("10.2.3.1", 7), ("10.2.3.1", 1), ("10.3.1.1", 1), ("11.1.1.1", 1), ("11.1.1.2", 1),
        ("12.9.9.9", 7), ("12.9.9.9", 1), ("2001:db8::1", 1), ("2001:db9::1", 1), ("::ffff:10.1.1.1", 7),
    ):  # fmt: skip
        await chosen(s, "ranges", f"{address} {port}", source(address, port))
    for target in ("10.9.9.9", "10.9.9.8"):
        await chosen(s, "destinations", target, v1(f"TCP4 1.1.1.1 {target} 1 1") + PLAIN)
    await chosen(s, "destinations", "six", source("2001:db8::1"))


@scenario(SETUP)
async def chain_tree_of_domains(s: Session) -> None:
    """A name, then its wildcards from the longest; a client that names nobody."""
    for name in (
        "a.example.com", "A.Example.com", "b.example.com", "example.com", "x.y.example.com", "c.b.example.com",
        "b.b.example.com", "up.example.com", "x.org", "org", "a.b",
    ):  # fmt: skip
        for port in (1, 7, 8):
            await chosen(s, "domains", f"{name} {port}", source("1.1.1.1", port, b"") + client_hello(name))
    await chosen(s, "domains", "nobody", source("1.1.1.1", data=b"") + client_hello(None))
    await chosen(s, "domains", "plain", source("1.1.1.1"))
    for name in ("a.b", "a.b.c"):
        await chosen(s, "everything", name, source("1.1.1.1", data=b"") + client_hello(name))
    await chosen(s, "everything", "a.b 7", source("1.1.1.1", 7, b"") + client_hello("a.b"))
    await chosen(s, "everything", "nobody", source("1.1.1.1", data=b"") + client_hello(None))


@scenario(SETUP)
async def chain_tree_of_the_rest(s: Session) -> None:
    """Prefixes, ports, predicates, protocols, the filter state, the kind of source, its address before the head."""
    for target in ("10.1.1.1", "10.9.1.1", "10.9.9.8", "11.1.1.1"):
        for port in (1, 7):
            await chosen(s, "prefixes", f"{target} {port}", v1(f"TCP4 1.1.1.1 {target} {port} 443") + PLAIN)
    for port in (443, 80, 8):
        await chosen(s, "ports", str(port), v1(f"TCP4 1.1.1.1 2.2.2.2 1 {port}") + PLAIN)
    for address in ("10.1.1.1", "11.1.1.1", "2001:db8::1"):
        for port in (7, 8, 9):
            await chosen(s, "predicates", f"{address} {port}", source(address, port))
    for protocols in (("h2", "http/1.1"), ("h2",), ("http/1.1",), ()):
        data = source("10.1.1.1", 9, b"") + client_hello("a", protocols)
        for name in ("predicates", "protocols", "transports"):
            await chosen(s, name, f"with {protocols}", data)
    await chosen(s, "transports", "plain", source("10.1.1.1"))
    for color in (b"red", b"blue"):
        await chosen(s, "states", color.decode(), v2(tlvs=tlv(224, color)) + PLAIN)
    await chosen(s, "states", "none", v2() + PLAIN)
    for address in ("127.0.0.1", "127.0.0.2", "10.9.9.9", "10.9.9.8"):
        await chosen(s, "types", address, source(address))
    await chosen(s, "direct", "direct", source("10.1.1.1"))
