"""Small proxy-wasm guests in WAT for the scenarios: one module text per behaviour, over one common frame.

They speak ABI 0.2.1 and export malloc; strings are put into the data segment by the builder.
"""

from __future__ import annotations

import struct

import wasmtime

REQUEST, RESPONSE = 0, 2
REQUEST_BODY, RESPONSE_BODY, PLUGIN_CONFIGURATION = 0, 1, 7
CONTINUE, PAUSE = "(i32.const 0)", "(i32.const 1)"
_FRAME = """
(module
  (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
  (import "env" "proxy_add_header_map_value" (func $add (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_replace_header_map_value" (func $replace (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_remove_header_map_value" (func $remove (param i32 i32 i32) (result i32)))
  (import "env" "proxy_get_header_map_value" (func $get (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_send_local_response"
    (func $respond (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_buffer_bytes" (func $bytes (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_set_buffer_bytes" (func $set (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_property" (func $property (param i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_current_time_nanoseconds" (func $now (param i32) (result i32)))
  (import "env" "proxy_define_metric" (func $define (param i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_increment_metric" (func $increment (param i32 i64) (result i32)))
  (import "env" "proxy_set_tick_period_milliseconds" (func $tick (param i32) (result i32)))
  (import "env" "proxy_continue_stream" (func $continue (param i32) (result i32)))
  (import "env" "proxy_close_stream" (func $close (param i32) (result i32)))
  (import "env" "proxy_set_effective_context" (func $effective (param i32) (result i32)))
  (memory (export "memory") 4)
  (global $heap (mut i32) (i32.const 65536))
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "malloc") (param $size i32) (result i32)
    (local $at i32)
    (if (i32.gt_u (i32.add (global.get $heap) (local.get $size)) (i32.const 262144))
      (then (global.set $heap (i32.const 65536))))
    (local.set $at (global.get $heap))
    (global.set $heap
      (i32.and (i32.add (i32.add (local.get $at) (local.get $size)) (i32.const 7)) (i32.const -8)))
    (local.get $at))
  (func (export "proxy_on_context_create") (param i32 i32))
  ;; does the header named by (p,n) of this map begin with the text (q,m)?
  (func $begins (param $map i32) (param $p i32) (param $n i32) (param $q i32) (param $m i32) (result i32)
    (local $at i32)
    (if (call $get (local.get $map) (local.get $p) (local.get $n) (i32.const 16) (i32.const 20))
      (then (return (i32.const 0))))
    (if (i32.lt_u (i32.load (i32.const 20)) (local.get $m)) (then (return (i32.const 0))))
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $at) (local.get $m)))
        (if (i32.ne (i32.load8_u (i32.add (i32.load (i32.const 16)) (local.get $at)))
                    (i32.load8_u (i32.add (local.get $q) (local.get $at))))
          (then (return (i32.const 0))))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br $next)))
    (i32.const 1))
  ;; add the header (p,n) to this map with the value of the property (q,m), or nothing where there is none
  (func $show (param $map i32) (param $p i32) (param $n i32) (param $q i32) (param $m i32)
    (if (i32.eqz (call $property (local.get $q) (local.get $m) (i32.const 16) (i32.const 20)))
      (then (drop (call $add (local.get $map) (local.get $p) (local.get $n)
        (i32.load (i32.const 16)) (i32.load (i32.const 20)))))))
  ;; count one under the name (p,n): what a guest saw is then a stat
  (func $count (param $p i32) (param $n i32)
    (drop (call $define (i32.const 0) (local.get $p) (local.get $n) (i32.const 16)))
    (drop (call $increment (i32.load (i32.const 16)) (i64.const 1))))
  ;; count one under the value of the property (q,m)
  (func $count_property (param $q i32) (param $m i32)
    (if (i32.eqz (call $property (local.get $q) (local.get $m) (i32.const 16) (i32.const 20)))
      (then (call $count (i32.load (i32.const 16)) (i32.load (i32.const 20))))))
"""


class Guest:
    """Builds one module. The texts of functions use `text()` for pointer and size of a string."""

    def __init__(self) -> None:
        self._data = b""
        self._functions: list[str] = []

    def text(self, value: str | bytes) -> str:
        data = value.encode() if isinstance(value, str) else value
        offset = 1024 + len(self._data)
        self._data += data
        return f"(i32.const {offset}) (i32.const {len(data)})"

    def on(self, name: str, parameters: int, body: str, result: str = CONTINUE) -> None:
        """Export `proxy_on_<name>`; an empty result for those that have none."""
        params = "(param i32) " * parameters
        kind = "(result i32)" if result else ""
        self._functions.append(f'(func (export "proxy_on_{name}") {params}{kind}\n{body}\n{result})')

    def count(self, name: str) -> str:
        """Code that counts one under this name: the stat `wasmcustom.<name>`."""
        return f"(call $count {self.text(name)})"

    def count_property(self, path: str) -> str:
        """Code that counts one under the value of a property, whose path is written with points."""
        return f"(call $count_property {self.text(path.replace('.', chr(0)))})"

    def header(self, operation: str, headers: int, name: str, value: str = "") -> str:
        """Code that adds, replaces or removes a header."""
        arguments = self.text(name) + (f" {self.text(value)}" if operation != "remove" else "")
        return f"(drop (call ${operation} (i32.const {headers}) {arguments}))"

    def respond(self, status: int, body: str, headers: list[tuple[str, str]]) -> str:
        """Code that sends a local response."""
        sizes = b"".join(struct.pack("<II", len(name), len(value)) for name, value in headers)
        texts = b"".join(f"{name}\0{value}\0".encode() for name, value in headers)
        pairs = struct.pack("<I", len(headers)) + sizes + texts
        parts = f"{self.text('by the guest')} {self.text(body)} {self.text(pairs)}"
        return f"(drop (call $respond (i32.const {status}) {parts} (i32.const -1)))"

    def text_of(self) -> str:
        """The module's text without its last parenthesis."""
        data = "".join(f"\\{byte:02x}" for byte in self._data)
        return f'{_FRAME}\n(data (i32.const 1024) "{data}")\n' + "\n".join(self._functions)

    def module(self) -> bytes:
        return bytes(wasmtime.wat2wasm(self.text_of() + ")"))


def header_edits() -> bytes:
    guest = Guest()
    edits = (("add", "x-wasm", "one"), ("add", "x-wasm", "two"), ("replace", "x-replaced", "new"))
    request = "".join(guest.header(op, REQUEST, name, value) for op, name, value in edits)
    guest.on("request_headers", 3, request + guest.header("remove", REQUEST, "x-secret"))
    response = guest.header("add", RESPONSE, "x-wasm-response", "yes")
    response += guest.header("replace", RESPONSE, "x-up", "new") + guest.header("remove", RESPONSE, "x-gone")
    guest.on("response_headers", 3, response)
    return guest.module()


def deny_admin() -> bytes:
    """403 for paths under /admin; an answer of its own to upstream answers that carry x-deny."""
    guest = Guest()
    reply = guest.respond(403, "denied by wasm", [("x-why", "wasm"), ("content-type", "text/html")])
    under_admin = f"(call $begins (i32.const {REQUEST}) {guest.text(':path')} {guest.text('/admin')})"
    guest.on("request_headers", 3, f"(if {under_admin} (then {reply} (return {PAUSE})))")
    marked = f"(call $begins (i32.const {RESPONSE}) {guest.text('x-deny')} {guest.text('yes')})"
    late = guest.respond(502, "answer denied by wasm", [])
    shown = guest.header("add", RESPONSE, "x-deny-saw", "response")
    guest.on("response_headers", 3, f"{shown}(if {marked} (then {late} (return {PAUSE})))")
    return guest.module()


def replace_bodies() -> bytes:
    """Holds both bodies until their end, then puts a text in their place."""
    guest = Guest()
    for name, headers, buffer in (("request", REQUEST, REQUEST_BODY), ("response", RESPONSE, RESPONSE_BODY)):
        guest.on(f"{name}_headers", 3, guest.header("remove", headers, "content-length"))
        new = guest.text(f"{name} by wasm")
        put = f"(drop (call $set (i32.const {buffer}) (i32.const 0) (local.get 1) {new}))"
        guest.on(f"{name}_body", 3, f"(if (i32.eqz (local.get 2)) (then (return {PAUSE})))\n{put}")
    return guest.module()


def append_to_bodies() -> bytes:
    """Prepends to every request, appends at the end of every response, without holding them."""
    guest = Guest()
    guest.on("request_headers", 3, guest.header("remove", REQUEST, "content-length"))
    first = f"(drop (call $set (i32.const {REQUEST_BODY}) (i32.const 0) (i32.const 0) {guest.text('<')}))"
    guest.on("request_body", 3, f"(if (local.get 2) (then {first}))")
    guest.on("response_headers", 3, guest.header("remove", RESPONSE, "content-length"))
    last = f"(drop (call $set (i32.const {RESPONSE_BODY}) (local.get 1) (i32.const 0) {guest.text('>')}))"
    guest.on("response_body", 3, f"(if (local.get 2) (then {last}))")
    return guest.module()


REQUEST_PROPERTIES = [
    "request.path",
    "request.url_path",
    "request.host",
    "request.method",
    "request.scheme",
    "request.protocol",
    "request.query",
    "request.useragent",
    "request.referer",
    "request.id",
    "request.headers.x-in",
    "plugin_name",
    "plugin_root_id",
    "source.address",
    "destination.address",
    "listener_metadata.none",
    "node.id",
    "node.cluster",
    "nonsense",
]
RESPONSE_PROPERTIES = [
    "response.code_details",
    "response.headers.x-up",
    "upstream.address",
    "cluster_name",
    "route_name",
]


def properties() -> bytes:
    """Shows properties as headers: `x-p-<name>`."""
    guest = Guest()

    def show(headers: int, names: list[str]) -> str:
        return "".join(
            f"(call $show (i32.const {headers}) {guest.text('x-p-' + name.replace('.', '-'))} "
            f"{guest.text(name.replace('.', chr(0)))})"
            for name in names
        )

    guest.on("request_headers", 3, show(REQUEST, REQUEST_PROPERTIES))
    guest.on("response_headers", 3, show(RESPONSE, RESPONSE_PROPERTIES))
    return guest.module()


def configuration() -> bytes:
    """Keeps its plugin configuration and shows it in a request header; shows that time passes, and logs."""
    guest = Guest()
    fetch = f"(drop (call $bytes (i32.const {PLUGIN_CONFIGURATION}) (i32.const 0) (local.get 1)"
    guest.on("configure", 2, f"{fetch} (i32.const 32) (i32.const 36)))", "(i32.const 1)")
    shown = f"(drop (call $add (i32.const {REQUEST}) {guest.text('x-config')}"
    code = f"{shown} (i32.load (i32.const 32)) (i32.load (i32.const 36))))"
    code += f"(drop (call $now (i32.const 40)))(drop (call $log (i32.const 2) {guest.text('hello')}))"
    later = guest.header("add", REQUEST, "x-clock", "after 2020")
    code += f"(if (i64.gt_u (i64.load (i32.const 40)) (i64.const 1577836800000000000)) (then {later}))"
    guest.on("request_headers", 3, code)
    return guest.module()


def trap() -> bytes:
    """Runs into `unreachable` on every request."""
    guest = Guest()
    guest.on("request_headers", 3, "(unreachable)")
    return guest.module()


def trailers() -> bytes:
    """Adds to the trailers of both directions where there are any."""
    guest = Guest()
    guest.on("request_trailers", 2, guest.header("add", 1, "x-wasm-trailer", "request"))
    guest.on("response_trailers", 2, guest.header("add", 3, "x-wasm-trailer", "response"))
    return guest.module()


def logger() -> bytes:
    """An access logger: counts what it is told, under what it reads of the stream."""
    guest = Guest()
    read = ("request.path", "response.code_details", "plugin_name", "response.headers.x-up")
    shown = "".join(map(guest.count_property, read))
    for headers, name in ((REQUEST, ":method"), (RESPONSE, ":status")):
        found = f"(call $get (i32.const {headers}) {guest.text(name)} (i32.const 16) (i32.const 20))"
        count = "(call $count (i32.load (i32.const 16)) (i32.load (i32.const 20)))"
        shown += f"(if (i32.eqz {found}) (then {count}))"
    edited = f"(call $add (i32.const {RESPONSE}) {guest.text('x-late')} {guest.text('1')})"
    shown += f"(if {edited} (then {guest.count('cannot edit')}))"
    on_root = f"(if (i32.eq (local.get 0) (i32.const 1)) (then {guest.count('on the root')}))"
    guest.on("log", 1, guest.count("logged") + on_root + shown, "")
    return guest.module()


def service() -> bytes:
    """A plugin without traffic: counts its ticks."""
    guest = Guest()
    guest.on("configure", 2, "(drop (call $tick (i32.const 20)))", "(i32.const 1)")
    guest.on("tick", 1, guest.count("ticked"), "")
    return guest.module()


DOWNSTREAM_DATA, UPSTREAM_DATA, DOWNSTREAM = 2, 3, 2


def starts(*exports: str) -> bytes:
    """Says in request headers which of its exports were called before the first request."""
    guest = Guest()
    said = guest.header("replace", REQUEST, "x-begun", "yes")
    said += f"(drop (call $begins (i32.const {REQUEST}) {guest.text('x-begun')} {guest.text('yes')}))"
    for number, name in enumerate(exports):
        ran = guest.header("add", REQUEST, "x-ran", name)
        said += f"(if (i32.load8_u (i32.const {512 + number})) (then {ran}))"
    guest.on("request_headers", 3, said)
    text = guest.text_of()
    marks = {
        name: f"(i32.store8 (i32.const {512 + number}) (i32.const 1))" for number, name in enumerate(exports)
    }
    for name, mark in marks.items():
        if name == "proxy_on_memory_allocate":
            begin = '(func (export "malloc") (param $size i32) (result i32)\n    (local $at i32)'
            text = text.replace(begin, begin.replace("malloc", name) + mark)
        elif name == "main":
            text += f'(func (export "main") (param i32 i32) (result i32) {mark} (i32.const 0))'
        elif name == "__main_void":
            text += f'(func (export "{name}") (result i32) {mark} (i32.const 0))'
        else:
            text += f'(func (export "{name}") {mark})'
    return bytes(wasmtime.wat2wasm(text + ")"))


def connection_events() -> bytes:
    """Counts every callback of a connection, and by whom it was closed."""
    guest = Guest()
    guest.on("new_connection", 1, guest.count("new"))
    for side in ("downstream", "upstream"):
        ended = f"(if (local.get 2) (then {guest.count(side + ' end')}) (else {guest.count(side + ' data')}))"
        guest.on(f"{side}_data", 3, ended)
        closed = "".join(
            f"(if (i32.eq (local.get 1) (i32.const {number})) (then {guest.count(f'{side} closed, {name}')}))"
            for number, name in enumerate(("unknown", "local", "remote"))
        )
        guest.on(f"{side}_connection_close", 2, closed, "")
    guest.on("done", 1, guest.count("done"), "(i32.const 1)")
    guest.on("log", 1, guest.count("logged") + guest.count_property("connection.requested_server_name"), "")
    guest.on("delete", 1, guest.count("deleted"), "")
    return guest.module()


def connection_edits() -> bytes:
    """Puts a letter in front of what comes, and one behind, in either direction."""
    guest = Guest()
    for side, buffer in (("downstream", DOWNSTREAM_DATA), ("upstream", UPSTREAM_DATA)):
        edits = (("0", "<"), ("100000", ">"))
        code = "".join(
            f"(drop (call $set (i32.const {buffer}) (i32.const {at}) (i32.const 0) {guest.text(letter)}))"
            for at, letter in edits
        )
        guest.on(f"{side}_data", 3, f"(if (local.get 1) (then {code}))")
    return guest.module()


def connection_holds() -> bytes:
    """Stops either direction until there are ten bytes, or the end."""
    guest = Guest()
    enough = "(i32.or (i32.ge_u (local.get 1) (i32.const 10)) (local.get 2))"
    for side in ("downstream", "upstream"):
        guest.on(f"{side}_data", 3, f"(if (i32.eqz {enough}) (then (return {PAUSE})))")
    return guest.module()


def connection_gathers() -> bytes:
    """Stops all that the upstream sends until its end, and counts that."""
    guest = Guest()
    guest.on(
        "upstream_data", 3, f"(if (i32.eqz (local.get 2)) (then (return {PAUSE}))){guest.count('gathered')}"
    )
    return guest.module()


def connection_waits(*, closes: bool = False) -> bytes:
    """Stops a new connection and all that the client sends; lets it go on, or closes it, by its timer."""
    guest = Guest()
    keep = "(i32.store (i32.const 48) (local.get 0))"
    guest.on("configure", 2, "(drop (call $tick (i32.const 20)))", "(i32.const 1)")
    guest.on("new_connection", 1, keep, PAUSE)
    guest.on("downstream_data", 3, keep, PAUSE)
    act = f"(drop (call ${'close' if closes else 'continue'} (i32.const {DOWNSTREAM})))"
    waiting = "(i32.load (i32.const 48))"
    chosen = f"(i32.eqz (call $effective {waiting}))"
    guest.on("tick", 1, f"(if {waiting} (then (if {chosen} (then {act}))))", "")
    guest.on("delete", 1, "(i32.store (i32.const 48) (i32.const 0))", "")
    return guest.module()


def connection_closes() -> bytes:
    """Closes as soon as the upstream has said something, which then does not pass."""
    guest = Guest()
    guest.on("upstream_data", 3, f"(if (local.get 1) (then (drop (call $close (i32.const {DOWNSTREAM})))))")
    return guest.module()


def connection_traps() -> bytes:
    """Runs into `unreachable` over the first bytes."""
    guest = Guest()
    guest.on("downstream_data", 3, "(unreachable)")
    return guest.module()
