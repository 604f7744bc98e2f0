"""Wasm plugins outside of HTTP filters: access loggers, and the server itself."""

from __future__ import annotations

from typing import Any

from .. import guests
from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import answers, ok

SUBJECT = "wasm"
TCP_PROXY = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
ROUTES = """
- {match: {path: /direct}, direct_response: {status: 201, body: {inline_string: direct}}}
- {match: {prefix: /}, route: {cluster: app}}
"""
LOGGER = "type.googleapis.com/envoy.extensions.access_loggers.wasm.v3.WasmAccessLog"
SERVICE = "type.googleapis.com/envoy.extensions.wasm.v3.WasmService"


def plugin(name: str, module: str) -> dict[str, Any]:
    """A ``PluginConfig``."""
    code = {"local": {"filename": f"FILE({module}.wasm)"}}
    return {
        "name": name,
        "root_id": name,
        "vm_config": {"vm_id": name, "runtime": "envoy.wasm.runtime.v8", "code": code},
    }


def logger(name: str, **more: Any) -> dict[str, Any]:
    """An ``AccessLog``."""
    config = {"@type": LOGGER, "config": plugin(name, "logger")}
    return {"name": "envoy.access_loggers.wasm", "typed_config": config, **more}


def _good_http() -> dict[str, Any]:
    found = listener("main", routes=ROUTES)
    manager = found["filter_chains"][0]["filters"][0]["typed_config"]
    comparison = {"op": "EQ", "value": {"default_value": 201, "runtime_key": "unused"}}
    manager["access_log"] += [
        logger("all-of-http"),
        logger("some-of-http", filter={"status_code_filter": {"comparison": comparison}}),
    ]
    found["access_log"] = [logger("connections")]
    return found


def _tcp() -> dict[str, Any]:
    config = {"@type": TCP_PROXY, "stat_prefix": "tcp", "cluster": "app", "access_log": [logger("tcp")]}
    filters = [{"name": "envoy.filters.network.tcp_proxy", "typed_config": config}]
    address = {"socket_address": {"address": "127.0.0.1", "port_value": 0}}
    return {"name": "tcp", "address": address, "filter_chains": [{"filters": filters}]}


def _services() -> list[dict[str, Any]]:
    return [
        {
            "name": "envoy.bootstrap.wasm",
            "typed_config": {"@type": SERVICE, "singleton": alone, "config": plugin(name, "service")},
        }
        for name, alone in (("one-for-all", True), ("one-for-each", False))
    ]


PLACES = Setup(
    "wasm_places",
    {
        **bootstrap([_good_http(), _tcp()], [cluster("app", "app")]),
        "bootstrap_extensions": _services(),
    },
    {"app": "h1"},
    {"logger.wasm": guests.logger(), "service.wasm": guests.service()},
)
COUNTED = (
    *("all-of-http", "some-of-http", "connections", "tcp", "logged", "on the root", "cannot edit"),
    *("/direct", "/", "GET", "200", "201", "direct_response", "via_upstream", "x"),
)


@scenario(PLACES)
async def wasm_logs_requests(s: Session) -> None:
    """A root context is told of requests at their end, with their headers, behind a filter for logs."""
    s.upstream().script = answers(ok(b"ok", "x-up: x"))
    async with s.counting(*(f"wasmcustom.{name}" for name in COUNTED)):
        await s.get("/direct")
        await s.get("/")
        await s.get("/")


@scenario(PLACES)
async def wasm_logs_tcp(s: Session) -> None:
    """The same for a TCP connection, which has no headers."""
    logged = "wasmcustom.tcp"
    names = ("tcp", "logged", "on the root", "cannot edit")
    async with s.counting(*(f"wasmcustom.{name}" for name in names)):
        before = (await s.counters(logged)).get(logged, 0)
        await s.get("/", to="tcp")
        await s.until_stats(lambda stats: stats.get(logged, 0) > before, logged)


@scenario(PLACES)
async def wasm_services_tick(s: Session) -> None:
    """Plugins of the server itself run without any traffic."""
    before = await s.until_stats(lambda stats: "wasmcustom.ticked" in stats, "ticked")
    await s.until_stats(lambda stats: stats["wasmcustom.ticked"] > before["wasmcustom.ticked"] + 2, "ticked")
    s.see("they tick", True)
