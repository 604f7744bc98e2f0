"""Header lines seen before: the head that repeats costs a look-up per line.

On a kept-alive connection most lines of a head are the same from message to message.  A line is
context-free: once it was read, it reads the same for ever.  A :class:`LineTable` therefore takes a head apart
with one split and a table from raw lines to fields, which holds only lines that were checked here by the
same grammar as llhttp's (RFC 9110 §5.5, RFC 9112 §5).  Anything it does not know for certain, it leaves to
llhttp: it never refuses a head, it only declines to read it.  tests/property holds the two together.

The table is bounded, and a name whose values keep changing (a date, a cookie, an id) stops being
kept.

Above it stands :class:`BlockTable`: whole header blocks that came twice, with what they were read as.
A client that sends the same headers with each request costs one look-up for all of them.  Between the two
stands the :class:`Stem` that a parser remembers: a block of which one line changes from message to message,
such as ``traceparent``, costs two comparisons and that line.
"""

from __future__ import annotations

import re

from sidecar.core.dataclass import dataclass
from sidecar.core.headers import Field

__all__ = ["LOWER_NAMES", "VALUE_BYTES", "BlockTable", "LineTable", "lower_name"]

#: Raw name → lower-case name: bounded, since names come from the peer.
LOWER_NAMES: dict[bytes, bytes] = {}
_LOWER_LIMIT = 4096

_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
#: What may stand in a value: visible characters, blanks, tabs and obs-text.
VALUE_BYTES = bytes(byte for byte in range(256) if byte == 0x09 or (byte >= 0x20 and byte != 0x7F))

_MAX_LINES = 8192
_MAX_VALUES_PER_NAME = 64
_MAX_LINE_BYTES = 512


def lower_name(raw: bytes) -> bytes:
    """``raw`` in lower case, through a bounded cache."""
    name = LOWER_NAMES.get(raw)
    if name is None:
        name = raw.lower()
        if len(LOWER_NAMES) < _LOWER_LIMIT:
            LOWER_NAMES[raw] = name
    return name


class LineTable:
    """Raw header lines and what they say."""

    __slots__ = ("_get", "_lines", "_names", "_values", "gap")

    def __init__(self) -> None:
        #: Which line of the last head was not in the table, where it was one alone, else -1.
        self.gap = -1
        self._lines: dict[bytes, Field] = {}
        self._get = self._lines.get
        #: Raw names that were checked, in lower case; bounded, since they come from the peer.
        self._names: dict[bytes, bytes] = {}
        self._values: dict[bytes, int] = {}

    def read(self, lines: list[bytes]) -> list[Field] | None:
        """The fields of ``lines``, names in lower case; None when one of them is not plain."""
        fields = list(map(self._get, lines))
        if None in fields:
            return self._read_rest(lines, fields)
        self.gap = -1
        return fields  # type: ignore[return-value]

    def _read_rest(self, lines: list[bytes], fields: list[Field | None]) -> list[Field] | None:
        """Fill the gaps of ``fields``: lines that are not in the table."""
        at = self.gap = -1
        missing = fields.count(None)
        for _ in range(missing):
            at = fields.index(None, at + 1)
            line = lines[at]
            raw, colon, value = line.partition(b":")
            name = self._names.get(raw)
            if name is None:
                if not _NAME(raw):
                    return None
                name = raw.lower()
                if len(self._names) < _LOWER_LIMIT:
                    self._names[raw] = name
            value = value.strip(b" \t")
            if not colon or value.translate(None, VALUE_BYTES):
                return None
            field = fields[at] = (name, value)
            if self._values.get(name, 0) < _MAX_VALUES_PER_NAME and len(line) <= _MAX_LINE_BYTES:
                self._keep(line, field)
        if missing == 1:
            self.gap = at
        return fields  # type: ignore[return-value]

    def _keep(self, line: bytes, field: Field) -> None:
        values = self._values
        count = values.get(field[0], 0)
        if count >= _MAX_VALUES_PER_NAME:
            return
        if len(self._lines) >= _MAX_LINES:
            # Somebody sends many names: begin again rather than stop learning.
            self._lines.clear()
            values.clear()
            count = 0
        values[field[0]] = count + 1
        self._lines[line] = field


@dataclass(frozen=True, slots=True)
class Stem:
    """A header block but for the value of one line, and what the rest was read as."""

    head: bytes
    tail: bytes
    at: int
    name: bytes
    content: Block

    @staticmethod
    def of(lines: list[bytes], gap: int, content: Block) -> Stem | None:
        """The stem of the block ``lines``, whose line ``gap`` changes; None where it would read otherwise.

        The line must not frame the message: ``content`` has the framing of this block.
        """
        fields, index = content[0], content[1]
        raw, _, value = lines[gap].partition(b": ")
        name = raw.lower()
        field = (name, value)
        if not value or value != value.strip() or field not in fields or len(index) != len(fields):
            return None
        head = b"\r\n".join([*lines[:gap], raw]) + b": "
        tail = b"\r\n".join([b"", *lines[gap + 1 :]])
        return Stem(head, tail, fields.index(field), name, content)


#: fields, index, host, content_length, keep_alive_token, is_chunked of a head.
Block = tuple[list[Field], dict[bytes, bytes], bytes | None, int, bool, bool]

_MAX_BLOCKS = 512
_MAX_BLOCK_BYTES = 2048
_MAX_SEEN = 4096


class BlockTable:
    """Header blocks (everything behind the first line) and what they were read as.

    A block is kept when it comes a second time, so that blocks which never repeat cost a hash and no memory.
    Who takes a block copies what it may change.
    """

    __slots__ = ("_seen", "get", "known")

    def __init__(self) -> None:
        self.known: dict[bytes, Block] = {}
        self.get = self.known.get
        self._seen: set[int] = set()

    def is_wanted(self, block: bytes) -> bool:
        """Whether ``block`` came before, so that keeping it pays."""
        if len(block) > _MAX_BLOCK_BYTES:
            return False
        seen = self._seen
        mark = hash(block)
        if mark in seen:
            return True
        if len(seen) >= _MAX_SEEN:
            seen.clear()
        seen.add(mark)
        return False

    def keep(self, block: bytes, content: Block) -> None:
        """Keep what ``block`` was read as; ``content`` is the table's from now on."""
        if len(self.known) >= _MAX_BLOCKS:
            self.known.clear()
        self.known[block] = content
