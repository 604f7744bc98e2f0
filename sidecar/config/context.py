"""What the semantic checks of a bootstrap share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sidecar.config.errors import Path, format_path
from sidecar.config.hints import unknown_name
from sidecar.config.registry import Registry
from sidecar.config.report import Reporter

__all__ = ["Context"]


@dataclass
class Context:
    """One bootstrap under check.  ``node`` flags are already merged into ``bootstrap.node``."""

    bootstrap: Any
    registry: Registry
    report: Reporter
    #: Names of the static clusters, each with its message.
    clusters: dict[str, Any] = field(default_factory=dict)
    #: Whether routes that say nothing of it (``validate_clusters``) have to name clusters that there are.
    validates_clusters: bool = True

    @property
    def has_node(self) -> bool:
        return bool(self.bootstrap.node.id and self.bootstrap.node.cluster)

    def report_place(self, path: Path) -> str:
        """``line n`` of a field, to point at from another problem."""
        mark = self.report.locate(path)
        return f"line {mark.line}" if mark is not None else format_path(path)

    def suggest_cluster(self, name: str) -> str | None:
        """The hint for a reference to an unknown cluster."""
        return unknown_name(name, self.clusters)

    def require_node(self, path: Path, who: str) -> None:
        """Refuse what names this proxy to a peer when the node has no name."""
        if not self.has_node:
            self.report.error(
                path,
                f"{who}: node 'id' and 'cluster' are required",
                "give them on the command line by --service-node and --service-cluster, or add to the file:\n"
                "node:\n  id: <this proxy's name>\n  cluster: <its service's name>",
            )
