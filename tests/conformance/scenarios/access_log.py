"""Access logs: the default line, text and JSON formats, filters, where they are written."""

from __future__ import annotations

import json
import re
from typing import Any

from ..client import get
from ..configuration import FILE_LOG, bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import answers, ok
from ..wire import head

SUBJECT = "observability"

ROUTES = """
- {match: {path: /direct}, name: direct, direct_response: {status: 200, body: {inline_string: here}}}
- {match: {path: /dead}, route: {cluster: dead}}
- {match: {prefix: /rewrite}, name: rewritten, route: {cluster: app, prefix_rewrite: /new}}
- {match: {prefix: /}, name: app-route, route: {cluster: app}}
"""
WORDS = " | ".join(
    (
        "%REQ(:METHOD)% %REQ(:PATH)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
        "%REQ(:AUTHORITY)% %REQ(x-a)% %REQ(x-a):3%",
        "%RESP(x-up)% %RESP(:STATUS)% %RESP(content-length?x-none)% %TRAILER(x-t)%",
        "%RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS% %RESPONSE_FLAGS_LONG%",
        "%PROTOCOL% %UPSTREAM_PROTOCOL% %BYTES_RECEIVED% %BYTES_SENT%",
        "%UPSTREAM_CLUSTER% %UPSTREAM_HOST% %ROUTE_NAME% %UPSTREAM_REQUEST_ATTEMPT_COUNT%",
        "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%",
        "%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT% %REQUESTED_SERVER_NAME%",
        "%UPSTREAM_TRANSPORT_FAILURE_REASON% %CONNECTION_TERMINATION_DETAILS%",
        "%GRPC_STATUS% %VIRTUAL_CLUSTER_NAME%",
        "%PATH(NQ)% %QUERY_PARAM(q)% %ACCESS_LOG_TYPE% %LOCAL_REPLY_BODY% 100%% %STREAM_ID%",
    )
)
SIZES = "%REQUEST_HEADERS_BYTES% %RESPONSE_HEADERS_BYTES%"
WIRE = "%DOWNSTREAM_WIRE_BYTES_RECEIVED% %DOWNSTREAM_HEADER_BYTES_RECEIVED%"
TIMES = (
    "%START_TIME% %START_TIME(%Y)% %START_TIME(%s)% %START_TIME(%3f)% %DURATION% %REQUEST_DURATION% "
    "%RESPONSE_DURATION% %RESPONSE_TX_DURATION% %REQUEST_TX_DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%"
)
JSON_FORMAT = """
method: "%REQ(:METHOD)%"
code: "%RESPONSE_CODE%"
mixed: "code %RESPONSE_CODE% of %PROTOCOL%"
bytes: {received: "%BYTES_RECEIVED%", sent: "%BYTES_SENT%"}
missing: "%REQ(x-none)%"
flags: "%RESPONSE_FLAGS%"
plain: text
number: 7
list: ["%REQ(:PATH)%", 1, true]
duration: "%DURATION%"
host: "%UPSTREAM_HOST%"
quoted: "%REQ(x-quote)%"
"""


def logger(name: str, more: str = "", entry: str = "") -> str:
    """One access logger to `FILE(<name>.log)`; more: fields of the logger, entry: fields beside it."""
    return f"""
access_log:
- name: envoy.access_loggers.file
  {entry}
  typed_config:
    "@type": {FILE_LOG}
    path: FILE({name}.log)
    {more}
"""


def logging_to(name: str, more: str = "", entry: str = "") -> dict[str, Any]:
    return listener(name, logger(name, more, entry), routes=ROUTES)


def filtered(name: str, condition: str) -> dict[str, Any]:
    text = 'log_format: {text_format_source: {inline_string: "%REQ(:PATH)% %RESPONSE_CODE%\\n"}}'
    return logging_to(name, text, f"filter: {{{condition}}}")


def indented(text: str, spaces: int) -> str:
    return text.strip().replace("\n", "\n" + " " * spaces)


JSON_MORE = "log_format:\n      json_format:\n        " + indented(JSON_FORMAT, 8)
OMITTING = JSON_MORE.replace("log_format:", "log_format:\n      omit_empty_values: true")
STATUS = "status_code_filter: {comparison: {op: GE, value: {default_value: 500, runtime_key: none}}}"
ACCESS_LOG = Setup(
    "access-log",
    bootstrap(
        [
            logging_to("default"),
            listener("words", routes=ROUTES, log=WORDS + "\n"),
            listener("sizes", routes=ROUTES, log=SIZES + "\n"),
            listener("wire", routes=ROUTES, log=WIRE + "\n"),
            listener("times", routes=ROUTES, log=TIMES + "\n"),
            logging_to("json", JSON_MORE),
            logging_to("omitting", OMITTING),
            filtered("errors", STATUS),
            filtered("flagged", "response_flag_filter: {flags: [UF]}"),
            filtered("marked", "header_filter: {header: {name: x-log, present_match: true}}"),
            filtered("either", f"or_filter: {{filters: [{{{STATUS}}}, {{response_flag_filter: {{}}}}]}}"),
            filtered("nohc", "not_health_check_filter: {}"),
        ],
        [cluster("app", "app"), cluster("dead", "dead")],
    ),
    {"app": "h1", "dead": "dead"},
)


def without_times(line: str) -> str:
    """The default line with its times checked and hidden."""
    line = re.sub(r"^\[\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\]", "[<time>]", line)
    return re.sub(r" (\d+) (\d+) \d+ (\d+|-) \"", r' \1 \2 <ms> <ms> "', line)


async def three(s: Session, to: str) -> None:
    """An answer of the upstream, one of the proxy, and a failure."""
    s.upstream().script = answers(ok(b"hello", "x-up: up"))
    await s.get("/rewrite/p?q=1", "x-a: abcdef", "user-agent: agent", 'x-quote: a"b\\c', to=to)
    await s.get("/direct", to=to)
    await s.http(head("POST /dead HTTP/1.1", "host: a", "content-length: 4") + b"body", to)


@scenario(ACCESS_LOG)
async def access_log_default_line(s: Session) -> None:
    """The default format."""
    async with s.logging(3, "default", without_times):
        await three(s, "default")


@scenario(ACCESS_LOG)
async def access_log_over_http2(s: Session) -> None:
    """The default format for HTTP/2."""
    async with s.logging(1, "default", without_times):
        client = await s.connect_h2("default")
        await client.request([*get("/h2?x", method="POST"), ("user-agent", "agent")], b"hello")


@scenario(ACCESS_LOG)
async def access_log_operators(s: Session) -> None:
    """The common operators in a text format."""
    async with s.logging(3, "words"):
        await three(s, "words")


@scenario(ACCESS_LOG)
async def access_log_sizes(s: Session) -> None:
    """Sizes of a request; those of headers count what Envoy counts."""
    async with s.logging(1, "sizes"):
        await s.get("/direct", "x-request-id: fixed", to="sizes")


@scenario(ACCESS_LOG)
async def access_log_bytes_on_the_wire(s: Session) -> None:
    """Bytes of the connection that a stream used."""
    async with s.logging(1, "wire"):
        await s.get("/direct", "x-request-id: fixed", to="wire")


@scenario(ACCESS_LOG)
async def access_log_times(s: Session) -> None:
    """The shapes of times and durations."""

    def shapes(line: str) -> str:
        line = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", "<time>", line)
        return re.sub(r"\b\d{1,2}\b", "<small>", re.sub(r"\b1[6-9]\d{8}\b|\b2\d{9}\b", "<seconds>", line))

    def only_kinds(line: str) -> str:
        return re.sub(r"\b\d{3}\b", "<small>", re.sub(r"\b20\d\d\b", "<year>", shapes(line)))

    async with s.logging(2, "times", only_kinds):
        await s.get("/app", to="times")
        await s.get("/direct", to="times")


def json_line(line: str) -> object:
    """The parsed line with its duration checked and hidden, and the order of its keys."""
    fields = json.loads(line)
    if type(fields.get("duration")) is int:
        fields["duration"] = "<ms>"
    return {"keys": list(fields), "fields": fields}


@scenario(ACCESS_LOG)
async def access_log_json(s: Session) -> None:
    """json_format: types of values, nesting, null for what is missing, quoting."""
    async with s.logging(3, "json", json_line):
        await three(s, "json")


@scenario(ACCESS_LOG)
async def access_log_json_omitting(s: Session) -> None:
    """The same with omit_empty_values."""
    async with s.logging(3, "omitting", json_line):
        await three(s, "omitting")


@scenario(ACCESS_LOG)
async def access_log_filters(s: Session) -> None:
    """Filters by status, response flag, header, and their combination."""
    for name, lines in (("errors", 1), ("flagged", 1), ("marked", 1), ("either", 1), ("nohc", 3)):
        async with s.logging(lines, name):
            await s.get("/direct", to=name)
            await s.get("/direct", "x-log: 1", to=name)
            await s.get("/dead", to=name)
            await s.quiet()
