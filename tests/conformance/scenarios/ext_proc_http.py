# ruff: noqa: E501  (a line of configuration reads best unbroken)
"""envoy.filters.http.ext_proc with `http_service`: heads are shown by HTTP, as JSON."""

from __future__ import annotations

import base64
import json
from typing import Any

from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import Call
from .ext_proc_headers import EXT

SUBJECT = "filters"

PROC = f"{EXT}.ext_proc.v3.ExternalProcessor"
HTTP = "http_service: {http_service: {http_uri: {uri: 'http://proc.test:80/process?x=1', cluster: proc, timeout: 2s}}}"
LOG = "%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %DYNAMIC_METADATA(mine)%\n"


def proc(fields: str = "") -> str:
    return f'- {{name: proc, typed_config: {{"@type": {PROC}, {HTTP}, {fields}}}}}'


SETUP = Setup(
    "ext_proc_http",
    bootstrap(
        [
            listener(
                name, routes="- {match: {prefix: /}, route: {cluster: app}}", filters=proc(fields), log=LOG
            )
            for name, fields in (
                ("main", ""),
                ("request", "processing_mode: {response_header_mode: SKIP}"),
                ("open", "failure_mode_allow: true"),
                ("hurry", "message_timeout: 0.05s"),
            )
        ],
        [cluster("app", "app"), cluster("proc", "proc")],
    ),
    {"app": "h1", "proc": "h1"},
)
STATS = tuple(
    f"http.{to}.ext_proc.{name}"
    for to in ("main", "request", "open", "hurry")
    for name in (
        *("streams_started", "stream_msgs_sent", "stream_msgs_received", "spurious_msgs_received"),
        *("streams_closed", "streams_failed", "failure_mode_allowed", "message_timeouts"),
        *("http_not_ok_resp_received", "immediate_responses_sent", "server_half_closed"),
    )
)


def _hide(s: Session, call: Call) -> None:
    """See what is asked as text, headers sorted; what is random goes."""
    request = call.request
    request.headers = [
        (name, "<number>" if name == "x-request-id" and value.isdigit() else value)
        for name, value in request.headers
    ]
    asked = json.loads(request.body)
    request.body = b""
    for kind in ("request_headers", "response_headers"):
        for each in asked.get(kind, {}).get("headers", {}).get("headers", ()):
            value = base64.b64decode(each.pop("raw_value")).decode("latin-1")
            is_hidden = each["key"] in ("x-request-id", "x-envoy-upstream-service-time")
            each["value"] = "<hidden>" if is_hidden else value
    s.see("asked", asked)


def serve(s: Session, *answers: Any) -> None:
    """Answer with the next of these: JSON, or bytes as they are."""
    left = list(answers)

    async def script(call: Call) -> None:
        await call.body()
        _hide(s, call)
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, bytes):
            await call.send(answer)
            return
        body = json.dumps(answer).encode()
        await call.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)

    s.upstream("proc").script = script


def sets(kind: str, name: str) -> dict[str, Any]:
    header = {"header": {"key": name, "raw_value": "eA=="}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
    return {kind: {"response": {"header_mutation": {"set_headers": [header]}}}}


@scenario(SETUP)
async def ext_proc_http_heads(s: Session) -> None:
    """Both heads are shown and changed; only one of them."""
    serve(s, sets("request_headers", "x-req"), sets("response_headers", "x-resp"), {"requestHeaders": {}})
    async with s.counting(*STATS), s.logging(1):
        await s.get("/both", "x-a: 1", "x-odd: \xff")
        await s.get("/one", to="request")


@scenario(SETUP)
async def ext_proc_http_answers(s: Session) -> None:
    """An answer of its own, one to nothing, no JSON, unknown fields, other statuses."""
    bad = b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n"
    serve(
        s,
        {"immediate_response": {"status": {"code": 403}, "body": "bm8=", "details": "said so"}},
        {"response_headers": {}},
        {},
        b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nno!",
        {"request_headers": {}, "unknown": 1},
        bad,
        bad.replace(b"500 Internal Server Error", b"201 Created"),
        {"request_headers": {}},
        bad,
    )
    async with s.counting(*STATS), s.logging(8):
        for number in range(8):
            await s.get(f"/{number}", "x-n: 1", label=str(number))
    serve(s, bad)
    async with s.counting(*STATS), s.logging(1, "open"):
        await s.get("/open", to="open")
