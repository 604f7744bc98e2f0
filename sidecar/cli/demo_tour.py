"""The requests of `sidecar demo`: what is sent, what it should come to, and who did what to it in words.

Knows nothing of processes; `demo.py` calls it with the port of a proxy that runs. The application behind that
proxy (`demo_app.py`) answers with the request as it saw it, and what changed on the way is read from that.
"""

import contextlib
import http.client
import json
from collections.abc import Sequence

from sidecar.core.dataclass import dataclass

REQUEST_TIMEOUT_S = 10.0

Headers = list[tuple[str, str]]

# Who writes which header; all others are the proxy's own.
AUTHORS = {
    "x-sidecar-wasm": "Wasm",
    "x-wasm-filter": "Wasm",
    "x-sidecar-lua": "Lua",
    "x-lua-filter": "Lua",
}
# What the proxy itself writes on every answer.
PROXY_ANSWERS = {"server", "x-envoy-upstream-service-time"}
# What the client library or the connection brings along: no filter's doing.
PLUMBING = {"accept-encoding", "connection", "content-length", "host", "transfer-encoding"}


@dataclass(frozen=True, slots=True)
class Step:
    """One request to send and what must come of it."""

    title: str
    method: str
    path: str
    status: int
    answered_by: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    written: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request as both ends saw it; `seen` is None when it did not reach the application."""

    status: int
    answer: Headers
    body: bytes
    seen: Headers | None


BOTH_WAYS = frozenset(AUTHORS)
ON_THE_ANSWER = frozenset({"x-wasm-filter", "x-lua-filter"})
STEPS = (
    Step("through both filters", "GET", "/hello", 200, "the application", written=BOTH_WAYS),
    Step(
        "a mark that the client forged is replaced",
        "GET",
        "/hello",
        200,
        "the application",
        headers=(("x-sidecar-wasm", "forged"),),
        written=BOTH_WAYS,
    ),
    Step("with a body", "POST", "/upload", 200, "the application", body=b"x" * 100_000, written=BOTH_WAYS),
    Step("answered by the route", "GET", "/route", 200, "the route", written=ON_THE_ANSWER),
    Step("answered by the Lua script", "GET", "/lua", 200, "Lua", written=ON_THE_ANSWER),
    Step("closed by the Wasm filter", "GET", "/admin/users", 403, "Wasm", written=ON_THE_ANSWER),
)


def send_step(port: int, step: Step) -> Exchange:
    """Sends it to a port of the loopback. Raises: OSError, http.client.HTTPException."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=REQUEST_TIMEOUT_S)
    with contextlib.closing(connection):
        connection.request(step.method, step.path, body=step.body or None, headers=dict(step.headers))
        response = connection.getresponse()
        body = response.read()
    answer = [(name.lower(), value) for name, value in response.getheaders()]
    seen: Headers | None = None
    if ("content-type", "application/json") in answer:
        seen = [(name, value) for name, value in json.loads(body)["headers"]]
    return Exchange(response.status, answer, body, seen)


def narrate(step: Step, exchange: Exchange) -> list[str]:
    """One line for each author and direction: what it wrote, in the order in which the message met it."""
    lines = []
    if exchange.seen is None:
        lines.append("the application saw nothing of it")
    else:
        new = [each for each in exchange.seen if each not in step.headers and each[0] not in PLUMBING]
        lines += _authors("request ", ("Wasm", "Lua", "proxy"), new)
    # What a filter or the application answered with is no edit; only what is known by name is told.
    edits = [each for each in exchange.answer if each[0] in AUTHORS or each[0] in PROXY_ANSWERS]
    lines += _authors("response", ("Lua", "Wasm", "proxy"), edits)
    return lines


def _authors(direction: str, order: Sequence[str], headers: Headers) -> list[str]:
    lines = []
    for author in order:
        written = [f"{name}: {value}" for name, value in headers if AUTHORS.get(name, "proxy") == author]
        if written:
            lines.append(f"{direction}  {author:5}  + {', '.join(written)}")
    return lines


def complaints(step: Step, exchange: Exchange) -> list[str]:
    """What is not as the step says, one sentence each."""
    found = []
    if exchange.status != step.status:
        found.append(f"the status is {exchange.status}, not {step.status}")
    if (exchange.seen is not None) != (step.answered_by == "the application"):
        found.append("it reached the application" if exchange.seen else "it did not reach the application")
    present = {name for name, _ in [*exchange.answer, *(exchange.seen or [])]} & AUTHORS.keys()
    found += [f"{AUTHORS[name]} did not write {name}" for name in sorted(step.written - present)]
    found += [f"{AUTHORS[name]} wrote {name}" for name in sorted(present - step.written)]
    if ("x-sidecar-wasm", "forged") in (exchange.seen or []):
        found.append("a forged mark reached the application")
    if exchange.seen is not None and json.loads(exchange.body)["body_bytes"] != len(step.body):
        found.append("the body did not arrive whole")
    return found
