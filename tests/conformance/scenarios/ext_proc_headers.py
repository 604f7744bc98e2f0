# ruff: noqa: E501  (a line of configuration reads best unbroken)
"""envoy.filters.http.ext_proc: what a processor is shown of heads, and what becomes of its answers."""

from __future__ import annotations

import time
from typing import Any

import grpc

from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..processor import answering, body, headers, immediate, mutation, processing, said, set_header
from ..scenario import Setup, scenario
from ..upstream import answers, ok

SUBJECT = "filters"

EXT = "type.googleapis.com/envoy.extensions.filters.http"
PROC = f"{EXT}.ext_proc.v3.ExternalProcessor"
PER_ROUTE = f"{EXT}.ext_proc.v3.ExtProcPerRoute"
LOG = (
    "%REQ(:METHOD)% %REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% "
    "cluster=%UPSTREAM_CLUSTER% %ROUTE_NAME%\n"
)
SERVICE = "grpc_service: {envoy_grpc: {cluster_name: proc}, timeout: 9s}"
ROUTES = f"""
- {{name: without, match: {{prefix: /off}}, route: {{cluster: app}},
   typed_per_filter_config: {{proc: {{"@type": {PER_ROUTE}, disabled: true}}}}}}
- {{name: direct, match: {{prefix: /direct}}, direct_response: {{status: 200, body: {{inline_string: direct}}}}}}
- {{name: other, match: {{prefix: /, headers: [{{name: x-to, string_match: {{exact: other}}}}]}},
   route: {{cluster: other}}}}
- {{name: rest, match: {{prefix: /}}, route: {{cluster: app}}}}
"""


def proc(fields: str = "", service: str = SERVICE, timeout: str = "9s") -> str:
    return f'- {{name: proc, typed_config: {{"@type": {PROC}, message_timeout: {timeout}, {service}, {fields}}}}}'


def listening(
    name: str, fields: str = "", hcm: str = "", routes: str = ROUTES, **more: str
) -> dict[str, Any]:
    return listener(name, hcm, routes=routes, filters=proc(fields, **more), log=LOG)


def post(path: str, text: str, *lines: str) -> str:
    return "\r\n".join(
        [f"POST {path} HTTP/1.1", "host: example.com", *lines, f"content-length: {len(text)}", "", text]
    )


SETUP = Setup(
    "ext_proc_headers",
    bootstrap(
        [
            listening("main"),
            listening("open", "failure_mode_allow: true, stat_prefix: mine"),
            listening("rules", "mutation_rules: {disallow_expression: {regex: 'x-no.*'}}"),
            listening(
                "rigid",
                "mutation_rules: {allow_expression: {regex: 'x-yes.*'}, disallow_all: true, disallow_is_error: true}",
            ),
            listening("routing", "mutation_rules: {allow_all_routing: true, allow_envoy: true}"),
            listening("clear", "route_cache_action: CLEAR"),
            listening("retain", "route_cache_action: RETAIN"),
            listening("silent", "disable_immediate_response: true"),
            listening("silentopen", "disable_immediate_response: true, failure_mode_allow: true"),
            listening("hurry", "max_message_timeout: 10s", timeout="0.1s"),
            listening("hurryopen", "failure_mode_allow: true", timeout="0.1s"),
            listening("now", timeout="0s"),
            listening("lost", service="grpc_service: {envoy_grpc: {cluster_name: dead}}"),
            listening(
                "lostopen",
                "failure_mode_allow: true",
                service="grpc_service: {envoy_grpc: {cluster_name: dead}}",
            ),
            listening("status", "status_on_error: {code: ServiceUnavailable}"),
            listening(
                "forward",
                "forward_rules: {allowed_headers: {patterns: [{prefix: x-}, {exact: ':path'}]},"
                " disallowed_headers: {patterns: [{exact: x-secret}]}}",
            ),
        ],
        [
            cluster("app", "app"),
            cluster("other", "other"),
            cluster("proc", "proc", http2=True),
            cluster("dead", "dead", http2=True),
        ],
    ),
    {"app": "h1", "other": "h1", "proc": "raw", "dead": "dead"},
)
NAMES = (
    *("streams_started", "stream_msgs_sent", "stream_msgs_received", "spurious_msgs_received"),
    *("streams_closed", "streams_failed", "failure_mode_allowed", "message_timeouts"),
    *("rejected_header_mutations", "override_message_timeout_received", "override_message_timeout_ignored"),
    *("clear_route_cache_ignored", "clear_route_cache_disabled", "clear_route_cache_upstream_ignored"),
    *("send_immediate_resp_upstream_ignored", "http_not_ok_resp_received", "immediate_responses_sent"),
    *("server_half_closed",),
)


def stats(name: str = "main", prefix: str = "") -> tuple[str, ...]:
    return tuple(f"http.{name}.ext_proc.{prefix}{each}" for each in NAMES)


@scenario(SETUP)
async def ext_proc_head_messages(s: Session) -> None:
    """What the processor is shown: heads of requests with and without body, of local replies, none of a route."""
    async with processing(s, metadata=True), s.counting(*stats()), s.logging(4):
        await s.get("/plain?a=b&c", "x-many: 1", "x-many: 2", "cookie: a=b", "x-odd: \xff\xe4x", "X-Case: Y")
        await s.http(post("/post", "hello"))
        await s.get("/direct")
        await s.get("/off")


@scenario(SETUP)
async def ext_proc_forward_rules(s: Session) -> None:
    """Headers that a processor is shown."""
    async with processing(s):
        await s.get("/x", "x-a: 1", "x-secret: 2", "other: 3", to="forward")


def line(text: str, **more: Any) -> dict[str, Any]:
    return set_header(text, **more)


def sets(*entries: dict[str, Any], remove: tuple[str, ...] = (), **common: Any) -> dict[str, Any]:
    return {
        "response": {
            "header_mutation": {"set_headers": list(entries), "remove_headers": list(remove)},
            **common,
        }
    }


ACTIONS = ("APPEND_IF_EXISTS_OR_ADD", "ADD_IF_ABSENT", "OVERWRITE_IF_EXISTS_OR_ADD", "OVERWRITE_IF_EXISTS")
CHANGES = [
    line(f"x-{kind}-{number}: {action}", append_action=action)
    for kind in ("old", "new")
    for number, action in enumerate(ACTIONS)
]
DEFAULT = "APPEND_IF_EXISTS_OR_ADD"
LEGACY = [
    line("x-old-5: n", append_action=DEFAULT, append=True),
    line("x-old-6: n", append_action=DEFAULT, append=False),
    line("x-old-7: n", append_action=DEFAULT),
    line("x-new-5: n", append_action=DEFAULT, append=True),
    line("x-new-6: n", append_action=DEFAULT, append=False),
]
OLD = tuple(f"x-old-{number}: old" for number in range(8))


@scenario(SETUP)
async def ext_proc_mutations(s: Session) -> None:
    """Headers set, added and removed, in requests and in responses."""
    s.upstream().script = answers(ok(b"ok", *OLD, "x-old-0: older"))
    both = {"request_headers": sets(*CHANGES), "response_headers": sets(*CHANGES)}
    async with processing(s, answering(**both)):
        await s.get("/a", *OLD, "x-old-0: older")
    both = {"request_headers": sets(*LEGACY), "response_headers": sets(*LEGACY)}
    async with processing(s, answering(**both)):
        await s.get("/b", *OLD, "x-old-0: older")
    some = sets(
        {"header": {"key": "X-Text", "value": "text"}},
        {"header": {"key": "x-empty"}},
        {"header": {"key": "x-kept"}, "keep_empty_value": True},
        {"append_action": "ADD_IF_ABSENT"},
        line("x-twice: 1"),
        line("x-twice: 2", append_action=DEFAULT),
        line("x-old-1: \xff\xe4"),
        remove=("x-old-0", "X-Old-2", "x-none", "x-old-1"),
    )
    async with processing(s, answering(request_headers=some, response_headers=some)), s.counting(*stats()):
        await s.get("/c", *OLD, "x-old-0: older")


FORBIDDEN = (
    line("host: evil.example"),
    line(":authority: evil.example"),
    line(":method: PUT"),
    line(":scheme: https"),
    line(":path: /evil"),
    line("x-envoy-internal: true"),
    line("x-envoy-original-path: /a"),
    line("te: trailers"),
    line(":status: 201"),
    line("x-no-thing: 1"),
    line("x-yes: 1"),
    line("x-forwarded-for: 1.2.3.4"),
)


async def forbid(s: Session, to: str) -> None:
    """Let a processor set each of the headers; one log for all, as each look at it waits for quiet."""
    async with s.logging(len(FORBIDDEN), to):
        for number, entry in enumerate(FORBIDDEN):
            async with processing(s, answering(request_headers=sets(entry))):
                await s.get(f"/{number}", to=to, label=f"{to} {entry['header']['key']}")


# One set of rules each: all four in one are more than a busy machine does before the deadline of a scenario.


@scenario(SETUP)
async def ext_proc_mutation_rules(s: Session) -> None:
    """Headers that may not be changed, one by one, under the rules that there are without any."""
    await forbid(s, "main")


@scenario(SETUP)
async def ext_proc_mutation_rules_of_names(s: Session) -> None:
    """The same under rules that name headers."""
    await forbid(s, "rules")


@scenario(SETUP)
async def ext_proc_mutation_rules_that_fail(s: Session) -> None:
    """The same where what is not allowed is an error."""
    await forbid(s, "rigid")


@scenario(SETUP)
async def ext_proc_mutation_rules_of_routing(s: Session) -> None:
    """The same where routing may be changed."""
    await forbid(s, "routing")


@scenario(SETUP)
async def ext_proc_mutation_rules_of_responses(s: Session) -> None:
    """The same in responses, and what may not be removed."""
    for number, entry in enumerate((FORBIDDEN[1], FORBIDDEN[5], FORBIDDEN[8], FORBIDDEN[9])):
        async with processing(s, answering(response_headers=sets(entry))), s.logging(1):
            await s.get(f"/{number}", label=entry["header"]["key"])
    for name in (
        "host",
        ":authority",
        ":method",
        ":path",
        ":scheme",
        "x-envoy-internal",
        "content-length",
        "x-request-id",
    ):
        for to in ("main", "routing", "rigid"):
            async with processing(s, answering(request_headers=sets(remove=(name,)))), s.counting(*stats(to)):
                await s.get("/removed", to=to, label=f"{to} without {name}")
    async with processing(s, answering(response_headers=sets(remove=(":status",)))), s.logging(1):
        await s.get("/status")


@scenario(SETUP)
async def ext_proc_injection(s: Session) -> None:
    """Names and values that cannot be sent: the request is refused."""
    entries = (
        line("x-a: 1\r\nx-evil: 1"),
        line("x-a: a\0b"),
        line("x-a\r\nx-evil: 1"),
        line("x a: 1"),
        line("x-\xe4: 1"),
        line("x-a: tab\there"),
        {"header": {"key": "x-a", "value": "1", "raw_value": "MQ=="}},
    )
    for number, entry in enumerate(entries):
        async with processing(s, answering(request_headers=sets(entry))), s.counting(*stats()), s.logging(1):
            await s.get(f"/{number}")
    async with processing(s, answering(response_headers=sets(entries[0]))), s.logging(1):
        await s.get("/response")
    async with processing(s, answering(request_headers=sets(remove=("x-a\r\n",)))), s.logging(1):
        await s.get("/remove")


@scenario(SETUP)
async def ext_proc_oversized(s: Session) -> None:
    """More headers, and longer ones, than a request may have."""
    many = [line(f"x-{number}: 1") for number in range(101)]
    for entries in (many, many[:99], [line("x-long: " + "a" * 70000)]):
        async with (
            processing(s, answering(request_headers=sets(*entries))),
            s.counting(*stats()),
            s.logging(1),
        ):
            await s.get("/request")
    for entries in (many, many[:99], [line("x-long: " + "a" * 70000)]):
        async with (
            processing(s, answering(response_headers=sets(*entries))),
            s.counting(*stats()),
            s.logging(1),
        ):
            await s.get("/response")


@scenario(SETUP)
async def ext_proc_route_cache(s: Session) -> None:
    """The route is found anew where the processor asks, and what the filter makes of that."""
    to_other = [line("x-to: other")]
    for to in ("main", "clear", "retain"):
        for clear in (False, True):
            answer = sets(*to_other, clear_route_cache=clear)
            async with (
                processing(s, answering(request_headers=answer)),
                s.counting(*stats(to)),
                s.logging(1, to),
            ):
                await s.get("/x", to=to)
        answer = headers(clear_route_cache=True)
        async with processing(s, answering(request_headers=answer)), s.counting(*stats(to)), s.logging(1, to):
            await s.get("/x", "x-to: other", to=to)


@scenario(SETUP)
async def ext_proc_replaces_heads(s: Session) -> None:
    """CONTINUE_AND_REPLACE: bodies made, replaced and kept, a method changed."""
    replace = {"status": "CONTINUE_AND_REPLACE"}
    for kind in ("request_headers", "response_headers"):
        answer = body(b"replaced", "x-new: 1", **replace)
        async with processing(s, answering(**{kind: answer})):
            await s.get("/get")
            await s.http(post("/post", "original"))
        async with processing(s, answering(**{kind: headers("x-new: 1", **replace)})):
            await s.http(post("/kept", "original"))
        answer = headers(body_mutation={"clear_body": True}, **replace)
        async with processing(s, answering(**{kind: answer})):
            await s.http(post("/cleared", "original"))
    async with processing(s, answering(request_headers=body(b"made", ":method: POST", **replace))):
        await s.get("/method")
    async with processing(s, answering(request_headers=body(b"ignored"))):
        await s.http(post("/continued", "original"))


IMMEDIATE = (
    immediate(401, b"no", headers=mutation("www-authenticate: Basic", "X-Up: 1"), details="because of this"),
    immediate(200, b"fine"),
    immediate(503),
    immediate(
        403,
        b"x",
        headers=mutation("content-type: text/html", "content-length: 55", ":status: 201", "server: me"),
    ),
    immediate(403, b"x", headers=mutation("x-bad: a\r\nb", "x-good: 1")),
    immediate(403, b"x", headers=mutation("x-envoy-thing: 1", "host: a", remove=["content-type", "date"])),
    {"immediate_response": {"body": "eA==", "grpc_status": {"status": 7}, "details": "some"}},
    {"immediate_response": {}},
    immediate(100, b"odd"),
)


@scenario(SETUP)
async def ext_proc_immediate_responses(s: Session) -> None:
    """Answers in the place of the upstream's, over the request's head and over the response's."""
    async with s.counting(*stats()), s.logging(len(IMMEDIATE)):
        for number, answer in enumerate(IMMEDIATE):
            async with processing(s, answering(request_headers=[answer])):
                await s.get(f"/{number}")
    async with s.counting(*stats()), s.logging(2):
        for number, answer in enumerate(IMMEDIATE[:2]):
            async with processing(s, answering(response_headers=[answer])):
                await s.get(f"/{number}")


@scenario(SETUP)
async def ext_proc_immediate_responses_to_grpc(s: Session) -> None:
    """Answers to a call of gRPC, with the status and without."""
    async with s.logging(3):
        for number in (0, 6, 7):
            async with processing(s, answering(request_headers=[IMMEDIATE[number]])):
                await s.http(post(f"/{number}", "", "content-type: application/grpc"))


@scenario(SETUP)
async def ext_proc_immediate_responses_disabled(s: Session) -> None:
    """An immediate response where there should be none."""
    for to in ("silent", "silentopen"):
        async with (
            processing(s, answering(request_headers=[IMMEDIATE[0]])),
            s.counting(*stats(to)),
            s.logging(1, to),
        ):
            await s.get("/", to=to)


SPURIOUS = (
    {"response_headers": {}},
    {"request_body": {}},
    {"response_trailers": {}},
    {},
    {"dynamic_metadata": {}},
)


@scenario(SETUP)
async def ext_proc_spurious(s: Session) -> None:
    """Answers to what was not asked."""
    for to, prefix in (("main", ""), ("open", "mine."), ("status", "")):
        async with s.counting(*stats(to, prefix)), s.logging(len(SPURIOUS), to):
            for number, answer in enumerate(SPURIOUS):
                async with processing(s, answering(request_headers=[answer])):
                    await s.get(f"/{number}", to=to)
    async with processing(s, answering(response_headers=[SPURIOUS[1]])), s.counting(*stats()), s.logging(1):
        await s.get("/response")


def ending(requests: Any, _context: Any) -> Any:
    """End the stream in good order after the first message."""
    next(requests)
    return
    yield


def failing(requests: Any, context: Any) -> Any:
    """Answer the first message with an error."""
    next(requests)
    context.abort(grpc.StatusCode.PERMISSION_DENIED, "not you: no")
    yield


def late(requests: Any, context: Any) -> Any:
    """Answer the head of the request, and end badly over that of the response."""
    next(requests)
    yield said({"request_headers": {}})
    next(requests)
    context.abort(grpc.StatusCode.DATA_LOSS, "late")


@scenario(SETUP)
async def ext_proc_stream_ends(s: Session) -> None:
    """A processor that ends its stream, well or badly, or is not there."""
    for to, prefix in (("main", ""), ("open", "mine."), ("status", "")):
        async with s.counting(*stats(to, prefix)), s.logging(3, to):
            for script in (ending, failing, late):
                async with processing(s, script):
                    await s.get("/", to=to)
    for to in ("lost", "lostopen"):
        async with s.counting(*stats(to)), s.logging(1, to):
            await s.get("/", to=to)


def silent(requests: Any, _context: Any) -> Any:
    """Never answer."""
    for _ in requests:
        pass
    return
    yield


@scenario(SETUP)
async def ext_proc_timeouts(s: Session) -> None:
    """A processor that does not answer."""
    for to in ("hurry", "hurryopen", "now"):
        # Whether the processor hears of a time that is over at once is a race.
        async with processing(s, silent, sees=to != "now"), s.counting(*stats(to)), s.logging(1, to):
            await s.get("/", to=to)


@scenario(SETUP)
async def ext_proc_longer_timeouts(s: Session) -> None:
    """A processor that asks for more time, once, twice, too much, and without need."""

    def patient(*times: str) -> Any:
        def script(requests: Any, _context: Any) -> Any:
            for request in requests:
                if request.HasField("request_headers"):
                    for each in times:
                        yield said({"override_message_timeout": each})
                    time.sleep(0.3)
                yield said({str(request.WhichOneof("request")): {}})

        return script

    for to, times in (
        ("hurry", ("9s",)),
        ("hurry", ("9s", "8s")),
        ("hurry", ("11s",)),
        ("main", ("1s",)),
        ("hurry", ("0s",)),
    ):
        async with processing(s, patient(*times)), s.counting(*stats(to)), s.logging(1, to):
            await s.get("/", to=to)


@scenario(SETUP, differs={"reply": "header-without-a-name", "upstream app": "header-without-a-name"})
async def ext_proc_nameless(s: Session) -> None:
    """A header without a name: Envoy sends it upstream."""
    async with processing(s, answering(request_headers=sets(line(": 1"))), sees=False):
        await s.get("/")
