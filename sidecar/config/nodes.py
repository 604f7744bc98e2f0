"""The tree of a configuration text: values with the place each was written at.

YAML (:mod:`sidecar.config.yaml_text`) and JSON (:mod:`sidecar.config.json_text`) both become these
nodes; :mod:`sidecar.config.decode` turns them into protobuf messages, and :class:`Places` finds the
place of a field path again, for problems that are found later, on the messages.
"""

from __future__ import annotations

from dataclasses import field
from typing import Any, TypeAlias

from sidecar.config.errors import Mark, Path, Problem
from sidecar.core.dataclass import dataclass

__all__ = ["Document", "Mapping", "Node", "Places", "Scalar", "Sequence", "to_camel"]

TYPED_STRUCTS = ("xds.type.v3.TypedStruct", "udpa.type.v1.TypedStruct")


@dataclass(slots=True)
class Scalar:
    """A JSON scalar.  ``text`` is as written; ``text_mark`` is where the text of a string begins."""

    value: str | int | float | bool | None
    mark: Mark
    text: str
    text_mark: Mark
    quoted: bool = False


@dataclass(slots=True)
class Sequence:
    items: list[Node]
    mark: Mark


@dataclass(slots=True)
class Mapping:
    """``entries`` in the order written; of two equal keys the later one counts."""

    entries: dict[str, tuple[Mark, Node]]
    mark: Mark


Node: TypeAlias = Scalar | Sequence | Mapping


@dataclass(slots=True)
class Document:
    """One text: its root, or none where it cannot be read, and what was found while reading."""

    file: str
    root: Node | None
    problems: list[Problem] = field(default_factory=list)


def to_camel(name: str) -> str:
    """The JSON name of a proto field: ``stat_prefix`` → ``statPrefix``."""
    head, *tail = name.split("_")
    return head + "".join(part[:1].upper() + part[1:] for part in tail)


def flatten(node: Node) -> list[Node]:
    """The elements of a repeated field: Envoy takes a bare value for a list, and opens nested lists."""
    if not isinstance(node, Sequence):
        return [node]
    return [element for item in node.items for element in flatten(item)]


def as_text(node: Node | None) -> str | None:
    return node.value if isinstance(node, Scalar) and isinstance(node.value, str) else None


def any_type(node: Mapping) -> str | None:
    """The message name in a mapping's ``@type``, or None."""
    entry = node.entries.get("@type")
    url = as_text(entry[1]) if entry else None
    return url.rpartition("/")[2] if url else None


class Places:
    """Finds field paths in the documents that were merged, in their order, into one message."""

    def __init__(self, documents: list[Document]) -> None:
        self._roots = [d.root for d in documents if d.root is not None]
        self._first = documents[0].file if documents else ""

    def locate(self, path: Path) -> Mark:
        """The place of the field, or of its nearest ancestor that is written down."""
        nodes: list[Node] = list(self._roots)
        mark = nodes[-1].mark if nodes else Mark(self._first, 1, 1)
        for step in path:
            found = _step(nodes, step)
            if not found:
                break
            mark = found[-1][0]
            nodes = [node for _, node in found]
        return mark

    def node(self, path: Path) -> Node | None:
        """The value written at ``path``, or None."""
        nodes: list[Node] = list(self._roots)
        for step in path:
            nodes = [node for _, node in _step(nodes, step)]
        return nodes[-1] if nodes else None

    def locate_text(self, path: Path) -> Mark:
        """The first character of the text of the string at ``path``.

        For a block scalar that is the line below the ``|``, so line n of the text stands at
        ``mark.line + n - 1`` of the file.
        """
        node = self.node(path)
        return node.text_mark if isinstance(node, Scalar) else self.locate(path)


def _step(nodes: list[Node], step: str | int) -> list[tuple[Mark, Node]]:
    """The children by one step, in the order of the documents (the last one counts most)."""
    found: list[tuple[Mark, Node]] = []
    offset = 0
    for node in nodes:
        if isinstance(step, int):
            items = flatten(node)
            if offset <= step < offset + len(items):
                item = items[step - offset]
                found.append((item.mark, item))
            offset += len(items)
        elif isinstance(node, Mapping):
            entry = _entry(node, step)
            if entry is not None:
                if isinstance(entry[1], Mapping) and "@type" in entry[1].entries:
                    found.clear()  # an Any replaces the one below it whole
                found.append(entry)
    return found


def _entry(node: Mapping, name: str) -> tuple[Mark, Node] | None:
    entry = node.entries.get(name)
    if entry is None:
        entry = node.entries.get(to_camel(name))
    if entry is None and any_type(node) in TYPED_STRUCTS:
        inner: Any = node.entries.get("value")
        if inner is not None and isinstance(inner[1], Mapping):
            return _entry(inner[1], name)
    return entry
