"""Arguments that no SDK passes, at the edges of what there is; a body that is replaced again and again."""

from __future__ import annotations

from ..configuration import bootstrap, cluster, listener
from ..guest_log import guest_log
from ..guest_scripts import guest, modules
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import answers, ok

SUBJECT = "wasm"

#: Maps and pseudo headers.
HEADERS = """
@on_request_headers:request
replace_header_map_value 0 ":path" "/other?q"
replace_header_map_value 0 ":method" "PUT"
replace_header_map_value 0 ":scheme" "https"
replace_header_map_value 0 "host" "by.host"
get_header_map_value 0 ":authority"
get_header_map_value 0 "host"
add_header_map_value 0 ":path" "/more"
get_header_map_value 0 ":path"
replace_header_map_value 0 ":path" "/other?q"
replace_header_map_value 0 "X-MiXed" "1"
get_header_map_value 0 "x-mIXED"
replace_header_map_value 0 "x-empty" ""
get_header_map_value 0 "x-empty"
get_property "request\\0headers\\0Host"
get_property "request\\0headers\\0host"
@on_response_headers:request
get_header_map_pairs 2
get_property "response\\0headers\\0host"
@on_request_headers:order
replace_header_map_value 0 ":path" "/p"
get_header_map_pairs 0
set_header_map_pairs 0 [:method: GET, :path: /a, :authority: a, :scheme: http]
get_header_map_pairs 0
@on_response_headers:status
replace_header_map_value 2 ":status" "204"
get_header_map_value 2 ":status"
replace_header_map_value 2 ":status" "299"
get_header_map_value 2 ":status"
remove_header_map_value 2 "content-length"
add_header_map_value 2 "x-late" "1"
get_header_map_pairs 2
@on_request_headers:again
set_header_map_pairs 0 [:authority: a, :path: /a, :method: GET, :scheme: http, x: 1, X: 2, x: 3]
get_header_map_value 0 "x"
get_header_map_pairs 0
remove_header_map_value 0 "X"
get_header_map_pairs 0
add_header_map_value 0 "cookie" "a=1"
add_header_map_value 0 "cookie" "b=2"
add_header_map_value 0 "user-agent" "one"
add_header_map_value 0 "user-agent" "two"
get_header_map_value 0 "user-agent"
get_header_map_pairs 0
"""
#: Fields that no request may have: some are gone before it is sent.
UNSENDABLE = r"""
@on_request_headers:gone
add_header_map_value 0 "" "v"
get_header_map_value 0 ""
remove_header_map_value 0 ""
get_header_map_value 0 ""
add_header_map_value 0 "bad name" "v"
get_header_map_value 0 "bad name"
remove_header_map_value 0 "bad name"
replace_header_map_value 0 "x-line" "a\nb"
get_header_map_value 0 "x-line"
replace_header_map_value 0 "x-line" "c"
get_header_map_pairs 0
@on_request_headers:empty
add_header_map_value 0 "" "v"
get_header_map_value 0 ""
@on_request_headers:replaced
replace_header_map_value 0 "" "v"
replace_header_map_value 0 "" "w"
get_header_map_value 0 ""
remove_header_map_value 0 ""
@on_request_headers:later
add_header_map_value 0 "later\n" "v"
add_header_map_value 0 "x-line" "a\nb"
remove_header_map_value 0 "later\n"
@on_request_headers:two
add_header_map_value 0 "x-line" "a\nb"
add_header_map_value 0 "other line" "v"
@on_request_headers:all
set_header_map_pairs 0 [HEAD, x-forwarded-proto: http, bad name: 2]
get_header_map_pairs 0
remove_header_map_value 0 "bad name"
@on_request_headers:kept
set_header_map_pairs 0 [HEAD, x-forwarded-proto: http, bad name: 2]
@on_request_headers:path
replace_header_map_value 0 ":path" "/a\nb"
get_header_map_value 0 ":path"
replace_header_map_value 0 ":path" "/p"
@on_request_headers:waits
add_header_map_value 0 "" "v"
set_tick_period_milliseconds 0
remove_header_map_value 0 ""
@on_response_headers:response
add_header_map_value 2 "" "v"
remove_header_map_value 2 ""
get_header_map_pairs 2
""".replace("HEAD", ":authority: example.com, :path: /a, :method: GET, :scheme: http")
ANSWERS = """
@on_request_headers:plain
send_local_response 418 "why not" "tea" [x-a: 1, x-a: 2] -1
send_local_response 200 "second" "" "" -1
return 1
@on_request_headers:grpc
send_local_response 403 "" "no" [content-type: text/html] 7
return 0
@on_request_headers:empty
send_local_response 204 "" "" "" -1
return 1
@on_request_headers:goes-on
send_local_response 503 "d" "b" [content-length: 77, server: mine, date: never] 16
continue_stream 0
return 0
@on_response_headers:late
send_local_response 200 "late" "instead" [x-b: 1] -1
return 0
@on_response_headers:grpc-late
send_local_response 500 "" "x" "" 99
return 1
"""
#: It keeps a response until its end, and puts another in its place; from the second time on beside the guest.
BODIES = ("whole", "first", "twice", "none")
REPLACE = (
    "".join(
        f"""
@on_response_headers:{case}
remove_header_map_value 2 "content-length"
"""
        for case in BODIES
    )
    + """
@on_response_body:whole
end? get_buffer_bytes 1 0 100
end? set_buffer_bytes 1 0 100 "another"
end? get_buffer_bytes 1 0 100
more? return 1
@on_response_body:first
more? get_buffer_bytes 1 0 100
more? set_buffer_bytes 1 0 -1 "first"
more? get_buffer_bytes 1 0 100
end? set_buffer_bytes 1 0 -1 "|end"
end? get_buffer_bytes 1 0 100
@on_response_body:twice
end? get_buffer_bytes 1 0 100
end? set_buffer_bytes 1 0 4 "onetwo"
end? set_buffer_bytes 1 0 3 "ONE"
end? set_buffer_bytes 1 6 0 "!"
end? set_buffer_bytes 1 2 1 "?"
end? get_buffer_bytes 1 1 3
more? return 1
@on_response_body:none
end? get_buffer_bytes 1 0 100
end? set_buffer_bytes 1 0 -1 ""
more? return 1
"""
)
UNSENDABLE_CASES = (
    "gone", "replaced", "later", "two", "all", "kept", "path", "waits", "response",
)  # fmt: skip
ROUTES = "- {match: {prefix: /}, route: {cluster: app}}"


def _guest(name: str, script: str) -> str:
    return guest(name, script)


SETUP = Setup(
    "wasm-guest-odd",
    bootstrap(
        [
            listener(name, routes=ROUTES, filters=_guest(name, script))
            for name, script in (
                ("odd-headers", HEADERS),
                ("odd-answers", ANSWERS),
                ("unsendable", UNSENDABLE),
                ("odd-bodies", REPLACE),
            )
        ],
        [cluster("app", "app")],
    ),
    {"app": "h1"},
    modules("0_2_1"),
)


async def each(s: Session, to: str, *cases: str) -> None:
    for case in cases:
        async with guest_log(s, to, "on_delete", label=f"log {case}"):
            await s.get("/", f"x-case: {case}", to=to, label=case)


@scenario(SETUP)
async def wasm_guest_odd_headers(s: Session) -> None:
    """Empty names, pseudo headers by other names, one name in two cases, names that are joined."""
    s.upstream().script = answers(*[ok(b"ok", "x-up: 1")] * 3)
    await each(s, "odd-headers", "request", "again", "status")


@scenario(SETUP, differs={"log order": "wasm-order-of-pseudo-headers"})
async def wasm_guest_order_of_pseudo_headers(s: Session) -> None:
    """What a guest sets goes to the end of Envoy's map; here they stand in one order."""
    await each(s, "odd-headers", "order")


@scenario(SETUP, differs={"upstream app": "unsendable-requests-take-no-connection"})
async def wasm_guest_unsendable_headers(s: Session) -> None:
    """Names and values that no request may have count where they are there when the guest has returned."""
    s.upstream().script = answers(*[ok(b"ok", "x-up: 1")] * 9)
    await each(s, "unsendable", *UNSENDABLE_CASES)


@scenario(SETUP, differs=dict.fromkeys(("empty", "log empty", "upstream app"), "wasm-empty-names"))
async def wasm_guest_empty_name(s: Session) -> None:
    """A header without a name that is still there."""
    s.upstream().script = answers(ok(b"ok", "x-up: 1"))
    await each(s, "unsendable", "empty")


@scenario(SETUP, differs={"upstream app": "wasm-answers-over-a-whole"})
async def wasm_guest_odd_answers(s: Session) -> None:
    """Two answers, one that goes on all the same, headers that belong to the proxy, statuses of gRPC."""
    s.upstream().script = answers(*[ok(b"ok", "x-up: 1")] * 2)
    await each(s, "odd-answers", "plain", "grpc", "empty", "goes-on", "late", "grpc-late")


@scenario(SETUP)
async def wasm_guest_replaced_bodies(s: Session) -> None:
    """Another body in the place of a response's: at its end, before it, in parts, none; three times each."""
    s.upstream().script = answers(*[ok(b"body")] * 12)
    for case in BODIES:
        await each(s, "odd-bodies", *[case] * 3)
