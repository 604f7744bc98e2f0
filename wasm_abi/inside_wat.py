"""The two modules of :mod:`wasm_abi.inside`, as text, and how their memory is laid out.

``DOORS`` stands between a guest and the host functions that can be answered inside: a table says who answers,
at first the host.  ``ROOM`` has been made when the guest has its memory and its allocator; it puts its own
functions in that table.  Each of them does the common case, and calls the host for everything else.
"""

from typing import Final

#: Their names, by which traces leave them out.
DOORS_NAME, ROOM_NAME = "doors_of_wasm_abi", "room_of_wasm_abi"

#: What is answered inside: the host function, and its number of parameters.
HOST_FUNCTIONS = {
    "proxy_log": 3,
    "proxy_get_header_map_value": 5,
    "proxy_get_header_map_pairs": 3,
    "proxy_add_header_map_value": 5,
    "proxy_replace_header_map_value": 5,
    "proxy_remove_header_map_value": 3,
    "proxy_get_buffer_bytes": 5,
    "proxy_set_buffer_bytes": 5,
}

# Words of 32 bits at the head of the room's memory.
#: What a host function has to see to before anything else, as bits: edits wait, the guest allocates, this is
#: one of several callbacks of a call.  Behind such a call: it was left after its first callback.
ATTENTION: Final = 0
PENDING: Final = 1
ALLOCATING: Final = 2
SEVERAL: Final = 4
LEFT: Final = 8
#: Which of several callbacks runs.
PHASE: Final = 1
#: Set by the host: come back after this callback.
LEAVE: Final = 2
#: One more than the header map that can be read and changed here; 0 for none.
FAST: Final = 3
#: Bytes of edits that wait.
EDITS: Final = 5
#: The least level of a line that anybody wants.
FLOOR: Final = 6
#: Bytes of the whole map, where it was put here.
PAIRS_SIZE: Final = 7
#: How many values of a map were put here: this word, or the second one after it for responses.
TABLE_ENTRIES: Final = 8
#: How many callbacks of a response were made; one more where the last two were for a body that was held.
STAGE: Final = 12
#: Bytes of the response's body that can be read here now, and of what was put here of it.
BODY_SIZE: Final = 13
BODY_PUT: Final = 14
#: Bytes of what the guest has put here in the place of that body.
BODY_SET: Final = 15

#: In the place of a size: there is no such header; ask the host.
ABSENT: Final = 0xFFFFFFFF
ASK: Final = 0xFFFFFFFE

# Addresses in bytes.  Tables of requests and of responses lie 256 bytes apart, entries of four words: size
# and address of the key, size and address of the value.
TABLE: Final = 64
SLOTS: Final = 16
KEYS: Final = 1024
KEY_BYTES: Final = 64
VALUES: Final = 4096
VALUE_BYTES: Final = 512
EDIT_AT: Final = VALUES + 2 * SLOTS * VALUE_BYTES
EDIT_BYTES: Final = 32 * 1024
PAIRS: Final = 64 * 1024
PAIRS_BYTES: Final = 64 * 1024
BODY_AT: Final = PAIRS + PAIRS_BYTES
BODY_BYTES: Final = 128 * 1024
#: All of it.
BYTES: Final = BODY_AT + BODY_BYTES

#: Kinds of edits; with the map, eight bits further up, they stand before the sizes of name and value.
ADD: Final = 1
REPLACE: Final = 2
REMOVE: Final = 3


def _kinds(count: int) -> str:
    return f"(param {'i32 ' * count}) (result i32)"


def _doors() -> str:
    lines = [f"(module ${DOORS_NAME}"]
    for name, count in HOST_FUNCTIONS.items():
        lines.append(f'(import "host" "{name}" (func ${name} {_kinds(count)}))')
        lines.append(f"(type $of_{name} (func {_kinds(count)}))")
    total = len(HOST_FUNCTIONS)
    names = " ".join(f"${name}" for name in HOST_FUNCTIONS)
    lines.append(f'(table (export "doors") {total} {total} funcref) (elem (i32.const 0) func {names})')
    for number, (name, count) in enumerate(HOST_FUNCTIONS.items()):
        given = " ".join(f"(local.get {index})" for index in range(count))
        lines.append(
            f'(func (export "{name}") {_kinds(count)}'
            f" (call_indirect (type $of_{name}) {given} (i32.const {number})))"
        )
    # In the place of callbacks that a guest does not export.
    lines += [f'(func (export "nothing{n}") (param {"i32 " * n}))' for n in (1, 2)]
    lines += [f'(func (export "zero{n}") {_kinds(n)} (i32.const 0))' for n in (1, 3)]
    return "\n".join([*lines, ")"])


def _word(number: int) -> str:
    return f"(i32.load $room (i32.const {4 * number}))"


def _set(number: int, value: str) -> str:
    return f"(i32.store $room (i32.const {4 * number}) {value})"


def _const(value: int) -> str:
    return f"(i32.const {value})"


def _imports() -> str:
    lines = ['(import "guest" "memory" (memory $guest 0))']
    lines += [f'(import "host" "{name}" (func ${name} {_kinds(n)}))' for name, n in HOST_FUNCTIONS.items()]
    lines += [
        '(import "guest" "allocate" (func $allocate (param i32) (result i32)))',
        '(import "guest" "create" (func $create (param i32 i32)))',
        f'(import "guest" "request" (func $request {_kinds(3)}))',
        f'(import "guest" "response" (func $response {_kinds(3)}))',
        f'(import "guest" "body" (func $body {_kinds(3)}))',
        '(import "guest" "log" (func $on_log (param i32)))',
        '(import "guest" "done" (func $on_done (param i32) (result i32)))',
        '(import "guest" "delete" (func $on_delete (param i32)))',
        f'(import "doors" "doors" (table $doors {len(HOST_FUNCTIONS)} funcref))',
    ]
    return "\n".join(lines)


def _fits(*ends: tuple[str, str]) -> str:
    """Leave for the host where a pointer and a size of the guest lead out of its memory."""
    return "\n".join(
        f"(br_if $ask (i64.gt_u (i64.add (i64.extend_i32_u (local.get ${at}))"
        f" (i64.extend_i32_u (local.get ${size})))"
        f" (local.get $here)))"
        for at, size in ends
    )


_HERE = "(local.set $here (i64.shl (i64.extend_i32_u (memory.size $guest)) (i64.const 16)))"


def _is_fast(bits: int) -> str:
    """Leave for the host where that map is not to be had here now."""
    return (
        f"(br_if $ask (i32.ne {_word(FAST)} (i32.add (local.get $map) (i32.const 1))))"
        f"(br_if $ask (i32.and {_word(ATTENTION)} {_const(bits)}))"
    )


def _edit(name: str, kind: int) -> str:
    has_value = kind != REMOVE
    value = "(param $value i32) (param $value_size i32)" if has_value else ""
    zero = "" if has_value else "(local $value i32) (local $value_size i32)"
    given = "(local.get $map) (local.get $key) (local.get $key_size)"
    if has_value:
        given += " (local.get $value) (local.get $value_size)"
    return f"""
(func $in_{name} (param $map i32) (param $key i32) (param $key_size i32) {value} (result i32)
  (local $here i64) (local $size i32) (local $at i32) {zero}
  (block $ask
    {_is_fast(ALLOCATING)}
    {_HERE}
    {_fits(("key", "key_size"), ("value", "value_size"))}
    (br_if $ask (i32.gt_u (local.get $key_size) (i32.const {EDIT_BYTES})))
    (br_if $ask (i32.gt_u (local.get $value_size) (i32.const {EDIT_BYTES})))
    (local.set $size (i32.add (i32.const 15) (i32.add (local.get $key_size) (local.get $value_size))))
    (local.set $size (i32.and (local.get $size) (i32.const -4)))
    (br_if $ask (i32.gt_u (i32.add {_word(EDITS)} (local.get $size)) (i32.const {EDIT_BYTES})))
    (local.set $at (i32.add (i32.const {EDIT_AT}) {_word(EDITS)}))
    ;; What pads the last word is always the same.
    (i32.store $room (i32.sub (i32.add (local.get $at) (local.get $size)) (i32.const 4)) (i32.const 0))
    (i32.store $room (local.get $at) (i32.or (i32.const {kind}) (i32.shl (local.get $map) (i32.const 8))))
    (i32.store $room offset=4 (local.get $at) (local.get $key_size))
    (i32.store $room offset=8 (local.get $at) (local.get $value_size))
    (memory.copy $room $guest (i32.add (local.get $at) (i32.const 12)) (local.get $key) (local.get $key_size))
    (memory.copy $room $guest
      (i32.add (i32.add (local.get $at) (i32.const 12)) (local.get $key_size))
      (local.get $value) (local.get $value_size))
    {_set(EDITS, f"(i32.add {_word(EDITS)} (local.get $size))")}
    {_set(ATTENTION, f"(i32.or {_word(ATTENTION)} (i32.const {PENDING}))")}
    (return (i32.const 0)))
  (call ${name} {given}))
"""


def _headers_callback(name: str, fast: int) -> str:
    return f"""
(func (export "{name}") (param $context i32) (param $count i32) (param $end i32) (result i32)
  {_set(FAST, _const(fast))}
  (call ${name} (local.get $context) (local.get $count) (local.get $end))
  (call $close))
"""


_ROOM_CODE = f"""
(memory $room (export "room") {BYTES >> 16} {BYTES >> 16})
(elem (table $doors) (i32.const 0) func {" ".join(f"$in_{name}" for name in HOST_FUNCTIONS)})

;; Nothing is fast any more.
(func $close
  {_set(FAST, _const(0))}
  {_set(FLOOR, _const(0))}
  {_set(PAIRS_SIZE, _const(ASK))}
  {_set(BODY_SIZE, _const(ASK))})

;; A line that nobody wants goes nowhere.
(func $in_proxy_log (param $level i32) (param $at i32) (param $size i32) (result i32) (local $here i64)
  (block $ask
    (br_if $ask (i32.ge_u (local.get $level) {_word(FLOOR)}))
    {_HERE}
    {_fits(("at", "size"))}
    (return (i32.const 0)))
  (call $proxy_log (local.get $level) (local.get $at) (local.get $size)))

;; Hand bytes of the room to the guest, as vm.give does.
(func $give (param $from i32) (param $size i32) (param $at_out i32) (param $size_out i32) (result i32)
  (local $at i32) (local $here i64)
  (block $bad
    (if (local.get $size) (then
      {_set(ATTENTION, f"(i32.or {_word(ATTENTION)} (i32.const {ALLOCATING}))")}
      (local.set $at (call $allocate (local.get $size)))
      {_set(ATTENTION, f"(i32.and {_word(ATTENTION)} (i32.const {~ALLOCATING}))")}
      (br_if $bad (i32.eqz (local.get $at)))))
    {_HERE}
    (br_if $bad (i64.gt_u (i64.add (i64.extend_i32_u (local.get $at)) (i64.extend_i32_u (local.get $size)))
      (local.get $here)))
    (br_if $bad (i64.gt_u (i64.add (i64.extend_i32_u (local.get $at_out)) (i64.const 4)) (local.get $here)))
    (br_if $bad (i64.gt_u (i64.add (i64.extend_i32_u (local.get $size_out)) (i64.const 4)) (local.get $here)))
    (memory.copy $guest $room (local.get $at) (local.get $from) (local.get $size))
    (i32.store $guest (local.get $at_out) (local.get $at))
    (i32.store $guest (local.get $size_out) (local.get $size))
    (return (i32.const 0)))
  (i32.const 6))

(func $in_proxy_get_header_map_value (param $map i32) (param $key i32) (param $key_size i32)
  (param $at_out i32) (param $size_out i32) (result i32)
  (local $here i64) (local $entry i32) (local $left i32) (local $index i32) (local $name i32)
  (block $ask
    {_is_fast(ALLOCATING | PENDING)}
    {_HERE}
    {_fits(("key", "key_size"))}
    (local.set $entry (i32.add (i32.const {TABLE}) (i32.mul (local.get $map) (i32.const 128))))
    (local.set $left (i32.load $room offset={4 * TABLE_ENTRIES} (i32.mul (local.get $map) (i32.const 4))))
    (loop $next
      (br_if $ask (i32.eqz (local.get $left)))
      (block $other
        (br_if $other (i32.ne (i32.load $room (local.get $entry)) (local.get $key_size)))
        (local.set $name (i32.load $room offset=4 (local.get $entry)))
        (local.set $index (i32.const 0))
        (loop $byte
          (if (i32.lt_u (local.get $index) (local.get $key_size)) (then
            (br_if $other (i32.ne
              (i32.load8_u $guest (i32.add (local.get $key) (local.get $index)))
              (i32.load8_u $room (i32.add (local.get $name) (local.get $index)))))
            (local.set $index (i32.add (local.get $index) (i32.const 1)))
            (br $byte))))
        (local.set $index (i32.load $room offset=8 (local.get $entry)))
        (br_if $ask (i32.eq (local.get $index) (i32.const {ASK - (1 << 32)})))
        (if (i32.eq (local.get $index) (i32.const -1)) (then (return (i32.const 1))))
        (return (call $give (i32.load $room offset=12 (local.get $entry)) (local.get $index)
          (local.get $at_out) (local.get $size_out))))
      (local.set $entry (i32.add (local.get $entry) (i32.const 16)))
      (local.set $left (i32.sub (local.get $left) (i32.const 1)))
      (br $next)))
  (call $proxy_get_header_map_value (local.get $map) (local.get $key) (local.get $key_size)
    (local.get $at_out) (local.get $size_out)))

(func $in_proxy_get_header_map_pairs (param $map i32) (param $at_out i32) (param $size_out i32) (result i32)
  (block $ask
    {_is_fast(ALLOCATING | PENDING)}
    (br_if $ask (i32.eq {_word(PAIRS_SIZE)} (i32.const {ASK - (1 << 32)})))
    (return (call $give (i32.const {PAIRS}) {_word(PAIRS_SIZE)} (local.get $at_out) (local.get $size_out))))
  (call $proxy_get_header_map_pairs (local.get $map) (local.get $at_out) (local.get $size_out)))

;; The body of the response, while callbacks share a call and the host has not been asked for anything.
(func $in_proxy_get_buffer_bytes (param $type i32) (param $start i32) (param $most i32)
  (param $at_out i32) (param $size_out i32) (result i32) (local $size i32)
  (block $ask
    (br_if $ask (i32.ne (local.get $type) (i32.const 1)))
    (br_if $ask (i32.ne (i32.const {SEVERAL})
      (i32.and {_word(ATTENTION)} (i32.const {SEVERAL | ALLOCATING}))))
    (local.set $size {_word(BODY_SIZE)})
    (br_if $ask (i32.eq (local.get $size) (i32.const {ASK - (1 << 32)})))
    (if (i32.gt_u (local.get $start) (local.get $size)) (then (local.set $start (local.get $size))))
    (local.set $size (i32.sub (local.get $size) (local.get $start)))
    (if (i32.gt_u (local.get $size) (local.get $most)) (then (local.set $size (local.get $most))))
    (return (call $give (i32.add (i32.const {BODY_AT}) (local.get $start)) (local.get $size)
      (local.get $at_out) (local.get $size_out))))
  (call $proxy_get_buffer_bytes (local.get $type) (local.get $start) (local.get $most)
    (local.get $at_out) (local.get $size_out)))

;; Another body in the place of all of it, until what it is in has returned.
(func $in_proxy_set_buffer_bytes (param $type i32) (param $start i32) (param $most i32)
  (param $at i32) (param $size i32) (result i32) (local $here i64)
  (block $ask
    (br_if $ask (i32.or (i32.ne (local.get $type) (i32.const 1)) (local.get $start)))
    (br_if $ask (i32.ne (i32.const {SEVERAL})
      (i32.and {_word(ATTENTION)} (i32.const {SEVERAL | ALLOCATING}))))
    (br_if $ask (i32.eq {_word(PHASE)} (i32.const 8)))
    (br_if $ask (i32.eq {_word(BODY_SIZE)} (i32.const {ASK - (1 << 32)})))
    (br_if $ask (i32.lt_u (local.get $most) {_word(BODY_SIZE)}))
    (br_if $ask (i32.gt_u (local.get $size) (i32.const {BODY_BYTES})))
    {_HERE}
    {_fits(("at", "size"))}
    (memory.copy $room $guest (i32.const {BODY_AT}) (local.get $at) (local.get $size))
    {_set(BODY_SIZE, "(local.get $size)")}
    {_set(BODY_SET, "(local.get $size)")}
    (return (i32.const 0)))
  (call $proxy_set_buffer_bytes (local.get $type) (local.get $start) (local.get $most)
    (local.get $at) (local.get $size)))

{_edit("proxy_add_header_map_value", ADD)}
{_edit("proxy_replace_header_map_value", REPLACE)}
{_edit("proxy_remove_header_map_value", REMOVE)}
{_headers_callback("request", 1)}
{_headers_callback("response", 3)}

;; A new context and its request's headers.
(func (export "begin") (param $context i32) (param $root i32) (param $count i32) (param $end i32) (result i32)
  {_set(PHASE, _const(1))}
  {_set(LEAVE, _const(0))}
  {_set(ATTENTION, _const(SEVERAL))}
  (call $create (local.get $context) (local.get $root))
  (if {_word(LEAVE)} (then {_set(ATTENTION, _const(LEFT))} (call $close) (return (i32.const 0))))
  {_set(ATTENTION, _const(0))}
  {_set(PHASE, _const(2))}
  {_set(FAST, _const(1))}
  (call $request (local.get $context) (local.get $count) (local.get $end))
  (call $close))

;; A response's headers, its body that has come as one piece, and its end.
(func (export "respond") (param $context i32) (param $count i32) (param $size i32) (result i32)
  (local $result i32)
  {_set(PHASE, _const(6))}
  {_set(LEAVE, _const(0))}
  {_set(STAGE, _const(1))}
  {_set(BODY_SET, _const(ASK))}
  {_set(ATTENTION, _const(SEVERAL))}
  {_set(FAST, _const(3))}
  (local.set $result (call $response (local.get $context) (local.get $count) (i32.const 0)))
  {_set(FAST, _const(0))}
  (block $done
    (br_if $done (i32.or (local.get $result) {_word(LEAVE)}))
    {_set(PHASE, _const(7))}
    {_set(STAGE, _const(2))}
    {_set(BODY_SIZE, _word(BODY_PUT))}
    (local.set $result (call $body (local.get $context) (local.get $size) (i32.const 0)))
    (br_if $done (i32.or {_word(LEAVE)} (i32.ne {_word(BODY_SET)} (i32.const {ASK - (1 << 32)}))))
    (if (i32.eq (local.get $result) (i32.const 1)) (then
      {_set(PHASE, _const(9))}
      {_set(STAGE, _const(4))}
      (local.set $result (call $body (local.get $context) (local.get $size) (i32.const 1)))
      (br $done)))
    (br_if $done (local.get $result))
    {_set(PHASE, _const(8))}
    {_set(STAGE, _const(3))}
    {_set(BODY_SIZE, _const(0))}
    (local.set $result (call $body (local.get $context) (i32.const 0) (i32.const 1))))
  {_set(ATTENTION, f"(i32.and {_word(ATTENTION)} (i32.const {~SEVERAL}))")}
  (call $close)
  (local.get $result))

;; The end of a context; how many of the callbacks were made.
(func (export "finish") (param $context i32) (result i32)
  {_set(PHASE, _const(3))}
  {_set(LEAVE, _const(0))}
  {_set(ATTENTION, _const(SEVERAL))}
  (call $on_log (local.get $context))
  (if {_word(LEAVE)} (then {_set(ATTENTION, _const(0))} (call $close) (return (i32.const 1))))
  {_set(PHASE, _const(4))}
  {_set(ATTENTION, _const(SEVERAL))}
  (drop (call $on_done (local.get $context)))
  (if {_word(LEAVE)} (then {_set(ATTENTION, _const(0))} (call $close) (return (i32.const 2))))
  {_set(PHASE, _const(5))}
  {_set(ATTENTION, _const(SEVERAL))}
  (call $on_delete (local.get $context))
  {_set(ATTENTION, _const(0))}
  (call $close)
  (i32.const 3))
"""

DOORS = _doors()
ROOM = "\n".join([f"(module ${ROOM_NAME}", _imports(), _ROOM_CODE, ")"])
