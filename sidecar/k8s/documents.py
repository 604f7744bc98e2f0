"""Manifests as text: documents that keep their comments, their order and the look of what nobody changes."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.scalarstring import LiteralScalarString

from sidecar.core.dataclass import dataclass

__all__ = ["Document", "ManifestError", "find_files", "join", "load", "split"]

SEPARATOR = "---\n"
_SUFFIXES = (".yaml", ".yml", ".json")
_SEPARATOR = re.compile(r"^---(?=[ \t\r]*$|[ \t]+#|[ \t]+[^\s#])", re.MULTILINE)


class ManifestError(ValueError):
    """A manifest that cannot be read, with the place: ``file:line:column: text``."""


@dataclass(slots=True)
class Document:
    """One document.  ``text`` is the original; ``value`` is loaded when somebody asks."""

    file: str
    #: The line of the file in which the text begins, counted from 1.
    line: int
    separator: str
    text: str
    _value: Any = None
    _yaml: YAML | None = None

    @property
    def is_json(self) -> bool:
        return self.text.lstrip().startswith("{")

    def value(self) -> Any:
        """The document as mappings that keep comments.

        :raises ManifestError: it is no YAML.
        """
        if self._yaml is None:
            self._yaml = _round_trip(self.text)
            try:
                self._value = json.loads(self.text) if self.is_json else self._yaml.load(self.text)
            except json.JSONDecodeError as error:
                where = f"{self.file}:{self.line + error.lineno - 1}:{error.colno}"
                raise ManifestError(f"{where}: {error.msg}") from None
            except MarkedYAMLError as error:
                mark = error.problem_mark
                line, column = (mark.line, mark.column) if mark else (0, 0)
                raise ManifestError(f"{self.file}:{self.line + line}:{column + 1}: {error.problem}") from None
            except YAMLError as error:
                raise ManifestError(f"{self.file}:{self.line}: {error}") from None
        return self._value

    def place(self, *path: str | int) -> str:
        """``file:line:column`` of a key, or of the nearest that is there."""
        held: Any = self.value()
        line, column = 0, 0
        for key in path:
            position = getattr(held, "lc", None)
            try:
                line, column = position.key(key) if isinstance(held, dict) else position.item(key)  # type: ignore[union-attr]
                held = held[key]
            except (AttributeError, KeyError, IndexError, TypeError):
                break
        return f"{self.file}:{self.line + line}:{column + 1}"

    def dump(self) -> str:
        """The text of the value as it is now, in the look that the original has."""
        value = self.value()
        if self.is_json:
            return json.dumps(value, indent=2) + "\n"
        assert self._yaml is not None
        out = io.StringIO()
        self._yaml.dump(value, out)
        return out.getvalue()

    def dump_new(self, value: Any) -> str:
        """The text of another object, in the look of this document."""
        if self.is_json:
            return json.dumps(value, indent=2) + "\n"
        self.value()
        assert self._yaml is not None
        out = io.StringIO()
        self._yaml.dump(_literal(value), out)
        return out.getvalue()


def _literal(value: Any) -> Any:
    """Texts of several lines as block scalars."""
    if isinstance(value, dict):
        return {key: _literal(item) for key, item in value.items()}
    return LiteralScalarString(value) if isinstance(value, str) and "\n" in value else value


def _round_trip(text: str) -> YAML:
    reader = YAML()
    reader.preserve_quotes = True
    reader.width = 1 << 20
    mapping = _mapping_indent(text)
    item = _ITEM.search(text)
    offset, gap = (len(item[2]) - len(item[1]), len(item[3]) + 1) if item else (0, 2)
    reader.indent(mapping=mapping, sequence=offset + gap, offset=offset)
    return reader


#: A key, and below it the first item of its list: their indents, and what is between dash and content.
_ITEM = re.compile(r"^( *)[^ #\n-][^\n]*:[ ]*\n(?:[ ]*(?:#[^\n]*)?\n)*( *)-( +)[^ \n]", re.MULTILINE)
_NESTED = re.compile(r"^[^ #\n-][^\n]*:[ ]*\n(?:[ ]*(?:#[^\n]*)?\n)*( +)[^ #\n-]", re.MULTILINE)


def _mapping_indent(text: str) -> int:
    """By how much the first nested mapping is indented."""
    found = _NESTED.search(text)
    return len(found[1]) if found else 2


def split(text: str, file: str) -> list[Document]:
    """The documents of a file, the empty ones too: their texts behind their separators are the file."""
    if text.lstrip().startswith("{"):
        return [Document(file, 1, "", text)]
    documents = []
    separator, start = "", 0
    for match in _SEPARATOR.finditer(text):
        documents.append(_document(file, text, start, match.start(), separator))
        newline = text.find("\n", match.end())
        rest = text[match.end() : newline if newline >= 0 else len(text)]
        # Content on the line of the dashes belongs to the document, a comment there to the separator.
        has_content = bool(rest.strip()) and not rest.lstrip().startswith("#")
        start = match.end() if has_content else (newline + 1 if newline >= 0 else len(text))
        separator = text[match.start() : start]
    documents.append(_document(file, text, start, len(text), separator))
    return documents


def _document(file: str, text: str, start: int, end: int, separator: str) -> Document:
    return Document(file, text.count("\n", 0, start) + 1, separator, text[start:end])


def join(documents: Iterable[tuple[str, str]]) -> str:
    """One stream of documents, each a separator and a text.

    A missing separator or line's end is filled in.
    """
    out: list[str] = []
    for separator, text in documents:
        if out and not out[-1].endswith("\n"):
            out.append("\n")
        if not separator and any(piece.strip() for piece in out):
            separator = SEPARATOR
        out += [separator, text]
    return "".join(out)


def find_files(path: Path) -> Iterator[Path]:
    """The manifests of a folder, in order, or the file itself."""
    if not path.is_dir():
        yield path
        return
    yield from sorted(found for found in path.rglob("*") if found.suffix in _SUFFIXES and found.is_file())


def load(path: Path) -> list[Document]:
    """The documents of a file.

    :raises ManifestError: it cannot be read, or is no text.
    """
    try:
        return split(path.read_text("utf-8"), str(path))
    except OSError as error:
        raise ManifestError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ManifestError(f"{path}: no UTF-8: {error.reason} at byte {error.start}") from None
