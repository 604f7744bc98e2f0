# ruff: noqa: E501  (a line of configuration reads best unbroken)
"""Which filter chain a connection gets: matches, their order, the default chain, match trees."""

from __future__ import annotations

from typing import Any

from ..configuration import bootstrap, listener
from ..lab import Session
from ..scenario import Setup, scenario

SUBJECT = "connections"

NETWORK = "type.googleapis.com/envoy.extensions.matching.common_inputs.network.v3"
LOG = "chain=%FILTER_CHAIN_NAME% %RESPONSE_CODE% local=%DOWNSTREAM_LOCAL_ADDRESS% remote=%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%\n"


def chain(name: str, match: str = "", stat_prefix: str = "", log: str = LOG) -> dict[str, Any]:
    """A filter chain that answers with its own name."""
    routes = f"- {{match: {{prefix: /}}, direct_response: {{status: 200, body: {{inline_string: {name}}}}}}}"
    made = listener(stat_prefix or "chains", routes=routes, log=log, extra=match and f"match: {match}")
    out = {"name": name, "filters": made["filter_chains"][0]["filters"]}
    if match:
        out["filter_chain_match"] = made["match"]
    return out


def chains(name: str, *found: dict[str, Any], extra: str = "", default: str = "") -> dict[str, Any]:
    """A listener that chooses among these chains; its stats are ``listener.<name>.``."""
    out = listener(name, extra=extra)
    out["stat_prefix"] = name
    out["filter_chains"] = list(found)
    if default:
        out["default_filter_chain"] = chain(default)
    return out


def stats(name: str) -> tuple[str, ...]:
    return tuple(
        f"listener.{name}.{each}"
        for each in (
            "no_filter_chain_match",
            "downstream_cx_total",
            "downstream_cx_destroy",
            "downstream_cx_active",
            "downstream_pre_cx_active",
            "http.chains.downstream_rq_2xx",
        )
    )


def to(name: str) -> str:
    return f"action: {{name: a, typed_config: {{'@type': type.googleapis.com/google.protobuf.StringValue, value: {name}}}}}"


def taken(name: str) -> str:
    return f"input: {{name: a, typed_config: {{'@type': {NETWORK}.{name}}}}}"


def tree(name: str, value: str, rest: str = "") -> str:
    """``filter_chain_matcher``: one value of an input leads to the chain ``found``."""
    more = f", on_no_match: {{{to(rest)}}}" if rest else ""
    return f"filter_chain_matcher: {{matcher_tree: {{{taken(name)}, exact_match_map: {{map: {{{value!r}: {{{to('found')}}}}}}}}}{more}}}"


SETUP = Setup(
    "filter-chains",
    bootstrap(
        [
            chains(
                "source",
                chain("external", "{source_type: EXTERNAL}"),
                chain("local", "{source_type: SAME_IP_OR_LOOPBACK}"),
                chain("any"),
            ),
            chains(
                "ranges",
                chain("wide", "{source_prefix_ranges: [{address_prefix: 127.0.0.0, prefix_len: 8}]}"),
                chain(
                    "narrow",
                    "{source_prefix_ranges: [{address_prefix: 127.0.0.1, prefix_len: 32}, {address_prefix: 10.0.0.0, prefix_len: 8}]}",
                ),
                chain("any"),
            ),
            chains("default", chain("port", "{destination_port: 1}"), default="fallback"),
            chains(
                "none",
                chain("port", "{destination_port: 1}"),
                chain("tls", "{transport_protocol: tls, destination_port: 2}"),
            ),
            # What is more specific is followed alone, and leads to nothing.
            chains(
                "deadend",
                chain("plain", "{transport_protocol: raw_buffer, source_ports: [1]}"),
                chain("any"),
            ),
            chains("onlydefault", default="fallback"),
            chains(
                "treeip", chain("found"), chain("other"), extra=tree("SourceIPInput", "127.0.0.1", "other")
            ),
            chains("treetype", chain("found"), extra=tree("SourceTypeInput", "local")),
            chains(
                "treeprotocol",
                chain("found"),
                extra=tree("TransportProtocolInput", "raw_buffer"),
                default="fallback",
            ),
            chains("treename", chain("found"), extra=tree("ServerNameInput", "a"), default="fallback"),
            chains(
                "treeabsent",
                chain("found"),
                extra=tree("DirectSourceIPInput", "127.0.0.2", "nowhere"),
                default="fallback",
            ),
        ]
    ),
)


@scenario(SETUP)
async def filter_chain_of_the_source(s: Session) -> None:
    """Source types and ranges: the narrowest range counts, local before any."""
    async with s.logging(2, "chains"):
        for name in ("source", "ranges"):
            await s.get(to=name, label=name)


@scenario(SETUP)
async def filter_chain_by_default(s: Session) -> None:
    """default_filter_chain serves what no match fits, also where there is nothing else."""
    async with s.logging(2, "chains"), s.counting(*stats("default")):
        for name in ("default", "onlydefault"):
            await s.get(to=name, label=name)


@scenario(SETUP)
async def filter_chain_that_nobody_is(s: Session) -> None:
    """No chain: the connection is closed and counts as no connection of the listener."""
    async with s.counting(*stats("none"), *stats("deadend")):
        for name in ("none", "deadend"):
            client = await s.connect(name)
            await client.closed(f"{name} at once")
            client = await s.connect(name)
            await client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            await client.closed(f"{name} with a request")


@scenario(SETUP)
async def filter_chain_of_a_tree(s: Session) -> None:
    """filter_chain_matcher by source address, source type, transport protocol, server name."""
    async with s.logging(4, "chains"):
        for name in ("treeip", "treetype", "treeprotocol", "treename"):
            await s.get(to=name, label=name)


@scenario(SETUP)
async def filter_chain_of_a_tree_that_is_not_there(s: Session) -> None:
    """An action that names no chain closes the connection, whatever the default chain."""
    async with s.counting(*stats("treeabsent")):
        client = await s.connect("treeabsent")
        await client.closed()
