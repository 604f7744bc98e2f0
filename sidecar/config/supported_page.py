"""Writes docs/supported-fields.md, and the tables in docs/filters, from what is implemented and what is not.

``python -m sidecar.config.supported_page`` writes the pages; ``--check`` only compares them, for CI.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from sidecar.config.filter_pages import fill_in
from sidecar.config.messages import message_class
from sidecar.config.supported import SUPPORTED, SUPPORTED_AT
from sidecar.config.unsupported import ENTRIES, EXTENSIONS, Action, Entry, subject_of

__all__ = ["FILTERS", "PAGE", "render", "state_of"]

PAGE = Path(__file__).parent.parent.parent / "docs" / "supported-fields.md"
FILTERS = PAGE.parent / "filters"

_WORDS: dict[Action, str] = {
    "warn": "warning, no effect",
    "refuse_to_serve": "validates with a warning, serving is refused",
    "refuse": "error",
}
_HEAD = """\
# Supported fields

<!-- Written by `python -m sidecar.config.supported_page`; edit supported.py and unsupported.py there. -->

Every field of Envoy's v3 API is read and checked by the API's own rules. What sidecar does with a
field that is set is one of these, and never silence:

- **implemented**: it does what it does in Envoy;
- **warning, no effect**: the configuration is used without it, and a warning names the field and its line;
- **validates with a warning, serving is refused**: `--mode validate` gives Envoy's verdict, but the proxy
  does not start, since leaving the field out would be unsafe or wrong.

Messages that do not appear here belong to features that are still to come as a whole; the field that
leads to them says so.
"""


def render() -> str:
    """The text of the page."""
    parts = [_HEAD]
    for name in sorted(SUPPORTED):
        parts.append(f"\n## {name}\n\n")
        parts += _table(name, SUPPORTED[name])
        for place in sorted(place for place in SUPPORTED_AT if _message_at(place) == name):
            parts.append(f"\n### {name} at {place}\n\n")
            parts += _table(name, SUPPORTED_AT[place])
    parts.append(
        "\n## Extensions not implemented yet\n\nThe longest beginning that fits an extension counts.\n\n"
    )
    parts.append("| category and message | state | subject |\n|---|---|---|\n")
    for start, (action, subject) in EXTENSIONS.items():
        parts.append(f"| {f'`{start}…`' if start else 'any other'} | {_WORDS[action]} | {subject} |\n")
    return "".join(parts)


def _message_at(place: str) -> str:
    """The message that a field leads to."""
    parent, _, field = place.rpartition(".")
    cls: Any = message_class(parent)
    name: str = cls.DESCRIPTOR.fields_by_name[field].message_type.full_name
    return name


def _table(message: str, supported: frozenset[str]) -> list[str]:
    """The lines about every field of a message."""
    cls: Any = message_class(message)
    lines = ["| field | state | subject |\n|---|---|---|\n"]
    for field in cls.DESCRIPTOR.fields:
        known = "*" in supported or field.name in supported
        lines += [f"| {row} |\n" for row in _rows(message, field.name, known=known)]
    return lines if len(lines) > 1 else [*lines, "| (none) | | |\n"]


def _rows(message: str, field: str, *, known: bool) -> list[str]:
    entries: list[Entry] = [entry for entry in ENTRIES if (entry.message, entry.field) == (message, field)]
    rows = [f"`{field}` | implemented | "] if known else []
    for entry in entries:
        if known and entry.when is None:
            continue
        value = f" ({entry.value})" if entry.value is not None else ""
        rows.append(f"`{field}`{value} | {_WORDS[entry.action]} | {entry.subject}")
    if not rows:
        rows.append(f"`{field}` | {_WORDS['warn']} | {subject_of(message) or ''}")
    return rows


def state_of(message: str, field: str) -> list[str]:
    """The cells (field, state, subject) about a field, wherever its message stands."""
    supported = SUPPORTED.get(message, frozenset())
    return _rows(message, field, known="*" in supported or field in supported)


def main(arguments: list[str]) -> int:
    """Write or check the pages; the exit status."""
    pages = {PAGE: render()}
    for path in sorted(FILTERS.glob("*.md")):
        pages[path] = fill_in(path.read_text(encoding="utf-8"), state_of)
    stale = [
        path for path, text in pages.items() if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]
    if "--check" in arguments:
        for path in stale:
            sys.stderr.write(f"{path} is not current: run python -m sidecar.config.supported_page\n")
        return 1 if stale else 0
    for path in stale:
        path.write_text(pages[path], encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
