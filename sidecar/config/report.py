"""Gathers the problems of one configuration, giving each its place in the files."""

from __future__ import annotations

from sidecar.config.errors import Mark, Path, Problem, Severity, format_path
from sidecar.config.nodes import Places

__all__ = ["Reporter"]


class Reporter:
    """The :class:`sidecar.config.registry.Report` that checks and factories write to.

    ``failed`` are the paths that could not be decoded: what they hold is unknown, so that a rule
    about it would only repeat the error.
    """

    def __init__(self, places: Places | None) -> None:
        self._places = places
        self._failed: set[Path] = set()
        self.problems: list[Problem] = []
        #: What may be validated but not served.
        self.refusals: list[Problem] = []

    def add_failed(self, paths: set[Path]) -> None:
        for path in paths:
            for length in range(len(path) + 1):
                self._failed.add(path[:length])

    def has_failed(self, path: Path) -> bool:
        """Whether the field at ``path``, or something in it, could not be decoded."""
        return path in self._failed

    def locate(self, path: Path) -> Mark | None:
        """The place of a field; None for a configuration without text."""
        return self._places.locate(path) if self._places is not None else None

    def error(
        self, path: Path, reason: str, hint: str | None = None, *, line_in_text: int | None = None
    ) -> None:
        self.problems.append(self._problem("error", path, reason, hint, line_in_text))

    def warning(self, path: Path, reason: str, hint: str | None = None) -> None:
        self.problems.append(self._problem("warning", path, reason, hint))

    def refuse_to_serve(self, path: Path, reason: str, hint: str | None = None) -> None:
        """A warning now, and an error for whoever wants to serve this configuration."""
        self.warning(path, reason, hint)
        self.refusals.append(self._problem("error", path, reason, hint))

    def _problem(
        self, severity: Severity, path: Path, reason: str, hint: str | None, line_in_text: int | None = None
    ) -> Problem:
        mark = self.locate(path)
        if self._places is not None and line_in_text is not None:
            text = self._places.locate_text(path)
            mark = Mark(text.file, text.line + line_in_text - 1, text.column)
        return Problem(severity, mark, format_path(path), reason, hint)
