# ruff: noqa: E501  (a policy is a line of a table)
"""Every value of retry_on and retry_grpc_on against everything that an upstream may do, over HTTP/1 and HTTP/2."""

from __future__ import annotations

from collections.abc import Iterable

from ..client import get
from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import Call, H2Call, ok
from ..wire import head

SUBJECT = "upstream"

LOG = (
    "%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_REQUEST_ATTEMPT_COUNT%\n"
)
FAST = "retry_back_off: {base_interval: 0.001s, max_interval: 0.002s}"
POLICIES = {
    "5xx": "",
    "gateway-error": "",
    "reset": "",
    "reset-before-request": "",
    "connect-failure": "",
    "envoy-ratelimited": "",
    "retriable-4xx": "",
    "refused-stream": "",
    "retriable-status-codes": "retriable_status_codes: [418, 425, 204]",
    "retriable-headers": "retriable_headers: [{name: x-again}]",
    "http3-post-connect-failure": "",
    "cancelled": "",
    "deadline-exceeded": "",
    "internal": "",
    "resource-exhausted": "",
    "unavailable": "",
}


def routes(to: str) -> str:
    return "".join(
        f"- {{match: {{prefix: /{name}/}}, route: {{cluster: {to}, timeout: 0s, "
        f"retry_policy: {{retry_on: {name}, {FAST}{more and ', '}{more}}}}}}}\n"
        for name, more in POLICIES.items()
    )


MATRIX = Setup(
    "retries_matrix",
    bootstrap(
        [
            listener("main", routes=routes("app"), log=LOG),
            listener("two", routes=routes("h2app"), log=LOG),
            listener("none", routes=routes("dead"), log=LOG),
        ],
        [cluster("app", "app"), cluster("h2app", "h2app", http2=True), cluster("dead", "dead")],
    ),
    {"app": "h1", "h2app": "h2", "dead": "dead"},
)
COUNTED = tuple(
    f"upstream_rq_{name}"
    for name in (
        *("retry", "retry_success", "retry_limit_exceeded", "retry_overflow", "retry_backoff_exponential"),
        *("total", "completed", "active", "rx_reset", "tx_reset"),
    )
)

#: What a first try meets over HTTP/1: the bytes of an answer, behind which the connection closes where it says so.
ANSWERS = {
    **{
        str(code): head(f"HTTP/1.1 {code} Status", "content-length: 0")
        for code in (500, 502, 503, 504, 409, 418, 425)
    },
    "limited": head("HTTP/1.1 503 Status", "x-envoy-ratelimited: true", "content-length: 0"),
    "overloaded": head("HTTP/1.1 503 Status", "x-envoy-overloaded: true", "content-length: 0"),
    "again": head("HTTP/1.1 200 OK", "x-again: 1", "content-length: 0"),
    "closes": b"",
    "nonsense": b"nonsense\r\n\r\n",
    "half": b"HTTP/1.1 200 OK\r\nx-he",
}


@scenario(MATRIX)
async def retry_matrix_h1(s: Session) -> None:
    """Statuses, headers, and connections that break, against each policy."""
    left: list[str] = []

    async def script(call: Call) -> None:
        name = call.path.split("/")[2]
        if left:
            left.pop()
            if ANSWERS[name]:
                await call.send(ANSWERS[name])
            if name in ("closes", "nonsense", "half"):
                await call.close()
        else:
            await call.send(ok())

    s.upstream().script = script
    await _all(s, "main", ANSWERS, left)
    s.upstream().seen.clear()


async def _all(s: Session, to: str, outcomes: Iterable[str], left: list[str]) -> None:
    """One request for each policy and outcome; the log tells what came of it."""
    paths = [f"/{policy}/{outcome}" for policy in POLICIES for outcome in outcomes]
    name = {"main": "app", "two": "h2app", "none": "dead"}[to]
    async with s.logging(len(paths), to), s.counting(*(f"cluster.{name}.{each}" for each in COUNTED)):
        client = await s.connect_h2(to)
        for path in paths:
            left[:] = ["once"]
            stream = await client.start(get(path))
            await stream.ended.wait()


#: What a first try meets over HTTP/2: a status, a code of RST_STREAM, or what ends the connection.
H2_ANSWERS = (
    "500",
    "503",
    "409",
    "418",
    "425",
    "limited",
    "again",
    "REFUSED_STREAM",
    "INTERNAL_ERROR",
    "CANCEL",
    "NO_ERROR",
    "ENHANCE_YOUR_CALM",
    "PROTOCOL_ERROR",
    "closes",
)


@scenario(MATRIX)
async def retry_matrix_h2(s: Session) -> None:
    """Statuses, headers, resets of streams, and a connection that breaks, against each policy."""
    left: list[str] = []

    async def script(call: H2Call) -> None:
        name = call.path.split("/")[2]
        if not left:
            await call.answer([(":status", "200")])
            return
        left.pop()
        if name.isdigit():
            await call.answer([(":status", name)])
        elif name == "limited":
            await call.answer([(":status", "503"), ("x-envoy-ratelimited", "true")])
        elif name == "again":
            await call.answer([(":status", "200"), ("x-again", "1")])
        elif name == "closes":
            call.peer.half_close()
        else:
            await call.peer.reset(call.stream, name)

    s.upstream("h2app").h2_script = script
    await _all(s, "two", H2_ANSWERS, left)
    s.upstream("h2app").seen.clear()


@scenario(MATRIX)
async def retry_matrix_connects(s: Session) -> None:
    """A connection that cannot be made, against each policy."""
    await _all(s, "none", ["x"], [])


#: How a call of gRPC ends: its status in a head alone, or in trailers behind a head, or behind a message.
GRPC = tuple(f"{where}-{code}" for where in ("head", "late", "message") for code in (0, 1, 2, 4, 8, 13, 14))


@scenario(MATRIX)
async def retry_matrix_grpc(s: Session) -> None:
    """What a call of gRPC ends with counts where it stands in the head."""
    left: list[str] = []

    async def script(call: H2Call) -> None:
        await call.body()
        where, _, code = call.path.split("/")[2].partition("-")
        if left:
            left.pop()
        else:
            code = "0"
        status = ("grpc-status", code)
        plain = [(":status", "200"), ("content-type", "application/grpc")]
        if where == "head":
            await call.answer([*plain, status])
        else:
            await call.answer(plain, b"\0\0\0\0\2ok" if where == "message" else b"", [status])

    s.upstream("h2app").h2_script = script
    policies = ("cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable", "5xx")
    paths = [f"/{policy}/{each}" for policy in policies for each in GRPC]
    async with s.logging(len(paths), "two"), s.counting(*(f"cluster.h2app.{each}" for each in COUNTED)):
        client = await s.connect_h2("two")
        for path in paths:
            left[:] = ["once"]
            fields = [*get(path, method="POST"), ("content-type", "application/grpc"), ("te", "trailers")]
            stream = await client.start(fields, b"\0\0\0\0\2hi")
            await stream.ended.wait()
    s.upstream("h2app").seen.clear()
