"""Header lines seen before: the head that repeats costs a look-up per line.

On a kept-alive connection most lines of a head are the same from message to message.  A line is
context-free: once it was read, it reads the same for ever.  A :class:`LineTable` therefore takes a head apart
with one split and a table from raw lines to fields, which holds only lines that were checked here by the
same grammar as llhttp's (RFC 9110 §5.5, RFC 9112 §5).  Anything it does not know for certain, it leaves to
llhttp: it never refuses a head, it only declines to read it.  tests/property holds the two together.

The table is bounded, and a name whose values keep changing (a date, a cookie, an id) stops being
kept.

Above it stands :class:`BlockTable`: whole header blocks that came twice, with what they were read as.
A client that sends the same headers with each request costs one look-up for all of them.
"""

from __future__ import annotations

import re

from sidecar.core.headers import Field

__all__ = ["LOWER_NAMES", "LineTable", "lower_name"]

#: Raw name → lower-case name: bounded, since names come from the peer.
LOWER_NAMES: dict[bytes, bytes] = {}
_LOWER_LIMIT = 4096

#: name ":" OWS value OWS, with a value of visible characters, blanks, tabs and obs-text.
_LINE = re.compile(
    rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*((?:[!-~\x80-\xff]+(?:[ \t]+[!-~\x80-\xff]+)*)?)[ \t]*"
).fullmatch

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

    __slots__ = ("_lines", "_values")

    def __init__(self) -> None:
        self._lines: dict[bytes, Field] = {}
        self._values: dict[bytes, int] = {}

    def read(self, lines: list[bytes]) -> list[Field] | None:
        """The fields of ``lines``, names in lower case; None when one of them is not plain."""
        known = self._lines
        try:
            fields = [known[line] for line in lines]
        except KeyError:
            return self._read_slowly(lines)
        return fields

    def _read_slowly(self, lines: list[bytes]) -> list[Field] | None:
        known = self._lines
        fields: list[Field] = []
        for line in lines:
            field = known.get(line)
            if field is None:
                match = _LINE(line)
                if match is None:
                    return None
                name, value = match.groups()
                name = name.lower()
                field = (name, value)
                if len(line) <= _MAX_LINE_BYTES:
                    self._keep(line, field)
            fields.append(field)
        return fields

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

    def keep(self, block: bytes, content: Block) -> None:
        """Keep ``content`` if ``block`` came before; it is the table's from now on."""
        if len(block) > _MAX_BLOCK_BYTES:
            return
        seen = self._seen
        mark = hash(block)
        if mark in seen:
            if len(self.known) >= _MAX_BLOCKS:
                self.known.clear()
            self.known[block] = content
            return
        if len(seen) >= _MAX_SEEN:
            seen.clear()
        seen.add(mark)
