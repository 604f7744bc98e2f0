# ruff: noqa: E501  (a line of configuration reads best unbroken)
"""udp_proxy: sessions, their hosts, what is logged and counted, and when nobody is there."""

from __future__ import annotations

import re
import signal
from typing import Any

import trio

from ..configuration import bootstrap, cluster, file_log, parse
from ..datagrams import Peer, client, exchange, host
from ..endpoints import assign, assignment, eds_cluster, endpoint, locality
from ..lab import Session
from ..scenario import Setup, scenario

SUBJECT = "connections"

UDP = "type.googleapis.com/envoy.extensions.filters.udp.udp_proxy.v3.UdpProxyConfig"
ROUTE = "type.googleapis.com/envoy.extensions.filters.udp.udp_proxy.v3.Route"
NETWORK = "type.googleapis.com/envoy.extensions.matching.common_inputs.network.v3"
LOG = (
    "session %ACCESS_LOG_TYPE% %DYNAMIC_METADATA(udp.proxy.session)% in=%BYTES_RECEIVED% out=%BYTES_SENT% %RESPONSE_CODE% "
    "%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% host=%UPSTREAM_HOST% remote=%UPSTREAM_REMOTE_ADDRESS% local=%UPSTREAM_LOCAL_ADDRESS% "
    "cluster=%UPSTREAM_CLUSTER% from=%DOWNSTREAM_REMOTE_ADDRESS% direct=%DOWNSTREAM_DIRECT_REMOTE_ADDRESS% "
    "to=%DOWNSTREAM_LOCAL_ADDRESS% proto=%PROTOCOL% route=%ROUTE_NAME% tries=%UPSTREAM_REQUEST_ATTEMPT_COUNT% id=%STREAM_ID% "
    "chain=%FILTER_CHAIN_NAME% sni=%REQUESTED_SERVER_NAME% %REQ(a)%\n"
)
PROXY_LOG = (
    "proxy %ACCESS_LOG_TYPE% %DYNAMIC_METADATA(udp.proxy.proxy)% in=%BYTES_RECEIVED% from=%DOWNSTREAM_REMOTE_ADDRESS% "
    "to=%DOWNSTREAM_LOCAL_ADDRESS% host=%UPSTREAM_HOST% cluster=%UPSTREAM_CLUSTER% %RESPONSE_FLAGS% id=%STREAM_ID%\n"
)


def to(name: str) -> dict[str, Any]:
    """An action of a match tree."""
    return {"action": {"name": "route", "typed_config": {"@type": ROUTE, "cluster": name}}}


def proxy(
    name: str, *fields: str, address: str = "127.0.0.1", extra: str = "", **config: Any
) -> dict[str, Any]:
    """A UDP listener with a proxy; it logs to ``FILE(<name>.log)``."""
    settings: dict[str, Any] = {
        "@type": UDP,
        "stat_prefix": name,
        "access_log": [file_log(f"FILE({name}.log)", LOG)],
        **config,
    }
    for field in fields:
        settings.update(parse(field))
    if "cluster" not in settings and "matcher" not in settings:
        settings["matcher"] = {"on_no_match": to("app")}
    out: dict[str, Any] = {
        "name": name,
        "stat_prefix": name,
        "address": {"socket_address": {"protocol": "UDP", "address": address, "port_value": 0}},
        "listener_filters": [{"name": "udp", "typed_config": settings}],
    }
    out.update(parse(extra) or {})
    return out


TREE = {
    "matcher_tree": {
        "input": {"name": "source", "typed_config": {"@type": f"{NETWORK}.SourceIPInput"}},
        "exact_match_map": {
            "map": {"127.0.0.1": to("app"), "127.0.0.2": to("other"), "127.0.0.3": to("nowhere")}
        },
    }
}
SETUP = Setup(
    "udp-proxy",
    bootstrap(
        [
            proxy("plain", "idle_timeout: 0.15s"),
            proxy("old", "cluster: app", "idle_timeout: 0.15s"),
            proxy("long"),
            proxy("everywhere", "idle_timeout: 0.15s", address="0.0.0.0"),
            proxy("tree", "idle_timeout: 0.15s", matcher=TREE),
            proxy("dead", "idle_timeout: 0.3s", matcher={"on_no_match": to("dead")}),
            proxy("empty", matcher={"on_no_match": to("empty")}),
            proxy("full", "idle_timeout: 0.3s", matcher={"on_no_match": to("full")}),
            proxy("two", "idle_timeout: 0.3s", matcher={"on_no_match": to("two")}),
            proxy(
                "packets",
                "use_per_packet_load_balancing: true",
                "idle_timeout: 0.3s",
                matcher={"on_no_match": to("two")},
            ),
            proxy(
                "hashed",
                "hash_policies: [{source_ip: true}]",
                "idle_timeout: 0.15s",
                matcher={"on_no_match": to("ring")},
            ),
            proxy(
                "keyed",
                "hash_policies: [{key: abc}]",
                "use_per_packet_load_balancing: true",
                "idle_timeout: 0.15s",
                matcher={"on_no_match": to("ring")},
            ),
            proxy("periodic", "access_log_options: {access_log_flush_interval: 0.1s}", "idle_timeout: 0.15s"),
            proxy(
                "small",
                "upstream_socket_config: {max_rx_datagram_size: 100, prefer_gro: false}",
                "idle_timeout: 0.3s",
                extra="udp_listener_config: {downstream_socket_config: {max_rx_datagram_size: 100}}",
            ),
            proxy(
                "gro",
                "upstream_socket_config: {max_rx_datagram_size: 100}",
                "idle_timeout: 0.3s",
                extra="udp_listener_config: {downstream_socket_config: {max_rx_datagram_size: 100, prefer_gro: true}}",
            ),
            proxy(
                "twice",
                "idle_timeout: 0.15s",
                extra="additional_addresses: [{address: {socket_address: {protocol: UDP, address: 127.0.0.9, port_value: 0}}}]",
            ),
            {
                "name": "nobody",
                "stat_prefix": "nobody",
                "address": {"socket_address": {"protocol": "UDP", "address": "127.0.0.1", "port_value": 0}},
            },
        ],
        [
            cluster("app", "app"),
            cluster("other", "other"),
            cluster("dead", "dead"),
            cluster("empty"),
            cluster(
                "full",
                "app",
                extra="circuit_breakers: {thresholds: [{max_connections: 1, track_remaining: true}]}",
            ),
            cluster("two", "app", "other"),
            cluster("ring", "app", "other", extra="lb_policy: RING_HASH"),
        ],
    ),
    {"app": "udp", "other": "udp", "dead": "dead"},
)


def counted(name: str, cluster: str = "app") -> tuple[str, ...]:
    return (
        *(
            f"udp.{name}.{each}"
            for each in (
                "downstream_sess_active",
                "downstream_sess_no_route",
                "downstream_sess_rx_bytes",
                "downstream_sess_rx_datagrams",
                "downstream_sess_rx_errors",
                "downstream_sess_total",
                "downstream_sess_tx_bytes",
                "downstream_sess_tx_datagrams",
                "downstream_sess_tx_errors",
                "idle_timeout",
                "session_filter_config_missing",
            )
        ),
        *(
            f"listener.{name}.{each}"
            for each in ("udp.downstream_rx_datagram_dropped", "downstream_cx_total", "downstream_cx_active")
        ),
        *(
            f"cluster.{cluster}.{each}"
            for each in (
                "udp.sess_rx_datagrams",
                "udp.sess_rx_datagrams_dropped",
                "udp.sess_rx_errors",
                "udp.sess_tx_datagrams",
                "udp.sess_tx_errors",
                "upstream_cx_active",
                "upstream_cx_total",
                "upstream_cx_overflow",
                "upstream_cx_none_healthy",
                "upstream_cx_rx_bytes_total",
                "upstream_cx_tx_bytes_total",
                "circuit_breakers.default.cx_open",
            )
        ),
    )


def _without_ports(line: str) -> str:
    """Addresses of loopback that are not 127.0.0.1 keep their ports otherwise."""
    return re.sub(r"(127\.0\.0\.\d+):\d+", r"\1:port", line)


async def over(s: Session, name: str) -> None:
    """Wait until the proxy has no session any more."""
    gauge = f"udp.{name}.downstream_sess_active"
    await s.until_stats(lambda stats: not stats[gauge], f"^udp.{name}.downstream_sess_active$")


@scenario(SETUP)
async def udp_session(s: Session) -> None:
    """A client's datagrams, empty ones too, go to a host through one socket, and back; the session idles out."""
    for name in ("plain", "old"):
        async with s.logging(1, name), s.counting(*counted(name)):
            with await client(s, name) as c, host(s, "app") as h:
                ports = set()
                for data in (b"hello", b"", b"x" * 1500):
                    got, back, peer = await exchange(c, h, data, b"re " + data)
                    s.see(f"{name} host", len(got))
                    s.see(f"{name} client", len(back))
                    ports.add(peer)
                s.see(f"{name} sockets", len(ports))
                await over(s, name)


@scenario(SETUP)
async def udp_sessions_of_several_clients(s: Session) -> None:
    """Every client has a session, and gets what is its own."""
    async with s.logging(3, "plain"), s.counting(*counted("plain")):
        with (
            host(s, "app") as h,
            await client(s, "plain") as a,
            await client(s, "plain") as b,
            await client(s, "plain") as c,
        ):
            peers = []
            for number, each in enumerate((a, b, c)):
                await each.send(b"%d" % number)
                peers.append((await h.take())[1])
            s.see("sockets", len(set(peers)))
            for number in (2, 0, 1):
                await h.sock.sendto(b"to %d" % number, peers[number])
            s.see("clients", [(await each.take())[0].decode() for each in (a, b, c)])
            await over(s, "plain")


@scenario(SETUP)
async def udp_host_speaks_more_than_once(s: Session) -> None:
    """A host's datagrams keep the session alive, and go to the client as they come."""
    async with s.logging(1, "plain"), s.counting(*counted("plain")):
        with await client(s, "plain") as c, host(s, "app") as h:
            _, _, peer = await exchange(c, h, b"a", b"b")
            for _ in range(4):
                await trio.sleep(0.08)
                await h.sock.sendto(b"more", peer)
                await c.take()
            await over(s, "plain")


@scenario(SETUP)
async def udp_listener_on_every_address(s: Session) -> None:
    """The answer comes from the address that the client meant; each is a session of its own."""
    for target in ("127.0.0.1", "127.0.0.77"):
        async with s.logging(1, "everywhere", _without_ports), s.counting(*counted("everywhere")):
            with host(s, "app") as h, await client(s, "everywhere", target=target) as c:
                _, back, _ = await exchange(c, h, b"to " + target.encode(), b"answer")
                s.see("client", back.decode())
                await over(s, "everywhere")


@scenario(SETUP)
async def udp_additional_address(s: Session) -> None:
    """A listener of two sockets has sessions on the first like any other."""
    async with s.logging(1, "twice"), s.counting(*counted("twice")):
        with host(s, "app") as h, await client(s, "twice") as c:
            s.see("client", (await exchange(c, h, b"a", b"b"))[1].decode())
            await over(s, "twice")


@scenario(SETUP)
async def udp_route_of_a_match_tree(s: Session) -> None:
    """The client's address chooses the cluster; one that is not there, or no match, is counted."""
    with host(s, "app") as app, host(s, "other") as other:
        for source, h, name in (("127.0.0.1", app, "app"), ("127.0.0.2", other, "other")):
            async with s.logging(1, "tree", _without_ports), s.counting(*counted("tree", name)):
                with await client(s, "tree", source=source) as c:
                    s.see(source, (await exchange(c, h, b"a", b"b"))[1].decode())
                    await over(s, "tree")
        async with s.counting(*counted("tree")):
            for source in ("127.0.0.3", "127.0.0.4"):
                before = (await s.counters("^udp.tree.downstream_sess_no_route$")).popitem()[1]
                with await client(s, "tree", source=source) as c:
                    await c.send(b"lost")
                    await s.until_stats(
                        lambda found, before=before: found["udp.tree.downstream_sess_no_route"] > before,
                        "no_route",
                    )


@scenario(SETUP)
async def udp_host_that_refuses(s: Session) -> None:
    """What a host's machine answers to a closed port counts as an error of the session, which goes on."""
    async with s.logging(1, "dead"), s.counting(*counted("dead", "dead")):
        with await client(s, "dead") as c:
            for number in range(3):
                await c.send(b"hello")
                errors = number + 1
                await s.until_stats(
                    lambda found, errors=errors: found["cluster.dead.udp.sess_rx_errors"] >= errors,
                    "sess_rx_errors",
                )
            await over(s, "dead")


@scenario(SETUP)
async def udp_nobody_there(s: Session) -> None:
    """No host, and no filter: what comes is dropped, and counted where something counts."""
    async with s.logging(0, "empty"), s.counting(*counted("empty", "empty"), *counted("nobody")):
        with await client(s, "empty") as c:
            for _ in range(2):
                await c.send(b"hello")
        with await client(s, "nobody") as c:
            await c.send(b"hello")
        await s.until_stats(
            lambda found: found["cluster.empty.upstream_cx_none_healthy"] >= 2, "none_healthy"
        )


@scenario(SETUP)
async def udp_circuit_breaker(s: Session) -> None:
    """max_connections bounds the sessions; the first goes on, another client has none until there is room."""
    async with s.logging(2, "full"), s.counting(*counted("full", "full")):
        with await client(s, "full") as a, await client(s, "full") as b, host(s, "app") as h:
            s.see("first", (await exchange(a, h, b"a", b"b"))[1].decode())
            await b.send(b"lost")
            await s.until_stats(lambda found: found["cluster.full.upstream_cx_overflow"] >= 1, "overflow")
            s.see(
                "gauges", await s.counters(r"cluster\.full\.(circuit_breakers\.default|upstream_cx_active)")
            )
            s.see("first again", (await exchange(a, h, b"c", b"d"))[1].decode())
            await over(s, "full")
    async with s.logging(1, "full"):
        with await client(s, "full") as b, host(s, "app") as h:
            s.see("second", (await exchange(b, h, b"a", b"b"))[1].decode())
            await over(s, "full")


@scenario(SETUP)
async def udp_hosts_in_turn(s: Session) -> None:
    """Each session has a host; with use_per_packet_load_balancing each datagram has."""
    async with s.counting(*counted("two", "two")):
        with (
            await client(s, "two") as a,
            await client(s, "two") as b,
            host(s, "app") as app,
            host(s, "other") as other,
        ):
            for _ in range(3):
                await a.send(b"from a")
                await b.send(b"from b")
            hosts = []
            for h in (app, other):
                got = [(await h.take())[0] for _ in range(3)]
                hosts.append(len(set(got)))
            s.see("clients of each host", hosts)
            await over(s, "two")
    async with (
        s.logging(2, "packets", lambda line: line.split(" host=")[0]),
        s.counting(*counted("packets", "two")),
    ):
        with await client(s, "packets") as c, host(s, "app") as app, host(s, "other") as other:
            for _ in range(4):
                await c.send(b"x")
            for h in (app, other):
                for _ in range(2):
                    _, peer = await h.take()
                await h.sock.sendto(b"back", peer)
                s.see("client", (await c.take())[0].decode())
            await over(s, "packets")


async def first_of(*hosts: Peer) -> int:
    """The number of the host that gets the next datagram."""
    found = []

    async def wait(number: int) -> None:
        await hosts[number].take()
        found.append(number)
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        for number in range(len(hosts)):
            nursery.start_soon(wait, number)
    return found[0]


@scenario(SETUP)
async def udp_hash_policies(s: Session) -> None:
    """By the client's address all its sessions have one host; by a key everybody has."""
    for name, sources in (
        ("hashed", ("127.0.0.1", "127.0.0.1")),
        ("keyed", ("127.0.0.1", "127.0.0.2", "127.0.0.3")),
    ):
        async with s.counting(*counted(name, "ring")):
            with host(s, "app") as app, host(s, "other") as other:
                hosts = set()
                for source in sources:
                    with await client(s, name, source=source) as c:
                        await c.send(b"x")

                        hosts.add(await first_of(app, other))
                s.see(f"{name} hosts", len(hosts))
                await over(s, name)


@scenario(SETUP)
async def udp_periodic_lines(s: Session) -> None:
    """A session writes lines from time to time, and at its end."""
    async with s.logging(2, "periodic"):
        with await client(s, "periodic") as c, host(s, "app") as h:
            await exchange(c, h, b"a", b"bc")
            await over(s, "periodic")


@scenario(SETUP)
async def udp_datagrams_that_are_too_long(s: Session) -> None:
    """What is longer than max_rx_datagram_size is dropped, each way, but not with prefer_gro."""
    for name in ("small", "gro"):
        async with s.logging(1, name), s.counting(*counted(name)):
            with await client(s, name) as c, host(s, "app") as h:
                for size in (100, 101, 1600):
                    await c.send(b"x" * size)
                await c.send(b"end")
                got = []
                while not got or got[-1] != 3:
                    data, peer = await h.take()
                    got.append(len(data))
                s.see(f"{name} host", got)
                for size in (100, 101, 1600, 30000):
                    await h.sock.sendto(b"x" * size, peer)
                await h.sock.sendto(b"end", peer)
                got = []
                while not got or got[-1] != 3:
                    got.append(len((await c.take())[0]))
                s.see(f"{name} client", got)
                await over(s, name)


LAST = Setup(
    "udp-proxy-end",
    bootstrap(
        [proxy("long", proxy_access_log=[file_log("FILE(long.log)", PROXY_LOG)])], [cluster("app", "app")]
    ),
    {"app": "udp"},
)


@scenario(LAST)
async def udp_listener_that_drains(s: Session) -> None:
    """When a listener is drained, sessions end, the proxy's line comes first."""
    s.proxy.is_spent = True
    with await client(s, "long") as c, host(s, "app") as h:
        await exchange(c, h, b"a", b"b")
        async with s.logging(2, "long"):
            await s.admin("POST /drain_listeners")
        s.see(
            "stats",
            await s.counters(r"^udp\.long|^cluster\.app\.udp|listener_manager.total_listeners_active"),
        )


@scenario(LAST)
async def udp_process_that_ends(s: Session) -> None:
    """What is open when the process ends is logged."""
    s.proxy.is_spent = True
    with await client(s, "long") as c, host(s, "app") as h:
        await exchange(c, h, b"a", b"b")
        s.proxy.signal(signal.SIGTERM)
        await s.exited()
        lines = (s.proxy.directory / "long.log").read_text().splitlines()
        s.see("log", lines)


HOSTS = Setup(
    "udp-proxy-hosts",
    bootstrap(
        [
            proxy("long", matcher={"on_no_match": to("one")}),
            proxy("packets", "use_per_packet_load_balancing: true", matcher={"on_no_match": to("one")}),
        ],
        [eds_cluster("one")],
        extra="node: {id: node1, cluster: cluster1}",
    ),
    {"app": "udp", "other": "udp"},
    {"one.yaml": assignment("one", locality(endpoint("app"))).encode()},
)


@scenario(HOSTS)
async def udp_session_of_an_unhealthy_host(s: Session) -> None:
    """The next datagram begins a session with a host that is well, where there is one."""
    with await client(s, "long") as c, host(s, "app") as app, host(s, "other") as other:
        await assign(s, "one", assignment("one", locality(endpoint("app")), version="2"))
        async with s.counting(*counted("long", "one")):
            s.see("app", (await exchange(c, app, b"a", b"b"))[1].decode())
            sick = endpoint("app", "health_status: UNHEALTHY,")
            await assign(s, "one", assignment("one", locality(sick), version="3"))
            s.see("still app", (await exchange(c, app, b"a", b"b"))[1].decode())
            text = assignment("one", locality(sick, endpoint("other")), version="4")
            await assign(s, "one", text)
            async with s.logging(1, "long"):
                s.see("other", (await exchange(c, other, b"a", b"bc"))[1].decode())
        s.see(
            "sessions",
            await s.counters(
                r"^udp\.long\.downstream_sess_active|cluster.one.circuit_breakers.default.cx_open"
            ),
        )
        # What is left ends with its host.
        async with s.logging(1, "long"):
            await assign(s, "one", assignment("one", locality(endpoint("app")), version="5"))
        await over(s, "long")


@scenario(HOSTS)
async def udp_host_that_is_removed(s: Session) -> None:
    """Sessions end with their host, and begin anew with another."""
    with host(s, "app") as app, host(s, "other") as other:
        for name in ("long", "packets"):
            await assign(s, "one", assignment("one", locality(endpoint("app"))))
            with await client(s, name) as c:
                async with s.counting(*counted(name, "one")):
                    s.see(f"{name} app", (await exchange(c, app, b"a", b"b"))[1].decode())
                    async with s.logging(1, name):
                        await assign(s, "one", assignment("one", locality(endpoint("other"))))
                    s.see(f"{name} other", (await exchange(c, other, b"a", b"b"))[1].decode())
                    async with s.logging(1, name):
                        await assign(s, "one", assignment("one", locality(endpoint("app"))))
                    await over(s, name)
