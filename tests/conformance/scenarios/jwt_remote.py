"""envoy.filters.http.jwt_authn with keys of a server: on demand and ahead, failures, tries, caching."""

from __future__ import annotations

from typing import Any

import trio

from tests.support import jose

from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import Call, answers, ok
from .jwt_authn import LOG, ONE, TWO, hs, jwt, local, named, rule

SUBJECT = "filters"

KEYS = jose.jwks(jose.jwk(ONE)).encode()


def remote(
    uri: str = "http://keys.test/jwks", to: str = "keys", timeout: str = "5s", **more: Any
) -> dict[str, Any]:
    """A provider whose keys are fetched."""
    return {
        "from_headers": [{"name": "x-t"}],
        "failed_status_in_metadata": "f",
        "remote_jwks": {"http_uri": {"uri": uri, "cluster": to, "timeout": timeout}, **more},
    }


TRIES = {"retry_back_off": {"base_interval": "0.001s", "max_interval": "2s"}, "num_retries": 2}
#: Keys that are good for no time at all, so that scenarios leave nothing behind.
BRIEF: dict[str, Any] = {"cache_duration": "0.5s"}
AHEAD = {"failed_refetch_duration": "0.02s", "fast_listener": True}
PROVIDERS: dict[str, Any] = {
    "demand": remote("https://keys.test:8443/.well-known/jwks.json?a=b", cache_duration={"seconds": 600}),
    "second": remote(),
    "failing": remote(**BRIEF),
    "slow": remote(timeout="0.05s"),
    "tries": remote(**BRIEF, retry_policy=TRIES),
    "tries-on": remote(**BRIEF, retry_policy={**TRIES, "retry_on": "retriable-4xx"}),
    "unknown": remote(to="nobody"),
    "dead": remote(to="dead"),
    "dead-tries": remote(to="dead", retry_policy=TRIES),
    "brief": remote(**BRIEF),
    "pending": remote(**BRIEF),
    "leaving": remote(),
    "local": {"issuer": "local", **local(TWO), "from_headers": [{"name": "x-local"}]},
    "root": remote("http://keys.test", **BRIEF),
    "userinfo": remote("http://me:you@keys.test/#x", **BRIEF),
}
ASYNC: dict[str, Any] = {
    "ahead": remote(timeout="0.1s", async_fetch=AHEAD),
    "waiting": remote(to="dead", async_fetch={"failed_refetch_duration": "3600s"}),
}
for each, provider in (*PROVIDERS.items(), *ASYNC.items()):
    provider["issuer"] = each
REQUIREMENTS: dict[str, Any] = {
    **{name: {"provider_name": name} for name in PROVIDERS},
    "either": {"requires_any": {"requirements": named("pending", "local")}},
    "both": {"requires_all": {"requirements": named("pending", "local")}},
    "lenient2": {
        "requires_any": {"requirements": [*named("unknown", "dead"), {"allow_missing_or_failed": {}}]}
    },
    "optional": {"requires_any": {"requirements": [*named("unknown"), {"allow_missing": {}}]}},
    "optional2": {"requires_any": {"requirements": [*named("unknown", "dead"), {"allow_missing": {}}]}},
    "failed": {"allow_missing_or_failed": {}},
    "lenient": {"requires_any": {"requirements": [*named("unknown"), {"allow_missing_or_failed": {}}]}},
}


def chain(providers: dict[str, Any], requirements: dict[str, Any]) -> str:
    rules = [rule(f"/{name}/", need) for name, need in requirements.items()]
    return jwt({"providers": providers, "rules": rules})


ROUTES = "- {match: {prefix: /}, route: {cluster: app}}"
SETUP = Setup(
    "jwt_remote",
    bootstrap(
        [
            listener("main", routes=ROUTES, filters=chain(PROVIDERS, REQUIREMENTS), log=LOG),
        ],
        [cluster("app", "app"), cluster("keys", "keys"), cluster("dead", "dead")],
    ),
    {"app": "h1", "keys": "h1", "dead": "dead"},
)
AHEAD_SETUP = Setup(
    "jwt_remote_ahead",
    bootstrap(
        [
            listener(
                "async",
                routes=ROUTES,
                filters=chain(ASYNC, {name: {"provider_name": name} for name in ASYNC}),
                log=LOG,
            ),
        ],
        [cluster("app", "app"), cluster("keys", "keys"), cluster("dead", "dead")],
    ),
    {"app": "h1", "keys": "h1", "dead": "dead"},
)
NAMES = ("allowed", "denied", "jwks_fetch_failed", "jwks_fetch_success", "jwt_cache_hit", "jwt_cache_miss")
STATS = (
    *(f"http.main.jwt_authn.{name}" for name in NAMES),
    *(f"cluster.keys.{name}" for name in ("upstream_rq_total", "upstream_rq_200", "upstream_rq_timeout")),
    *(
        "cluster.keys.upstream_rq_retry",
        "cluster.keys.internal.upstream_rq_200",
        "http.async-client.rq_total",
    ),
)


def token(issuer: str) -> str:
    """A good token of a provider."""
    return f"x-t: {hs(ONE, {'iss': issuer})}"


def forged(issuer: str) -> str:
    """One that is signed by another key."""
    return f"x-t: {hs(TWO, {'iss': issuer})}"


LOCAL = f"x-local: {hs(TWO, {'iss': 'local'})}"


@scenario(SETUP)
async def jwt_keys_on_demand(s: Session) -> None:
    """The first token has its keys fetched, later ones are judged by those; what is bad sooner asks not."""
    s.upstream("keys").script = answers(ok(KEYS))
    async with s.counting(*STATS), s.logging(7):
        await s.get("/demand/", label="none")
        await s.get("/demand/", "x-t: x", label="broken")
        await s.get("/demand/", f"x-t: {hs(ONE, {'iss': 'demand', 'exp': 1})}", label="expired")
        await s.get("/demand/", forged("demand"), label="forged")
        await s.get("/demand/", token("demand"), label="good")
        await s.get("/demand/", token("demand"), label="good again")
        await s.get("/second/", token("second"), label="another provider")
    s.proxy.is_spent = True  # it has the keys now


@scenario(SETUP)
async def jwt_key_uris(s: Session) -> None:
    """What is asked of the key server."""
    s.upstream("keys").script = answers(ok(KEYS))
    await s.get("/root/", token("root"))
    await s.get("/userinfo/", token("userinfo"))


@scenario(SETUP)
async def jwt_keys_that_fail(s: Session) -> None:
    """A key server that has no keys for us; the next token asks again."""
    replies = [
        b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\nno",
        b"HTTP/1.1 201 Created\r\ncontent-length: %d\r\n\r\n%b" % (len(KEYS), KEYS),
        b"HTTP/1.1 302 Found\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n",
        ok(b""),
        ok(b"junk"),
        ok(b'{"keys":[]}'),
        ok(b'{"keys":[{"kty":"x"}]}'),
        ok(b"{}"),
        b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\nconnection: close\r\n\r\n{",
        b"junk\r\n\r\n",
        ok(KEYS),
    ]

    async def script(call: Call) -> None:
        await call.body()
        reply = replies.pop(0)
        await call.send(reply)
        if b"close" in reply or reply.startswith(b"junk"):
            await call.close()

    s.upstream("keys").script = script
    async with s.counting(*STATS), s.logging(12):
        for number in range(12):
            await s.get("/failing/", token("failing"), label=f"answer {number}")


@scenario(SETUP)
async def jwt_keys_too_slow(s: Session) -> None:
    """http_uri.timeout, a cluster that is not there, and a host that is not."""
    # Not those of a status that is 200: whether they are there is due to scenarios before.
    stats = [name for name in STATS if not name.endswith("_200")]

    async def hang(call: Call) -> None:
        await call.gone()

    s.upstream("keys").script = hang
    async with s.counting(*stats), s.logging(5):
        await s.get("/slow/", token("slow"))
        await s.get("/unknown/", token("unknown"))
        await s.get("/dead/", token("dead"))
        await s.get("/dead-tries/", token("dead-tries"))
        await s.get("/lenient/", token("unknown"))
    for path in ("lenient2", "optional", "optional2", "failed", "lenient"):
        async with s.counting(*stats):
            await s.get(f"/{path}/", token("unknown"), label=path)


@scenario(SETUP)
async def jwt_keys_tried_again(s: Session) -> None:
    """retry_policy: what is tried again, and how often."""
    bad = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"
    conflict = b"HTTP/1.1 409 Conflict\r\ncontent-length: 0\r\n\r\n"
    s.upstream("keys").script = answers(
        bad, bad, bad, conflict, bad, ok(KEYS), conflict, bad, conflict, ok(KEYS)
    )
    async with s.counting(*STATS), s.logging(6):
        for _ in range(3):
            await s.get("/tries/", token("tries"))
        for _ in range(3):
            await s.get("/tries-on/", token("tries-on"))


@scenario(SETUP)
async def jwt_keys_for_a_moment(s: Session) -> None:
    """cache_duration counts in whole seconds: half a second is none."""
    s.upstream("keys").script = answers(ok(KEYS))
    async with s.counting(*STATS), s.logging(3):
        for _ in range(3):
            await s.get("/brief/", token("brief"))


@scenario(SETUP)
async def jwt_keys_pending(s: Session) -> None:
    """One of several requirements waits for keys: another one that holds is enough, or fails at once."""
    go, last, asked = trio.Event(), trio.Event(), trio.Event()

    async def wait(call: Call) -> None:
        await call.body()
        if last.is_set():
            asked.set()
        await go.wait()
        await call.send(ok(KEYS))

    s.upstream("keys").script = wait
    async with s.counting(*STATS[:2]), s.logging(6):
        await s.get("/either/", token("pending"), LOCAL, label="either")
        await s.get("/both/", token("pending"), label="both, one missing")
        await s.get("/both/", token("pending"), "x-local: x", label="both, one broken")
        last.set()
        client = await s.connect()
        await client.send(f"GET /both/ HTTP/1.1\r\nhost: a\r\n{token('pending')}\r\n{LOCAL}\r\n\r\n".encode())
        await asked.wait()
        go.set()
        await client.reply("both")
        await s.get("/both/", token("pending"), LOCAL, label="both, again")
        await s.get("/either/", forged("pending"), label="either, forged")
    # Envoy asks for the keys of the first ones, too, and breaks that off; we find that nobody waits.
    s.upstream("keys").seen.clear()


@scenario(SETUP)
async def jwt_client_that_leaves(s: Session) -> None:
    """A client leaves while its keys are fetched."""

    async def hang(call: Call) -> None:
        await call.gone()

    s.upstream("keys").script = hang
    async with s.counting(*STATS[:4], "http.main.downstream_rq_rx_reset"), s.logging(1):
        client = await s.connect()
        await client.send(
            f"POST /leaving/ HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n{token('leaving')}\r\n\r\n".encode()
        )
        await s.upstream("keys").arrivals(1)
        client.close()


@scenario(SETUP)
async def jwt_bodies_wait(s: Session) -> None:
    """A request with a body waits for keys, and goes on whole."""
    s.upstream("keys").script = answers(ok(KEYS))
    s.upstream().script = answers(ok(b"ok"))
    body = "x" * 70_000
    head = f"POST /brief/ HTTP/1.1\r\nhost: a\r\n{token('brief')}\r\n"
    await s.http(f"{head}content-length: {len(body)}\r\n\r\n{body}")
    await s.http(f"{head}transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")


@scenario(AHEAD_SETUP)
async def jwt_keys_ahead(s: Session) -> None:
    """async_fetch: keys come before they are asked for, and again soon after it failed."""
    s.upstream("keys").script = answers(ok(KEYS))
    prefix = "http.async.jwt_authn"
    await s.until_stats(lambda stats: stats[f"{prefix}.jwks_fetch_success"] > 0, prefix)
    s.upstream("keys").seen.clear()  # as many as time allowed
    async with s.counting(*(f"{prefix}.{name}" for name in ("allowed", "denied"))), s.logging(3, "async"):
        await s.get("/ahead/", token("ahead"), to="async", label="good")
        await s.get("/ahead/", forged("ahead"), to="async", label="forged")
        await s.get("/waiting/", token("waiting"), to="async", label="no keys")
