"""The admin server: methods, codes, headers and shapes of its answers."""

from __future__ import annotations

import json
import re
from functools import partial
from urllib.parse import quote

import trio

from ..client import get
from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..proxy import POLL_S
from ..scenario import Setup, scenario
from ..wire import Wire, head, read_response

SUBJECT = "observability"

ROUTES = """
- {match: {path: /direct}, direct_response: {status: 200, body: {inline_string: here}}}
- {match: {prefix: /}, route: {cluster: app}}
"""
ADMIN = Setup(
    "admin",
    bootstrap(
        [
            listener("main", "drain_timeout: 0.1s", routes=ROUTES),
            listener("other", routes=ROUTES, extra="stat_prefix: other"),
        ],
        [cluster("app", "app")],
        "node: {id: node-1, cluster: cluster-1}",
    ),
    {"app": "h1"},
)
COMMANDS = """
/: /clusters: /config_dump: /drain_listeners /healthcheck/fail /healthcheck/ok /help: /listeners: /logging
/quitquitquit /ready: /server_info: /stats: /stats/prometheus:
"""


def keys(value: object) -> object:
    """The shape of parsed JSON: keys and kinds of values."""
    if isinstance(value, dict):
        return {key: keys(item) for key, item in value.items()}
    if isinstance(value, list):
        return [keys(item) for item in value[:1]]
    return type(value).__name__


@scenario(ADMIN)
async def admin_ready(s: Session) -> None:
    """/ready in every method."""
    await s.admin("GET /ready")
    await s.admin("POST /ready")
    await s.admin("HEAD /ready")


@scenario(ADMIN, differs=dict.fromkeys(("behind /ready", "behind /nothing"), "bodies-behind-heads"))
async def admin_head(s: Session) -> None:
    """What follows the head of an answer to HEAD."""
    for path in ("/ready", "/nothing"):
        stream = await trio.open_tcp_stream("127.0.0.1", s.proxy.admin_port)
        async with stream:
            lines = f"HEAD {path} HTTP/1.1", "host: admin", "connection: close", "", ""
            await stream.send_all("\r\n".join(lines).encode())
            received = b"".join([chunk async for chunk in stream])
        head, _, rest = received.partition(b"\r\n\r\n")
        s.see(f"status of {path}", head.split(b"\r\n")[0].decode())
        s.see(f"behind {path}", "a body" if rest else "nothing")


@scenario(ADMIN)
async def admin_health_check(s: Session) -> None:
    """/healthcheck/fail makes /ready a 503 until /healthcheck/ok."""
    await s.admin("GET /healthcheck/fail")
    await s.admin("POST /healthcheck/fail")
    await s.admin("GET /ready", "failing")
    await s.admin("GET /server_info", "failing info", body=lambda text: json.loads(text)["state"])
    await s.get("/direct", label="traffic while failing")
    await s.admin("POST /healthcheck/ok")
    await s.admin("GET /ready", "fine again")


@scenario(ADMIN)
async def admin_unknown_and_wrong_method(s: Session) -> None:
    """An unknown path is a 404 with the help; GET of a path that changes something is a 405."""
    await s.admin("GET /nothing", body=lambda text: text.splitlines()[0])
    for path in ("/logging", "/quitquitquit", "/healthcheck/ok", "/drain_listeners", "/reset_counters"):
        await s.admin(f"GET {path}")


@scenario(ADMIN)
async def admin_help(s: Session) -> None:
    """/help names the commands that both have, with their descriptions."""

    def described(text: str) -> dict[str, str]:
        lines = [line.strip() for line in text.splitlines() if line.startswith("  /")]
        found = {line.split(" ")[0].rstrip(":"): line for line in lines}
        return {name: found.get(name, "absent") for name in COMMANDS.replace(":", "").split()}

    await s.admin("GET /help", body=described)


@scenario(ADMIN)
async def admin_home(s: Session) -> None:
    """/ is an HTML page."""
    await s.admin("GET /", body=lambda text: text.split("\n")[0])


@scenario(ADMIN)
async def admin_listeners(s: Session) -> None:
    """/listeners as text and as JSON."""
    await s.admin("GET /listeners")
    await s.admin(
        "GET /listeners?format=json", body=lambda text: re.sub(r'"port_value": \d+', "<port>", text)
    )


@scenario(ADMIN)
async def admin_clusters(s: Session) -> None:
    """/clusters as text after one request, and as JSON."""

    def fixed(text: str) -> list[str]:
        return [line for line in text.splitlines() if not re.search(r"::(cx_active|cx_total|rq_)", line)]

    await s.get("/up")
    await s.admin("GET /clusters", body=lambda text: sorted(fixed(text)))
    await s.admin("GET /clusters?format=json", body=lambda text: keys(json.loads(text)))


@scenario(ADMIN)
async def admin_server_info(s: Session) -> None:
    """/server_info: its keys, and the values that do not depend on the run."""

    def stable(text: str) -> object:
        info = json.loads(text)
        options = info["command_line_options"]
        named = {name: options.get(name) for name in ("concurrency", "mode", "log_level", "drain_time")}
        node = {name: info["node"].get(name) for name in ("id", "cluster")}
        kinds = {key: type(value).__name__ for key, value in info.items()}
        return {"keys": sorted(kinds.items()), "options": named, "node": node, "state": info["state"]}

    await s.admin("GET /server_info", body=stable)


@scenario(ADMIN)
async def admin_stats_formats(s: Session) -> None:
    """/stats as text, JSON and for Prometheus, with filters and their errors."""
    names = "|".join(
        (
            r"http\.other\.downstream_rq_[12]xx",
            r"http\.other\.downstream_cx_active",
            r"listener\.other\.downstream_cx_total",
        )
    )
    query = quote(f"^({names})$")
    await s.admin(f"GET /stats?filter={query}", "text")
    await s.admin(f"GET /stats?format=json&filter={query}", "json", body=json.loads)
    await s.admin(f"GET /stats/prometheus?filter={query}", "prometheus")
    await s.admin(f"GET /stats?format=prometheus&filter={query}", "prometheus by format")
    await s.admin(f"GET /stats?type=Gauges&filter={query}", "gauges")
    await s.admin(f"GET /stats?usedonly&filter={query}", "used only")
    await s.admin("GET /stats?filter=nothing.matches.this", "nothing")
    await s.admin("GET /stats?format=nonsense")
    await s.admin("GET /stats?filter=(")


@scenario(ADMIN)
async def admin_histograms(s: Session) -> None:
    """Histograms that have no values, as text and for Prometheus."""
    await s.admin("GET /stats?filter=http.other.downstream_rq_time", "text")
    await s.admin("GET /stats/prometheus?usedonly&filter=http.other.downstream_rq_time", "prometheus")


@scenario(ADMIN)
async def admin_logging(s: Session) -> None:
    """/logging lists and sets levels, refuses unknown ones."""

    def first(text: str) -> list[str]:
        return text.splitlines()[:6]

    def levels(text: str) -> list[str]:
        wanted = r"^  (admin|config|connection|filter|http|http2|lua|main|pool|router|upstream|wasm): "
        return [line for line in text.splitlines() if re.match(wanted, line)]

    await s.admin("POST /logging", body=levels)
    await s.admin("POST /logging?level=error", body=levels)
    await s.admin("POST /logging?http=debug", body=levels)
    await s.admin("POST /logging?paths=router:info,pool:off", body=levels)
    await s.admin("POST /logging?level=nonsense", body=first)
    await s.admin("POST /logging?nonsense=debug", body=first)
    await s.admin("POST /logging?level=warning", body=levels)


@scenario(ADMIN)
async def admin_config_dump(s: Session) -> None:
    """/config_dump: its sections, a static cluster and a listener as they were configured."""

    def sections(text: str) -> list[str]:
        return [section["@type"] for section in json.loads(text)["configs"]]

    def clusters(text: str) -> object:
        return [config["cluster"]["name"] for config in json.loads(text)["configs"]]

    def the_listeners(text: str) -> object:
        return [config["listener"]["name"] for config in json.loads(text)["configs"]]

    await s.admin("GET /config_dump", body=sections)
    await s.admin("GET /config_dump?resource=static_clusters", body=clusters)
    await s.admin("GET /config_dump?resource=static_listeners", body=the_listeners)
    await s.admin("GET /config_dump?resource=nonsense")


@scenario(ADMIN)
async def admin_keeps_connections(s: Session) -> None:
    """The admin server speaks HTTP/1.1 with keep-alive, and its own requests are counted apart."""
    names = ("http.admin.downstream_rq_2xx", "http.main.downstream_rq_total")
    wire = Wire(await s.open_admin())
    for path in ("/ready", "/hot_restart_version"):
        await wire.send(head(f"GET {path} HTTP/1.1", "host: admin"))
        s.see(path, (await read_response(wire)).start_line)
    wire.close()
    s.see("known", sorted(await s.counters("^(" + "|".join(names) + ")$")))


@scenario(ADMIN)
async def admin_reset_counters(s: Session) -> None:
    """/reset_counters zeroes counters."""
    await s.get("/direct", to="other")
    await s.quiet()
    await s.admin("POST /reset_counters")
    s.see("after", await s.counters(r"^http\.other\.downstream_(rq_2xx|rq_total|cx_total|cx_active)$"))
    client = await s.connect_h2("other")
    await client.request(get("/direct"))


LIMITED = Setup(
    "admin-limited",
    {
        **bootstrap([listener("main", routes=ROUTES)], [cluster("app", "app")]),
        "admin": {
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
            "access_log_path": "FILE(admin.log)",
            "allow_paths": [
                {"exact": "/ready"},
                {"exact": "/healthcheck/fail"},
                # What is asked by those who run scenarios.
                {"prefix": "/stats"},
                {"prefix": "/listeners"},
            ],
            "socket_options": [
                {
                    "description": "SO_KEEPALIVE",
                    "level": 1,
                    "name": 9,
                    "int_value": 1,
                    "state": "STATE_LISTENING",
                }
            ],
        },
    },
    {"app": "h1"},
)


@scenario(LIMITED)
async def admin_allowed_paths(s: Session) -> None:
    """A target that no pattern fits is refused, its query counted in; the access log of the older field."""
    await s.admin("GET /ready")
    for target in ("GET /ready?x", "GET /clusters", "GET /", "POST /quitquitquit", "GET /nothere"):
        await s.admin(target)
    await s.admin("GET /healthcheck/fail")
    log = s.proxy.directory / "admin.log"
    while '"GET /nothere HTTP/1.1" 403' not in log.read_text():  # noqa: ASYNC110 - the proxy writes it
        await trio.sleep(POLL_S)
    lines = [each for each in log.read_text().splitlines() if "/nothere" in each]
    s.see("line", [re.sub(r"\[[^\]]*\]|\d+ \d+ -|\d+\.\d+\.\d+\.\d+", "", each) for each in lines])


@scenario(ADMIN)
async def admin_recent_lookups(s: Session) -> None:
    """Lookups of names of statistics: off, on, cleared."""
    shown = partial(re.sub, r"total: \d+|^ *\d+ .*$", "number", flags=re.MULTILINE)
    await s.admin("GET /stats/recentlookups", "off", body=shown)
    await s.admin("GET /stats/recentlookups/enable")
    await s.admin("POST /stats/recentlookups/enable")
    await s.admin("GET /stats/recentlookups", "on", body=lambda text: text.splitlines()[0])
    await s.admin("POST /stats/recentlookups/clear")
    await s.admin("POST /stats/recentlookups/disable")
    await s.admin("GET /stats/recentlookups", "off again", body=shown)


@scenario(ADMIN)
async def admin_profilers_without_a_word(s: Session) -> None:
    """A profiler that is told neither to begin nor to end."""
    await s.admin("POST /cpuprofiler")
    await s.admin("POST /cpuprofiler?enable=x")
    await s.admin("GET /cpuprofiler")


@scenario(ADMIN)
async def admin_spellings_of_a_path(s: Session) -> None:
    """One path has many spellings: slashes twice, dots, escaped letters; an escaped slash is none."""
    for path in (
        "//ready",
        "///ready?x",
        "/./ready",
        "/x/../ready",
        "/%72eady",
        "/stats//prometheus?filter=nothing_such",
    ):
        await s.admin(f"GET {path}")
    for path in ("/ready/", "/Ready", "/stats%2Fprometheus", "/../ready/..%2f"):
        await s.admin(f"GET {path}", body=lambda text: text.splitlines()[0])


@scenario(LIMITED)
async def admin_allowed_path_spelt_otherwise(s: Session) -> None:
    """What a path is decides whether it is allowed, and not how it is written."""
    for path in ("//ready", "/clusters/../ready", "//clusters", "/ready/../clusters", "/%63lusters"):
        await s.admin(f"GET {path}")


@scenario(ADMIN)
async def admin_stats_parameters_without_a_value(s: Session) -> None:
    """A parameter that says nothing asks for nothing."""
    for name in ("format", "type", "hidden", "histogram_buckets", "filter"):
        for target in (f"/stats?filter=workers_started&{name}=", f"/stats?filter=workers_started&{name}"):
            await s.admin(f"GET {target}")


@scenario(ADMIN)
async def admin_stats_of_the_listener_manager_that_were_used(s: Session) -> None:
    """Gauges that were set to nothing were used all the same."""
    await s.admin("GET /stats?usedonly&filter=^listener_manager.(total|workers)")
    await s.admin("GET /stats/prometheus?usedonly&filter=^envoy_listener_manager_(total|workers)", "scraped")
