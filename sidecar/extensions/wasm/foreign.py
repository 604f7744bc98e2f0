"""Foreign functions (``proxy_call_foreign_function``): those that Envoy 1.40 has for its guests.

Arguments and results are bytes, of some a message of Envoy's own (``source/extensions/common/wasm/ext``),
which is read and written here by the rules of the wire format.  What is no such message is BAD_ARGUMENT.
``clear_route_cache`` is ``wasm_abi``'s, expressions are :mod:`sidecar.extensions.wasm.foreign_cel`'s.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from sidecar.core.filter_state import FACTORIES
from sidecar.core.message_values import read_fields, write_bytes
from sidecar.extensions.http.wasm_state import Declaration, declare, keep_state
from sidecar.extensions.signatures import import_private_key, import_public_key, sign, verify
from sidecar.extensions.wasm.foreign_cel import EXPRESSION_FUNCTIONS
from wasm_abi import Status

if TYPE_CHECKING:
    from wasm_abi import Vm

__all__ = ["FOREIGN_FUNCTIONS"]

#: What bytes may come to: the memory of a guest is limited as well.
_LONGEST = 1 << 28
_OF_CONNECTION = 2
#: ``WasmType``.
_PROTOBUF = 3


def _compress(arguments: bytes, _vm: Vm) -> bytes:
    return zlib.compress(arguments)


def _uncompress(arguments: bytes, _vm: Vm) -> bytes | Status:
    reader = zlib.decompressobj()
    try:
        data = reader.decompress(arguments, _LONGEST)
    except zlib.error:
        return Status.SERIALIZATION_FAILURE
    return data if reader.eof else Status.SERIALIZATION_FAILURE


#: Fields of ``VerifySignatureArguments``, ``SignArguments``, ``DeclarePropertyArguments`` and
#: ``SetEnvoyFilterStateArguments``: texts, bytes and numbers.
_VERIFY = {1: str, 2: bytes, 3: bytes, 4: bytes, 5: str}
_SIGN = {1: str, 2: bytes, 3: bytes, 4: str}
_DECLARE = {1: str, 2: int, 3: int, 4: bytes, 5: int}
_SET = {1: str, 2: str, 3: int}


def _verify_signature(arguments: bytes, _vm: Vm) -> bytes | Status:
    fields = read_fields(arguments, _VERIFY)
    if fields is None:
        return Status.BAD_ARGUMENT
    der, pem = fields.get(2, b""), fields.get(5, b"")
    if bool(der) == bool(pem):  # none, or two
        return Status.BAD_ARGUMENT
    key = import_public_key(pem or der, is_pem=bool(pem))
    is_good, error = verify(fields.get(1, b""), key, fields.get(3, b""), fields.get(4, b""))
    return b"\x08\1" if is_good else write_bytes(2, error or b"")


def _sign(arguments: bytes, _vm: Vm) -> bytes | Status:
    fields = read_fields(arguments, _SIGN)
    if fields is None:
        return Status.BAD_ARGUMENT
    der, pem = fields.get(2, b""), fields.get(4, b"")
    if bool(der) == bool(pem):
        return Status.BAD_ARGUMENT
    key = import_private_key(pem or der, is_pem=bool(pem))
    signature, error = sign(fields.get(1, b""), key, fields.get(3, b""))
    return write_bytes(3, error) if signature is None else b"\x08\1" + write_bytes(2, signature)


def _declare_property(arguments: bytes, vm: Vm) -> bytes | Status:
    """Only what a root context declares has an effect, as in Envoy; others can do it once as well."""
    fields = read_fields(arguments, _DECLARE)
    if fields is None:
        return Status.BAD_ARGUMENT
    span = fields.get(5, 0)
    schema = fields.get(4, b"") if fields.get(3, 0) == _PROTOBUF else b""
    how = Declaration(
        bool(fields.get(2, 0)),
        is_of_connection=span == _OF_CONNECTION,
        type_url=schema.decode("utf-8", "replace"),
    )
    return b"" if declare(vm.called_context, fields.get(1, b""), how) else Status.BAD_ARGUMENT


def _set_envoy_filter_state(arguments: bytes, vm: Vm) -> bytes | Status:
    fields = read_fields(arguments, _SET)
    if fields is None:
        return Status.BAD_ARGUMENT
    name = fields.get(1, b"")
    make = FACTORIES.get(name.decode("utf-8", "replace"))
    if make is None:
        return Status.NOT_FOUND
    made = make(fields.get(2, b"").decode("utf-8", "surrogateescape"))
    if made is None:
        return Status.BAD_ARGUMENT
    return keep_state(vm.context, name.decode(), made, of_connection=fields.get(3, 0) == _OF_CONNECTION)


FOREIGN_FUNCTIONS: dict[bytes, Callable[[bytes, Vm], bytes | Status]] = {
    b"compress": _compress,
    b"uncompress": _uncompress,
    b"verify_signature": _verify_signature,
    b"sign": _sign,
    b"declare_property": _declare_property,
    b"set_envoy_filter_state": _set_envoy_filter_state,
    **EXPRESSION_FUNCTIONS,
}
