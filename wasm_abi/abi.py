"""The numbers of the proxy-wasm ABI: statuses, enumerations and versions.

Values only; what they mean in a given call is said where the call is implemented.
Spec: proxy-wasm ABI 0.1.0, 0.2.0 and 0.2.1, with the header and data statuses that Envoy's host adds.
"""

from enum import Enum, IntEnum


class AbiVersion(Enum):
    """The ABI that a module speaks, told by the marker it exports."""

    V0_1_0 = "proxy_abi_version_0_1_0"
    V0_2_0 = "proxy_abi_version_0_2_0"
    V0_2_1 = "proxy_abi_version_0_2_1"


class Status(IntEnum):
    """What a ``proxy_`` host function returns."""

    OK = 0
    NOT_FOUND = 1
    BAD_ARGUMENT = 2
    SERIALIZATION_FAILURE = 3
    PARSE_FAILURE = 4
    INVALID_MEMORY_ACCESS = 6
    EMPTY = 7
    CAS_MISMATCH = 8
    INTERNAL_FAILURE = 10
    UNIMPLEMENTED = 12


class CallStatus(IntEnum):
    """What ``proxy_get_status`` says of an HTTP call that failed (a gRPC call's is its gRPC status)."""

    BROKEN_CONNECTION = 11


class LogLevel(IntEnum):
    TRACE = 0
    DEBUG = 1
    INFO = 2
    WARN = 3
    ERROR = 4
    CRITICAL = 5


class HeadersAction(IntEnum):
    """What a headers callback asks for."""

    CONTINUE = 0
    STOP_ITERATION = 1
    CONTINUE_AND_END_STREAM = 2
    STOP_ALL_ITERATION_AND_BUFFER = 3
    STOP_ALL_ITERATION_AND_WATERMARK = 4


class DataAction(IntEnum):
    """What a body callback asks for."""

    CONTINUE = 0
    STOP_ITERATION_AND_BUFFER = 1
    STOP_ITERATION_AND_WATERMARK = 2
    STOP_ITERATION_NO_BUFFER = 3


class TrailersAction(IntEnum):
    """What a trailers callback asks for."""

    CONTINUE = 0
    STOP_ITERATION = 1


class NetworkAction(IntEnum):
    """What a callback of a TCP connection asks for."""

    CONTINUE = 0
    STOP_ITERATION = 1


class BufferType(IntEnum):
    HTTP_REQUEST_BODY = 0
    HTTP_RESPONSE_BODY = 1
    DOWNSTREAM_DATA = 2
    UPSTREAM_DATA = 3
    HTTP_CALL_RESPONSE_BODY = 4
    GRPC_CALL_MESSAGE = 5
    VM_CONFIGURATION = 6
    PLUGIN_CONFIGURATION = 7
    FOREIGN_FUNCTION_ARGUMENTS = 8


class MapType(IntEnum):
    HTTP_REQUEST_HEADERS = 0
    HTTP_REQUEST_TRAILERS = 1
    HTTP_RESPONSE_HEADERS = 2
    HTTP_RESPONSE_TRAILERS = 3
    GRPC_CALL_INITIAL_METADATA = 4
    GRPC_CALL_TRAILING_METADATA = 5
    HTTP_CALL_RESPONSE_HEADERS = 6
    HTTP_CALL_RESPONSE_TRAILERS = 7


class StreamType(IntEnum):
    HTTP_REQUEST = 0
    HTTP_RESPONSE = 1
    DOWNSTREAM = 2
    UPSTREAM = 3


class PeerType(IntEnum):
    """Who closed a connection."""

    UNKNOWN = 0
    LOCAL = 1
    REMOTE = 2


class MetricType(IntEnum):
    COUNTER = 0
    GAUGE = 1
    HISTOGRAM = 2


class Errno(IntEnum):
    """The WASI preview 1 error numbers that this host returns."""

    SUCCESS = 0
    BADF = 8
    DOM = 20
    FAULT = 21
    INVAL = 28
    NOENT = 44
    NOSYS = 52
    NOTSUP = 58
    NOTCAPABLE = 76
