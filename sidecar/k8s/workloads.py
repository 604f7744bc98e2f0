"""Where the pod is in an object of Kubernetes, by its kind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any

from sidecar.core.dataclass import dataclass

__all__ = ["Workload", "is_ours", "workloads_of"]

#: The way from the object to the pod: an object with ``metadata`` and ``spec``.
_PODS: dict[tuple[str, str], tuple[str, ...]] = {
    ("v1", "Pod"): (),
    ("v1", "ReplicationController"): ("spec", "template"),
    ("apps/v1", "Deployment"): ("spec", "template"),
    ("apps/v1", "StatefulSet"): ("spec", "template"),
    ("apps/v1", "DaemonSet"): ("spec", "template"),
    ("apps/v1", "ReplicaSet"): ("spec", "template"),
    ("batch/v1", "Job"): ("spec", "template"),
    ("batch/v1", "CronJob"): ("spec", "jobTemplate", "spec", "template"),
}
_LISTS = ("List", "PodList", "DeploymentList", "StatefulSetList", "DaemonSetList", "JobList", "CronJobList")
MANAGED_BY = ("app.kubernetes.io/managed-by", "trio-sidecar")


@dataclass(frozen=True, slots=True)
class Workload:
    """An object with a pod in it.

    ``pod`` is the part of the object that holds the pod's metadata and spec.
    """

    kind: str
    name: str
    namespace: str
    pod: MutableMapping[str, Any]
    #: Whether the pod ends by itself.
    is_finite: bool = False
    #: Keys and indexes from the document to the pod.
    path: tuple[str | int, ...] = ()

    @property
    def spec(self) -> MutableMapping[str, Any]:
        found: MutableMapping[str, Any] = self.pod["spec"]
        return found

    def of_metadata(self, name: str) -> Mapping[str, str]:
        """The pod's ``annotations`` or ``labels``."""
        metadata = self.pod.get("metadata") or {}
        return metadata.get(name) or {}

    @property
    def service(self) -> str:
        """What the workload is called among others: the usual labels, else its own name."""
        labels = self.of_metadata("labels")
        return str(labels.get("app.kubernetes.io/name") or labels.get("app") or self.name or "workload")


def workloads_of(document: object, path: tuple[str | int, ...] = ()) -> Iterator[Workload]:
    """The workloads of a document: one, those of a List, or none."""
    if not isinstance(document, MutableMapping):
        return
    kind, version = str(document.get("kind")), str(document.get("apiVersion"))
    if kind in _LISTS and isinstance(items := document.get("items"), list):
        for index, item in enumerate(items):
            yield from workloads_of(item, (*path, "items", index))
        return
    way = _PODS.get((version, kind))
    if way is None:
        return
    pod: Any = document
    for step in way:
        pod = pod.get(step) if isinstance(pod, MutableMapping) else None
    if not isinstance(pod, MutableMapping) or not isinstance(pod.get("spec"), MutableMapping):
        return
    metadata = document.get("metadata") or {}
    name = str(metadata.get("name") or metadata.get("generateName") or "").rstrip("-")
    finite = kind in ("Job", "CronJob") or pod["spec"].get("restartPolicy") in ("Never", "OnFailure")
    yield Workload(kind, name, str(metadata.get("namespace") or ""), pod, finite, (*path, *way))


def is_ours(document: object) -> bool:
    """Whether an injection wrote this object beside a workload."""
    if not isinstance(document, Mapping):
        return False
    labels = (document.get("metadata") or {}).get("labels") or {}
    return bool(document.get("kind") == "ConfigMap" and labels.get(MANAGED_BY[0]) == MANAGED_BY[1])
