"""envoy.filters.http.set_filter_state, json_to_metadata and grpc_stats."""

from __future__ import annotations

import json
from typing import Any

from tests.support import yaml_text

from ..configuration import bootstrap, cluster, listener
from ..http2 import Fields
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import H2Call, answers, ok

SUBJECT = "filters"

EXT = "type.googleapis.com/envoy.extensions.filters.http"
SET = f"{EXT}.set_filter_state.v3.Config"
JSON = f"{EXT}.json_to_metadata.v3.JsonToMetadata"
GRPC = f"{EXT}.grpc_stats.v3.FilterConfig"


def dumped(value: Any) -> str:
    return yaml_text.dump(value, width=100_000, allow_unicode=True)


def named(name: str, kind: str, **config: Any) -> dict[str, Any]:
    return {"name": name, "typed_config": {"@type": kind, **config}}


def state(key: str, text: str, **more: Any) -> dict[str, Any]:
    return {
        "object_key": key,
        "factory_key": "envoy.string",
        "format_string": {"text_format_source": {"inline_string": text}},
        **more,
    }


def hosts(*routes: dict[str, Any], **more: Any) -> str:
    virtual = {"name": "all", "domains": ["*"], "routes": list(routes), **more}
    return dumped({"route_config": {"virtual_hosts": [virtual]}})


TO_APP: dict[str, Any] = {"match": {"prefix": "/"}, "route": {"cluster": "app"}}
# -- filter state ------------------------------------------------------------------------------------------
VALUES = [
    state("own", "%REQ(:METHOD)% %REQ(x-a)%"),
    state("none", "%REQ(x-none)%"),
    state("empty", "", skip_if_empty=True),
    state("both", "filter"),
    {**state("plain", "text", read_only=True), "factory_key": "envoy.hashable_string"},
]
OMITTED = state("omitted", "%REQ(x-none)%", skip_if_empty=True)
OMITTED["format_string"]["omit_empty_values"] = True
STATE_LOG = " ".join(
    f"{key}=%FILTER_STATE({key}:PLAIN)% %FILTER_STATE({key})%"
    for key in ("own", "none", "empty", "omitted", "both", "plain", "vhost", "route")
)
STATE_ROUTES = [
    {
        "match": {"prefix": "/route"},
        "route": {"cluster": "app"},
        "typed_per_filter_config": {
            "state": {
                "@type": SET,
                "on_request_headers": [state("route", "R"), state("both", "route %PROTOCOL%")],
            }
        },
    },
    {
        "match": {"prefix": "/", "filter_state": [{"key": "cleared", "string_match": {"exact": "yes"}}]},
        "name": "found",
        "direct_response": {"status": 204},
    },
    TO_APP,
]
STATE_HOST = {
    "typed_per_filter_config": {"state": {"@type": SET, "on_request_headers": [state("vhost", "V")]}}
}
# -- JSON --------------------------------------------------------------------------------------------------


def pair(key: str, **more: Any) -> dict[str, Any]:
    return {"key": key, **more}


def rule(path: str, **more: Any) -> dict[str, Any]:
    return {"selectors": [{"key": key} for key in path.split(".")], **more}


RULES = [
    rule("a", on_present=pair("a"), on_missing=pair("a", value="missing"), on_error=pair("a", value="error")),
    rule("a", on_present=pair("as-text", type="STRING")),
    rule("a", on_present=pair("as-number", type="NUMBER"), on_missing=pair("as-number", value=-1)),
    rule("b.c.d", on_present=pair("deep", type="STRING"), on_missing=pair("deep", value={"no": ["thing"]})),
    rule("a", on_present=pair("fixed", value=[1, "x", None], metadata_namespace="own")),
    rule("a", on_present=pair("before", metadata_namespace="meta", preserve_existing_metadata_value=True)),
    rule("z", on_missing=pair("z", value=True), on_error=pair("z", value=False, metadata_namespace="own")),
]
JSON_FILTER = {
    "request_rules": {"rules": RULES},
    "response_rules": {
        "rules": [
            rule(
                "r",
                on_present=pair("r"),
                on_missing=pair("r", value="missing"),
                on_error=pair("r", value="error"),
            )
        ],
        "allow_content_types": ["text/json"],
        "allow_content_types_regex": {"regex": "application/.*json"},
        "allow_empty_content_type": True,
    },
}
JSON_ROUTES = [
    {
        "match": {"prefix": "/route"},
        "route": {"cluster": "app"},
        "typed_per_filter_config": {
            "json": {"@type": JSON, "request_rules": {"rules": [rule("a", on_present=pair("route"))]}}
        },
    },
    {
        "match": {"prefix": "/direct"},
        "direct_response": {"status": 200, "body": {"inline_string": '{"r": 1}'}},
    },
    TO_APP,
]
META = named(
    "meta",
    f"{EXT}.set_metadata.v3.Config",
    metadata=[{"metadata_namespace": "meta", "value": {"before": "kept"}}],
)
JSON_LOG = (
    "%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS% "
    "%DYNAMIC_METADATA(envoy.filters.http.json_to_metadata)% "
    "%DYNAMIC_METADATA(own)% %DYNAMIC_METADATA(meta)%\n"
)
JSON_STATS = tuple(
    f"json_to_metadata.{side}.{name}"
    for side in ("rq", "resp")
    for name in ("success", "mismatched_content_type", "no_body", "invalid_json_body")
)
# -- gRPC --------------------------------------------------------------------------------------------------
STATE = "envoy.filters.http.grpc_stats"
GRPC_LOG = (
    f"%REQ(:PATH)% %FILTER_STATE({STATE})% %FILTER_STATE({STATE}:PLAIN)% "
    f"%FILTER_STATE({STATE}:FIELD:request_message_count)%\n"
)
GRPC_ROUTES = [
    {"match": {"prefix": "/local.S"}, "direct_response": {"status": 403, "body": {"inline_string": "no"}}},
    {"match": {"prefix": "/"}, "route": {"cluster": "h2app"}},
]
GRPC_KINDS: dict[str, dict[str, Any]] = {
    "grpc-all": {"stats_for_all_methods": True, "emit_filter_state": True, "enable_upstream_stats": True},
    "grpc-dots": {"stats_for_all_methods": True, "replace_dots_in_grpc_service_name": True},
    "grpc-list": {
        "individual_method_stats_allowlist": {
            "services": [{"name": "pkg.Chosen", "method_names": ["One", "Two"]}]
        }
    },
    "grpc-none": {},
    "grpc-off": {"stats_for_all_methods": False},
}
SETUP = Setup(
    "filters_more",
    bootstrap(
        [
            listener(
                "state",
                hosts(*STATE_ROUTES, **STATE_HOST),
                filters=dumped([named("state", SET, on_request_headers=[*VALUES, OMITTED])]),
                log=STATE_LOG + "\n",
            ),
            listener(
                "clears",
                hosts(*STATE_ROUTES),
                filters=dumped(
                    [
                        named(
                            "state",
                            SET,
                            on_request_headers=[state("cleared", "%REQ(x-a)%")],
                            clear_route_cache=True,
                        )
                    ]
                ),
                log="%RESPONSE_CODE% %ROUTE_NAME%\n",
            ),
            listener(
                "json",
                hosts(*JSON_ROUTES),
                filters=dumped([META, named("json", JSON, **JSON_FILTER)]),
                log=JSON_LOG,
            ),
            *(
                listener(
                    name, hosts(*GRPC_ROUTES), filters=dumped([named("stats", GRPC, **config)]), log=GRPC_LOG
                )
                for name, config in GRPC_KINDS.items()
            ),
        ],
        [cluster("app", "app"), cluster("h2app", "h2app", http2=True)],
    ),
    {"app": "h1", "h2app": "h2"},
)


@scenario(SETUP)
async def set_filter_state_levels(s: Session) -> None:
    """The filter's values, then the virtual host's and the route's, of which the last says a key's value."""
    s.upstream().script = answers(ok(b"ok"))
    async with s.logging(3, "state"):
        await s.get("/a", "x-a: value", to="state")
        await s.get("/route", to="state")
        await s.get("/a", "x-a: \xc3\xa9", to="state")


@scenario(SETUP)
async def set_filter_state_clears_route_cache(s: Session) -> None:
    """The route is looked up again, by what was set."""
    s.upstream().script = answers(ok(b"ok"))
    async with s.logging(2, "clears"):
        await s.get("/a", "x-a: yes", to="clears")
        await s.get("/a", "x-a: no", to="clears")


def post(path: str, body: str, kind: str | None = "application/json") -> bytes:
    lines = [f"POST {path} HTTP/1.1", "host: a", *([] if kind is None else [f"content-type: {kind}"])]
    data = body.encode()
    return "\r\n".join([*lines, f"content-length: {len(data)}", "", ""]).encode() + data


BODIES: dict[str, str] = {
    "text": '{"a": "v", "b": {"c": {"d": "deep"}}}',
    "number": '{"a": 12.5, "b": {"c": {"d": 3}}}',
    "integer": '{"a": 7}',
    "true": '{"a": true, "b": {"c": {"d": false}}}',
    "null": '{"a": null}',
    "object": '{"a": {"x": 1}, "b": {"c": 5}}',
    "list": '{"a": [1], "b": []}',
    "number-text": '{"a": " 1.5 "}',
    "empty-text": '{"a": ""}',
    "long": json.dumps({"a": "x" * 8193}),
    "just-fits": json.dumps({"a": "x" * 8192}),
    "unicode": '{"a": "\u00e9\\u00e9"}',
    "array": '[{"a": 1}]',
    "scalar": "5",
    "broken": '{"a": ',
    "nan": '{"a": NaN}',
    "twice": '{"a": 1, "a": 2}',
    "nothing": "{}",
    "blanks": "  ",
    "z": '{"z": 1}',
}


@scenario(SETUP)
async def json_to_metadata_values(s: Session) -> None:
    """What becomes of each kind of value, and of bodies that are no object."""
    s.upstream().script = answers(ok(b"ok", "content-type: text/plain"))
    async with s.counting(*JSON_STATS), s.logging(len(BODIES), "json"):
        for name, body in BODIES.items():
            await s.http(post(f"/{name}", body), "json", label=name)


@scenario(SETUP)
async def json_to_metadata_content_types(s: Session) -> None:
    """Which bodies are looked at."""
    s.upstream().script = answers(ok(b"ok", "content-type: text/plain"))
    kinds = ("text/json", "application/json; charset=utf-8", "Application/JSON", "application/json", None, "")
    async with s.counting(*JSON_STATS), s.logging(len(kinds) + 1, "json"):
        for number, kind in enumerate(kinds):
            await s.http(post("/kind", '{"a": 1}', kind), "json", label=f"kind {number}")
        await s.get("/none", "content-type: application/json", to="json")


@scenario(SETUP)
async def json_to_metadata_responses(s: Session) -> None:
    """The rules of responses; a local reply is one, too."""
    s.upstream().script = answers(
        ok(b'{"r": "up"}', "content-type: text/json"),
        ok(b'{"r": 5}', "content-type: application/x-json"),
        ok(b"{}"),
        ok(b"broken"),
        ok(b"", "content-type: text/json"),
        ok(b'{"r": 5}', "content-type: text/plain"),
    )
    async with s.counting(*JSON_STATS), s.logging(7, "json"):
        for number in range(6):
            await s.get(f"/{number}", to="json")
        await s.get("/direct", to="json")


@scenario(SETUP)
async def json_to_metadata_of_a_route(s: Session) -> None:
    """A route's rules take the place of the filter's; a body that comes in chunks."""
    s.upstream().script = answers(ok(b'{"r": "up"}', "content-type: text/json"))
    async with s.counting(*JSON_STATS), s.logging(2, "json"):
        await s.http(post("/route", '{"a": 1}'), "json")
        lines = "host: a\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
        chunked = f"POST /route HTTP/1.1\r\n{lines}".encode()
        await s.http(chunked + b'4\r\n{"a"\r\n5\r\n: 12}\r\n0\r\n\r\n', "json")


def message(data: bytes) -> bytes:
    return b"\0" + len(data).to_bytes(4, "big") + data


def call(path: str, kind: str = "application/grpc") -> Fields:
    return [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "example.com"),
        (":path", path),
        ("content-type", kind),
        ("te", "trailers"),
    ]


HEAD: Fields = [(":status", "200"), ("content-type", "application/grpc")]


async def calls(s: Session, to: str) -> None:
    """A call that is fine, one that fails in its head, one that is no method, one that the proxy answers."""

    async def script(call: H2Call) -> None:
        await call.body()
        if "Fails" in call.path:
            await call.answer([*HEAD, ("grpc-status", "14")])
        else:
            await call.answer(
                HEAD, message(b"one") + message(b"") + message(b"three"), [("grpc-status", "0")]
            )

    s.upstream("h2app").h2_script = script
    # Envoy has a name that is configured and one that a request made apart, and shows them as one.
    service = "pkg.Chosen" if to == "grpc-list" else "pkg.Listed"
    async with s.logging(7, to):
        client = await s.connect_h2(to)
        await client.request(call(f"/{service}/One"), message(b"a") + message(b"b"), label="one")
        await client.request(call(f"/{service}/Fails"), message(b""), label="fails")
        await client.request(call(f"/{service}/Two?q", "application/grpc+proto"), b"", label="nothing")
        await client.request(call("/not-a-method"), message(b"a"), label="path")
        await client.request(call("/a/b/c"), message(b"a"), label="long path")
        await client.request(call("/local.S/M"), label="local")
        await client.request(call("/pkg.Plain/M", "application/json"), b"{}", label="no grpc")


async def counted(s: Session, to: str) -> None:
    """The calls, and all that was counted of them."""
    await s.quiet()
    before = await s.counters(r"^cluster\.h2app\.grpc\.")
    await calls(s, to)
    await s.quiet()
    after = await s.counters(r"^cluster\.h2app\.grpc\.")
    s.see(
        "grpc",
        {
            name: value - before.get(name, 0)
            for name, value in sorted(after.items())
            if value != before.get(name)
        },
    )


@scenario(SETUP)
async def grpc_stats_for_all_methods(s: Session) -> None:
    """Stats of every method, the time of the upstream, and the counts in the filter state."""
    await counted(s, "grpc-all")


@scenario(SETUP)
async def grpc_stats_without_dots(s: Session) -> None:
    """Names of services with underscores."""
    await counted(s, "grpc-dots")


@scenario(SETUP)
async def grpc_stats_for_listed_methods(s: Session) -> None:
    """Stats of the methods that are listed; all others are counted as one."""
    await counted(s, "grpc-list")


@scenario(SETUP)
async def grpc_stats_by_default(s: Session) -> None:
    """Nothing said of methods, and all of them turned off."""
    await counted(s, "grpc-none")
    await counted(s, "grpc-off")
