"""Outlier detection in detail: degraded hosts, errors by choice, what the router reports, and when."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import trio

from ..client import get
from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..proxy import POLL_S
from ..scenario import Setup, scenario
from ..upstream import Call, H2Call
from .outliers import NEVER, ask, events, look, until_ejected

SUBJECT = "upstream"

OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
ROUTE = "- {{match: {{prefix: /{0}/}}, route: {{cluster: {0}, timeout: {1}}}}}\n"


def errors(predicate: str) -> str:
    return (
        f"typed_extension_protocol_options: {{{OPTIONS}: {{'@type': type.googleapis.com/{OPTIONS}, "
        f"explicit_http_config: {{http_protocol_options: {{}}}}, "
        f"outlier_detection: {{error_matcher: {predicate}}}}}}}"
    )


def having(name: str, value: str) -> str:
    test = f"{{name: '{name}', string_match: {{exact: '{value}'}}}}"
    return f"{{http_response_headers_match: {{headers: [{test}]}}}}"


def detecting(fields: str) -> str:
    return f"outlier_detection: {{max_ejection_percent: 100, {fields}}}"


ASKED = "{http_request_headers_match: {headers: [{name: host}]}}"
SOON = "interval: 0.1s, base_ejection_time: 0.1s, max_ejection_time: 5s"
GATEWAY = "consecutive_5xx: 100, consecutive_gateway_failure: 1, enforcing_consecutive_gateway_failure: 100"
SPLIT = "split_external_local_origin_errors: true, consecutive_local_origin_failure: 2, consecutive_5xx: 2"
CHECK = (
    "health_checks: [{timeout: 1s, interval: 0.05s, no_traffic_interval: 0.05s, unhealthy_threshold: 1, "
    "healthy_threshold: 1, http_health_check: {path: /healthz}}]"
)
CLUSTERS: dict[str, tuple[Sequence[str], str]] = {
    "degrading": (
        ("one", "two"),
        detecting(f"{NEVER}, detect_degraded_hosts: true, max_ejection_percent: 1"),
    ),
    "recovering": (("one",), detecting(f"{SOON}, detect_degraded_hosts: true, consecutive_5xx: 1")),
    "matched": (("one",), f"{detecting(f'{NEVER}, consecutive_5xx: 2')}, {errors(having(':status', '429'))}"),
    "gateway": (("one",), f"{detecting(f'{NEVER}, {GATEWAY}')}, {errors(having('x-bad', 'yes'))}"),
    "unmatched": (
        ("one",),
        f"{detecting(f'{NEVER}, consecutive_5xx: 1')}, "
        + errors(f"{{or_match: {{rules: [{ASKED}, {{not_match: {{any_match: true}}}}]}}}}"),
    ),
    "negated": (
        ("one",),
        f"{detecting(f'{NEVER}, consecutive_5xx: 1')}, "
        + errors(f"{{and_match: {{rules: [{{not_match: {ASKED}}}, {{any_match: true}}]}}}}"),
    ),
    "reset": (("one",), detecting(f"{NEVER}, {SPLIT}")),
    "cut": (("one",), detecting(f"{NEVER}, {SPLIT}")),
    "hanging": (("one",), detecting(f"{NEVER}, {SPLIT}")),
    "unanswered": (("one",), detecting(f"{NEVER}, consecutive_5xx: 2")),
    "rpc": (("rpc",), detecting(f"{NEVER}, consecutive_5xx: 3")),
}
CHECKED: dict[str, tuple[Sequence[str], str]] = {
    "checked": (("one",), f"{detecting(f'{NEVER}, consecutive_5xx: 1')}, {CHECK}"),
    "kept": (
        ("one",),
        detecting(f"{NEVER}, consecutive_5xx: 1, successful_active_health_check_uneject_host: false")
        + f", {CHECK}",
    ),
}


def setup(name: str, clusters: dict[str, tuple[Sequence[str], str]]) -> Setup:
    return Setup(
        name,
        bootstrap(
            [listener("main", routes="".join(ROUTE.format(each, "0.1s") for each in clusters))],
            [
                cluster(each, *upstreams, extra=f"{{{fields}}}", http2=each == "rpc")
                for each, (upstreams, fields) in clusters.items()
            ],
            "cluster_manager: {outlier_detection: {event_log_path: FILE(events.log)}}",
        ),
        {"one": "h1", "two": "h1", "rpc": "h2"},
    )


DETAILS, HEALTH = setup("outlier_details", CLUSTERS), setup("outlier_health", CHECKED)


def arm(s: Session) -> None:
    """Upstreams answer as the path says: `/cluster/503,x-header@one`, others than `one` with 200."""
    s.proxy.is_spent = True

    def script(name: str) -> None:
        async def serve(call: Call) -> None:
            wanted = call.path.partition("@")[2]
            found = re.match(r"/\w+/(\d+|\w+)(?:,([\w:-]+))?", call.path)
            word = found[1] if found and wanted in ("", name) else "200"
            header = (
                f"{found[2].replace(':', ': ')}\r\n" if found and found[2] and wanted in ("", name) else ""
            )
            if word == "reset":
                await call.reset()
            elif word == "cut":
                await call.send(b"HTTP/1.1 200 X\r\ncontent-length: 10\r\n\r\nabc")
                await call.reset()
            elif word == "hang":
                await call.gone()
            else:
                status = word if word.isdigit() else "200"
                await call.send(f"HTTP/1.1 {status} X\r\n{header}content-length: 0\r\n\r\n".encode())

        s.upstream(name).script = serve

    script("one")
    script("two")


async def flags(s: Session, name: str) -> list[str]:
    lines = (await s.proxy.admin("GET", "/clusters")).body.decode().splitlines()
    return [each.rpartition("::")[2] for each in lines if re.match(rf"{name}::127.*health_flags", each)]


async def until_flags(s: Session, name: str, *wanted: str) -> None:
    while await flags(s, name) != list(wanted):  # noqa: ASYNC110 - another process
        await trio.sleep(POLL_S)


@scenario(DETAILS)
async def outlier_degraded(s: Session) -> None:
    """A host that says so is degraded, whatever share of them that is; an error is none of it."""
    arm(s)
    s.see("error", await ask(s, "/degrading/500,x-envoy-degraded:1", 2))
    await ask(s, "/degrading/404,x-envoy-degraded:1@one", 2)
    await until_flags(s, "degrading", "/degraded_outlier_detection", "healthy")
    await ask(s, "/degrading/200,x-envoy-degraded:1", 10)
    await until_flags(s, "degrading", "/degraded_outlier_detection", "/degraded_outlier_detection")
    await ask(s, "/degrading/200,x-envoy-degraded:1", 2)
    s.see("stats", await s.counters(r"^cluster\.degrading\.(outlier_detection\.ej.*(deg|act)|membership_)"))
    reply = await s.proxy.admin("GET", "/clusters?format=json")
    statuses = json.loads(reply.body)["cluster_statuses"]
    (hosts,) = [each["host_statuses"] for each in statuses if each["name"] == "degrading"]
    s.see("json", [json.dumps(host["health_status"]) for host in hosts])
    await events(s, "degrading", 1)
    for upstream in s.upstreams.values():
        upstream.seen.clear()


@scenario(DETAILS)
async def outlier_degraded_recovers(s: Session) -> None:
    """It is itself again after its time, be it ejected meanwhile or not."""
    arm(s)
    for path in ("200,x-envoy-degraded:1", "200,x-envoy-degraded:1"):
        await ask(s, f"/recovering/{path}", 1)
        await until_flags(s, "recovering", "/degraded_outlier_detection")
        await until_flags(s, "recovering", "healthy")
    await ask(s, "/recovering/200,x-envoy-degraded:1", 1)
    await ask(s, "/recovering/500", 1)
    await until_flags(s, "recovering", "/failed_outlier_check/degraded_outlier_detection")
    await until_flags(s, "recovering", "healthy")
    await events(s, "recovering", 8)
    stats = await s.counters(r"^cluster\.recovering\.(outlier_detection\.|membership_)")
    s.see("stats", {name: value for name, value in stats.items() if value})
    for upstream in s.upstreams.values():
        upstream.seen.clear()


@scenario(DETAILS)
async def outlier_errors_by_choice(s: Session) -> None:
    """With an error_matcher it says what an error is: a 500, whatever the status."""
    arm(s)
    s.see("500s", await ask(s, "/matched/500", 4))
    s.see("429s", await ask(s, "/matched/429", 2))
    await until_ejected(s, "matched", 1)
    s.see("bad", await ask(s, "/gateway/503,x-bad:yes", 2))
    s.see("unmatched", await ask(s, "/unmatched/503", 2))
    s.see("negated", await ask(s, "/negated/200", 1))
    await until_ejected(s, "negated", 1)
    await look(s, "matched")
    for name in ("gateway", "unmatched"):
        s.see(name, await flags(s, name))


@scenario(DETAILS)
async def outlier_resets(s: Session) -> None:
    """A connection that breaks before an answer is a failure of local origin; behind a head, too."""
    arm(s)
    s.see("reset", await ask(s, "/reset/reset", 1))
    s.see("reset again", await ask(s, "/reset/reset", 1))
    await look(s, "reset")
    for _ in range(2):
        client = await s.connect()
        await client.send(b"GET /cut/cut HTTP/1.1\r\nhost: a\r\n\r\n")
        await client.reply("cut")
        client.close()
    await look(s, "cut")


@scenario(DETAILS)
async def outlier_timeouts_of_local_origin(s: Session) -> None:
    """With the split a timeout is a failure of local origin, without it a 504."""
    arm(s)
    s.see("hanging", await ask(s, "/hanging/hang", 2))
    await look(s, "hanging")
    s.see("unanswered", await ask(s, "/unanswered/hang", 2))
    await until_ejected(s, "unanswered", 1)
    await look(s, "unanswered")


@scenario(DETAILS)
async def outlier_grpc_statuses(s: Session) -> None:
    """A call counts by the status in its head; what stands in trailers comes too late."""
    s.proxy.is_spent = True
    head = [(":status", "200"), ("content-type", "application/grpc")]

    async def serve(call: H2Call) -> None:
        await call.body()
        code = call.path.rpartition("/")[2]
        if "late" in call.path:
            await call.answer(head, b"\0\0\0\0\0", [("grpc-status", code)])
        else:
            await call.answer([*head, ("grpc-status", code)])

    s.upstream("rpc").h2_script = serve
    client = await s.connect_h2()
    for codes in (("late/14",) * 4, ("14", "8", "15"), ("13", "2")):
        for code in codes:
            fields = [*get(f"/rpc/{code}", method="POST"), ("content-type", "application/grpc")]
            await (await client.start(fields, b"\0\0\0\0\0")).ended.wait()
        s.see(" ".join(codes), await flags(s, "rpc"))
    await until_ejected(s, "rpc", 1)
    await look(s, "rpc")


@scenario(HEALTH)
async def outlier_health_check_lets_back_in(s: Session) -> None:
    """A good health check ends an ejection, unless it is told not to."""
    arm(s)
    for name in ("checked", "kept"):
        await until_flags(s, name, "healthy")
        s.see(name, await ask(s, f"/{name}/500", 1))
    await until_flags(s, "checked", "healthy")
    await events(s, "checked", 2)
    await until_flags(s, "kept", "/failed_outlier_check")
    attempt = "cluster.kept.health_check.success"
    wanted = (await s.counters(attempt))[attempt] + 2
    await s.until_stats(lambda stats: stats[attempt] >= wanted, attempt)
    s.see("flags", await flags(s, "kept"))
    for upstream in s.upstreams.values():
        upstream.seen.clear()
