"""Files of manifests in, the same files with the sidecar out.

What ``sidecar inject`` does between read and write.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from typing import Any

from sidecar.core.dataclass import dataclass
from sidecar.k8s.documents import SEPARATOR, Document, ManifestError, join
from sidecar.k8s.inject import NotInjected, inject, undo
from sidecar.k8s.settings import PREFIX, SettingError, Settings, annotation
from sidecar.k8s.workloads import Workload, is_ours, workloads_of

__all__ = ["Outcome", "inject_documents", "undo_documents"]


@dataclass(slots=True)
class Outcome:
    """The new text, and what there is to say: errors mean that the text is not to be used."""

    text: str = ""
    errors: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    workloads: int = 0


def inject_documents(documents: list[Document], settings: Settings, *, default: bool = True) -> Outcome:
    """The documents with a sidecar in every pod that may have one.

    Objects of other kinds pass as they are.
    """

    def change(document: Document, workload: Workload, outcome: Outcome) -> dict[str, Any] | None:
        # JSON has no place for a second document.
        is_alone = document.is_json and "items" not in workload.path
        done = inject(workload, settings, default=default, is_alone=is_alone)
        outcome.notes.extend(f"{_named(document, workload)}: {text}" for text in done.warnings)
        return done.config_map

    return _rewrite(documents, change)


def undo_documents(documents: list[Document]) -> Outcome:
    """The documents without what an injection has added to them."""

    def change(document: Document, workload: Workload, outcome: Outcome) -> None:
        if not undo(workload):
            raise NotInjected("it has no sidecar")

    return _rewrite(documents, change)


_Change = Callable[[Document, Workload, Outcome], dict[str, Any] | None]


def _rewrite(documents: list[Document], change: _Change) -> Outcome:
    outcome = Outcome()
    out: list[tuple[str, str]] = []
    for document in documents:
        try:
            value = document.value()
        except ManifestError as error:
            outcome.errors.append(str(error))
            continue
        if is_ours(value):
            continue  # written anew, or undone
        beside = _beside(document, value, change, outcome)
        if beside is None:
            out.append((document.separator, document.text))
            continue
        if isinstance(value.get("items"), list):
            value["items"][:] = [item for item in value["items"] if not is_ours(item)] + beside
            beside = []
        out.append((document.separator, document.dump()))
        out.extend((SEPARATOR, document.dump_new(item)) for item in beside)
    outcome.text = join(out)
    return outcome


def _beside(document: Document, value: Any, change: _Change, outcome: Outcome) -> list[dict[str, Any]] | None:
    """Change the document's workloads; the objects that stand beside them, None where nothing changed."""
    found: list[dict[str, Any]] | None = None
    for workload in workloads_of(value):
        try:
            config_map = change(document, workload, outcome)
        except NotInjected as reason:
            outcome.notes.append(f"{_named(document, workload)}: not changed: {reason}")
            continue
        except SettingError as error:
            outcome.errors.append(_error(document, workload, error))
            continue
        outcome.workloads += 1
        found = [*(found or []), *([config_map] if config_map else [])]
    return found


def _named(document: Document, workload: Workload) -> str:
    return f"{document.place(*workload.path)}: {workload.kind} {workload.name}"


def _error(document: Document, workload: Workload, error: SettingError) -> str:
    """The place is that of the annotation, if one said it, else that of the pod."""
    said = workload.of_metadata("annotations")
    for key in (annotation(error.name), PREFIX + error.name):
        if key in said:
            place = document.place(*workload.path, "metadata", "annotations", key)
            return f"{place}: {key}: {error}"
    return f"{document.place(*workload.path, 'spec')}: {workload.kind} {workload.name}: {error}"
