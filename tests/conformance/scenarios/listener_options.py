# ruff: noqa: E501  (a line of configuration reads best unbroken)
"""Options of listeners: sockets, connections handed to the listener that was meant, logs, drains."""

from __future__ import annotations

from typing import Any

from ..configuration import bootstrap, file_log, listener
from ..lab import Session
from ..scenario import Setup, scenario
from .filter_chains import chain, chains
from .listener_filters import FILTERS, REQUEST, v1
from .tcp_proxy import settled

SUBJECT = "connections"

LOG = "listener in=%BYTES_RECEIVED% out=%BYTES_SENT% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %PROTOCOL% chain=%FILTER_CHAIN_NAME% local=%DOWNSTREAM_LOCAL_ADDRESS% %ACCESS_LOG_TYPE% %REQ(host)%\n"
ALL = """
socket_options: [{level: 1, name: 9, int_value: 1, state: STATE_PREBIND}, {level: 6, name: 1, int_value: 1, state: STATE_LISTENING}]
freebind: true
tcp_fast_open_queue_length: 10
tcp_backlog_size: 5
connection_balance_config: {exact_balance: {}}
max_connections_to_accept_per_socket_event: 1
drain_type: MODIFY_ONLY
enable_reuse_port: false
ignore_global_conn_limit: true
traffic_direction: INBOUND
"""
PROXY = f"listener_filters: [{{name: p, typed_config: {{'@type': {FILTERS}.proxy_protocol.v3.ProxyProtocol, allow_requests_without_proxy_protocol: true}}}}]"


def at(made: dict[str, Any], address: str, port: int) -> dict[str, Any]:
    made["address"] = {"socket_address": {"address": address, "port_value": port}}
    made["bind_to_port"] = False
    return made


def logged(made: dict[str, Any]) -> dict[str, Any]:
    made["access_log"] = [file_log("FILE(listeners.log)", LOG)]
    return made


SETUP = Setup(
    "listener-options",
    bootstrap(
        [
            chains("options", chain("options"), extra=ALL),
            logged(chains("front", chain("front"), extra=f"use_original_dst: true\n{PROXY}")),
            logged(at(chains("behind", chain("behind")), "10.9.9.9", 443)),
            logged(at(chains("wide", chain("wide"), extra=PROXY), "0.0.0.0", 8443)),
            chains("keeps", chain("keeps"), extra=PROXY),
            logged(chains("none", chain("port", "{destination_port: 1}"))),
            logged(
                listener(
                    "web",
                    routes="- {match: {prefix: /}, direct_response: {status: 200}}",
                    log="request %BYTES_SENT%\n",
                    extra="stat_prefix: web",
                )
            ),
        ]
    ),
)


@scenario(SETUP)
async def listener_with_all_options(s: Session) -> None:
    """A listener with every option of its socket serves as one without."""
    for _ in range(3):
        await s.get(to="options")


@scenario(SETUP)
async def listener_hands_off(s: Session) -> None:
    """use_original_dst: a connection goes to the listener at its address, at its port, or stays."""
    names = [
        f"listener.{name}.{stat}"
        for name in ("front", "behind", "wide", "keeps")
        for stat in ("downstream_cx_total", "downstream_cx_destroy", "no_filter_chain_match")
    ]
    async with s.counting(*names):
        for destination in ("10.9.9.9 1 443", "10.9.9.9 1 8443", "10.1.1.1 1 443", "10.1.1.1 1 1"):
            address, source, port = destination.split(" ")
            async with s.logging(1, "listeners"):
                await s.http(
                    v1(f"TCP4 192.0.2.7 {address} {source} {port}") + REQUEST, "front", label=destination
                )
        async with s.logging(1, "listeners"):
            await s.get(to="front", label="not redirected")
        await s.http(v1("TCP4 192.0.2.7 10.9.9.9 1 443") + REQUEST, "keeps", label="without use_original_dst")


@scenario(SETUP)
async def listener_logs_connections(s: Session) -> None:
    """access_log of a listener: a line for every connection, also for one that has no chain."""
    async with s.logging(1, "listeners"):
        client = await s.connect("none")
        await client.closed()
    async with s.logging(1, "listeners"):
        await s.get(to="web")
        await settled(s, "web")
