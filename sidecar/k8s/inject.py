"""Adding the sidecar to a pod, and taking it back.

Works on plain mappings, those of a file that keep their comments as well as those of an admission request.
What was done is written down in one annotation, so that the same injection changes nothing the second time
and `undo` finds what to remove.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, MutableMapping, MutableSequence
from dataclasses import field
from typing import Any

import yaml

from sidecar.core.dataclass import dataclass
from sidecar.k8s import probes as app_probes
from sidecar.k8s.bootstrap import bootstrap, overlay
from sidecar.k8s.containers import CONFIG_KEY, INIT_NAME, PROXY_NAME, init_container, proxy_container, volumes
from sidecar.k8s.settings import INJECT, STATUS, SettingError, Settings, is_wanted, with_annotations
from sidecar.k8s.workloads import MANAGED_BY, Workload

__all__ = ["Injected", "NotInjected", "config_map_of", "inject", "undo"]

_DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"
#: What Kubernetes gives a pod that says nothing, and how long before its end the proxy ends.
_GRACE_PERIOD_S, _MARGIN_S = 30, 2
_MIRROR = "kubernetes.io/config.mirror"


#: What the sidecars of other meshes are called: Istio's, Linkerd's, Kuma's and Consul's.
_OTHER_PROXIES = frozenset(("istio-proxy", "linkerd-proxy", "kuma-sidecar", "consul-dataplane"))


class NotInjected(Exception):
    """The pod is left as it is; the text says why."""


@dataclass(frozen=True, slots=True)
class Injected:
    """What stands beside the workload now, and what its owner should know."""

    config_map: dict[str, Any] | None = None
    warnings: list[str] = field(default_factory=list)


def inject(
    workload: Workload, settings: Settings, *, default: bool = True, is_alone: bool = False
) -> Injected:
    """Add the sidecar to the workload's pod, in place.

    :param default: whether a pod that says nothing is injected.
    :param is_alone: nothing can stand beside the workload; a configuration that is written here goes into
        the command.
    :raises NotInjected: it says no, or it cannot have a sidecar.
    :raises SettingError: its annotations cannot be followed; the pod is as it was.
    """
    annotations = workload.of_metadata("annotations")
    _check_wanted(workload, annotations, default)
    settings = with_annotations(settings, annotations)
    if STATUS in annotations:
        undo(workload)
    _check_pod(workload, settings)
    spec = workload.spec
    own = _config(settings)
    is_beside = settings.config_delivery == "configmap" and bool(workload.name) and not is_alone
    config_map = _config_map(workload, own) if own and is_beside else None
    mounted, _, key = settings.config_map.partition(":")
    if config_map:
        mounted, key = str(config_map["metadata"]["name"]), CONFIG_KEY
    status: dict[str, Any] = {"version": 1}
    rewritten = _rewrite_probes(spec, settings, status)
    proxy = proxy_container(
        settings,
        service=workload.service,
        config=None if mounted else own,
        config_key=key or CONFIG_KEY,
        overlay=overlay(settings, rewritten),
        ends_after_s=_ends_after(spec),
    )
    _add_containers(spec, settings, proxy, status)
    added = volumes(settings, mounted or None)
    _extend(spec, "volumes", added, status)
    _annotate(workload, settings, status)
    return Injected(config_map, _warnings(workload, settings))


def _check_wanted(workload: Workload, annotations: Mapping[str, str], default: bool) -> None:
    labels = workload.of_metadata("labels")
    if not is_wanted(annotations, labels, default):
        said = INJECT in annotations or INJECT in labels
        raise NotInjected(f"{INJECT} is 'false'" if said else f"nothing asks for it ({INJECT})")
    spec = workload.spec
    if spec.get("hostNetwork"):
        raise NotInjected("hostNetwork: the pod shares its node's network, where nothing may be intercepted")
    system = (spec.get("os") or {}).get("name") or (spec.get("nodeSelector") or {}).get("kubernetes.io/os")
    if system and system != "linux":
        raise NotInjected(f"it runs on {system}")
    for group in ("initContainers", "containers"):
        for container in spec.get(group) or ():
            if container.get("name") in _OTHER_PROXIES:
                text = f"container '{container['name']}' is another mesh's proxy, which intercepts already"
                raise NotInjected(text)
    if _MIRROR in annotations:
        raise NotInjected("it mirrors a static pod, which the node's own files describe")


def _check_pod(workload: Workload, settings: Settings) -> None:
    spec = workload.spec
    for group in ("initContainers", "containers"):
        for container in spec.get(group) or ():
            name = container.get("name")
            if name in (INIT_NAME, PROXY_NAME):
                raise SettingError("inject", f"a container '{name}' is there that no injection has added")
            user = (container.get("securityContext") or {}).get("runAsUser")
            if user == settings.user:
                raise SettingError("user", _SAME_USER.format(f"container '{name}'", user))
    if (spec.get("securityContext") or {}).get("runAsUser") == settings.user:
        raise SettingError("user", _SAME_USER.format("the pod", settings.user))
    taken = {volume.get("name") for volume in spec.get("volumes") or ()}
    for volume in volumes(settings, "some"):
        if volume["name"] in taken:
            raise SettingError("inject", f"a volume '{volume['name']}' is there already")
    for item in settings.mounts:
        if (wanted := item.partition(":")[0]) not in taken:
            raise SettingError("mounts", f"the pod has no volume '{wanted}'")
    _check_ports(spec, settings)


_SAME_USER = (
    "{} runs as user {} too: what the proxy's user sends is not intercepted. Give the proxy another user"
)


def _check_ports(spec: Mapping[str, Any], settings: Settings) -> None:
    own = {
        getattr(settings, name): name
        for name in ("inbound_port", "outbound_port", "admin_port", "health_port")
    }
    for container in spec.get("containers") or ():
        for port in container.get("ports") or ():
            if (name := own.get(port.get("containerPort"))) and str(port.get("protocol", "TCP")) == "TCP":
                who = f"port {port['containerPort']} of container '{container.get('name')}'"
                raise SettingError(name, f"{who} is the proxy's {name.replace('_', ' ')}")


def _ends_after(spec: Mapping[str, Any]) -> int:
    """Seconds from SIGTERM until the proxy ends by itself, before the kubelet kills the pod."""
    allowed = spec.get("terminationGracePeriodSeconds")
    allowed = _GRACE_PERIOD_S if allowed is None else int(allowed)
    return max(1, allowed - _MARGIN_S)


def _config(settings: Settings) -> dict[str, Any] | None:
    """The configuration that is written here; None where the user has one."""
    return None if settings.config_map else bootstrap(settings)


def config_map_of(name: str) -> str:
    """The name of the ConfigMap beside a workload."""
    return f"{name[:244]}-sidecar"


def _config_map(workload: Workload, config: Mapping[str, Any]) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": config_map_of(workload.name)}
    if workload.namespace:
        metadata["namespace"] = workload.namespace
    metadata["labels"] = {MANAGED_BY[0]: MANAGED_BY[1]}
    text = yaml.safe_dump(config, sort_keys=False, default_flow_style=False, width=100)
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {CONFIG_KEY: text}}


def _rewrite_probes(
    spec: MutableMapping[str, Any], settings: Settings, status: dict[str, Any]
) -> list[app_probes.Probe]:
    if not settings.rewrite_probes or settings.interception == "none":
        return []
    before: dict[str, Any] = {}
    found = []
    for container, probe in list(app_probes.probes_of(spec, frozenset())):
        before.setdefault(probe.container, {})[probe.kind] = app_probes.rewrite(
            container, probe, settings.health_port
        )
        found.append(probe)
    if before:
        status["probes"] = before
    return found


def _add_containers(
    spec: MutableMapping[str, Any], settings: Settings, proxy: dict[str, Any], status: dict[str, Any]
) -> None:
    rules = [init_container(settings)] if settings.interception != "none" else []
    if settings.native:
        # The application's own init containers come behind and find the network as its containers do.
        _extend(spec, "initContainers", [*rules, proxy], status, at=0)
        return
    # No proxy runs while init containers do: the rules are written when the last of them has ended.
    _extend(spec, "initContainers", rules, status)
    _extend(spec, "containers", [proxy], status, at=0)


def _extend(
    spec: MutableMapping[str, Any],
    key: str,
    added: list[dict[str, Any]],
    status: dict[str, Any],
    at: int | None = None,
) -> None:
    if not added:
        return
    held = spec.get(key)
    if held is None:
        held = spec[key] = []
        status.setdefault("made", []).append(key)
    index = len(held) if at is None else at
    for offset, item in enumerate(added):
        held.insert(index + offset, item)
    status[key] = [item["name"] for item in added]


def _annotate(workload: Workload, settings: Settings, status: dict[str, Any]) -> None:
    metadata: MutableMapping[str, Any] | None = workload.pod.get("metadata")
    if metadata is None:
        metadata = workload.pod["metadata"] = {}
        status.setdefault("made", []).append("metadata")
    annotations: MutableMapping[str, str] | None = metadata.get("annotations")
    if annotations is None:
        annotations = metadata["annotations"] = {}
        status.setdefault("made", []).append("annotations")
    if not settings.native and _DEFAULT_CONTAINER not in annotations:
        first = next(item for item in workload.spec["containers"] if item["name"] != PROXY_NAME)
        annotations[_DEFAULT_CONTAINER] = first["name"]
        status["annotations"] = [_DEFAULT_CONTAINER]
    annotations[STATUS] = json.dumps(status, separators=(",", ":"))


def _warnings(workload: Workload, settings: Settings) -> list[str]:
    found = []
    if workload.is_finite and not settings.native:
        text = "the pod does not end while the proxy runs: let the application end it, by"
        found.append(f"{text} POST http://127.0.0.1:{settings.admin_port}/quitquitquit")
    if not settings.native and workload.spec.get("shareProcessNamespace") is None and settings.rewrite_probes:
        init = [
            item["name"] for item in workload.spec.get("initContainers") or () if item["name"] != INIT_NAME
        ]
        if init:
            found.append(f"init containers run before the proxy, and past it: {', '.join(init)}")
    return found


def undo(workload: Workload) -> bool:
    """Take an injection back, in place; whether there was one.

    :raises SettingError: the annotation that tells what was done cannot be read.
    """
    metadata = workload.pod.get("metadata") or {}
    annotations = metadata.get("annotations") or {}
    if STATUS not in annotations:
        return False
    try:
        status = json.loads(annotations[STATUS])
        made = status.get("made", [])
    except (ValueError, AttributeError):
        raise SettingError("status", f"{STATUS} is not what an injection writes") from None
    spec = workload.spec
    for key in ("initContainers", "containers", "volumes"):
        _remove(spec, key, status.get(key, ()), drop=key in made)
    for group in ("initContainers", "containers"):
        for container in spec.get(group) or ():
            for kind, before in status.get("probes", {}).get(container.get("name"), {}).items():
                if kind in container:
                    app_probes.restore(container, kind, before)
    for key in (*status.get("annotations", ()), STATUS):
        annotations.pop(key, None)
    if "annotations" in made and not annotations:
        del metadata["annotations"]
    if "metadata" in made and not metadata:
        del workload.pod["metadata"]
    return True


def _remove(spec: MutableMapping[str, Any], key: str, names: object, drop: bool) -> None:
    held = spec.get(key)
    if not isinstance(held, MutableSequence) or not isinstance(names, list):
        return
    for index in reversed(range(len(held))):
        if held[index].get("name") in names:
            del held[index]
    if drop and not held:
        del spec[key]
