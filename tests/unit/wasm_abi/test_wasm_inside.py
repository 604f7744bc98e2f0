"""What is answered beside a guest looks to it, and to roles, like what the host answers.

Every test runs on both bindings; the public one has nothing inside, so it says what is right.  A guest is
called several times: what it asks for the first time is there inside the next.
"""

from contextlib import nullcontext

import pytest
from wasm_guests import FakeStream, Runner, calling, guest

from wasm_abi import (
    BufferType,
    DataAction,
    HeadersAction,
    LogLevel,
    MapType,
    Plugin,
    Status,
    StreamContext,
    Vm,
    WasmTrap,
)
from wasm_abi.inside_wat import BODY_BYTES, EDIT_BYTES, PAIRS_BYTES, SLOTS, VALUE_BYTES
from wasm_abi.pairs import decode_pairs

GET, PAIRS = "proxy_get_header_map_value", "proxy_get_header_map_pairs"
ADD, REPLACE = "proxy_add_header_map_value", "proxy_replace_header_map_value"
REMOVE, LOG = "proxy_remove_header_map_value", "proxy_log"
DATA = {100: b"x-id", 110: b"X-New", 120: b"one", 130: b"two"}


def one(run: Runner, code: bytes, *headers: tuple[bytes, bytes]) -> FakeStream:
    """A stream of the newest plugin, or of one of this code, shown its headers."""
    fake = FakeStream(*headers)
    stream(run, code, fake).on_request_headers(len(headers), False)
    return fake


def stream(run: Runner, code: bytes, fake: FakeStream) -> StreamContext:
    plugins = run.__dict__.setdefault("plugins", {})
    if code not in plugins:
        plugins[code] = run.plugin(code)
    context: StreamContext = plugins[code].create_stream(fake)
    return context


def test_value_is_the_one_of_the_stream_that_asks(run: Runner) -> None:
    code = calling(GET, 0, 100, 4, 8, 12, data=DATA)
    for value in (b"first", b"second", b"", b"x" * VALUE_BYTES, b"y" * (VALUE_BYTES + 1), b"last"):
        one(run, code, (b":path", b"/"), (b"x-id", value))
        assert run.u32(0) == Status.OK
        assert run.given(8, 12) == value
    one(run, code, (b":path", b"/"))
    assert run.u32(0) == Status.NOT_FOUND


def test_value_that_is_asked_for_in_capitals_is_found(run: Runner) -> None:
    code = calling(GET, 0, 110, 5, 8, 12, data=DATA)
    for value in (b"first", b"second", b"third"):
        one(run, code, (b"x-new", value))
        assert run.given(8, 12) == value


def test_more_names_than_there_is_room_for_are_all_found(run: Runner) -> None:
    count = SLOTS + 3
    calls = "".join(
        f"(if (call ${GET} (i32.const 0) (i32.const {100 + 4 * n}) (i32.const 4) (i32.const 8)"
        " (i32.const 12))"
        f" (then (i32.store (i32.const 0) (i32.const {n + 1}))))"
        for n in range(count)
    )
    names = {100 + 4 * n: b"n-%02d" % n for n in range(count)}
    code = guest({"proxy_on_request_headers": calls + "(i32.const 0)"}, imports=(GET,), data=names)
    for _ in range(3):
        one(run, code, *((name, name) for name in names.values()))
        assert run.u32(0) == 0
        assert run.given(8, 12) == names[100 + 4 * (count - 1)]


def test_pairs_are_those_of_the_stream_that_asks(run: Runner) -> None:
    code = calling(PAIRS, 0, 8, 12, data=DATA)
    for value in (b"first", b"second", b"x" * PAIRS_BYTES, b"last"):
        one(run, code, (b":path", b"/"), (b"x-id", value))
        assert run.u32(0) == Status.OK
        assert decode_pairs(run.given(8, 12)) == [(b":path", b"/"), (b"x-id", value)]
    one(run, code)
    assert run.u32(12) == 0


@pytest.mark.parametrize("name", [GET, PAIRS])
def test_pointers_that_lead_out_are_refused_each_time(run: Runner, name: str) -> None:
    far = 0xFFFFFFF0
    cases = [(0, far, 12), (0, 8, far)] if name == PAIRS else [(0, 100, 4, far, 12), (0, 100, 4, 8, far)]
    for arguments in [*cases, *([(0, far, 4, 8, 12), (0, 100, far, 8, 12)] if name == GET else [])]:
        code = calling(name, *arguments, data=DATA)
        for _ in range(3):
            one(run, code, (b"x-id", b"1"))
            assert run.u32(0) == Status.INVALID_MEMORY_ACCESS


def test_allocator_that_has_nothing_is_told_each_time(run: Runner) -> None:
    malloc = '(func (export "malloc") (param i32) (result i32) (i32.const 0))'
    code = calling(GET, 0, 100, 4, 8, 12, data=DATA, malloc=malloc)
    for _ in range(3):
        one(run, code, (b"x-id", b"1"))
        assert run.u32(0) == Status.INVALID_MEMORY_ACCESS


def test_memory_that_grows_while_a_value_is_handed_over_is_written_where_it_is_now(run: Runner) -> None:
    malloc = """(func (export "malloc") (param i32) (result i32)
      (i32.mul (memory.grow (i32.const 1)) (i32.const 65536)))"""
    code = calling(GET, 0, 100, 4, 8, 12, data=DATA, malloc=malloc)
    for value in (b"first", b"second", b"third"):
        one(run, code, (b"x-id", value))
        assert run.given(8, 12) == value


@pytest.mark.parametrize("name", [GET, ADD])
def test_host_call_of_the_allocator_traps_each_time(run: Runner, name: str) -> None:
    malloc = f"""(global $armed (mut i32) (i32.const 0))
      (func (export "malloc") (param i32) (result i32)
        (if (global.get $armed) (then (drop (call ${name} (i32.const 0) (i32.const 100) (i32.const 4)
          (i32.const 8) (i32.const 12)))))
        (i32.const 4096))"""
    body = f"""(drop (call ${GET} (i32.const 0) (i32.const 100) (i32.const 4) (i32.const 8) (i32.const 12)))
      (global.set $armed (i32.gt_u (local.get $count) (i32.const 1))) (i32.const 0)"""
    code = guest({"proxy_on_request_headers": body}, imports=tuple({GET, name}), data=DATA, malloc=malloc)
    one(run, code, (b"x-id", b"1"))
    one(run, code, (b"x-id", b"1"), (b"x-more", b"2"))
    with pytest.raises(WasmTrap, match=f"{name} called while the guest starts or allocates"):
        one(run, code, (b"x-id", b"1"))


def test_changes_are_made_in_their_order_and_seen_at_once(run: Runner) -> None:
    def call(name: str, *values: int) -> str:
        return f"(drop (call ${name} {' '.join(f'(i32.const {value})' for value in values)}))"

    body = (
        call(GET, 0, 100, 4, 8, 12)
        + call(ADD, 0, 110, 5, 120, 3)
        + call(ADD, 0, 110, 5, 130, 3)
        + call(REPLACE, 0, 100, 4, 130, 3)
        + call(GET, 0, 100, 4, 8, 12)
        + call(REMOVE, 0, 110, 5)
        + call(ADD, 0, 110, 5, 120, 3)
        + "(i32.const 0)"
    )
    code = guest({"proxy_on_request_headers": body}, imports=(GET, ADD, REPLACE, REMOVE), data=DATA)
    for value in (b"first", b"second", b"third"):
        fake = one(run, code, (b"x-id", value))
        assert run.given(8, 12) == b"two"
        assert fake.maps[MapType.HTTP_REQUEST_HEADERS] == [(b"x-id", b"two"), (b"x-new", b"one")]


def test_changes_that_are_too_many_to_be_written_down_are_made_too(run: Runner) -> None:
    size = EDIT_BYTES // 3
    call = (
        f"(drop (call ${ADD} (i32.const 0) (i32.const 100) (i32.const 4) (i32.const 200) (i32.const {size})))"
    )
    code = guest({"proxy_on_request_headers": call * 5 + "(i32.const 0)"}, imports=(ADD,), data=DATA)
    for _ in range(2):
        fake = one(run, code)
        fields = fake.maps[MapType.HTTP_REQUEST_HEADERS]
        assert [(name, len(value)) for name, value in fields] == [(b"x-id", size)] * 5


@pytest.mark.parametrize("which", [MapType.HTTP_RESPONSE_HEADERS, MapType.HTTP_REQUEST_TRAILERS, 99])
def test_maps_of_other_callbacks_stay_closed(run: Runner, which: int) -> None:
    for name, more in ((ADD, (110, 5)), (REMOVE, ())):
        code = calling(name, which, 100, 4, *more, data=DATA)
        for _ in range(2):
            one(run, code, (b"x-id", b"1"))
            assert run.u32(0) == Status.BAD_ARGUMENT


def test_map_is_closed_once_the_stream_was_let_go_on(run: Runner) -> None:
    body = f"""(drop (call $proxy_continue_stream (i32.const 0)))
      (i32.store (i32.const 0) (call ${ADD} (i32.const 0) (i32.const 100) (i32.const 4) (i32.const 120)
        (i32.const 3))) (i32.const 0)"""
    imports = (ADD, "proxy_continue_stream")
    code = guest({"proxy_on_request_headers": body}, imports=imports, data=DATA)
    for _ in range(2):
        assert one(run, code, (b"x-id", b"1")).maps[MapType.HTTP_REQUEST_HEADERS] == [(b"x-id", b"1")]
        assert run.u32(0) == Status.BAD_ARGUMENT


def test_lines_that_nobody_wants_are_left_out_and_others_are_not(run: Runner) -> None:
    body = "".join(
        f"(drop (call ${LOG} (i32.const {level}) (i32.const 120) (i32.const 3)))" for level in range(6)
    )
    code = guest({"proxy_on_request_headers": body + "(i32.const 0)"}, imports=(LOG,), data=DATA)
    for level in (LogLevel.WARN, LogLevel.TRACE, LogLevel.CRITICAL, LogLevel.WARN, LogLevel.INFO):
        run.host.level = level
        run.host.lines.clear()
        one(run, code)
        wanted = [number for number, _ in run.host.lines if number >= level]
        assert wanted == [*LogLevel][level:]


def test_line_of_a_pointer_that_leads_out_is_refused_each_time(run: Runner) -> None:
    run.host.level = LogLevel.WARN
    for at, size in ((0xFFFFFFFF, 1), (100, 0xFFFFFFFF)):
        code = calling(LOG, 2, at, size)
        for _ in range(3):
            one(run, code)
            assert run.u32(0) == Status.INVALID_MEMORY_ACCESS


# -- callbacks that share a call -----------------------------------------------------------------------

_MARK = "(drop (call $proxy_log (i32.const 4) (i32.const {at}) (i32.const 1)))"


def _life(*noisy: str, trap: str = "") -> bytes:
    """A guest that writes a line in some callbacks, counts all of them at address 0, and may trap in one."""
    bodies = {}
    for at, name in enumerate(("context_create", "request_headers", "log", "done", "delete")):
        count = "(i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (i32.const 1)))"
        line = _MARK.format(at=500 + at) if name in noisy else ""
        result = {"request_headers": "(i32.const 0)", "done": "(i32.const 1)"}.get(name, "")
        bodies[f"proxy_on_{name}"] = count + line + ("unreachable" if name == trap else "") + result
    return guest(bodies, imports=("proxy_log",), data={500: b"chlde"})


@pytest.mark.parametrize(
    ("noisy", "lines"),
    [
        ((), b""),
        (("context_create",), b"c"),
        (("request_headers",), b"h"),
        (("log",), b"l"),
        (("done",), b"d"),
        (("delete",), b"e"),
        (("context_create", "request_headers", "log", "done", "delete"), b"chlde"),
    ],
)
def test_each_callback_is_made_once_whatever_it_does(
    run: Runner, noisy: tuple[str, ...], lines: bytes
) -> None:
    plugin = run.plugin(_life(*noisy))
    begun = run.u32(0)
    run.host.lines.clear()
    context = plugin.new_context(FakeStream())
    action = context.begin(0, True)
    if action is None:
        action = context.on_request_headers(0, True)
    assert action is HeadersAction.CONTINUE
    context.conclude()
    assert b"".join(line for _, line in run.host.lines) == lines
    assert run.u32(0) - begun == 5
    assert context.id not in plugin.vm.contexts


def _live(context: StreamContext) -> None:
    if context.begin(0, True) is None:
        context.on_request_headers(0, True)
    context.conclude()


@pytest.mark.parametrize("name", ["context_create", "request_headers", "log", "done", "delete"])
def test_trap_is_laid_to_the_callback_that_it_is_in(run: Runner, name: str) -> None:
    code = _life(trap=name)
    if name == "context_create":
        code = code.replace(b"unreachable", b"(if (local.get $parent) (then unreachable))")
    plugin = run.plugin(code)
    with pytest.raises(WasmTrap) as caught:
        _live(plugin.new_context(FakeStream()))
    assert caught.value.callback == f"proxy_on_{name}"
    assert caught.value.backtrace == (f"proxy_on_{name}",)


def _reading(callback: str) -> bytes:
    body = f"""(i32.store (i32.const 0) (call ${GET} (i32.const 0) (i32.const 100) (i32.const 4)
      (i32.const 8) (i32.const 12)))"""
    if callback == "proxy_on_context_create":
        body = f"(if (local.get $parent) (then {body}))"
    bodies = {"proxy_on_request_headers": "(i32.const 0)", callback: body}
    if callback == "proxy_on_done":
        bodies[callback] += "(i32.const 1)"
    return guest(bodies, imports=(GET,), data=DATA)


@pytest.mark.parametrize(
    ("callback", "status"),
    [
        ("proxy_on_context_create", Status.BAD_ARGUMENT),
        ("proxy_on_log", Status.OK),
        ("proxy_on_done", Status.BAD_ARGUMENT),
        ("proxy_on_delete", Status.BAD_ARGUMENT),
    ],
)
def test_maps_are_open_in_the_callbacks_in_which_they_are(run: Runner, callback: str, status: Status) -> None:
    plugin = run.plugin(_reading(callback))
    for _ in range(3):
        context = plugin.new_context(FakeStream((b"x-id", b"1")))
        if context.begin(1, True) is None:
            context.stream.maps = {MapType.HTTP_REQUEST_HEADERS: [(b"x-id", b"1")]}
            context.on_request_headers(1, True)
        context.conclude()
        assert run.u32(0) == status


def test_answer_at_the_creation_of_a_context_comes_before_its_headers(run: Runner) -> None:
    zeros = " ".join(["(i32.const 0)"] * 7)
    body = f"(if (local.get $parent) (then (drop (call $proxy_send_local_response (i32.const 403) {zeros}))))"
    code = guest(
        {"proxy_on_context_create": body, "proxy_on_request_headers": "(i32.const 0)"},
        imports=("proxy_send_local_response",),
    )
    plugin = run.plugin(code)
    fake = FakeStream()
    context = plugin.new_context(fake)
    assert context.begin(0, True) is None
    assert len(fake.events) == 1


def test_what_is_inside_can_be_left_out(run: Runner) -> None:
    assert run.vm(guest(), inside=False).inside is None
    assert (run.vm(guest()).inside is None) is run.safe
    vm: Vm = run.vm(guest(), allowed=frozenset({"proxy_on_context_create"}))
    assert vm.inside is None


# -- a response in one call ------------------------------------------------------------------------------

_CALL_MARK = "(drop (call $proxy_log (i32.const 4) (i32.const {at}) (i32.const 1)))"
_TAKE = """(drop (call $proxy_get_buffer_bytes (i32.const 1) (i32.const 0) (i32.const 9) (i32.const 8)
  (i32.const 12)))"""


def _responding(headers: str = "", body: str = "", end: str = "", result: str = "(i32.const 0)") -> bytes:
    count = "(i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (i32.const 1)))"
    bodies = {
        "proxy_on_response_headers": f"{count} {headers} (i32.const 0)",
        "proxy_on_response_body": (
            f"{count} (if (local.get $end) (then {end}) (else {body}))"
            f"(if (result i32) (local.get $end) (then (i32.const 0)) (else {result}))"
        ),
    }
    imports = (ADD, "proxy_log", "proxy_get_buffer_bytes", "proxy_set_buffer_bytes")
    return guest(bodies, imports=imports, data={**DATA, 500: b"hbe"})


_ADD_BOTH = f"""(drop (call ${ADD} (i32.const 2) (i32.const 110) (i32.const 5) (i32.const 120) (i32.const 3)))
  (drop (call ${ADD} (i32.const 2) (i32.const 110) (i32.const 5) (i32.const 130) (i32.const 3)))"""
_ON = DataAction.CONTINUE


@pytest.mark.parametrize(
    ("code", "made", "lines"),
    [
        (_responding(), 3, b""),
        (_responding(_ADD_BOTH), 3, b""),
        (_responding(_ADD_BOTH + _CALL_MARK.format(at=500)), 1, b"h"),
        (_responding(_ADD_BOTH, body=_CALL_MARK.format(at=501)), 2, b"b"),
        (_responding(_ADD_BOTH, end=_CALL_MARK.format(at=502)), 3, b"e"),
        (_responding(result="(i32.const 1)"), 3, b""),
        (_responding(result="(i32.const 2)"), 2, b""),
    ],
)
def test_response_of_one_piece_is_shown_in_one_call_up_to_what_it_asks_for(
    run: Runner, code: bytes, made: int, lines: bytes
) -> None:
    plugin = run.plugin(code)
    if plugin.respond is None:
        assert run.safe
        return
    for number in (1, 2):
        run.host.lines.clear()
        fake = FakeStream()
        fake.maps[MapType.HTTP_RESPONSE_HEADERS] = []
        before = run.u32(0)
        headers, body, end = plugin.create_stream(fake).respond(1, b"bytes")
        assert run.u32(0) - before == made, number
        assert headers is HeadersAction.CONTINUE
        stops = next((action for action in (1, 2) if b"(else (i32.const %d)))" % action in code), 0)
        assert body is (None if made == 1 else DataAction(stops))
        assert end is (_ON if made == 3 else None)
        assert b"".join(line for _, line in run.host.lines) == lines
        edits = [(b"x-new", b"one"), (b"x-new", b"two")] if _ADD_BOTH.encode() in code else []
        assert fake.maps[MapType.HTTP_RESPONSE_HEADERS] == edits
        assert fake.events == {b"b": ["body"], b"e": ["end of the body"]}.get(lines, [])


@pytest.mark.parametrize(("body", "end"), [("unreachable", ""), ("", "unreachable")])
def test_trap_in_the_body_leaves_the_changes_of_headers(run: Runner, body: str, end: str) -> None:
    plugin = run.plugin(_responding(_ADD_BOTH, body, end))
    if plugin.respond is None:
        assert run.safe
        return
    fake = FakeStream()
    fake.maps[MapType.HTTP_RESPONSE_HEADERS] = []
    with pytest.raises(WasmTrap) as caught:
        plugin.create_stream(fake).respond(1, b"bytes")
    assert caught.value.callback == "proxy_on_response_body"
    assert len(fake.maps[MapType.HTTP_RESPONSE_HEADERS]) == 2
    assert plugin.responded_to == ((_ON, True) if end else (None, False))


def test_body_is_open_in_its_own_callback(run: Runner) -> None:
    plugin = run.plugin(_responding(body=_TAKE))
    if plugin.respond is None:
        assert run.safe
        return
    fake = FakeStream()
    fake.buffers[BufferType.HTTP_RESPONSE_BODY] = b"bytes"
    assert plugin.create_stream(fake).respond(1, b"bytes") == (HeadersAction.CONTINUE, _ON, None)
    assert run.given(8, 12) == b"bytes"


def _take(start: int, most: int, kind: int = 1) -> str:
    return f"""(i32.store (i32.const 4) (call $proxy_get_buffer_bytes (i32.const {kind}) (i32.const {start})
      (i32.const {most}) (i32.const 8) (i32.const 12)))"""


@pytest.mark.parametrize(
    ("start", "most"), [(0, 9), (0, 3), (2, 2), (5, 1), (6, 0xFFFFFFFF), (0xFFFFFFFF, 9)]
)
def test_body_that_is_read_each_time_is_read_without_the_host(run: Runner, start: int, most: int) -> None:
    plugin = run.plugin(_responding(body=_take(start, most)))
    if plugin.respond is None:
        assert run.safe
        return
    for body in (b"bytes", b"more bytes", b"", b"x" * BODY_BYTES, b"y" * (BODY_BYTES + 1), b"last"):
        fake = FakeStream()
        fake.buffers[BufferType.HTTP_RESPONSE_BODY] = body
        outcome = plugin.create_stream(fake).respond(1, body)
        asked = body == b"bytes" or len(body) > BODY_BYTES
        assert outcome == (HeadersAction.CONTINUE, _ON, None if asked else _ON)
        assert fake.events == (["body"] if asked else [])
        assert run.u32(4) == Status.OK
        assert run.given(8, 12) == body[start : start + most]


def test_end_of_a_body_is_empty_without_the_host(run: Runner) -> None:
    plugin = run.plugin(_responding(end=_take(0, 9)))
    if plugin.respond is None:
        assert run.safe
        return
    fake = FakeStream()
    assert plugin.create_stream(fake).respond(1, b"bytes") == (HeadersAction.CONTINUE, _ON, _ON)
    assert (run.u32(4), run.u32(8), run.u32(12)) == (Status.OK, 0, 0)
    assert fake.events == []


def test_other_buffers_are_the_hosts_in_the_body(run: Runner) -> None:
    plugin = run.plugin(_responding(body=_take(0, 9) + _take(0, 9, kind=0)))
    if plugin.respond is None:
        assert run.safe
        return
    for _ in range(2):
        fake = FakeStream()
        fake.buffers = {BufferType.HTTP_RESPONSE_BODY: b"bytes", BufferType.HTTP_REQUEST_BODY: b"closed"}
        assert plugin.create_stream(fake).respond(1, b"bytes") == (HeadersAction.CONTINUE, _ON, None)
        assert run.given(8, 12) == b""


def test_body_that_is_held_is_shown_again_at_its_end(run: Runner) -> None:
    replace = """(drop (call $proxy_set_buffer_bytes (i32.const 1) (i32.const 0) (i32.const 9)
      (i32.const 120) (i32.const 3)))"""
    code = _responding(end=_take(0, 9) + replace, result="(i32.const 1)")
    plugin = run.plugin(code)
    if plugin.respond is None:
        assert run.safe
        return
    keep = DataAction.STOP_ITERATION_AND_BUFFER
    for _ in range(2):
        fake = FakeStream()
        fake.buffers[BufferType.HTTP_RESPONSE_BODY] = b"bytes"
        assert plugin.create_stream(fake).respond(1, b"bytes") == (HeadersAction.CONTINUE, keep, _ON)
        assert run.given(8, 12) == b"bytes"
        assert fake.buffers[BufferType.HTTP_RESPONSE_BODY] == b"one"
        assert plugin.responded_to == (keep, True)


def _put(size: int, at: int = 120, length: int = 3, start: int = 0) -> str:
    return f"""(i32.store (i32.const 4) (call $proxy_set_buffer_bytes (i32.const 1) (i32.const {start})
      (i32.const {size}) (i32.const {at}) (i32.const {length})))"""


_KEEP = DataAction.STOP_ITERATION_AND_BUFFER


@pytest.mark.parametrize(
    ("end", "body", "given"),
    [
        (_take(0, 9) + _put(9), b"one", b"bytes"),
        (_put(5) + _take(0, 9), b"one", b"one"),
        (_put(5) + _take(1, 9) + _put(3, 130), b"two", b"ne"),
        (_put(9, length=0) + _take(0, 9), b"", b""),
        (_put(9, 0, 65536) + _take(0, 1), None, None),
    ],
)
def test_body_is_replaced_without_the_host(
    run: Runner, end: str, body: bytes | None, given: bytes | None
) -> None:
    plugin = run.plugin(_responding(end=end, result="(i32.const 1)"))
    if plugin.respond is None:
        assert run.safe
        return
    for number in (1, 2, 3):
        fake = FakeStream()
        fake.buffers[BufferType.HTTP_RESPONSE_BODY] = b"bytes"
        assert plugin.create_stream(fake).respond(1, b"bytes") == (HeadersAction.CONTINUE, _KEEP, _ON)
        assert run.u32(4) == Status.OK
        found = fake.buffers[BufferType.HTTP_RESPONSE_BODY]
        assert found == body if body is not None else len(found) == 65536
        assert given is None or run.given(8, 12) == given
        if number > 1:  # the first time that it reads, the host is asked in the callback
            assert fake.events == ["body"]


@pytest.mark.parametrize(
    ("end", "body", "status"),
    [
        (_put(3), b"onees", Status.OK),
        (_put(0), b"onebytes", Status.OK),
        (_put(9, start=5), b"bytesone", Status.OK),
        (_put(9, start=2), b"bytes", Status.BAD_ARGUMENT),
        (_put(9) + _put(0, 130), b"twoone", Status.OK),
        (_put(9) + _put(0, 130, start=9), b"onetwo", Status.OK),
        (_put(9, 0xFFFFFFFF, 3), b"bytes", Status.INVALID_MEMORY_ACCESS),
        (_put(9) + _put(9, 65535, 9), b"one", Status.INVALID_MEMORY_ACCESS),
    ],
)
def test_body_that_is_changed_otherwise_is_changed_by_the_host(
    run: Runner, end: str, body: bytes, status: Status
) -> None:
    plugin = run.plugin(_responding(end=_take(0, 9) + end, result="(i32.const 1)"))
    if plugin.respond is None:
        assert run.safe
        return
    for _ in range(3):
        fake = FakeStream()
        fake.buffers[BufferType.HTTP_RESPONSE_BODY] = b"bytes"
        assert plugin.create_stream(fake).respond(1, b"bytes") == (HeadersAction.CONTINUE, _KEEP, _ON)
        assert run.u32(4) == status
        assert fake.buffers[BufferType.HTTP_RESPONSE_BODY] == body


@pytest.mark.parametrize("action", [_ON, _KEEP])
def test_end_is_not_shown_behind_a_body_that_was_replaced(run: Runner, action: DataAction) -> None:
    code = _responding(body=_take(0, 9) + _put(9), result=f"(i32.const {action.value})")
    plugin = run.plugin(code)
    if plugin.respond is None:
        assert run.safe
        return
    for _ in range(3):
        fake = FakeStream()
        fake.buffers[BufferType.HTTP_RESPONSE_BODY] = b"bytes"
        assert plugin.create_stream(fake).respond(1, b"bytes") == (HeadersAction.CONTINUE, action, None)
        assert fake.buffers[BufferType.HTTP_RESPONSE_BODY] == b"one"
        assert fake.events == ["body"]


def test_end_of_a_body_is_changed_by_the_host(run: Runner) -> None:
    plugin = run.plugin(_responding(body=_take(0, 9), end=_put(9)))
    if plugin.respond is None:
        assert run.safe
        return
    for number in range(3):
        fake = FakeStream()
        fake.buffers[BufferType.HTTP_RESPONSE_BODY] = b"bytes"
        outcome = plugin.create_stream(fake).respond(1, b"bytes")
        assert outcome == (HeadersAction.CONTINUE, _ON, _ON if number else None)
        assert fake.events == (["end of the body"] if number else ["body"])


def test_trap_leaves_the_body_that_was_put_in_its_place(run: Runner) -> None:
    trap = "(if (i32.eq (i32.load (i32.const 0)) (i32.const 9)) (then unreachable))"
    plugin = run.plugin(_responding(end=_take(0, 9) + _put(9) + trap, result="(i32.const 1)"))
    if plugin.respond is None:
        assert run.safe
        return
    for number in (1, 2, 3):
        fake = FakeStream()
        fake.buffers[BufferType.HTTP_RESPONSE_BODY] = b"bytes"
        with pytest.raises(WasmTrap) if number == 3 else nullcontext():
            plugin.create_stream(fake).respond(1, b"bytes")
    assert fake.buffers[BufferType.HTTP_RESPONSE_BODY] == b"one"
    assert plugin.responded_to == (_KEEP, True)


def test_vms_with_and_without_what_is_inside_follow_one_another(run: Runner) -> None:
    code = calling(GET, 0, 100, 4, 8, 12, data=DATA)
    for number, inside in enumerate((True, False, True, True, False)):
        vm = run.vm(code, inside=inside)
        plugin = Plugin(vm, run.host)
        plugin.start()
        for value in (b"first %d" % number, b"second"):
            plugin.create_stream(FakeStream((b"x-id", value))).on_request_headers(1, False)
            at, size = (int.from_bytes(vm.memory.read(address, 4), "little") for address in (8, 12))
            assert vm.memory.read(at, size) == value
        vm.close()
