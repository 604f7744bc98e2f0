"""Header maps: proxy_get_header_map_*, proxy_set_*, proxy_add_*, proxy_replace_*, proxy_remove_*.

Spec: proxy-wasm 0.2.1, "HTTP fields"; for maps that are not there, Envoy's rules: reading the pairs gives an
empty map, everything else BAD_ARGUMENT (while logging, NOT_FOUND for a value).
"""

from typing import TYPE_CHECKING

from wasm_abi.abi import AbiVersion, MapType, Status
from wasm_abi.pairs import decode_pairs, encode_pairs, encoded_size

if TYPE_CHECKING:
    from wasm_abi.vm import Vm

_MAPS = tuple(MapType)
_MAP_COUNT = len(_MAPS)
_OK = 0


def get_header_map_value(
    vm: "Vm", map_type: int, key: int, key_size: int, value_out: int, size_out: int
) -> int:
    if map_type >= _MAP_COUNT:
        return Status.BAD_ARGUMENT
    stream = vm.context.stream
    if stream is None:
        return Status.BAD_ARGUMENT
    kind = _MAPS[map_type]
    value = stream.get_header_value(kind, vm.read(key, key_size).lower())
    if value is None:
        if not vm.context.is_logging and stream.get_header_map(kind) is None:
            return Status.BAD_ARGUMENT
        if vm.abi is not AbiVersion.V0_1_0:
            return Status.NOT_FOUND
        value = b""
    vm.give(value, value_out, size_out)
    return _OK


def get_header_map_pairs(vm: "Vm", map_type: int, pairs_out: int, size_out: int) -> int:
    if map_type >= _MAP_COUNT:
        return Status.BAD_ARGUMENT
    stream = vm.context.stream
    pairs = None if stream is None else stream.get_header_map(_MAPS[map_type])
    vm.give(b"" if pairs is None else encode_pairs(pairs), pairs_out, size_out)
    return _OK


def get_header_map_size(vm: "Vm", map_type: int, size_out: int) -> int:
    if map_type >= _MAP_COUNT:
        return Status.BAD_ARGUMENT
    stream = vm.context.stream
    pairs = None if stream is None else stream.get_header_map(_MAPS[map_type])
    if pairs is None:
        return Status.BAD_ARGUMENT
    vm.write_u32(size_out, encoded_size(pairs))
    return _OK


def set_header_map_pairs(vm: "Vm", map_type: int, data: int, size: int) -> int:
    if map_type >= _MAP_COUNT:
        return Status.BAD_ARGUMENT
    pairs = [(name.lower(), value) for name, value in decode_pairs(vm.read(data, size))]
    stream = vm.context.stream
    if stream is None or not stream.set_header_map(_MAPS[map_type], pairs):
        return Status.BAD_ARGUMENT
    return _OK


def add_header_map_value(
    vm: "Vm", map_type: int, key: int, key_size: int, value: int, value_size: int
) -> int:
    if map_type >= _MAP_COUNT:
        return Status.BAD_ARGUMENT
    name, text = vm.read(key, key_size).lower(), vm.read(value, value_size)
    stream = vm.context.stream
    if stream is None or not stream.add_header_value(_MAPS[map_type], name, text):
        return Status.BAD_ARGUMENT
    return _OK


def replace_header_map_value(
    vm: "Vm", map_type: int, key: int, key_size: int, value: int, value_size: int
) -> int:
    if map_type >= _MAP_COUNT:
        return Status.BAD_ARGUMENT
    name, text = vm.read(key, key_size).lower(), vm.read(value, value_size)
    stream = vm.context.stream
    if stream is None or not stream.replace_header_value(_MAPS[map_type], name, text):
        return Status.BAD_ARGUMENT
    return _OK


def remove_header_map_value(vm: "Vm", map_type: int, key: int, key_size: int) -> int:
    """An absent key is OK."""
    if map_type >= _MAP_COUNT:
        return Status.BAD_ARGUMENT
    name = vm.read(key, key_size).lower()
    stream = vm.context.stream
    if stream is None or not stream.remove_header_value(_MAPS[map_type], name):
        return Status.BAD_ARGUMENT
    return _OK
