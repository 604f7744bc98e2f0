"""What the messages of both authorization filters have in common, compiled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sidecar.api.context import FactoryContext

__all__ = ["compile_labels"]


def compile_labels(message: Any, context: FactoryContext) -> Mapping[str, str]:
    """The part of the node's metadata that ``bootstrap_metadata_labels_key`` names; texts, or nothing."""
    found = context.node.metadata.get(message.bootstrap_metadata_labels_key)
    if not isinstance(found, Mapping):
        return {}
    return {name: value if isinstance(value, str) else "" for name, value in found.items()}
