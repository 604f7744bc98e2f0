"""Reads YAML as Envoy does (yaml-cpp, then ``parseYamlNode``), keeping the place of everything.

What that means, seen on Envoy 1.40: plain scalars become booleans (``yes no on off y n true
false``), 64-bit integers (decimal, ``0x10``, ``010``) or strings, in this order; floats stay
strings until a field asks for a number; quoted and block scalars are strings unless an explicit
tag stands before them; ``~ null`` and nothing are null; of two equal keys the later counts; ``<<``
is an ordinary key; entries whose key is tagged ``!ignore`` are dropped; only the first document of
a file is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

from sidecar.config.errors import Mark, Problem
from sidecar.config.nodes import Document, Mapping, Node, Scalar, Sequence
from sidecar.config.yaml_quotes import clip_line_feeds

__all__ = ["read_yaml"]

#: Envoy's JSON stage refuses what is nested deeper than this; so do we, before Python's stack does.
MAX_DEPTH = 100
#: Aliases let a short text stand for a huge tree; no honest file comes near.
MAX_NODES = 5_000_000

_NULLS = frozenset(("", "~", "null", "Null", "NULL"))
_BOOLEANS: dict[str, bool] = {}
for _words, _value in ((("y", "yes", "true", "on"), True), (("n", "no", "false", "off"), False)):
    for _word in _words:
        _BOOLEANS.update({_word: _value, _word.upper(): _value, _word.capitalize(): _value})
_INTEGER = re.compile(r"([+-]?)(?:0[xX]([0-9a-fA-F]+)|0([0-7]+)|(0|[1-9][0-9]*))\Z")
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_yaml(data: bytes, file: str) -> Document:
    """The first document of ``data``; a text that is no YAML gives a document without root."""
    document = Document(file, None)
    text = data.decode("utf-8-sig", "replace")
    if "\ufffd" in text and b"\xef\xbf\xbd" not in data:
        document.problems.append(
            Problem(
                "warning",
                _place_of(text, "\ufffd", file),
                "",
                "not UTF-8: Envoy replaces the bytes by U+FFFD",
            )
        )
    lines = text.split("\n")
    composer = _Composer(document, lines)
    try:
        document.root = composer.compose(yaml.parse(text, Loader=_LOADER))
    except yaml.MarkedYAMLError as error:
        at = error.problem_mark or error.context_mark
        mark = Mark(file, at.line + 1, at.column + 1) if at is not None else Mark(file, 1, 1)
        reason = f"not YAML: {error.problem or error.context}"
        line = lines[mark.line - 1] if mark.line <= len(lines) else ""
        hint = "indent with spaces, not tabs" if line[: len(line) - len(line.lstrip())].count("\t") else None
        document.problems.append(Problem("error", mark, "", reason, hint))
    except yaml.reader.ReaderError as error:
        mark = _place_of(text, chr(error.character) if isinstance(error.character, int) else "", file)
        document.problems.append(Problem("error", mark, "", f"not YAML: {error.reason}"))
    except _Refused as refused:
        document.problems.append(refused.problem)
    else:
        if document.root is None or isinstance(document.root, Scalar):
            what = "is empty" if document.root is None or document.root.value is None else "is a single value"
            document.problems.append(
                Problem(
                    "error", Mark(file, 1, 1), "", f"the file {what}: a configuration is a mapping of fields"
                )
            )
            document.root = None
    return document


class _Refused(Exception):
    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


class _Composer:
    def __init__(self, document: Document, lines: list[str]) -> None:
        self._document = document
        self._file = document.file
        self._lines = lines
        self._anchors: dict[str, tuple[Node, int]] = {}
        self._open: set[str] = set()
        self._count = 0

    def compose(self, events: Iterator[Any]) -> Node | None:
        root: Node | None = None
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                first = next(events)
                if not isinstance(first, yaml.DocumentEndEvent):
                    root = self._node(first, events, 0)
                break
        return root

    def _mark(self, at: Any) -> Mark:
        return Mark(self._file, at.line + 1, at.column + 1)

    def _node(self, event: Any, events: Iterator[Any], depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise self._refuse(event, f"nested deeper than {MAX_DEPTH} levels")
        self._count += 1
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        before = self._count
        anchor: str | None = event.anchor
        node: Node
        if isinstance(event, yaml.ScalarEvent):
            node = self._scalar(event)
        else:
            if anchor is not None:
                self._open.add(anchor)
            node = (
                self._sequence(event, events, depth)
                if isinstance(event, yaml.SequenceStartEvent)
                else self._mapping(event, events, depth)
            )
            if anchor is not None:
                self._open.discard(anchor)
        if anchor is not None:
            self._anchors[anchor] = (node, self._count - before + 1)
        return node

    def _alias(self, event: Any) -> Node:
        if event.anchor in self._open:
            raise self._refuse(event, f"the alias '*{event.anchor}' stands inside its own anchor")
        known = self._anchors.get(event.anchor)
        if known is None:
            raise self._refuse(event, f"not YAML: the referenced anchor is not defined: {event.anchor}")
        node, size = known
        self._count += size
        if self._count > MAX_NODES:
            raise self._refuse(event, f"the aliases stand for more than {MAX_NODES} values")
        return node

    def _sequence(self, event: Any, events: Iterator[Any], depth: int) -> Sequence:
        items: list[Node] = []
        for inner in events:
            if isinstance(inner, yaml.SequenceEndEvent):
                break
            items.append(self._node(inner, events, depth + 1))
        return Sequence(items, self._mark(event.start_mark))

    def _mapping(self, event: Any, events: Iterator[Any], depth: int) -> Mapping:
        entries: dict[str, tuple[Mark, Node]] = {}
        for key in events:
            if isinstance(key, yaml.MappingEndEvent):
                break
            name, mark = self._key(key)
            value = self._node(next(events), events, depth + 1)
            if getattr(key, "tag", None) == "!ignore":
                continue
            if name in entries:
                first = entries.pop(name)[0]
                self._document.problems.append(
                    Problem(
                        "warning",
                        mark,
                        "",
                        f"the key '{name}' stands twice here: the value of line {first.line} is lost",
                    )
                )
            entries[name] = (mark, value)
        return Mapping(entries, self._mark(event.start_mark))

    def _key(self, event: Any) -> tuple[str, Mark]:
        mark = self._mark(event.start_mark)
        if isinstance(event, yaml.ScalarEvent):
            if event.anchor is not None:
                self._anchors[event.anchor] = (self._scalar(event), 1)
            return event.value, mark
        if isinstance(event, yaml.AliasEvent):
            node = self._alias(event)
            if isinstance(node, Scalar):
                return node.text, mark
        raise self._refuse(event, "a key must be a plain value")

    def _refuse(self, event: Any, reason: str) -> _Refused:
        return _Refused(Problem("error", self._mark(event.start_mark), "", reason))

    def _scalar(self, event: Any) -> Scalar:
        text: str = event.value
        tag: str | None = event.tag
        style: str | None = event.style or None
        mark = self._mark(event.start_mark)
        plain = style is None
        if (style == "'" or style == '"') and text.endswith("\n"):
            text = clip_line_feeds(text, self._between(event.start_mark, event.end_mark), style)
        if tag == "!" or (tag is None and not plain):
            return Scalar(text, mark, text, self._text_mark(mark, style), quoted=True)
        if plain and tag is None and text in _NULLS:
            return Scalar(None, mark, text, mark)
        return Scalar(_resolve(text), mark, text, self._text_mark(mark, style))

    def _between(self, start: Any, end: Any) -> str:
        """What stands between two quotes."""
        lines = self._lines[start.line : end.line + 1]
        lines[-1] = lines[-1][: end.column - 1]
        lines[0] = lines[0][start.column + 1 :]
        return "\n".join(lines)

    def _text_mark(self, mark: Mark, style: str | None) -> Mark:
        if style in ("'", '"'):
            return Mark(mark.file, mark.line, mark.column + 1)
        if style not in ("|", ">"):
            return mark
        # Below the header; the column is that of the first line which is not blank.
        for line in self._lines[mark.line :]:
            if line.strip():
                return Mark(mark.file, mark.line + 1, len(line) - len(line.lstrip(" ")) + 1)
        return Mark(mark.file, mark.line + 1, 1)


def _resolve(text: str) -> str | int | bool:
    boolean = _BOOLEANS.get(text)
    if boolean is not None:
        return boolean
    match = _INTEGER.match(text)
    if match is None:
        return text
    sign, hexadecimal, octal, decimal = match.groups()
    number = int(hexadecimal, 16) if hexadecimal else int(octal, 8) if octal else int(decimal)
    if sign == "-":
        number = -number
    if not -(2**63) <= number < 2**63:
        return text
    # Beyond 32 bits Envoy hands the digits on as a string.
    return number if -(2**31) <= number < 2**31 else str(number)


def _place_of(text: str, needle: str, file: str) -> Mark:
    at = max(text.find(needle), 0) if needle else 0
    line_start = text.rfind("\n", 0, at) + 1
    return Mark(file, text.count("\n", 0, at) + 1, at - line_start + 1)
