"""Header compression (RFC 7541): jh2's fast HPACK behind a strict gate.

The library decodes fast, but takes what the RFC calls an error (a table size update behind a field,
Huffman padding that is not ones) and panics on a truncated string.  So each block that is not made of
indexed fields alone is walked first (:func:`scan`), and Huffman strings are checked by the length that
their text must have had.  Blocks of one-byte indexes, what a kept-alive client mostly sends, go straight
through.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from jh2._hazmat import Decoder, Encoder, HPACKError, OversizedHeaderListError

from sidecar.codec.h2_types import KnownFields
from sidecar.core.headers import Field

__all__ = ["CompressionError", "HeaderDecoder", "HeaderEncoder", "scan"]

DEFAULT_TABLE_SIZE = 4096

_is_all_indexed = re.compile(rb"[\x81-\xfe]*").fullmatch

#: Bits of each octet's Huffman code (RFC 7541 appendix B).
_HUFFMAN_BITS = bytes.fromhex(
    "0d171c1c1c1c1c1c1c181e1c1c1e1c1c1c1c1c1c1c1c1e1c1c1c1c1c1c1c1c1c060a0a0c0d06080b0a0a080b08060606"
    "0505050606060606060607080f060c0a0d06070707070707070707070707070707070707070707070807080d130d0e06"
    "0f05060506050606060507070606060506070605050607070707070f0b0e0d1c14161414161616171617171717171817"
    "181816171817171717151617161717181615141616171715171616181516171715151615171617171416161617161617"
    "1a1a1413161716191a1a1a1b1b1a181913151a1b1b1a1b1815151a1a1c1b1b1b14181415161515171616191918181a17"
    "1a1b1a1a1b1b1b1b1b1c1b1b1b1b1b1a"
)

#: Header blocks that a decoder keeps.
_KEPT_BLOCKS = 16
#: Fields that an encoder keeps with what they are in a block, and the longest literal among them.
_KEPT_FIELDS = 128
_KEPT_LITERAL_LENGTH = 256
_OCTETS = tuple(bytes((octet,)) for octet in range(256))
#: Never put into a table, by anybody: what an attacker might probe (RFC 7541 §7.1.3), and ids.
_NEVER_INDEXED = frozenset((b"authorization", b"proxy-authorization", b"x-request-id", b"traceparent"))
#: Different in each message: a block with one of these does not come again.
_UNIQUE = _NEVER_INDEXED | {b"x-b3-traceid", b"x-b3-spanid", b"tracestate"}
#: Written as literals, since they would only push the rest out of the table.
_LITERAL_NAMES = _UNIQUE | {
    b":path",
    b"age",
    b"content-length",
    b"etag",
    b"if-modified-since",
    b"if-none-match",
    b"location",
    b"set-cookie",
    b"x-envoy-upstream-service-time",
}
#: How a literal with this name begins (RFC 7541 §6.2.2, §6.2.3): index of the static table, or the name.
_LITERAL_HEADS = {
    name: b"%b%c%b" % (b"\x10" if name in _NEVER_INDEXED else b"\x00", len(name), name)
    for name in _LITERAL_NAMES
} | {
    b":path": b"\x04",
    b"age": b"\x0f\x06",
    b"authorization": b"\x1f\x08",
    b"content-length": b"\x0f\x0d",
    b"etag": b"\x0f\x13",
    b"if-modified-since": b"\x0f\x19",
    b"if-none-match": b"\x0f\x1a",
    b"location": b"\x0f\x1f",
    b"proxy-authorization": b"\x1f\x22",
    b"set-cookie": b"\x0f\x28",
}


def _literal(name: bytes, value: bytes) -> bytes:
    """A field that leaves no trace in the table; its value as it is, without Huffman's code."""
    size = len(value)
    if size < 127:
        return b"%b%c%b" % (_LITERAL_HEADS[name], size, value)
    octets = bytearray(_LITERAL_HEADS[name])
    octets.append(127)
    size -= 127
    while size >= 128:
        octets.append(size & 127 | 128)
        size >>= 7
    octets.append(size)
    return bytes(octets) + value


class CompressionError(Exception):
    """The block is broken, and with it the shared table: the connection cannot go on."""


def _read_integer(block: bytes, at: int, prefix: int) -> tuple[int, int]:
    """The integer whose prefix was all ones, and where it ends (RFC 7541 §5.1)."""
    value = prefix
    shift = 0
    while True:
        if at >= len(block) or shift > 21:
            raise CompressionError("truncated or oversized integer")
        octet = block[at]
        at += 1
        value += (octet & 0x7F) << shift
        if octet < 0x80:
            return value, at
        shift += 7


#: (field number, 0 for the name or 1 for the value, start, end) of a Huffman-coded string.
_Coded = tuple[int, int, int, int]


def scan(block: bytes, max_string: int = 1 << 30) -> tuple[list[_Coded], int, bool]:
    """Walk the representations: Huffman strings, first table size update (-1 where none), changes the table.

    Raises: CompressionError, for what is cut short, out of place, or points nowhere by itself.
    """
    at = 0
    length = len(block)
    count = 0
    first_update = -1
    changes_table = False
    coded: list[_Coded] = []
    while at < length:
        octet = block[at]
        at += 1
        if octet >= 0x80:
            if octet == 0x80:
                raise CompressionError("index 0")
            if octet == 0xFF:
                _, at = _read_integer(block, at, 0x7F)
            count += 1
            continue
        if 0x20 <= octet < 0x40:
            if count:
                raise CompressionError("table size update behind a field")
            size = octet & 0x1F
            if size == 0x1F:
                size, at = _read_integer(block, at, 0x1F)
            if first_update < 0:
                first_update = size
            changes_table = True
            continue
        if octet >= 0x40:
            changes_table = True
            mask = 0x3F
        else:
            mask = 0x0F
        index = octet & mask
        if index == mask:
            _, at = _read_integer(block, at, mask)
        for part in (0, 1) if index == 0 else (1,):
            if at >= length:
                raise CompressionError("truncated string")
            octet = block[at]
            at += 1
            size = octet & 0x7F
            if size == 0x7F:
                size, at = _read_integer(block, at, 0x7F)
            if size > max_string:
                raise CompressionError("a name or value is too long")
            end = at + size
            if end > length:
                raise CompressionError("truncated string")
            if octet >= 0x80:
                coded.append((count, part, at, end))
            at = end
        count += 1
    return coded, first_update, changes_table


class HeaderDecoder:
    """One direction's decoder.

    ``generation`` changes whenever the table did: while it stands still, a block means what it meant before.
    ``known`` holds blocks with what they mean meanwhile: it is emptied with every change.  ``readings`` holds
    what blocks meant before: they are decoded again, since they may add to the table, but where they say the
    same nobody has to look at it once more.  An owner fills both with :meth:`keep`.
    """

    __slots__ = (
        "_changes_table",
        "_decoder",
        "_max_string",
        "_raw",
        "_required_size",
        "generation",
        "known",
        "readings",
    )

    def __init__(self, max_list_bytes: int, table_size: int, max_string: int = 64 * 1024) -> None:
        self._decoder = Decoder(max_list_bytes)
        self._max_string = max_string
        # Until the peer has acknowledged our settings it may use the default size.
        self._decoder.max_allowed_table_size = max(table_size, DEFAULT_TABLE_SIZE)
        self._required_size = -1
        self.generation = 0
        self.known: dict[bytes, KnownFields] = {}
        self.readings: dict[bytes, KnownFields] = {}
        # Of the last block that was decoded.
        self._raw: Any = None
        self._changes_table = False

    def on_settings_acknowledged(self, table_size: int) -> None:
        """From now on the peer keeps to our table size, and says so first where it had to shrink."""
        if table_size < DEFAULT_TABLE_SIZE:
            self._required_size = table_size
            self.generation += 1
            self.known.clear()  # no block that is known says so
        self._decoder.max_allowed_table_size = table_size

    def decode(self, block: bytes) -> list[Field]:
        """The fields of a whole block; KnownFields where it says what it said when it was kept.

        Raises: CompressionError.
        """
        coded: list[_Coded] = []
        changes_table = False
        reading = self.readings.get(block) if self._required_size < 0 else None
        if reading is not None:
            if reading.changes_table:
                self.generation += 1
                self.known.clear()
            raw = self._decompress(block)
            if raw == reading.raw:
                if not reading.changes_table:
                    self.known[block] = reading
                return reading
            coded, _, changes_table = scan(block, self._max_string)
        else:
            if self._required_size >= 0 or _is_all_indexed(block) is None:
                coded, update, changes_table = scan(block, self._max_string)
                if changes_table:
                    self.generation += 1
                    self.known.clear()
                if self._required_size >= 0:
                    if not 0 <= update <= self._required_size:
                        raise CompressionError("the table was not shrunk")
                    self._required_size = -1
            raw = self._decompress(block)
        self._raw = raw
        self._changes_table = changes_table
        fields: list[Field] = [(name, value) for name, value, _ in raw]
        for number, part, start, end in coded:
            padding = (end - start) * 8 - sum(fields[number][part].translate(_HUFFMAN_BITS))
            mask = (1 << padding) - 1 if 0 <= padding < 8 else -1
            if mask < 0 or (mask and block[end - 1] & mask != mask):
                raise CompressionError("invalid Huffman code")
        return fields

    def _decompress(self, block: bytes) -> list[tuple[bytes, bytes, bool]]:
        try:
            return self._decoder.decode(block, True)  # type: ignore[no-any-return]
        except OversizedHeaderListError as error:
            raise CompressionError("header list beyond all limits") from error
        except HPACKError as error:
            raise CompressionError(str(error)) from error

    def keep(self, block: bytes, fields: list[Field], checked: tuple[int, int]) -> KnownFields:
        """Keep the block that was decoded last, with what its owner made of it and found."""
        known = KnownFields(fields, checked, self._raw, self._changes_table)
        if len(self.readings) >= _KEPT_BLOCKS:
            self.readings.clear()
            self.known.clear()
        self.readings[block] = known
        if not self._changes_table:
            self.known[block] = known
        return known


class _FieldBlocks(dict[Field, bytes]):
    """Fields with what they are in a block, while the table stands still; literals are made as they come.

    A field that is one index, or a literal that leaves no trace, means the same at any place of any block.
    """

    __slots__ = ()

    def __missing__(self, field: Field) -> bytes:
        name = field[0]
        if name not in _LITERAL_NAMES:
            raise KeyError(field)
        block = _literal(name, field[1])
        if name not in _UNIQUE and len(block) <= _KEPT_LITERAL_LENGTH and len(self) < _KEPT_FIELDS:
            self[field] = block
        return block


class HeaderEncoder:
    """The other direction.

    What changes from message to message never enters the table (nghttp2, and so Envoy, holds it alike).
    The other fields are kept with their indexes until the table changes: what is sent within a second is
    mostly the same.
    """

    __slots__ = ("_block_of", "_encoder", "_huffman", "_is_resized", "_kept", "_max_table_size")

    def __init__(self, max_table_size: int, *, huffman: bool = True) -> None:
        self._encoder = Encoder()
        self._huffman = huffman
        self._max_table_size = max_table_size
        self._kept = _FieldBlocks()
        self._block_of = self._kept.__getitem__
        self._is_resized = False

    def on_table_size(self, size: int) -> None:
        """The peer's SETTINGS_HEADER_TABLE_SIZE: how much of it we use is ours to say."""
        size = min(size, self._max_table_size)
        if size != self._encoder.header_table_size:
            self._encoder.header_table_size = size
            self._is_resized = True
            self._kept.clear()

    def encode(self, fields: Sequence[Field]) -> bytes:
        """A whole block."""
        if not self._is_resized:
            try:
                return b"".join(map(self._block_of, fields))
            except KeyError:
                pass
        return self._encode_anew(tuple(fields))

    def _encode_anew(self, fields: tuple[Field, ...]) -> bytes:
        if self._is_resized:
            self._is_resized = False  # the library says so in front of a block
            return self._encode_run(fields)
        pieces: list[bytes] = []
        start = 0
        for at, field in enumerate(fields):
            if field[0] in _LITERAL_NAMES:
                if at > start:
                    pieces.append(self._encode_run(fields[start:at]))
                start = at + 1
                pieces.append(_literal(*field))
        if start < len(fields):
            pieces.append(self._encode_run(fields[start:]))
        return b"".join(pieces)

    def _encode_run(self, fields: tuple[Field, ...]) -> bytes:
        """Fields that go through the table."""
        kept = self._kept
        never = _NEVER_INDEXED
        block: bytes = self._encoder.encode(
            [(name, value, name in never) for name, value in fields], self._huffman
        )
        if _is_all_indexed(block) is None:
            kept.clear()
        else:
            # Each octet is one field.
            if len(kept) + len(fields) > _KEPT_FIELDS:
                kept.clear()
            for field, octet in zip(fields, block, strict=True):
                kept[field] = _OCTETS[octet]
        return block
