"""The messages between a supervisor and its workers, or between two epochs of a hot restart, as bytes.

A frame is two lengths (of all behind the first, and of its head; 32 bits each, big end first), a head in
JSON, and blobs one after the other.  The head holds the kind ``k``, the values ``v``, the lengths of
the blobs ``b`` and how many descriptors come along ``f``.  No I/O here; :mod:`sidecar.server.workers.channel`
sends and receives.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import field
from typing import Any

from sidecar.core.dataclass import dataclass
from sidecar.core.errors import SidecarError

__all__ = ["MAX_DESCRIPTORS", "Decoder", "Frame", "FrameError", "encode"]

_LENGTHS = struct.Struct(">II")
#: Of one frame: a resource of a control plane may be large, what is longer than this is no frame of ours.
_LIMIT_BYTES = 1 << 30
#: ``SCM_MAX_FD`` of Linux.
MAX_DESCRIPTORS = 253


class FrameError(SidecarError):
    """What came is no frame."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One message."""

    kind: str
    values: dict[str, Any] = field(default_factory=dict)
    blobs: tuple[bytes, ...] = ()
    #: How many descriptors were sent along.
    descriptors: int = 0


def encode(kind: str, values: dict[str, Any], blobs: Sequence[bytes] = (), descriptors: int = 0) -> bytes:
    """The bytes of a frame."""
    described: dict[str, Any] = {"k": kind, "v": values}
    if blobs:
        described["b"] = [len(each) for each in blobs]
    if descriptors:
        described["f"] = descriptors
    head = json.dumps(described, separators=(",", ":")).encode()
    length = _LENGTHS.size - 4 + len(head) + sum(map(len, blobs))
    return b"".join((_LENGTHS.pack(length, len(head)), head, *blobs))


class Decoder:
    """Makes frames of bytes that come in any pieces."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that are complete now.  Raises: FrameError."""
        buffer = self._buffer
        buffer += data
        frames: list[Frame] = []
        while len(buffer) >= _LENGTHS.size:
            length, head_length = _LENGTHS.unpack_from(buffer)
            if length > _LIMIT_BYTES or head_length + 4 > length:
                raise FrameError(f"a frame of {length} bytes with a head of {head_length}")
            end = length + 4
            if len(buffer) < end:
                break
            frames.append(_read(bytes(buffer[_LENGTHS.size : end]), head_length))
            del buffer[:end]
        return frames


def _read(data: bytes, head_length: int) -> Frame:
    try:
        head = json.loads(data[:head_length])
        kind, values, lengths, descriptors = head["k"], head["v"], head.get("b", ()), head.get("f", 0)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FrameError(f"the head of a frame cannot be read: {error}") from error
    if not isinstance(kind, str) or not isinstance(values, dict):
        raise FrameError("the head of a frame has no kind and values")
    if not _is_count(descriptors) or descriptors > MAX_DESCRIPTORS:
        raise FrameError("the head of a frame miscounts descriptors")
    if not isinstance(lengths, list | tuple) or not all(map(_is_count, lengths)):
        raise FrameError("the head of a frame miscounts blobs")
    if sum(lengths) != len(data) - head_length:
        raise FrameError("the blobs of a frame are not as long as its head says")
    blobs = []
    at = head_length
    for length in lengths:
        blobs.append(data[at : at + length])
        at += length
    return Frame(kind, values, tuple(blobs), descriptors)


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0
