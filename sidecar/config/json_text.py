"""Reads JSON as Envoy's parser does, keeping the place of everything.

Envoy reads every file whose name does not end in ``.yaml``, ``.yml``, ``.pb`` or ``.pb_text`` this
way.  Its parser is lenient, seen on 1.40: single quotes, bare keys and a trailing comma pass;
comments, leading zeros and text after the object do not.
"""

from __future__ import annotations

import re
from bisect import bisect_right

from sidecar.config.errors import Mark, Problem
from sidecar.config.nodes import Document, Mapping, Node, Scalar, Sequence
from sidecar.core.late_pattern import late_pattern

__all__ = ["read_json"]

MAX_DEPTH = 100

_SPACE = late_pattern(r"[ \t\r\n]*")
_NUMBER = late_pattern(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_BARE = late_pattern(r"[A-Za-z_$][A-Za-z0-9_$]*")
_PLAIN = {'"': late_pattern(r'[^"\\\x00-\x1f]*'), "'": late_pattern(r"[^'\\\x00-\x1f]*")}
_ESCAPES = {'"': '"', "'": "'", "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_LITERALS: dict[str, bool | None] = {"true": True, "false": False, "null": None}


def read_json(data: bytes, file: str) -> Document:
    """The object in ``data``; a text that is no JSON gives a document without root."""
    document = Document(file, None)
    reader = _Reader(data.decode("utf-8-sig", "replace"), document)
    try:
        document.root = reader.document()
    except _NotJson as error:
        hint = None
        if reader.position == 0 and reader.text[:1] not in ("{", "["):
            hint = "only files named *.yaml or *.yml are read as YAML"
        document.problems.append(
            Problem("error", reader.mark(reader.position), "", f"not JSON: {error}", hint)
        )
    return document


class _NotJson(Exception):
    pass


class _Reader:
    def __init__(self, text: str, document: Document) -> None:
        self.text = text
        self.position = 0
        self._document = document
        self._file = document.file
        self._starts = [0, *(match.end() for match in re.finditer("\n", text))]

    def mark(self, position: int) -> Mark:
        line = bisect_right(self._starts, position)
        return Mark(self._file, line, position - self._starts[line - 1] + 1)

    def document(self) -> Node:
        self._space()
        if not self.text.startswith("{", self.position):
            raise _NotJson("a configuration is an object, in braces")
        root = self._value(0)
        self._space()
        if self.position < len(self.text):
            raise _NotJson("characters after the end of the object")
        return root

    def _space(self) -> None:
        match = _SPACE.match(self.text, self.position)
        if match is not None:
            self.position = match.end()

    def _peek(self) -> str:
        self._space()
        return self.text[self.position : self.position + 1]

    def _take(self, expected: str) -> None:
        if self._peek() != expected:
            raise _NotJson(f"expected '{expected}'")
        self.position += 1

    def _value(self, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise _NotJson(f"nested deeper than {MAX_DEPTH} levels")
        first = self._peek()
        start = self.position
        mark = self.mark(start)
        if first == "{":
            return self._object(mark, depth)
        if first == "[":
            return self._array(mark, depth)
        if first in ('"', "'") and first:
            text = self._string(first)
            return Scalar(text, mark, text, self.mark(start + 1), quoted=True)
        match = _NUMBER.match(self.text, start)
        if match is not None:
            self.position = match.end()
            following = self.text[self.position : self.position + 1]
            if following.isalnum() or following == ".":
                raise _NotJson("malformed number")
            literal = match.group()
            number: int | float = float(literal) if match.group(1) or match.group(2) else int(literal)
            return Scalar(number, mark, literal, mark)
        bare = _BARE.match(self.text, start)
        if bare is not None and bare.group() in _LITERALS:
            self.position = bare.end()
            return Scalar(_LITERALS[bare.group()], mark, bare.group(), mark)
        raise _NotJson("expected a value" if first else "unexpected end")

    def _object(self, mark: Mark, depth: int) -> Mapping:
        entries: dict[str, tuple[Mark, Node]] = {}
        self._take("{")
        while self._peek() != "}":
            key_mark = self.mark(self.position)
            key = self._key()
            self._take(":")
            value = self._value(depth + 1)
            if key in entries:
                first = entries.pop(key)[0]
                reason = f"the key '{key}' stands twice here: the value of line {first.line} is lost"
                self._document.problems.append(Problem("warning", key_mark, "", reason))
            entries[key] = (key_mark, value)
            if self._peek() != ",":
                break
            self.position += 1
        self._take("}")
        return Mapping(entries, mark)

    def _array(self, mark: Mark, depth: int) -> Sequence:
        items: list[Node] = []
        self._take("[")
        while self._peek() != "]":
            items.append(self._value(depth + 1))
            if self._peek() != ",":
                break
            self.position += 1
        self._take("]")
        return Sequence(items, mark)

    def _key(self) -> str:
        first = self._peek()
        if first in ('"', "'") and first:
            return self._string(first)
        bare = _BARE.match(self.text, self.position)
        if bare is None:
            raise _NotJson("expected a key")
        self.position = bare.end()
        return bare.group()

    def _string(self, quote: str) -> str:
        plain = _PLAIN[quote]
        parts: list[str] = []
        at = self.position + 1
        while True:
            match = plain.match(self.text, at)
            if match is not None:
                parts.append(match.group())
                at = match.end()
            self.position = at
            character = self.text[at : at + 1]
            if character == quote:
                self.position = at + 1
                return "".join(parts).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            if character != "\\":
                raise _NotJson("unterminated string" if not character else "control character in a string")
            escape = self.text[at + 1 : at + 2]
            if escape == "u":
                digits = self.text[at + 2 : at + 6]
                if not re.fullmatch(r"[0-9a-fA-F]{4}", digits):
                    raise _NotJson("\\u needs four hexadecimal digits")
                parts.append(chr(int(digits, 16)))
                at += 6
            elif escape in _ESCAPES and escape:
                parts.append(_ESCAPES[escape])
                at += 2
            else:
                raise _NotJson(f"unknown escape '\\{escape}'")
