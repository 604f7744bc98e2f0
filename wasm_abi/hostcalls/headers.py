"""Header maps: proxy_get_header_map_*, proxy_set_*, proxy_add_*, proxy_replace_*, proxy_remove_*.

Spec: proxy-wasm 0.2.1, "HTTP fields". A map can be used in its own phase (``plugin`` says when that is);
while logging, headers and the response's trailers can be read. For maps that are not there Envoy's rules
hold: reading the pairs gives an empty map, everything else BAD_ARGUMENT (while logging, NOT_FOUND for a
value). The maps of a call's answer can be read while it is delivered, from any context of the plugin.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from wasm_abi.abi import AbiVersion, MapType, Status
from wasm_abi.inside_wat import FAST
from wasm_abi.memory import OVERHEAD
from wasm_abi.pairs import byte_size, decode_pairs, encode_pairs

if TYPE_CHECKING:
    from wasm_abi.calls import Pairs
    from wasm_abi.context import Context
    from wasm_abi.roles import HttpStreamHost
    from wasm_abi.vm import Vm

_MAPS: Final = tuple(MapType)
_MAP_COUNT: Final = len(_MAPS)
_FIRST_OF_CALLS: Final = MapType.GRPC_CALL_INITIAL_METADATA
_OK: Final = 0


# Maps that can be read while logging, as bits: request headers, response headers, response trailers.
_LOGGED: Final = (
    1 << MapType.HTTP_REQUEST_HEADERS
    | 1 << MapType.HTTP_RESPONSE_HEADERS
    | 1 << MapType.HTTP_RESPONSE_TRAILERS
)


def _answer(context: "Context", map_type: int) -> "Pairs | None":
    """That map of the call's answer which is being delivered, if it is one."""
    return None if context.plugin is None else context.plugin.calls.maps.get(map_type)


def _readable(context: "Context", map_type: int) -> "HttpStreamHost | None":
    """The stream, if that map of it can be read now."""
    open_maps = context.open_maps
    if context.is_logging and context.is_http:
        open_maps |= _LOGGED
    return context.stream if open_maps >> map_type & 1 else None


def _writable(context: "Context", map_type: int) -> "HttpStreamHost | None":
    """The stream, if that map of it can be changed now."""
    return context.stream if context.open_maps >> map_type & 1 else None


def get_header_map_value(
    vm: "Vm", map_type: int, key: int, key_size: int, value_out: int, size_out: int
) -> int:
    if map_type >= _MAP_COUNT:
        return Status.BAD_ARGUMENT
    context = vm.context
    stream = context.stream if context.open_maps >> map_type & 1 else _readable(context, map_type)
    memory, end = vm.memory, key + key_size  # as vm.read does, without the call, here and below
    raw = memory.view[key:end].tobytes() if end <= memory.limit else vm.read(key, key_size)
    name = raw.lower()
    if vm.inside is not None:
        vm.inside.note_value(map_type, raw)
    value = None if stream is None else stream.get_header_value(_MAPS[map_type], name)
    if value is None:
        answer = _answer(context, map_type) if map_type >= _FIRST_OF_CALLS else None
        if answer is not None:
            value = next((text for each, text in answer if each == name), None)
        elif not context.is_logging and (stream is None or stream.get_header_map(_MAPS[map_type]) is None):
            return Status.BAD_ARGUMENT
    if value is None:
        if vm.abi is not AbiVersion.V0_1_0:
            return Status.NOT_FOUND
        value = b""
    vm.give(value, value_out, size_out)
    return _OK


def get_header_map_pairs(vm: "Vm", map_type: int, pairs_out: int, size_out: int) -> int:
    if map_type >= _MAP_COUNT:
        return Status.BAD_ARGUMENT
    pairs: Iterable[tuple[bytes, bytes]] | None
    if map_type >= _FIRST_OF_CALLS:
        pairs = _answer(vm.context, map_type)
    else:
        if vm.inside is not None:
            vm.inside.note_pairs(map_type)
        stream = _readable(vm.context, map_type)
        pairs = None if stream is None else stream.get_header_map(_MAPS[map_type])
    vm.give(b"" if pairs is None else encode_pairs(pairs), pairs_out, size_out)
    return _OK


def get_header_map_size(vm: "Vm", map_type: int, size_out: int) -> int:
    if map_type >= _MAP_COUNT:
        return Status.BAD_ARGUMENT
    stream = _writable(vm.context, map_type)
    pairs = None if stream is None else stream.get_header_map(_MAPS[map_type])
    if pairs is None:
        return Status.BAD_ARGUMENT
    vm.write_u32(size_out, byte_size(pairs))
    return _OK


def set_header_map_pairs(vm: "Vm", map_type: int, data: int, size: int) -> int:
    if map_type >= _MAP_COUNT:
        return Status.BAD_ARGUMENT
    pairs = [(name.lower(), value) for name, value in decode_pairs(vm.read(data, size))]
    vm.words[FAST] = 0
    stream = _writable(vm.context, map_type)
    if stream is None or not stream.set_header_map(_MAPS[map_type], pairs):
        return Status.BAD_ARGUMENT
    return _OK


def add_header_map_value(
    vm: "Vm", map_type: int, key: int, key_size: int, value: int, value_size: int
) -> int:
    if map_type >= _MAP_COUNT:
        return Status.BAD_ARGUMENT
    memory, end = vm.memory, key + key_size
    name = (memory.view[key:end].tobytes() if end <= memory.limit else vm.read(key, key_size)).lower()
    end = value + value_size
    if end <= memory.limit:
        text = memory.view[value:end].tobytes()
        memory.left = left = memory.left - value_size - OVERHEAD
        if left < 0:
            memory.over()
    else:
        text = vm.read(value, value_size)
    vm.words[FAST] = 0  # what was put inside is out of date
    context = vm.context
    stream = context.stream if context.open_maps >> map_type & 1 else None
    if stream is None or not stream.add_header_value(_MAPS[map_type], name, text):
        return Status.BAD_ARGUMENT
    return _OK


def replace_header_map_value(
    vm: "Vm", map_type: int, key: int, key_size: int, value: int, value_size: int
) -> int:
    if map_type >= _MAP_COUNT:
        return Status.BAD_ARGUMENT
    memory, end = vm.memory, key + key_size
    name = (memory.view[key:end].tobytes() if end <= memory.limit else vm.read(key, key_size)).lower()
    end = value + value_size
    if end <= memory.limit:
        text = memory.view[value:end].tobytes()
        memory.left = left = memory.left - value_size - OVERHEAD
        if left < 0:
            memory.over()
    else:
        text = vm.read(value, value_size)
    vm.words[FAST] = 0  # what was put inside is out of date
    context = vm.context
    stream = context.stream if context.open_maps >> map_type & 1 else None
    if stream is None or not stream.replace_header_value(_MAPS[map_type], name, text):
        return Status.BAD_ARGUMENT
    return _OK


def remove_header_map_value(vm: "Vm", map_type: int, key: int, key_size: int) -> int:
    """An absent key is OK."""
    if map_type >= _MAP_COUNT:
        return Status.BAD_ARGUMENT
    name = vm.read(key, key_size).lower()
    vm.words[FAST] = 0
    stream = _writable(vm.context, map_type)
    if stream is None or not stream.remove_header_value(_MAPS[map_type], name):
        return Status.BAD_ARGUMENT
    return _OK
