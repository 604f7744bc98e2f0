"""Loads a bootstrap: from a file's bytes to a checked protobuf message, with all problems at once.

The steps, each over the whole configuration: read the text (:mod:`~sidecar.config.yaml_text`,
:mod:`~sidecar.config.json_text`), decode it into ``envoy.config.bootstrap.v3.Bootstrap``
(:mod:`~sidecar.config.decode`), merge the overlay, check the API's rules
(:mod:`~sidecar.config.validate_rules`), check what rules cannot express
(:mod:`~sidecar.config.semantics`), and tell what is not implemented
(:mod:`~sidecar.config.support`).  Synchronous, and without I/O but reading the files named.
"""

from __future__ import annotations

import re
from typing import Any

from google.protobuf.message import DecodeError

from sidecar.config.context import Context
from sidecar.config.decode import Decoder
from sidecar.config.errors import ConfigErrors, Mark, Path, Problem, format_path, parse_path, sort_problems
from sidecar.config.json_text import read_json
from sidecar.config.messages import message_class
from sidecar.config.nodes import Document, Places
from sidecar.config.registry import Registry
from sidecar.config.report import Reporter
from sidecar.config.semantics import check_bootstrap
from sidecar.config.support import check_support
from sidecar.config.yaml_text import read_yaml

__all__ = ["Loaded", "load_bootstrap", "read_file"]

_BOOTSTRAP = "envoy.config.bootstrap.v3.Bootstrap"
_OVERLAY = "<--config-yaml>"
_TEXT_TYPES = re.compile(r"\[\s*[^\]\s/]+/\s*([A-Za-z_][\w.]*)\s*\]")


class Loaded:
    """A configuration that may be used, and the way back from its fields to the files."""

    def __init__(self, bootstrap: Any, reporter: Reporter, places: Places | None, file: str) -> None:
        #: ``envoy.config.bootstrap.v3.Bootstrap``
        self.bootstrap = bootstrap
        self.warnings = sort_problems(p for p in reporter.problems if p.severity == "warning")
        #: Why this configuration may be validated but not served; empty when it may be served.
        self.refusals = sort_problems(reporter.refusals)
        self._places = places
        self._file = file

    def locate(self, path: Path | str) -> Mark:
        """Where the field stands; for one that is not written down, where the message around it stands."""
        if self._places is None:
            return Mark(self._file, 1, 1)
        return self._places.locate(parse_path(path) if isinstance(path, str) else path)

    def locate_text(self, path: Path | str) -> Mark:
        """Where the text of a string field begins: below the ``|`` of a block scalar."""
        if self._places is None:
            return Mark(self._file, 1, 1)
        return self._places.locate_text(parse_path(path) if isinstance(path, str) else path)

    def problem(
        self, path: Path | str, reason: str, hint: str | None = None, *, line_in_text: int | None = None
    ) -> Problem:
        """An error at a field, found by a later stage; ``line_in_text`` counts inside the string there."""
        steps = parse_path(path) if isinstance(path, str) else path
        mark = self.locate(steps)
        if line_in_text is not None:
            text = self.locate_text(steps)
            mark = Mark(text.file, text.line + line_in_text - 1, text.column)
        return Problem("error", mark, format_path(steps), reason, hint)


def load_bootstrap(
    path: str | None,
    yaml_overlay: str | None = None,
    *,
    registry: Registry,
    allow_unknown_static_fields: bool = False,
    node_id: str | None = None,
    node_cluster: str | None = None,
    node_zone: str | None = None,
) -> Loaded:
    """The checked bootstrap of a file, of ``--config-yaml``, or of the file with the other merged over it.

    Raises:
        ConfigErrors: the configuration cannot be used; holds every error and warning of it.
    """
    documents: list[Document] = []
    bootstrap: Any = message_class(_BOOTSTRAP)()  # type: ignore[misc]  # the API package has it, or nothing works
    problems: list[Problem] = []
    failed: set[Path] = set()
    if path is None and not yaml_overlay:
        problems.append(
            Problem(
                "error", None, "", "no configuration", "give a file by --config-path or text by --config-yaml"
            )
        )
    if path is not None:
        document = read_file(path, bootstrap, problems)
        if document is not None:
            documents.append(document)
    if yaml_overlay:
        documents.append(read_yaml(yaml_overlay.encode(), _OVERLAY))
    for document in documents:
        problems += document.problems
        if document.root is not None:
            decoder = Decoder(allow_unknown_fields=allow_unknown_static_fields)
            # MergeFrom has a limit of depth that decoding has not: the first document goes straight in.
            part = bootstrap if document is documents[0] else type(bootstrap)()
            decoder.decode(document.root, part)
            problems += decoder.problems
            if part is not bootstrap:
                _merge(bootstrap, part, document, problems)
            failed |= decoder.failed
    places = Places(documents) if documents else None
    reporter = Reporter(places)
    reporter.add_failed(failed)
    unreadable = any(problem.severity == "error" for problem in problems) and all(
        d.root is None for d in documents
    )
    if not unreadable:
        _name_node(bootstrap, node_id, node_cluster, node_zone)
        context = Context(bootstrap, registry, reporter)
        check_bootstrap(context)
        check_support(context, (), bootstrap)
    reporter.problems[:0] = problems
    if any(problem.severity == "error" for problem in reporter.problems):
        raise ConfigErrors(reporter.problems)
    return Loaded(bootstrap, reporter, places, path or _OVERLAY)


def _merge(bootstrap: Any, part: Any, document: Document, problems: list[Problem]) -> None:
    """Merge the overlay as protobuf does: lists grow, single values are replaced."""
    try:
        bootstrap.MergeFrom(part)
    except DecodeError:
        reason = "nested deeper than a protobuf message may be"
        problems.append(Problem("error", Mark(document.file, 1, 1), "", reason))


def _name_node(bootstrap: Any, node_id: str | None, node_cluster: str | None, node_zone: str | None) -> None:
    """The command line names the node before the file does."""
    if node_id:
        bootstrap.node.id = node_id
    if node_cluster:
        bootstrap.node.cluster = node_cluster
    if node_zone:
        bootstrap.node.locality.zone = node_zone


def read_file(path: str, message: Any, problems: list[Problem]) -> Document | None:
    """The document in the file; None when it had no text to decode (protobuf fills ``message`` itself)."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        reason = f"unable to read file: {path}: {error.strerror}"
        problems.append(Problem("error", None, "", reason))
        return None
    lowered = path.lower()
    if lowered.endswith((".yaml", ".yml")):
        return read_yaml(data, path)
    if lowered.endswith(".pb"):
        try:
            message.MergeFromString(data)
        except DecodeError:
            message.Clear()
            name = message.DESCRIPTOR.name
            reason = f"no binary protobuf of a {name}: Envoy takes it for an empty configuration"
            problems.append(Problem("warning", Mark(path, 1, 1), "", reason))
        return None
    if lowered.endswith(".pb_text"):
        _read_text_format(data, path, message, problems)
        return None
    return read_json(data, path)


def _read_text_format(data: bytes, path: str, message: Any, problems: list[Problem]) -> None:
    from google.protobuf import text_format  # a sixth of the start-up time, for a rare kind of file

    text = data.decode("utf-8", "replace")
    for name in _TEXT_TYPES.findall(text):
        message_class(name)
    try:
        text_format.Merge(text, message)
    except text_format.ParseError as error:
        mark = Mark(path, error.GetLine() or 1, error.GetColumn() or 1)
        reason = f"Unable to parse as a text protobuf (type {message.DESCRIPTOR.full_name}): {error}"
        problems.append(Problem("error", mark, "", reason))
