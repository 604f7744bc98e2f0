# ruff: noqa: E501  (a line of configuration reads best unbroken)
"""tcp_proxy: when the upstream is asked, what other filters decide for it, and what it tells of its hosts."""

from __future__ import annotations

from typing import Any

import trio

from ..configuration import bootstrap, cluster, parse
from ..lab import Session
from ..scenario import Setup, scenario
from ..tls import CERTIFICATES, connect_tls, downstream
from ..wire import Wire
from .listener_filters import tlv, v2
from .proxy_protocol_upstream import ACCEPTS, Host, to
from .tcp_proxy import counted, proxy, settled

SUBJECT = "connections"

EARLY = "max_early_data_bytes: 4096"
ON_DATA = "upstream_connect_mode: ON_DOWNSTREAM_DATA"
STATE = "type.googleapis.com/envoy.extensions.filters.network.set_filter_state.v3.Config"
LOG = (
    "%ACCESS_LOG_TYPE% in=%BYTES_RECEIVED% out=%BYTES_SENT% %RESPONSE_FLAGS% host=%UPSTREAM_HOST% "
    "cluster=%UPSTREAM_CLUSTER% tries=%UPSTREAM_REQUEST_ATTEMPT_COUNT%\n"
)


def state(*values: tuple[str, str, str], more: str = "") -> dict[str, Any]:
    """A filter that puts values (object key, factory key, format) into the filter state."""
    listed = [
        {
            "object_key": key,
            **({"factory_key": factory} if factory else {}),
            "format_string": {"text_format_source": {"inline_string": text}},
            **(parse(more) or {}),
        }
        for key, factory, text in values
    ]
    config = {"@type": STATE, "on_new_connection": listed}
    return {"name": "state", "typed_config": config}


def behind(first: dict[str, Any], name: str, *fields: str, log: str = LOG) -> dict[str, Any]:
    """A TCP proxy behind another network filter."""
    out = proxy(name, *fields, log=log)
    out["filter_chains"][0]["filters"].insert(0, first)
    return out


OUTLIERS = "outlier_detection: {interval: 100s, base_ejection_time: 100s, max_ejection_percent: 50, %s}"

SETUP = Setup(
    "tcp-options",
    bootstrap(
        [
            proxy("sick", "cluster: sick", "max_connect_attempts: 2", log=LOG),
            proxy("split", "cluster: split", "max_connect_attempts: 2", log=LOG),
            proxy("narrow", "cluster: narrow", "max_connect_attempts: 2", log=LOG),
            proxy("drained", "cluster: app", "check_drain_close: true", log=LOG),
            proxy("undrained", "cluster: app", log=LOG),
            proxy("early", "cluster: app", EARLY, log=LOG),
            proxy("ondata", "cluster: app", ON_DATA, EARLY, log=LOG),
            proxy("ondatanone", "cluster: app", ON_DATA, "max_early_data_bytes: 0", log=LOG),
            proxy("ondatadead", "cluster: dead", ON_DATA, EARLY, log=LOG),
            proxy("ondataidle", "cluster: app", ON_DATA, EARLY, "idle_timeout: 0.2s", log=LOG),
            proxy(
                "onhandshake",
                "cluster: app",
                EARLY,
                "upstream_connect_mode: ON_DOWNSTREAM_TLS_HANDSHAKE",
                log=LOG,
            ),
        ],
        [
            cluster("app", "app"),
            cluster("dead", "dead"),
            cluster("sick", "dead", "app", extra=OUTLIERS % "consecutive_5xx: 1"),
            cluster(
                "split",
                "dead",
                "app",
                extra=OUTLIERS
                % "split_external_local_origin_errors: true, consecutive_local_origin_failure: 1",
            ),
            cluster("narrow", "app", extra="circuit_breakers: {thresholds: [{max_pending_requests: 0}]}"),
        ],
    ),
    {"app": "raw", "dead": "dead"},
)


STATES = " ".join(
    f"%FILTER_STATE({key})% %FILTER_STATE({key}:PLAIN)%"
    for key in ("own", "envoy.tcp_proxy.cluster", "envoy.tcp_proxy.per_connection_idle_timeout_ms", "flag")
)
STATE_LOG = f"%ACCESS_LOG_TYPE% %RESPONSE_FLAGS% host=%UPSTREAM_HOST% cluster=%UPSTREAM_CLUSTER% {STATES}\n"
CLUSTER = "envoy.tcp_proxy.cluster"


def chosen(
    name: str, *values: tuple[str, str, str], fields: tuple[str, ...] = ("cluster: app",), more: str = ""
) -> dict[str, Any]:
    return behind(state(*values, more=more), name, *fields, log=STATE_LOG)


def hosts(*upstreams: str) -> str:
    """Endpoints with a name that a ring goes by, and a stage each."""
    listed = ", ".join(
        f"{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: PORT({up})}}}}}},"
        f" metadata: {{filter_metadata: {{envoy.lb: {{stage: {up}, hash_key: {up}}}}}}}}}"
        for up in upstreams
    )
    return f"endpoints: [{{lb_endpoints: [{listed}]}}]"


CHOSEN = Setup(
    "tcp-chosen",
    bootstrap(
        [
            chosen("bystate", (CLUSTER, "", "other")),
            chosen("nowhere", (CLUSTER, "", "nowhere")),
            chosen(
                "weighted",
                (CLUSTER, "", "other"),
                fields=("weighted_clusters: {clusters: [{name: app, weight: 1}]}",),
            ),
            chosen(
                "subset",
                (CLUSTER, "", "subset"),
                fields=("cluster: app", "metadata_match: {filter_metadata: {envoy.lb: {stage: other}}}"),
            ),
            *(
                chosen(
                    f"hash{key}",
                    ("own", "envoy.hashable_string", key),
                    fields=("cluster: ring", "hash_policy: [{filter_state: {key: own}}]"),
                )
                for key in "abc"
            ),
            chosen(
                "direct",
                ("envoy.tcp_proxy.disable_tunneling", "", "true"),
                fields=("cluster: app", "tunneling_config: {hostname: a}"),
            ),
            chosen("idle", ("envoy.tcp_proxy.per_connection_idle_timeout_ms", "", "150")),
            chosen(
                "idleno",
                ("envoy.tcp_proxy.per_connection_idle_timeout_ms", "", "x150"),
                fields=("cluster: app", "idle_timeout: 0.2s"),
            ),
            chosen(
                "kinds",
                ("own", "envoy.string", '%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT% "q"'),
                ("flag", "envoy.bool", "true"),
            ),
            chosen("empty", ("own", "envoy.string", ""), ("flag", "envoy.bool", "maybe")),
            chosen("skipped", ("own", "envoy.string", ""), more="skip_if_empty: true"),
        ],
        [
            cluster("app", "app"),
            cluster("other", "other"),
            cluster(
                "ring",
                extra=f"lb_policy: RING_HASH\nload_assignment: {{cluster_name: ring, {hosts('app', 'other')}}}",
            ),
            cluster(
                "subset",
                extra=f"lb_subset_config: {{fallback_policy: NO_FALLBACK, subset_selectors: [{{keys: [stage]}}]}}\nload_assignment: {{cluster_name: subset, {hosts('app', 'other')}}}",
            ),
        ],
    ),
    {"app": "raw", "other": "raw"},
)


@scenario(SETUP)
async def tcp_early_data(s: Session) -> None:
    """What comes before there is an upstream waits for it, and so does its end."""
    for name in ("early", "ondata", "ondatanone", "onhandshake"):

        async def answer(wire: Wire, name: str = name) -> None:
            s.see(f"{name} upstream", (await wire.rest())[0].decode())
            await wire.send(b"bye")

        s.upstream().raw_script = answer
        async with s.logging(2, name), s.counting(*counted(name)):
            client = await s.connect(name)
            await client.send(b"hello")
            client.half_close()
            await client.closed(name)
            await settled(s, name)


@scenario(SETUP)
async def tcp_upstream_is_asked_once_there_is_data(s: Session) -> None:
    """ON_DOWNSTREAM_DATA: nobody is asked before the client has said something."""
    for name in ("ondata", "ondatanone"):
        early = f"tcp.{name}.early_data_received_count_total"
        async with s.logging(2, name), s.counting(*counted(name), early):
            client = await s.connect(name)
            gauge = f"listener.{name}.downstream_cx_active"
            before = (await s.counters("cluster.app.upstream_cx_total"))["cluster.app.upstream_cx_total"]
            await s.until_stats(lambda stats: any(stats.values()), gauge)
            after = (await s.counters("cluster.app.upstream_cx_total"))["cluster.app.upstream_cx_total"]
            s.see("connections before", after - before)
            await client.send(b"hello")
            await client.tunnel(5, f"{name} echo")
            client.half_close()
            await client.closed(name)
            await settled(s, name)


@scenario(SETUP)
async def tcp_client_that_says_nothing(s: Session) -> None:
    """ON_DOWNSTREAM_DATA: the client ends its side, or resets, or waits, without a word."""
    async with s.logging(2, "ondataidle"), s.counting(*counted("ondataidle")):
        client = await s.connect("ondataidle")
        client.half_close()
        await client.closed("ended")
        await settled(s, "ondataidle")
    async with s.logging(2, "ondata"), s.counting(*counted("ondata")):
        client = await s.connect("ondata")
        client.reset()
        await settled(s, "ondata")
    async with s.logging(2, "ondataidle"), s.counting(*counted("ondataidle")):
        client = await s.connect("ondataidle")
        await client.closed("idle")
        await settled(s, "ondataidle")


@scenario(SETUP)
async def tcp_early_data_for_nobody(s: Session) -> None:
    """The upstream that is asked is not there: the data was received all the same."""
    async with s.logging(2, "ondatadead"), s.counting(*counted("ondatadead", "dead")):
        client = await s.connect("ondatadead")
        await client.send(b"hello")
        await client.closed()
        await settled(s, "ondatadead")


@scenario(CHOSEN)
async def tcp_cluster_from_the_filter_state(s: Session) -> None:
    """A cluster that a filter chose: with the metadata of the proxy, and not beside weighted ones."""
    for name in ("bystate", "weighted", "subset"):
        async with s.logging(2, name):
            client = await s.connect(name)
            await client.send(b"hello")
            await client.tunnel(5, f"{name} echo")
            client.half_close()
            await client.closed(name)
            await settled(s, name)
    async with s.logging(2, "nowhere"):
        client = await s.connect("nowhere")
        await client.closed("nowhere")
        await settled(s, "nowhere")


@scenario(CHOSEN)
async def tcp_hash_of_the_filter_state(s: Session) -> None:
    """hash_policy by what a filter kept: the same host for the same text."""
    for name in ("hasha", "hashb", "hashc"):
        async with s.logging(4, name):
            for _ in range(2):
                client = await s.connect(name)
                await client.send(b"hello")
                await client.tunnel(5, f"{name} echo")
                client.half_close()
                await client.closed(name)
                await settled(s, name)


@scenario(CHOSEN)
async def tcp_filter_state_of_a_connection(s: Session) -> None:
    """No tunnel for this connection, an idle timeout of its own, and how kinds of values show."""
    for name in ("direct", "kinds", "empty", "skipped"):
        async with s.logging(2, name):
            client = await s.connect(name)
            await client.send(b"hello")
            await client.tunnel(5, f"{name} echo")
            client.half_close()
            await client.closed(name)
            await settled(s, name)
    for name in ("idle", "idleno"):
        async with s.logging(2, name), s.counting(f"tcp.{name}.idle_timeout"):
            client = await s.connect(name)
            await client.closed(name)
            await settled(s, name)


@scenario(SETUP)
async def tcp_outliers(s: Session) -> None:
    """Connections that cannot be made eject a host, with and without a split by origin."""
    s.proxy.is_spent = True
    for name in ("sick", "split"):
        stats = (
            f"cluster.{name}.outlier_detection.{each}"
            for each in (
                "ejections_active",
                "ejections_enforced_total",
                "ejections_enforced_consecutive_5xx",
                "ejections_enforced_consecutive_local_origin_failure",
            )
        )
        async with s.counting(*stats, f"cluster.{name}.upstream_cx_total"):
            for _ in range(4):
                client = await s.connect(name)
                await client.send(b"hello")
                await client.wire.exactly(5)
                client.half_close()
                await client.closed(name)
                await settled(s, name)


@scenario(SETUP)
async def tcp_no_room_to_wait(s: Session) -> None:
    """max_pending_requests of 0: nobody's failure, tried again all the same."""
    async with (
        s.logging(2, "narrow"),
        s.counting(*counted("narrow", "narrow"), "cluster.narrow.upstream_rq_pending_overflow"),
    ):
        client = await s.connect("narrow")
        await client.closed()
        await settled(s, "narrow")


@scenario(SETUP, differs={"stats": "last-bytes-before-a-drain"})
async def tcp_drain_close(s: Session) -> None:
    """check_drain_close: what is carried next is the last."""
    await s.proxy.admin("POST", "/healthcheck/fail")
    try:
        for name in ("drained", "undrained"):
            async with (
                s.logging(2, name),
                s.counting(*counted(name), f"tcp.{name}.downstream_cx_drain_close"),
            ):
                client = await s.connect(name)
                await client.send(b"hello")
                if name == "undrained":
                    await client.tunnel(5, f"{name} echo")
                    client.half_close()
                await client.closed(name)
                await settled(s, name)
    finally:
        await s.proxy.admin("POST", "/healthcheck/ok")


@scenario(SETUP)
async def tcp_slow_readers(s: Session) -> None:
    """An upstream and a client that do not read for a while: reading pauses, and goes on."""
    size = 24 * 1024 * 1024
    go = trio.Event()

    async def answer(wire: Wire) -> None:
        await go.wait()
        await wire.exactly(size)
        await wire.send(bytes(size))
        await wire.rest()

    s.upstream().raw_script = answer
    names = (
        "tcp.undrained.downstream_flow_control_paused_reading_total",
        "tcp.undrained.downstream_flow_control_resumed_reading_total",
        "cluster.app.upstream_flow_control_paused_reading_total",
        "cluster.app.upstream_flow_control_resumed_reading_total",
    )
    before = await s.counters("flow_control")
    client = await s.connect("undrained")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.wire.send, bytes(size))
        await s.until_stats(lambda stats: stats[names[0]] > before[names[0]], names[0])
        go.set()
    await s.until_stats(lambda stats: stats[names[2]] > before[names[2]], names[2])
    await client.wire.exactly(size)
    client.half_close()
    await client.closed()
    await settled(s, "undrained")
    after = await s.counters("flow_control")
    for name in names:
        s.see(name, after[name] > before[name])
    s.see("as often", after[names[0]] - before[names[0]] == after[names[1]] - before[names[1]])


def secured(name: str, *fields: str, filters: tuple[dict[str, Any], ...] = ()) -> dict[str, Any]:
    """A TCP proxy behind TLS."""
    log = "%ACCESS_LOG_TYPE% %RESPONSE_FLAGS% in=%BYTES_RECEIVED% tls=%FILTER_STATE(tls)% now=%FILTER_STATE(now)%\n"
    out = proxy(name, "cluster: app", *fields, log=log)
    out["filter_chains"][0]["transport_socket"] = downstream()
    out["filter_chains"][0]["filters"][:0] = filters
    return out


TLS_STATE = state(("now", "envoy.string", "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"))
TLS_STATE["typed_config"]["on_downstream_tls_handshake"] = state(
    ("tls", "envoy.string", "%DOWNSTREAM_TLS_CIPHER%")
)["typed_config"]["on_new_connection"]
SECURED = Setup(
    "tcp-secured",
    bootstrap(
        [
            secured("state", filters=(TLS_STATE,)),
            secured("handshake", "upstream_connect_mode: ON_DOWNSTREAM_TLS_HANDSHAKE", EARLY),
            secured("data", ON_DATA, EARLY),
            secured("plain"),
        ],
        [cluster("app", "app")],
    ),
    {"app": "raw"},
    CERTIFICATES,
)


@scenario(SECURED)
async def tcp_modes_behind_tls(s: Session) -> None:
    """What a filter keeps once the handshake is over, and upstreams that are asked behind it."""
    for name in ("state", "handshake", "data"):
        async with s.logging(2, name), s.counting("cluster.app.upstream_cx_total"):
            client = await connect_tls(s, name, is_seen=False)
            assert client is not None
            await client.send(b"hello")
            s.see(name, (await client.wire.exactly(5)).decode())
            client.close()
            await settled(s, name)


@scenario(SECURED)
async def tcp_handshakes_that_fail(s: Session) -> None:
    """No TLS where it is asked for: no upstream is asked where that waits for the handshake, or for data."""
    for name in ("handshake", "data"):
        async with s.logging(2, name), s.counting("cluster.app.upstream_cx_total"):
            client = await s.connect(name)
            await client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            await client.wire.rest()
            await settled(s, name)


@scenario(SECURED, differs={"stats": "upstream-of-a-failed-handshake"})
async def tcp_handshake_that_fails_beside_its_upstream(s: Session) -> None:
    """By default the upstream is asked while the client still shakes hands."""
    async with s.counting("cluster.app.upstream_cx_total"):
        client = await s.connect("plain")
        await client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        await client.wire.rest()
        await settled(s, "plain")


TLVS = "proxy_protocol_tlvs: [{type: 225, format_string: {text_format_source: {inline_string: 'from %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%'}}}, {type: 224, value: b3du}, {type: 226, value: eA==}]"
POLICIES = ("absent", "overwrite", "append")
TOLD = Setup(
    "tcp-told",
    bootstrap(
        [
            proxy(
                name,
                "cluster: told",
                TLVS,
                f"proxy_protocol_tlv_merge_policy: {number}",
                extra=ACCEPTS,
                log=LOG,
            )
            for number, name in enumerate(POLICIES)
        ],
        [to("told", "version: V2, pass_through_tlvs: {match_type: INCLUDE_ALL}")],
    ),
    {"app": "raw"},
)


@scenario(TOLD)
async def tcp_tlvs(s: Session) -> None:
    """proxy_protocol_tlvs in the head to the upstream, alone and beside what came in the client's own."""
    client_head = v2(tlvs=tlv(0xE0, b"came") + tlv(0xE5, b"too"))
    for name in POLICIES:
        for label, head in (("without", b""), ("with", client_head)):
            host = Host(s)
            async with s.logging(2, name):
                client = await s.connect(name)
                await client.send(head + b"hello\n")
                await client.tunnel(5, f"{name} {label}")
                client.half_close()
                await client.closed()
                await settled(s, name)
            s.see(f"{name} {label} head", host.heads[0][0].split(" ", 6)[6])
