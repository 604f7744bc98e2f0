# ruff: noqa: E501  (a route is a line of a table)
"""Which hosts get the tries of a request: host predicates, hashes that go on, what the log tells of them."""

from __future__ import annotations

from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import Call, answers
from ..wire import head
from .retries import BAD, FAST

SUBJECT = "upstream"

_EXT = "type.googleapis.com/envoy.extensions.retry.host"
PREVIOUS = f"{{name: p, typed_config: {{'@type': {_EXT}.previous_hosts.v3.PreviousHostsPredicate}}}}"
CANARY = f"{{name: c, typed_config: {{'@type': {_EXT}.omit_canary_hosts.v3.OmitCanaryHostsPredicate}}}}"


def omit(metadata: str) -> str:
    return f"{{name: m, typed_config: {{'@type': {_EXT}.omit_host_metadata.v3.OmitHostMetadataConfig, metadata_match: {{filter_metadata: {metadata}}}}}}}"


LOG = (
    "%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% attempts=%UPSTREAM_REQUEST_ATTEMPT_COUNT% host=%UPSTREAM_HOST% "
    "hosts=%UPSTREAM_HOSTS_ATTEMPTED% without=%UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT% names=%UPSTREAM_HOST_NAMES_ATTEMPTED% "
    "bare=%UPSTREAM_HOST_NAMES_ATTEMPTED_WITHOUT_PORT%\n"
)


def route(
    path: str,
    to: str,
    predicates: str,
    more: str = "num_retries: 3, host_selection_retry_max_attempts: 20",
    on: str = "5xx",
) -> str:
    return f"- {{match: {{prefix: {path}}}, route: {{cluster: {to}, timeout: 0s, hash_policy: [{{header: {{header_name: x-key}}}}], retry_policy: {{retry_on: '{on}', retry_host_predicate: [{predicates}], {more}, {FAST}}}}}}}\n"


ROUTES = "".join(
    (
        route("/previous", "three", PREVIOUS, "num_retries: 2, host_selection_retry_max_attempts: 50"),
        route("/exhausted", "three", PREVIOUS, "num_retries: 5, host_selection_retry_max_attempts: 50"),
        route("/canary", "three", CANARY),
        route("/metadata", "three", omit("{envoy.lb: {stage: dev}}")),
        route("/two-keys", "three", omit("{envoy.lb: {stage: dev, zone: z}}")),
        route("/nothing", "three", omit("{}")),
        route(
            "/both", "three", f"{CANARY}, {PREVIOUS}", "num_retries: 1, host_selection_retry_max_attempts: 50"
        ),
        route("/all-canaries", "canaries", CANARY),
        route("/one", "one", PREVIOUS),
        route("/dead", "dead", PREVIOUS),
        *(
            route(
                f"/{name}/{count}",
                name,
                PREVIOUS,
                f"num_retries: 3, host_selection_retry_max_attempts: {count}",
            )
            for name in ("ring", "maglev")
            for count in (1, 2, 10)
        ),
    )
)


def hosts(*each: tuple[str, str]) -> str:
    """Endpoints of live upstreams with metadata of ``envoy.lb``."""
    return ", ".join(
        f"{{metadata: {{filter_metadata: {{envoy.lb: {{{metadata}}}}}}}, endpoint: {{hostname: name-{name}, address: {{socket_address: {{address: 127.0.0.1, port_value: PORT({name})}}}}}}}}"
        for name, metadata in each
    )


def of(name: str, endpoints: str, more: str = "") -> dict[str, object]:
    return cluster(
        name,
        extra=f"{{{more}load_assignment: {{cluster_name: {name}, endpoints: [{{lb_endpoints: [{endpoints}]}}]}}}}",
    )


KEYED = hosts(*((name, f"hash_key: key-{name}") for name in "abc"))
HOSTS = Setup(
    "retries_hosts",
    bootstrap(
        [listener("main", routes=ROUTES, log=LOG)],
        [
            of(
                "three",
                hosts(("a", "stage: prod"), ("b", "stage: dev, canary: true"), ("c", "stage: dev, zone: z")),
            ),
            of("canaries", hosts(("a", "canary: true"), ("b", "canary: true"))),
            of("one", hosts(("a", ""))),
            cluster("dead", "dead"),
            of("ring", KEYED, "lb_policy: RING_HASH, "),
            of("maglev", KEYED, "lb_policy: MAGLEV, "),
        ],
    ),
    {"a": "h1", "b": "h1", "c": "h1", "dead": "dead"},
)


async def tried(s: Session, path: str, requests: int, header: str = "x-number") -> list[list[str]]:
    """For each of some requests, numbered in a header: which upstreams it came to, in order."""
    order: list[str] = []

    def script(name: str) -> object:
        async def run(call: Call) -> None:
            await call.body()
            order.append(name)
            await call.send(BAD)

        return run

    for name in "abc":
        s.upstream(name).script = script(name)  # type: ignore[assignment]
    found = []
    for number in range(requests):
        order.clear()
        client = await s.connect()
        await client.send(head(f"GET {path} HTTP/1.1", "host: a", f"{header}: {number}"))
        await client.wire.line()
        client.close()
        found.append(list(order))
    for name in "abc":
        s.upstream(name).seen.clear()
    return found


@scenario(HOSTS)
async def retry_previous_hosts(s: Session) -> None:
    """Each host once; when all were tried, whichever comes."""
    found = await tried(s, "/previous", 4)
    s.see("each host once", [sorted(each) for each in found])
    found = await tried(s, "/exhausted", 2)
    s.see("then any", [(sorted(each[:3]), len(each)) for each in found])
    s.see("the only one", await tried(s, "/one", 1))


@scenario(HOSTS)
async def retry_omits_hosts(s: Session) -> None:
    """Canaries, and hosts with metadata: never a second try there, while there is another."""
    for path in ("/canary", "/metadata", "/two-keys", "/nothing", "/both"):
        found = await tried(s, path, 6)
        s.see(path, sorted({name for each in found for name in each[1:]}))
    found = await tried(s, "/all-canaries", 3)
    s.see("only canaries", [len(each) for each in found])


@scenario(HOSTS)
async def retry_of_a_hash(s: Session) -> None:
    """A hash goes on where the host that it stands for was tried: the same hosts in the same order."""
    for name in ("ring", "maglev"):
        for count in (1, 2, 10):
            s.see(f"{name} {count}", await tried(s, f"/{name}/{count}", 12, "x-key"))


@scenario(HOSTS)
async def retry_hosts_in_the_log(s: Session) -> None:
    """What the log tells of the hosts that were tried, and of a request that was tried once."""
    for name in "abc":
        s.upstream(name).script = answers(BAD)
    async with s.logging(4):
        await s.get("/one")
        await s.get("/ring/10", "x-key: 0")
        await s.get("/dead")
        await s.get("/none")
    for name in "abc":
        s.upstream(name).seen.clear()
