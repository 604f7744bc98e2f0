"""Taps: exchanges that the admin interface or a file is told of, whole or piece by piece."""

from __future__ import annotations

import json
from typing import Any

import trio

from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..proxy import POLL_S
from ..scenario import Setup, scenario
from ..upstream import Call
from ..wire import Message, Wire, head, read_body, read_head, read_response

SUBJECT = "observability"

ROUTES = """
- {match: {path: /direct}, direct_response: {status: 200, body: {inline_string: here}}}
- {match: {path: /nothing}, direct_response: {status: 404}}
- {match: {prefix: /}, route: {cluster: app, prefix_rewrite: /new}}
"""
_TYPE = "type.googleapis.com/envoy.extensions.filters.http.tap.v3.Tap"


def of_file(form: str, *, header: str = "x-file", extra: str = "") -> str:
    """A filter that writes a file for each request with a header."""
    return f"""
- name: tap-{form}-{header}
  typed_config:
    "@type": {_TYPE}
    record_headers_received_time: true
    common_config:
      static_config:
        match: {{http_request_headers_match: {{headers: [{{name: {header}, present_match: true}}]}}}}
        {extra}
        output_config: {{sinks: [{{format: {form}, file_per_tap: {{path_prefix: "FILE({form})"}}}}]}}
"""


FILTERS = f"""
- name: envoy.filters.http.tap
  typed_config:
    "@type": {_TYPE}
    common_config: {{admin_config: {{config_id: one}}}}
    record_downstream_connection: true
    record_upstream_connection: true
"""
SETUP = Setup(
    "tap",
    bootstrap(
        [
            listener("main", routes=ROUTES, filters=FILTERS),
            listener(
                "files",
                routes=ROUTES,
                filters=of_file("PROTO_TEXT")
                + of_file("JSON_BODY_AS_STRING")
                + of_file("PROTO_BINARY", extra="tap_enabled: {default_value: {numerator: 0}}"),
            ),
        ],
        [cluster("app", "app")],
    ),
    {"app": "h1"},
)


class Tapped:
    """A stream of ``/tap`` that is being read."""

    def __init__(self, wire: Wire, answer: Message) -> None:
        self.wire = wire
        self.answer = answer
        self._text = ""
        self.traces: list[dict[str, Any]] = []

    async def more(self) -> bool:
        """Read a chunk, and take the traces that are whole; False at the end."""
        size = int(await self.wire.line(), 16)
        self._text += (await self.wire.exactly(size)).decode()
        await self.wire.line()
        decoder = json.JSONDecoder()
        while self._text.strip():
            self._text = self._text.lstrip()
            try:
                found, end = decoder.raw_decode(self._text)
            except ValueError:
                break
            self.traces.append(found)
            self._text = self._text[end:]
        return size > 0

    async def until(self, count: int) -> list[dict[str, Any]]:
        """The first traces, once there are so many."""
        while len(self.traces) < count:
            await self.more()
        return self.traces


async def ask(s: Session, body: str) -> Tapped:
    """One request for a tap."""
    wire = Wire(await s.open_admin())
    await wire.send(head("POST /tap HTTP/1.1", "host: admin", f"content-length: {len(body)}") + body.encode())
    return Tapped(wire, await read_head(wire))


async def tap(s: Session, config: str) -> Tapped:
    """Ask for a tap until the one before is out; it is in place once requests have gone round."""
    while " 200 " not in (tapped := await ask(s, f"config_id: one\ntap_config: {config}")).answer.start_line:
        tapped.wire.close()
        await trio.sleep(POLL_S)
    client = await s.connect()
    for _ in range(2):
        await client.wire.send(head("GET /direct?warm HTTP/1.1", "host: warm"))
        await read_response(client.wire)
    client.close()
    return tapped


def shown(value: Any) -> Any:
    """A trace without what changes from run to run."""
    if isinstance(value, dict):
        if "key" in value and value["key"] in ("date", "x-request-id", "x-envoy-upstream-service-time"):
            return {**value, "value": "…"}
        return {
            key: "…" if key in ("port_value", "trace_id", "headers_received_time") else shown(each)
            for key, each in value.items()
        }
    return [shown(each) for each in value] if isinstance(value, list) else value


MATCH = "match: {http_request_headers_match: {headers: [{name: x-tap, present_match: true}]}}"
JSON = "output_config: {%ssinks: [{streaming_admin: {}, format: JSON_BODY_AS_%s}]}"


async def answer(call: Call) -> None:
    await call.body()
    if call.path.endswith("chunked"):
        await call.send(
            head("HTTP/1.1 200 OK", "transfer-encoding: chunked", "x-up: 1") + b"5\r\nhello\r\n0\r\n\r\n"
        )
    else:
        await call.send(head("HTTP/1.1 200 OK", "content-length: 9", "x-up: 1") + b"an answer")


def joined(traces: list[dict[str, Any]]) -> list[object]:
    """Segments of a stream, of which chunks of one body are one."""
    found: list[dict[str, Any]] = []
    for trace in traces:
        segment = trace["http_streamed_trace_segment"]
        name = next(key for key in segment if key != "trace_id")
        if name.endswith("_chunk"):
            data = segment[name].get("as_string", "")
            if found and name in found[-1]:
                found[-1][name] += data
            else:
                found.append({name: data})
        else:
            found.append({name: segment[name]})
    return [shown(each) for each in found]


POST = head("POST /up?a=b HTTP/1.1", "host: a", "x-tap: 1", "content-length: 5", "x-two: 1", "x-two: 2")


@scenario(SETUP)
async def tap_whole_exchanges(s: Session) -> None:
    """Traces of whole exchanges, with bodies as text and as bytes."""
    s.upstream().script = answer
    for form in ("STRING", "BYTES"):
        tapped = await tap(s, "{" + MATCH + ", " + JSON % ("", form) + "}")
        s.see("answer", tapped.answer.shown())
        await s.http(POST + b"hello", label="up")
        await tapped.until(1)
        for path in ("/direct", "/nothing", "/chunked"):
            await s.get(path, "x-tap: 1", label=path)
            await tapped.until(len(tapped.traces) + 1)
        s.see(form, [shown(each) for each in tapped.traces])
        tapped.wire.close()
    await s.quiet()


@scenario(SETUP)
async def tap_truncated(s: Session) -> None:
    """Bodies that are longer than what is kept of them, and nothing kept at all."""
    s.upstream().script = answer
    for limits in ("max_buffered_rx_bytes: 3, max_buffered_tx_bytes: 0, ", "max_buffered_tx_bytes: 9, "):
        tapped = await tap(s, "{" + MATCH + ", " + JSON % (limits, "BYTES") + "}")
        await s.http(POST + b"hello", label="up")
        trace = (await tapped.until(1))[0]["http_buffered_trace"]
        s.see(limits, [trace["request"].get("body"), trace["response"].get("body")])
        tapped.wire.close()


@scenario(SETUP, differs={"request body": "chunk-that-matches"})
async def tap_streamed(s: Session) -> None:
    """Segments: as they come, or held back until the response decides."""
    s.upstream().script = answer
    matches = {
        "request": MATCH,
        "response": "match: {http_response_headers_match: {headers: [{name: x-up, present_match: true}]}}",
        "request body": "match: {http_request_generic_body_match: {patterns: [{binary_match: ZWxs}]}}",
    }
    for label, match in matches.items():
        tapped = await tap(s, "{" + match + ", " + JSON % ("streaming: true, ", "STRING") + "}")
        await s.http(POST + b"hello", label="up")
        while not any("response_body_chunk" in each["http_streamed_trace_segment"] for each in tapped.traces):
            await tapped.more()
        s.see(label, joined(tapped.traces))
        tapped.wire.close()


@scenario(SETUP)
async def tap_gathered(s: Session) -> None:
    """So many traces at once, then the answer ends; or none when the time is over."""
    sink = "output_config: {sinks: [{buffered_admin: {%s}, format: JSON_BODY_AS_STRING}]}"
    tapped = await tap(s, "{" + MATCH + ", " + sink % "max_traces: 2" + "}")
    for path in ("/direct?1", "/direct?2"):
        await s.get(path, "x-tap: 1", label=path)
    while await tapped.more():
        pass
    s.see("gathered", [shown(each) for each in tapped.traces])
    tapped.wire.close()
    tapped = await tap(s, "{" + MATCH + ", " + sink % "max_traces: 2, timeout: 0.01s" + "}")
    while await tapped.more():
        pass
    s.see("none", tapped.traces)
    tapped.wire.close()


PREDICATES = (
    "any_match: true",
    "not_match: {any_match: true}",
    "http_request_headers_match: {}",
    "http_request_trailers_match: {}",
    "http_request_headers_match: {headers: [{name: x-tap, invert_match: true, string_match: {exact: '1'}}]}",
    "http_request_headers_match: {headers: [{name: x-two, string_match: {exact: '1,2'}}]}",
    "http_request_headers_match: {headers: [{name: x-tap, present_match: true}, {name: x}]}",
    "http_request_headers_match: {headers: [{name: ':path', string_match: {prefix: /up}}]}",
    "http_request_headers_match: {headers: [{name: ':path', string_match: {prefix: /new}}]}",
    "http_response_headers_match: {headers: [{name: ':status', string_match: {exact: '200'}}]}",
    "http_response_headers_match: {headers: [{name: server, string_match: {exact: envoy}}]}",
    "not_match: {http_request_trailers_match: {headers: [{name: x-tap, present_match: true}]}}",
    "and_match: {rules: [{any_match: true}, {not_match: {any_match: true}}]}",
    "http_request_generic_body_match: {patterns: [{string_match: ell}, {string_match: hel}]}",
    "http_request_generic_body_match: {patterns: [{string_match: ell}, {string_match: answer}]}",
    "http_request_generic_body_match: {bytes_limit: 3, patterns: [{string_match: ell}]}",
    "http_request_generic_body_match: {bytes_limit: 4, patterns: [{string_match: ell}]}",
    "http_response_generic_body_match: {patterns: [{binary_match: YW4gYW5zd2Vy}]}",
)


@scenario(SETUP)
async def tap_predicates(s: Session) -> None:
    """What matches, of a request and the two that go before it."""
    s.upstream().script = answer
    name = "http.main.tap.rq_tapped"
    before = (await s.counters(f"^{name}$"))[name]
    for predicate in PREDICATES:
        tapped = await tap(s, "{match: {" + predicate + "}, " + JSON % ("", "STRING") + "}")
        client = await s.connect()
        await client.send(POST + b"hello")
        await read_response(client.wire)
        await s.quiet()
        after = (await s.counters(f"^{name}$"))[name]
        s.see(predicate, after - before)
        before = after
        tapped.wire.close()


@scenario(SETUP)
async def tap_refused(s: Session) -> None:
    """Requests that ask for no tap, an unknown one, one that is wrong, or a second one."""

    def first(text: str) -> str:
        return text.splitlines()[0][:40]

    await s.admin("GET /tap")
    await s.admin("POST /tap", "nothing")
    output = "output_config: {sinks: [{streaming_admin: {}}]}"
    good = f"config_id: one\ntap_config: {{match: {{any_match: true}}, {output}}}"
    for label, body in {
        "unknown": good.replace("one", "two"),
        "no id": good.partition("\n")[2],
        "no rule": good.replace("any_match: true", ""),
        "false": good.replace("true", "false"),
        "no output": "config_id: one\ntap_config: {match: {any_match: true}}",
        "no sink": "config_id: one\ntap_config: {match: {any_match: true}, output_config: {sinks: []}}",
        "none of none": "config_id: one\ntap_config: {match: {any_match: true}, output_config: {sinks: "
        "[{buffered_admin: {}}]}}",
        "unknown field": "config_id: one\ntap_config: {nonsense: true}",
        "no mapping": "- one",
        "no YAML": "a: [",
    }.items():
        answered = await ask(s, body)
        await read_body(answered.wire, answered.answer, to_close=False)
        text = answered.answer.body.decode()
        s.see(label, [answered.answer.start_line, text if label == "unknown" else "…"])
        answered.wire.close()
    tapped = await tap(s, "{" + MATCH + ", " + JSON % ("", "STRING") + "}")
    second = await ask(s, good)
    await read_body(second.wire, second.answer, to_close=False)
    s.see("second", second.answer.shown())
    second.wire.close()
    tapped.wire.close()
    await s.admin("GET /help", body=lambda text: [each for each in text.splitlines() if "tap" in each])


@scenario(SETUP)
async def tap_files(s: Session) -> None:
    """A file for each exchange, in two forms; a tap that is enabled for none."""
    s.upstream().script = answer
    await s.quiet()
    request = head("POST /up HTTP/1.1", "host: a", "x-file: 1", "content-length: 5") + b"hello"
    before = {each.name for each in s.proxy.directory.iterdir()}
    async with s.counting("http.files.tap.rq_tapped", "http.files.tap.rq_sampled_out"):
        await s.http(request, to="files", label="up")

    def texts() -> dict[str, str]:
        new = [each for each in s.proxy.directory.iterdir() if each.name not in before]
        found = {each.name.partition(".")[2]: each for each in new}
        return {ending: each.read_text() for ending, each in sorted(found.items())}

    while len(found := texts()) < 2 or not all(found.values()):  # noqa: ASYNC110 - another process
        await trio.sleep(POLL_S)
    s.see("endings", sorted(found))
    s.see("json", shown(json.loads(found["json"])))
    s.see("text", [line for line in found["pb_text"].splitlines() if "key:" in line or "body" in line])
