"""What a guest does to its stream: answer it, resume it, close it, have it routed again.

Spec: proxy-wasm 0.2.1, "HTTP streams". All but the route cache take effect after the guest has returned;
the callback's own action is overridden after a local response (see ``plugin``).
"""

from typing import TYPE_CHECKING

from wasm_abi.abi import MapType, Status, StreamType
from wasm_abi.inside_wat import FAST
from wasm_abi.pairs import decode_pairs

if TYPE_CHECKING:
    from wasm_abi.context import Context
    from wasm_abi.vm import Vm

_STREAMS = tuple(StreamType)
_MAX_GRPC_STATUS = 16
_REQUEST_MAPS = 1 << MapType.HTTP_REQUEST_HEADERS | 1 << MapType.HTTP_REQUEST_TRAILERS


_HTTP = (StreamType.HTTP_REQUEST, StreamType.HTTP_RESPONSE)


def _has(context: "Context", kind: StreamType) -> bool:
    """Whether the context is one of a stream with that direction; others are asked in vain, which is OK."""
    return context.stream is not None and (kind in _HTTP) is context.is_http


def continue_stream(vm: "Vm", stream_type: int) -> int:
    """Closes the request's maps, whichever direction resumes, as Envoy does.

    UPSTREAM is UNIMPLEMENTED, as in Envoy.
    """
    if stream_type >= len(_STREAMS):
        return Status.BAD_ARGUMENT
    kind = _STREAMS[stream_type]
    if kind is StreamType.UPSTREAM:
        return Status.UNIMPLEMENTED
    context = vm.context
    stream = context.stream
    if stream is not None and _has(context, kind):
        context.open_maps &= ~_REQUEST_MAPS
        vm.words[FAST] = 0
        vm.after_call(stream.continue_stream, kind)
    return Status.OK


def close_stream(vm: "Vm", stream_type: int) -> int:
    if stream_type >= len(_STREAMS):
        return Status.BAD_ARGUMENT
    kind = _STREAMS[stream_type]
    stream = vm.context.stream
    if stream is not None and _has(vm.context, kind):
        vm.after_call(stream.close_stream, kind)
    return Status.OK


def continue_request(vm: "Vm") -> int:
    return continue_stream(vm, StreamType.HTTP_REQUEST)


def continue_response(vm: "Vm") -> int:
    return continue_stream(vm, StreamType.HTTP_RESPONSE)


def clear_route_cache(vm: "Vm") -> int:
    stream = vm.context.stream
    if stream is not None and vm.context.is_http:
        stream.clear_route_cache()
    return Status.OK


def send_local_response(
    vm: "Vm",
    status: int,
    details: int,
    details_size: int,
    body: int,
    body_size: int,
    headers: int,
    headers_size: int,
    grpc_status: int,
) -> int:
    """Spaces in the details become underscores; a gRPC status outside 0 to 16 (SDKs pass -1) is none."""
    reason = vm.read(details, details_size).replace(b" ", b"_")
    content = vm.read(body, body_size)
    pairs = [(name.lower(), value) for name, value in decode_pairs(vm.read(headers, headers_size))]
    stream = vm.context.stream
    if stream is not None and vm.context.is_http:
        code = grpc_status if grpc_status <= _MAX_GRPC_STATUS else None
        vm.after_call(stream.send_local_response, status, reason, content, pairs, code)
        vm.is_answered = True
    return Status.OK
