"""Small proxy-wasm guests in WAT: callbacks by name with their bodies."""

from __future__ import annotations

import wasmtime

ARITY = {
    "proxy_on_context_create": (2, False),
    "proxy_on_vm_start": (2, True),
    "proxy_on_configure": (2, True),
    "proxy_on_tick": (1, False),
    "proxy_on_request_headers": (3, True),
    "proxy_on_response_headers": (3, True),
    "proxy_on_request_body": (3, True),
    "proxy_on_response_body": (3, True),
    "proxy_on_request_trailers": (2, True),
    "proxy_on_response_trailers": (2, True),
    "proxy_on_done": (1, True),
    "proxy_on_log": (1, False),
    "proxy_on_delete": (1, False),
}
IMPORTS = {
    "proxy_log": 3,
    "proxy_add_header_map_value": 5,
    "proxy_replace_header_map_value": 5,
    "proxy_get_header_map_value": 5,
    "proxy_set_buffer_bytes": 5,
    "proxy_get_buffer_bytes": 5,
    "proxy_get_property": 4,
    "proxy_set_property": 4,
    "proxy_send_local_response": 8,
    "proxy_continue_stream": 1,
    "proxy_close_stream": 1,
    "proxy_set_tick_period_milliseconds": 1,
    "proxy_set_effective_context": 1,
}
#: Names for pieces of data; each is put behind the last and called by its name.
CONTINUE, PAUSE = "(i32.const 0)", "(i32.const 1)"


class Guest:
    """Collects strings and callbacks; ``code()`` is the module."""

    def __init__(self) -> None:
        self._data: dict[bytes, int] = {}
        self._next = 64
        self._callbacks: dict[str, str] = {}
        self._extra_imports = ""

    def text(self, data: bytes) -> str:
        """``address size`` of some bytes, as two constants."""
        if data not in self._data:
            self._data[data] = self._next
            self._next += len(data) + 1
        return f"(i32.const {self._data[data]}) (i32.const {len(data)})"

    def call(self, name: str, *arguments: int | bytes) -> str:
        """A host call whose status is dropped."""
        parts = [self.text(each) if isinstance(each, bytes) else f"(i32.const {each})" for each in arguments]
        return f"(drop (call ${name} {' '.join(parts)}))"

    def add(self, map_type: int, name: bytes, value: bytes) -> str:
        return self.call("proxy_add_header_map_value", map_type, name, value)

    def log(self, text: bytes) -> str:
        return self.call("proxy_log", 2, text)

    def log_given(self, getter: str) -> str:
        """Log what a getter that writes address and size to 0 and 4 gave: its status, then the bytes."""
        return (
            f"(i32.store8 (i32.const 8) (i32.add (i32.const 48) {getter}))"
            "(drop (call $proxy_log (i32.const 2) (i32.const 8) (i32.const 1)))"
            "(drop (call $proxy_log (i32.const 2) (i32.load (i32.const 0)) (i32.load (i32.const 4))))"
        )

    def log_property(self, *path: bytes) -> str:
        return self.log_given(
            f"(call $proxy_get_property {self.text(bytes(1).join(path))} (i32.const 0) (i32.const 4))"
        )

    def log_header(self, map_type: int, name: bytes) -> str:
        return self.log_given(
            f"(call $proxy_get_header_map_value (i32.const {map_type}) {self.text(name)}"
            " (i32.const 0) (i32.const 4))"
        )

    def log_body(self, buffer: int) -> str:
        return self.log_given(
            f"(call $proxy_get_buffer_bytes (i32.const {buffer}) (i32.const 0) (i32.const 9999)"
            " (i32.const 0) (i32.const 4))"
        )

    def local_response(self, status: int, details: bytes, body: bytes, name: bytes, value: bytes) -> str:
        pairs = b"".join(n.to_bytes(4, "little") for n in (1, len(name), len(value)))
        pairs += name + b"\0" + value + b"\0"
        arguments = " ".join(self.text(each) for each in (details, body, pairs))
        return f"(drop (call $proxy_send_local_response (i32.const {status}) {arguments} (i32.const -1)))"

    def on(self, name: str, body: str) -> Guest:
        """Export ``proxy_on_<name>``; $0, $1, $2 are its arguments."""
        self._callbacks[f"proxy_on_{name}"] = body
        return self

    def importing(self, name: str) -> Guest:
        """Import something that no host has."""
        self._extra_imports += f'(import "env" "{name}" (func))'
        return self

    def code(self) -> bytes:
        bodies = "".join(self._callbacks.values())
        lines = ["(module", self._extra_imports]
        for name, count in IMPORTS.items():
            if f"${name} " in bodies:
                lines.append(f'(import "env" "{name}" (func ${name} (param{" i32" * count}) (result i32)))')
        lines.append('(memory (export "memory") 1) (func (export "proxy_abi_version_0_2_1"))')
        lines.append(
            """(global $heap (mut i32) (i32.const 8192))
            (func (export "malloc") (param i32) (result i32)
              (global.get $heap) (global.set $heap (i32.add (global.get $heap) (local.get 0))))"""
        )
        for data, address in self._data.items():
            escaped = "".join(f"\\{byte:02x}" for byte in data)
            lines.append(f'(data (i32.const {address}) "{escaped}")')
        for name, body in self._callbacks.items():
            count, has_result = ARITY[name]
            result = "(result i32)" if has_result else ""
            lines.append(f'(func (export "{name}") (param{" i32" * count}) {result} {body})')
        lines.append(")")
        return bytes(wasmtime.wat2wasm("\n".join(lines)))
