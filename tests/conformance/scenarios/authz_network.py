# ruff: noqa: E501  (a line of configuration reads best unbroken)
"""envoy.filters.network.ext_authz: connections that a service lets in, refuses, or does not answer for."""

from __future__ import annotations

from typing import Any

import trio

from tests.support import yaml_text

from ..authz import serve_checks
from ..configuration import bootstrap, cluster, file_log, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import H2Call
from ..wire import Wire
from .tcp_proxy import TCP

SUBJECT = "connections"

KIND = "type.googleapis.com/envoy.extensions.filters"
LOG = (
    "%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% in=%BYTES_RECEIVED% out=%BYTES_SENT% "
    "who=%DYNAMIC_METADATA(envoy.filters.network.ext_authz:who)%\n"
)
STATE = "envoy.filters.network.ext_authz"
WATCHED = (
    LOG.replace("\n", "")
    + "".join(
        f" %FILTER_STATE({name}:{kind})%"
        for name in (STATE, f"{STATE}.watched.shadow", "authz", "authz.shadow")
        for kind in ("PLAIN", "TYPED")
    )
    + "\n"
)
SERVICE = "transport_api_version: V3, grpc_service: {envoy_grpc: {cluster_name: authz}, timeout: 5s}"


def chain(
    name: str, fields: str = "", service: str = SERVICE, *, http: bool = False, log: str = LOG
) -> dict[str, Any]:
    """A listener with the filter in front of a TCP proxy, or of a connection manager."""
    out = listener(name, routes="- {match: {prefix: /}, direct_response: {status: 200}}", log=log)
    kind = f"{KIND}.network.ext_authz.v3.ExtAuthz"
    entry = {"name": "authz", "typed_config": parse_fields(f"stat_prefix: {name}, {service}, {fields}")}
    entry["typed_config"]["@type"] = kind
    filters = out["filter_chains"][0]["filters"]
    if not http:
        logs = [file_log(f"FILE({name}.log)", log)]
        filters[:] = [
            {
                "name": "tcp",
                "typed_config": {"@type": TCP, "stat_prefix": name, "cluster": "app", "access_log": logs},
            }
        ]
    filters.insert(0, entry)
    return out


def parse_fields(text: str) -> dict[str, Any]:

    found: dict[str, Any] = yaml_text.load(f"{{{text}}}")
    return found


SETUP = Setup(
    "authz_network",
    bootstrap(
        [
            chain(
                "main",
                "bootstrap_metadata_labels_key: labels, include_tls_session: true, include_peer_certificate: true",
            ),
            chain("open", "failure_mode_allow: true", SERVICE.replace("authz}", "dead}")),
            chain("dead", "", SERVICE.replace("authz}", "dead}")),
            chain("hurry", "", SERVICE.replace("5s", "0.05s")),
            chain(
                "other",
                "filter_enabled_metadata: {filter: a, path: [{key: b}], value: {present_match: true}}",
            ),
            chain("watched", "shadow_mode: true", log=WATCHED),
            chain(
                "watched-open",
                "shadow_mode: true, failure_mode_allow: true",
                SERVICE.replace("authz}", "dead}"),
                log=WATCHED,
            ),
            chain("watched-web", "shadow_mode: true", http=True, log=WATCHED),
            chain("nobody", "", "transport_api_version: V3"),
            chain("web", http=True),
        ],
        [cluster("app", "app"), cluster("authz", "authz", http2=True), cluster("dead", "dead", http2=True)],
        "node: {id: me, cluster: mine, metadata: {labels: {a: b}}}",
    ),
    {"app": "raw", "authz": "h2", "dead": "dead"},
)
STATS = ("cx_closed", "denied", "error", "failure_mode_allowed", "ok", "total", "disabled")


def stats(*names: str) -> list[str]:
    return [f"ext_authz.{name}.{stat}" for name in names for stat in STATS]


async def exchange(s: Session, to: str, data: bytes = b"hello", label: str = "back") -> None:
    """Send, and see what comes back or that nothing does."""
    client = await s.connect(to)
    await client.send(data)
    await client.tunnel(len(data), label)
    client.close()


@scenario(SETUP)
async def authz_network_check(s: Session) -> None:
    """What the service is asked when the first byte has come, and connections that it lets in."""
    serve_checks(s, {"dynamic_metadata": {"who": "bob"}}, {"ok_response": {"headers": []}})
    async with s.counting(*stats("main")), s.logging(2):
        await exchange(s, "main")
        # In one piece: of several, Envoy counts those again that waited for the answer.
        await exchange(s, "main", b"x" * 1000)


@scenario(SETUP)
async def authz_network_denial(s: Session) -> None:
    """Connections that are refused, and errors that are."""
    serve_checks(
        s,
        {"status": {"code": 7}, "dynamic_metadata": {"who": "eve"}},
        {"status": {"code": 7}, "denied_response": {"body": "no"}},
        {"status": {"code": 7}, "error_response": {"body": "no"}},
        sees=False,
    )
    async with s.counting(*stats("main"), "tcp.main.downstream_cx_total"), s.logging(3):
        for _ in range(3):
            await exchange(s, "main")


@scenario(SETUP)
async def authz_network_failures(s: Session) -> None:
    """A service that is not there, with failure_mode_allow and without; one that is late; none at all."""

    async def script(call: H2Call) -> None:
        await call.body()
        call.stream.body.clear()
        await trio.sleep_forever()

    s.upstream("authz").h2_script = script
    names = ("open", "dead", "hurry")
    async with s.counting(*stats(*names)):
        for name in names:
            async with s.logging(1, name):
                await exchange(s, name)


@scenario(SETUP, differs={"stats": "connections-not-asked-about"})
async def authz_network_is_not_asked(s: Session) -> None:
    """A connection that filter_enabled_metadata leaves out."""
    async with s.counting("ext_authz.other.disabled", "ext_authz.other.total"), s.logging(1, "other"):
        await exchange(s, "other")


@scenario(SETUP)
async def authz_network_holds_what_comes(s: Session) -> None:
    """What the client sends while the service thinks waits, and goes on in its order."""
    asked = trio.Event()
    may_answer = trio.Event()

    async def script(call: H2Call) -> None:
        from ..authz import GOOD, HEAD, frame, said

        await call.body()
        call.stream.body.clear()
        asked.set()
        await may_answer.wait()
        await call.answer(HEAD, frame(said({})), GOOD)

    got = bytearray()

    async def sink(wire: Wire) -> None:
        while data := await wire.some():
            got.extend(data)
            await wire.send(data)

    s.upstream("authz").h2_script = script
    s.upstream().raw_script = sink
    client = await s.connect()
    await client.send(b"first ")
    await asked.wait()
    await client.send(b"second ")
    s.see("before", bytes(got).decode())
    may_answer.set()
    await client.send(b"third")
    await client.tunnel(18, "back")


@scenario(SETUP)
async def authz_network_client_leaves(s: Session) -> None:
    """A client that resets its connection before the answer."""
    asked = trio.Event()

    async def script(call: H2Call) -> None:
        await call.body()
        call.stream.body.clear()
        asked.set()
        await trio.sleep_forever()

    s.upstream("authz").h2_script = script
    async with s.counting("ext_authz.main.total", "ext_authz.main.ok", "ext_authz.main.error"), s.logging(1):
        client = await s.connect()
        await client.send(b"first")
        await asked.wait()
        client.reset()
        await s.until_stats(lambda found: not any(found.values()), r"^ext_authz\.main\.active$")


@scenario(SETUP)
async def authz_network_in_front_of_http(s: Session) -> None:
    """In front of a connection manager."""
    serve_checks(s, {}, {"status": {"code": 7}}, sees=False)
    async with s.counting(*stats("web"), "http.web.downstream_cx_total", "http.web.downstream_rq_total"):
        await s.get("/", to="web")
        client = await s.connect("web")
        await client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        await client.closed()


@scenario(SETUP)
async def authz_network_shadow_mode(s: Session) -> None:
    """Decisions that are only watched: the connection goes on, and filter state says what had been."""
    serve_checks(
        s,
        {"ok_response": {"headers": []}},
        {
            "status": {"code": 7},
            "denied_response": {
                "status": {"code": "NotFound"},
                "body": "no",
                "headers": [{"header": {"key": "a", "value": "b"}}],
            },
        },
        {"status": {"code": 7}, "error_response": {"body": "no"}},
        {"status": {"code": 7}, "dynamic_metadata": {"who": "eve"}},
        sees=False,
    )
    async with (
        s.counting(*stats("watched"), "ext_authz.watched.shadow_denied", "ext_authz.watched.shadow_error"),
        s.logging(3, "watched"),
    ):
        for _ in range(3):
            await exchange(s, "watched")
    async with s.counting(*stats("watched-open")), s.logging(1, "watched-open"):
        await exchange(s, "watched-open")
    async with s.logging(1, "watched-web"):
        await s.get("/", to="watched-web")
