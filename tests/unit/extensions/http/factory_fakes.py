"""A FactoryContext that remembers what it was told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from envoy.config.core.v3.base_pb2 import Node

from sidecar.api.context import FactoryContext, NodeInfo
from sidecar.config.compile.node import compile_node
from sidecar.observability.stats import Store


def _node() -> NodeInfo:
    message = Node(id="n", cluster="c")
    message.metadata.update({"a": {"b": "deep"}})
    return compile_node(message)


class Recorder:
    """The context of a compile, with its warnings and what to call at the end."""

    def __init__(self, node: NodeInfo | None = None, files: dict[str, bytes] | None = None) -> None:
        self.store = Store()
        self.warnings: list[tuple[str, str]] = []
        self.closers: list[Callable[[], None]] = []
        self.files = files or {}
        self.context = FactoryContext(
            stats=self.store.scope("http.ingress"),
            root_stats=self.store,
            node=node or _node(),
            path="",
            warn=lambda path, reason: self.warnings.append((path, reason)),
            read_data_source=self._read,
            on_close=self.closers.append,
            find_cluster=lambda name: None,
        )

    def _read(self, message: Any, path: str) -> bytes:
        kind = message.WhichOneof("specifier")
        value = getattr(message, kind)
        if kind == "filename":
            return self.files[value]
        return value.encode() if isinstance(value, str) else value
