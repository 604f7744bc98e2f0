"""Messages among the attributes: they are given to CEL as such, for what it may do with a message.

Metadata, the node and localities are messages in Envoy, and times are.  A field of metadata is read without
its message (:mod:`sidecar.observability.cel_data`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Any

from google.protobuf import duration_pb2, json_format, text_format, timestamp_pb2
from google.protobuf.message import Message

from sidecar.api.stream import Stream
from sidecar.observability.attributes import METADATA, Read, node_of

__all__ = ["MESSAGES", "NULL", "duration_message", "message_json", "message_text", "timestamp_message"]

#: In the place of a message that a host may be without, which is ``null`` then and not missing.
NULL: Any = object()
#: A text, which stays as it is, or a whole number, which is written without its point.
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|(: -?\d+)\.0(?= |$)')
_SECOND_NS = 1_000_000_000


def timestamp_message(nanoseconds: int) -> Any:
    """``google.protobuf.Timestamp``."""
    seconds, rest = divmod(nanoseconds, _SECOND_NS)
    return timestamp_pb2.Timestamp(seconds=seconds, nanos=rest)


def duration_message(nanoseconds: int) -> Any:
    """``google.protobuf.Duration``."""
    sign = -1 if nanoseconds < 0 else 1
    seconds, rest = divmod(abs(nanoseconds), _SECOND_NS)
    return duration_pb2.Duration(seconds=sign * seconds, nanos=sign * rest)


def message_text(message: Message) -> str:
    """In one line (``ShortDebugString``, with its blank at the end)."""
    text = text_format.MessageToString(message, as_utf8=False, as_one_line=True)
    return _TOKEN.sub(lambda match: match.group(1) or match.group(0), text) + " " if text else ""


def message_json(message: Message) -> Any:
    """As plain data, names as the API has them."""
    return json_format.MessageToDict(message, preserving_proto_field_name=True)


@cache
def _base() -> Any:
    from envoy.config.core.v3 import base_pb2

    return base_pb2


def _metadata(read: Read, *, is_optional: bool) -> Read:
    def message(stream: Stream) -> Any:
        namespaces = read(stream)
        if not namespaces and is_optional:
            return None if namespaces is None else NULL
        if namespaces is None:
            return None
        found = _base().Metadata()
        for name, values in namespaces.items():
            json_format.ParseDict(_json(values), found.filter_metadata[name])
        return found

    return message


def _json(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json(item) for item in value]
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return value


def _node(stream: Stream) -> Any:
    node = node_of(stream)
    return None if node is None else _base().Node.FromString(node.serialized)


def _locality(stream: Stream) -> Any:
    locality = getattr(stream.upstream_host, "locality", None)
    if locality is None:
        return None
    return _base().Locality(region=locality.region, zone=locality.zone, sub_zone=locality.sub_zone)


def _nothing(stream: Stream) -> None:
    return None


#: By path.
MESSAGES: dict[tuple[str, ...], Callable[[Stream], Any]] = {
    **{
        path: _metadata(read, is_optional=path[-1] == "upstream_host_metadata")
        for path, read in METADATA.items()
    },
    ("xds", "node"): _node,
    ("xds", "upstream_host_locality_metadata"): _nothing,
    ("upstream", "locality"): _locality,
}
