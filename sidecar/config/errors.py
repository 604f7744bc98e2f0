"""Everything wrong with a configuration, each with its place in the file.

Problems are gathered, not raised one by one: :class:`ConfigErrors` is raised once, at the end of
:func:`sidecar.config.load.load_bootstrap`, with all of them.  How they are printed (lines, or JSON
for editors) is decided by the command line; the renderings stand here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from sidecar.core.errors import SidecarError

__all__ = ["ConfigErrors", "Mark", "Path", "Problem", "Severity", "format_path", "parse_path"]

Severity = Literal["error", "warning"]
#: A field path from the bootstrap's root: field names, list indices and map keys.
Path = tuple[str | int, ...]

_STEP = re.compile(r'\["(.*?)"\]|\[([0-9]+)\]|([^.\[\]]+)')


@dataclass(frozen=True, slots=True, order=True)
class Mark:
    """A place in a file; line and column count from 1, columns count characters."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong (``error``) or doubtful (``warning``) at one field.

    ``hint`` says what to write instead; it may have several lines.  ``mark`` is None where the thing
    has no place in a file (a missing file, a binary configuration).
    """

    severity: Severity
    mark: Mark | None
    path: str
    reason: str
    hint: str | None = None

    def __str__(self) -> str:
        text = f"{self.mark} " if self.mark is not None else ""
        if self.path:
            text += f"{self.path}: "
        text += self.reason
        if self.hint is None:
            return text
        first, *rest = self.hint.split("\n")
        if not rest:
            return f"{text} ({first})"
        return "\n".join([text, f"  {first}", *(f"    {line}" for line in rest)])

    def to_json(self) -> dict[str, object]:
        """The members an editor needs; ``file``, ``line`` and ``column`` are null without a mark."""
        mark = self.mark
        return {
            "severity": self.severity,
            "file": mark.file if mark else None,
            "line": mark.line if mark else None,
            "column": mark.column if mark else None,
            "path": self.path,
            "reason": self.reason,
            "hint": self.hint,
        }


class ConfigErrors(SidecarError):
    """The configuration cannot be used.  ``problems`` holds every error and warning of it."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = sort_problems(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


def sort_problems(problems: Iterable[Problem]) -> list[Problem]:
    """Problems in the order of the file, each once; those without a place come first."""
    unique = dict.fromkeys(problems)
    return sorted(unique, key=lambda p: (p.mark is not None, p.mark or Mark("", 0, 0), p.severity != "error"))


def format_path(path: Path | Sequence[str | int]) -> str:
    """``("a", "b", 0, "c")`` as ``a.b[0].c``; a name with a dot or bracket (a map key) as ``["…"]``."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif not step or any(c in step for c in '.[]" '):
            text += f'["{step}"]'
        else:
            text += f".{step}" if text else step
    return text


def parse_path(text: str) -> Path:
    """The inverse of :func:`format_path`."""
    steps: list[str | int] = []
    for quoted, index, name in _STEP.findall(text):
        steps.append(int(index) if index else quoted or name)
    return tuple(steps)
