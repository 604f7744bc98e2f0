"""What is answered inside: host functions that do not leave the guest's world, callbacks that share a call.

A call across the border, either way, costs a proxy more than most of what is done there.  So two small
modules stand beside a guest, in the same store (:mod:`wasm_abi.inside_wat`).  A guest that asks for a header
gets it from their memory, which was filled before its callback with what it asked for the times before;
so does one that reads a body which is shown in one piece, and puts another in its place;
its changes are written down there and made when it has returned, or when the host is asked for
anything else; lines that nobody wants to have logged go nowhere.  And the callbacks with which a stream
begins, or ends, are made in one call.

What a guest can observe stays the same, and so does what roles are asked, but for its moment.  Each case that
is not the common one goes the usual way.  :class:`~wasm_abi.vm.Vm` says when there is none of this.
"""

from collections.abc import Callable
from struct import Struct
from typing import TYPE_CHECKING, Any, Final

from wasm_abi import inside_wat as room
from wasm_abi.abi import BufferType, LogLevel, MapType
from wasm_abi.binding import DirectCalls, raise_failure
from wasm_abi.inside_wat import (
    ABSENT,
    ADD,
    ALLOCATING,
    ASK,
    ATTENTION,
    BODY_AT,
    BODY_BYTES,
    BODY_PUT,
    BODY_SET,
    BODY_SIZE,
    EDIT_AT,
    EDITS,
    FAST,
    FLOOR,
    LEAVE,
    LEFT,
    PAIRS,
    PAIRS_BYTES,
    PAIRS_SIZE,
    PENDING,
    PHASE,
    REPLACE,
    SEVERAL,
    STAGE,
    VALUE_BYTES,
    VALUES,
)
from wasm_abi.pairs import encode_pairs

if TYPE_CHECKING:
    from wasm_abi.context import Context
    from wasm_abi.vm import Vm

__all__ = ["CALLBACKS", "HEADERS", "Inside"]

#: The maps that are to be had inside, each in the callback of its own.
HEADERS = {
    "proxy_on_request_headers": MapType.HTTP_REQUEST_HEADERS,
    "proxy_on_response_headers": MapType.HTTP_RESPONSE_HEADERS,
}
_MAPS: Final = tuple(MapType)
_EXPORTS: Final = {MapType.HTTP_REQUEST_HEADERS: "request", MapType.HTTP_RESPONSE_HEADERS: "response"}
#: Callbacks by what the room calls them, and what the doors have in their place.
CALLBACKS = {
    "create": ("proxy_on_context_create", "nothing2"),
    "request": ("proxy_on_request_headers", "zero3"),
    "response": ("proxy_on_response_headers", "zero3"),
    "body": ("proxy_on_response_body", "zero3"),
    "log": ("proxy_on_log", "nothing1"),
    "done": ("proxy_on_done", "zero1"),
    "delete": ("proxy_on_delete", "nothing1"),
}
#: Phases of a call of several callbacks.
_CREATE: Final = 1
_LOG: Final = 3
_DONE: Final = 4
_DELETE: Final = 5
_RESPONSE: Final = 6
_BODY: Final = 7
_END: Final = 8
_HELD_END: Final = 9
_RESPONSE_HEADERS: Final = 1 << MapType.HTTP_RESPONSE_HEADERS.value
_RESPONSE_TRAILERS: Final = 1 << MapType.HTTP_RESPONSE_TRAILERS.value
_RESPONSE_BODY: Final = 1 << BufferType.HTTP_RESPONSE_BODY.value
_NAMES: Final = (
    "",
    "proxy_on_context_create",
    "proxy_on_request_headers",
    "proxy_on_log",
    "proxy_on_done",
    "proxy_on_delete",
    "proxy_on_response_headers",
    "proxy_on_response_body",
    "proxy_on_response_body",
    "proxy_on_response_body",
)
#: Kind and sizes of an edit.
_EDIT: Final = Struct("<3I").unpack_from
_EDIT_SIZE: Final = 12
#: Kind, map, name, value.
Edit = tuple[int, MapType, bytes, bytes]
#: How many are kept, and of which size at most.
_MAX_EDITS: Final = 64
_MAX_EDIT_BYTES: Final = 1024


class Inside:
    """The memory beside one guest, and the calls that it makes cheaper."""

    __slots__ = (
        "_binding",
        "_edits",
        "_exports",
        "_view",
        "_vm",
        "_wanted",
        "_wants_pairs",
        "has_idle_lines",
        "wants_body",
        "words",
    )

    def __init__(self, vm: "Vm", binding: Any, exports: Any, view: memoryview) -> None:
        self._vm = vm
        self._binding = binding
        self._exports = exports
        self._view = view
        #: The words of 32 bits at the head of it.
        self.words = view.cast("I")
        self.words[PAIRS_SIZE] = self.words[BODY_SIZE] = ASK
        #: By map: the headers that the guest has asked for (name, word of the size, address).
        self._wanted: dict[int, list[tuple[bytes, int, int]]] = {0: [], 2: []}
        self._wants_pairs = {0: False, 2: False}
        #: Whether the guest writes lines that nobody wants.
        self.has_idle_lines = False
        #: Whether the guest has read the body of a response.
        self.wants_body = False
        #: What was written down before.
        self._edits: dict[bytes, list[Edit]] = {}

    # -- what the guest will ask for --------------------------------------------------------------------
    def note_value(self, map_type: int, raw: bytes) -> None:
        """The guest has asked for that header: it is put here from now on."""
        if self.words[FAST] != map_type + 1 or len(raw) > room.KEY_BYTES:
            return
        wanted = self._wanted[map_type]
        number = len(wanted)
        entry = (room.TABLE + 128 * map_type) // 4 + 4 * number
        if number == room.SLOTS or any(self._key(map_type, each) == raw for each in range(number)):
            return
        index = number + (room.SLOTS if map_type else 0)
        key_at, value_at = room.KEYS + index * room.KEY_BYTES, VALUES + index * VALUE_BYTES
        self._view[key_at : key_at + len(raw)] = raw
        self.words[entry] = len(raw)
        self.words[entry + 1] = key_at
        self.words[entry + 2] = ASK
        self.words[entry + 3] = value_at
        wanted.append((raw.lower(), entry + 2, value_at))
        self.words[room.TABLE_ENTRIES + map_type] = number + 1

    def _key(self, map_type: int, number: int) -> bytes:
        entry = (room.TABLE + 128 * map_type) // 4 + 4 * number
        size, at = self.words[entry], self.words[entry + 1]
        return self._view[at : at + size].tobytes()

    def note_pairs(self, map_type: int) -> None:
        """The guest has asked for all of that map."""
        if self.words[FAST] == map_type + 1:
            self._wants_pairs[map_type] = True

    def note_line(self, level: int, floor: LogLevel) -> None:
        """The guest has written a line."""
        if level < floor and level < LogLevel.ERROR:  # errors are remembered: they may say why it trapped
            self.has_idle_lines = True

    def _prepare(self, context: "Context", map_type: int) -> None:
        """Put here what the guest is going to ask for in the callback for that map."""
        stream = context.stream
        if stream is None:
            return
        words, view, kind = self.words, self._view, _MAPS[map_type]
        for name, size_at, at in self._wanted[map_type]:
            value = stream.get_header_value(kind, name)
            if value is None:
                words[size_at] = ASK if stream.get_header_map(kind) is None else ABSENT
                continue
            size = len(value)
            if size > VALUE_BYTES:
                words[size_at] = ASK
            else:
                view[at : at + size] = value
                words[size_at] = size
        if self._wants_pairs[map_type]:
            pairs = stream.get_header_map(kind)
            if pairs is not None:
                data = encode_pairs(pairs)
                size = len(data)
                if size <= PAIRS_BYTES:
                    view[PAIRS : PAIRS + size] = data
                    words[PAIRS_SIZE] = size

    def _open_log(self, context: "Context") -> None:
        """Say which lines are wanted, for this call."""
        self.words[FLOOR] = min(context.host.log_level(), LogLevel.ERROR)

    # -- when the host is asked ---------------------------------------------------------------------------
    def attend(self, context: "Context") -> bool:
        """See to what a host function has to know before it is run; whether the guest allocates."""
        words = self.words
        attention = words[ATTENTION]
        if attention & ALLOCATING:
            return True
        if attention & PENDING:
            self._make_edits(context)
        if attention & SEVERAL:
            words[LEAVE] = 1
            words[ATTENTION] &= ~SEVERAL
            phase = words[PHASE]
            self._enter(context, phase)
            if phase > _RESPONSE and words[BODY_SET] != ASK:
                self._replace_body(context)
        return False

    def _enter(self, context: "Context", phase: int) -> None:
        """Open and close what is open and closed in this one of several callbacks."""
        stream = context.stream
        assert stream is not None
        if phase in (_BODY, _END, _HELD_END):
            is_end = phase != _BODY
            context.open_maps &= ~_RESPONSE_HEADERS
            if is_end:
                context.open_maps |= _RESPONSE_TRAILERS
            context.open_buffers |= _RESPONSE_BODY
            stream.show_response_body(is_end, phase == _END)
        elif phase in (_CREATE, _DONE, _DELETE):
            if phase == _CREATE:
                context.open_maps = 0
            context.is_logging = False
            stream.hide_maps()
            if phase == _DELETE:
                self._vm.contexts.pop(context.id, None)

    def _replace_body(self, context: "Context") -> None:
        """Put what the guest has put here in the place of the response's body, which is open."""
        words = self.words
        data = self._view[BODY_AT : BODY_AT + words[BODY_SET]].tobytes()
        words[BODY_SET] = ASK
        assert context.stream is not None
        context.stream.replace_buffer(BufferType.HTTP_RESPONSE_BODY, 0, words[BODY_PUT], data)

    def _show_body(self, context: "Context") -> None:
        """The same once the callback has returned."""
        assert context.stream is not None
        context.stream.show_response_body(False, False)  # no matter whether it has ended
        self._replace_body(context)

    def _make_edits(self, context: "Context") -> None:
        """Make the changes that the guest asked for; what was put here is out of date from then on."""
        words = self.words
        stream = context.stream
        assert stream is not None
        words[FAST] = 0
        words[ATTENTION] &= ~PENDING
        data = self._view[EDIT_AT : EDIT_AT + words[EDITS]].tobytes()
        words[EDITS] = 0
        edits = self._edits.get(data)
        if edits is None:
            edits = self._read_edits(data)
        for kind, map_type, name, value in edits:
            if kind == REPLACE:
                stream.replace_header_value(map_type, name, value)
            elif kind == ADD:
                stream.add_header_value(map_type, name, value)
            else:
                stream.remove_header_value(map_type, name)

    def _read_edits(self, data: bytes) -> list[Edit]:
        """What was written down.  Guests mostly change the same again, so it is kept."""
        edits: list[Edit] = []
        at = 0
        while at < len(data):
            kind, name_size, size = _EDIT(data, at)
            at += _EDIT_SIZE
            split = at + name_size
            value = data[split : split + size]
            edits.append((kind & 0xFF, _MAPS[kind >> 8], data[at:split].lower(), value))
            at = (split + size + 3) & ~3
        if len(self._edits) >= _MAX_EDITS:
            self._edits.clear()
        if len(data) <= _MAX_EDIT_BYTES:
            self._edits[data] = edits
        return edits

    # -- calls ----------------------------------------------------------------------------------------------
    def headers_entry(self, name: str, direct: DirectCalls) -> Callable[..., int]:
        """The way into the callback for headers, as ``vm.entry`` gives it."""
        vm, words, idle = self._vm, self.words, self._vm.context
        lanes, call, trap = direct
        map_type = HEADERS[name]
        frame = self._binding.frame(self._exports, _EXPORTS[map_type], 3, True)
        wanted, pairs = self._wanted[map_type], self._wants_pairs

        def entry(context: "Context", count: int = 0, end_of_stream: int = 0) -> int:
            if vm.context is not idle:
                vm.refuse()
            vm.serial += 1
            if vm.needs_attention:
                vm.attend()
            vm.context = context
            try:
                if wanted or pairs[map_type]:
                    self._prepare(context, map_type)
                if self.has_idle_lines:
                    self._open_log(context)
                lanes[0] = context.id
                lanes[4] = count
                lanes[8] = end_of_stream
                error = call(*frame)
                if error is not None or trap:
                    raise_failure(error, trap)
                result: int = lanes[0]
                if words[ATTENTION]:
                    self._make_edits(vm.context)
            except BaseException as failure:  # the sandbox: a trap, or what a role raised
                vm.fail(failure, name)
            vm.context = idle
            return vm.finish_call(result) if vm.after else result

        return entry

    def begin_entry(self, direct: DirectCalls) -> "Callable[[Context, int, int, int], int | None]":
        """The way into a stream: its context is created, its request's headers are shown.

        None: the guest did something when its context was created, and its headers were not shown yet.
        """
        vm, words, idle = self._vm, self.words, self._vm.context
        lanes, call, trap = direct
        frame = self._binding.frame(self._exports, "begin", 4, True)
        wanted, pairs = self._wanted[0], self._wants_pairs

        def begin(context: "Context", root: int, count: int, end_of_stream: int) -> int | None:
            if vm.context is not idle:
                vm.refuse()
            vm.serial += 1
            if vm.needs_attention:
                vm.attend()
            vm.context = context
            is_left = False
            try:
                if wanted or pairs[0]:
                    self._prepare(context, 0)
                if self.has_idle_lines:
                    self._open_log(context)
                lanes[0] = context.id
                lanes[4] = root
                lanes[8] = count
                lanes[12] = end_of_stream
                error = call(*frame)
                if error is not None or trap:
                    raise_failure(error, trap)
                result: int = lanes[0]
                attention = words[ATTENTION]
                if attention == LEFT:
                    is_left = True
                    words[ATTENTION] = 0
                elif attention:
                    self._make_edits(vm.context)
            except BaseException as failure:  # the sandbox, as above
                vm.fail(failure, _NAMES[words[PHASE]])
            vm.context = idle
            if vm.after:
                result = vm.finish_call(result)
            return None if is_left else result

        return begin

    def respond_entry(self, direct: DirectCalls) -> "Callable[[Context, int, bytes], int]":
        """A response's headers, its body that has come as one piece, and its end.

        It gives what the last callback came to, at most 7, and eight times how many of them were made: no
        more after one that did not let it all go on, or did something.  A body that the guest keeps until its
        end is shown to it again there; that counts as the fourth.
        """
        vm, words, idle = self._vm, self.words, self._vm.context
        lanes, call, trap = direct
        frame = self._binding.frame(self._exports, "respond", 3, True)
        wanted, pairs, view = self._wanted[2], self._wants_pairs, self._view

        def respond(context: "Context", count: int, body: bytes) -> int:
            if vm.context is not idle:
                vm.refuse()
            vm.serial += 1
            if vm.needs_attention:
                vm.attend()
            vm.context = context
            try:
                if wanted or pairs[2]:
                    self._prepare(context, 2)
                if self.has_idle_lines:
                    self._open_log(context)
                size = len(body)
                if self.wants_body and size <= BODY_BYTES:
                    view[BODY_AT : BODY_AT + size] = body
                    words[BODY_PUT] = size
                else:
                    words[BODY_PUT] = ASK
                lanes[0] = context.id
                lanes[4] = count
                lanes[8] = size
                error = call(*frame)
                if error is not None or trap:
                    raise_failure(error, trap)
                result: int = lanes[0]
                if words[ATTENTION]:
                    self._make_edits(vm.context)
                if words[BODY_SET] != ASK:
                    self._show_body(context)
            except BaseException as failure:  # the sandbox, as above
                if words[PHASE] > _RESPONSE:
                    if words[ATTENTION] & PENDING:
                        self._make_edits(context)
                    if words[BODY_SET] != ASK:
                        self._show_body(context)
                vm.fail(failure, _NAMES[words[PHASE]])
            vm.context = idle
            if vm.after:
                result = vm.finish_call(result)
            return 8 * words[STAGE] + (result if result < 7 else 7)

        return respond

    def finish_entry(self, direct: DirectCalls) -> "Callable[[Context], int]":
        """The way out: log, done, delete; how many of them were made before the guest did something."""
        vm, words, idle = self._vm, self.words, self._vm.context
        lanes, call, trap = direct
        frame = self._binding.frame(self._exports, "finish", 1, True)

        def finish(context: "Context") -> int:
            if vm.context is not idle:
                vm.refuse()
            vm.serial += 1
            if vm.needs_attention:
                vm.attend()
            vm.context = context
            try:
                if self.has_idle_lines:
                    self._open_log(context)
                lanes[0] = context.id
                error = call(*frame)
                if error is not None or trap:
                    raise_failure(error, trap)
                reached: int = lanes[0]
            except BaseException as failure:  # the sandbox, as above
                vm.fail(failure, _NAMES[words[PHASE]])
            vm.context = idle
            if vm.after:
                vm.finish_call(0)
            return reached

        return finish
