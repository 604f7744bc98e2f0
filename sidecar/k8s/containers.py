"""The containers and volumes that an injection adds to a pod."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sidecar.k8s.bootstrap import READY_PATH
from sidecar.k8s.settings import ALL, Settings, flag

__all__ = ["CONFIG_FILE", "INIT_NAME", "PROXY_NAME", "init_container", "merged", "proxy_container", "volumes"]

PROXY_NAME = "sidecar-proxy"
INIT_NAME = "sidecar-init"
CONFIG_VOLUME = "sidecar-config"
SCRATCH_VOLUME = "sidecar-tmp"
_CONFIG_DIRECTORY = "/etc/sidecar"
CONFIG_KEY = "bootstrap.yaml"
CONFIG_FILE = f"{_CONFIG_DIRECTORY}/{CONFIG_KEY}"

Object = dict[str, Any]


def volumes(settings: Settings, config_map: str | None) -> list[Object]:
    """The pod's volumes; ``config_map`` is the configuration's, or None where it is in the command."""
    found: list[Object] = []
    if config_map:
        found.append({"name": CONFIG_VOLUME, "configMap": {"name": config_map}})
    found.append({"name": SCRATCH_VOLUME, "emptyDir": {}})
    found.extend({"name": _volume("lua", name), "configMap": {"name": name}} for name in settings.lua)
    found.extend(_module_volume(source) for source in settings.wasm)
    found.extend(
        {"name": _volume("secrets", name), "secret": {"secretName": name}} for name in settings.secrets
    )
    return found


def _volume(kind: str, name: str) -> str:
    return f"sidecar-{kind}-{name.replace('.', '-')}"[:63].rstrip("-")


def _module_name(source: str) -> str:
    """The folder of a source of modules: an image's is its last part without the tag."""
    _, _, what = source.partition(":")
    return what.rpartition("/")[2].partition("@")[0].partition(":")[0]


def _module_volume(source: str) -> Object:
    kind, _, what = source.partition(":")
    volume: Object = {"name": _volume("wasm", _module_name(source))}
    if kind == "configmap":
        volume["configMap"] = {"name": what}
    elif kind == "pvc":
        volume["persistentVolumeClaim"] = {"claimName": what, "readOnly": True}
    else:
        volume["image"] = {"reference": what, "pullPolicy": "IfNotPresent"}
    return volume


def _mounts(settings: Settings, has_config: bool) -> list[Object]:
    found: list[Object] = []
    if has_config:
        found.append({"name": CONFIG_VOLUME, "mountPath": _CONFIG_DIRECTORY, "readOnly": True})
    found.append({"name": SCRATCH_VOLUME, "mountPath": "/tmp"})  # noqa: S108  # the container's own
    modules = [_module_name(each) for each in settings.wasm]
    for kind, names in (("lua", settings.lua), ("wasm", modules), ("secrets", settings.secrets)):
        for name in names:
            path = f"{_CONFIG_DIRECTORY}-{kind}/{name}"
            found.append({"name": _volume(kind, name), "mountPath": path, "readOnly": True})
    for item in settings.mounts:
        volume, _, path = item.partition(":")
        found.append({"name": volume, "mountPath": path, "readOnly": True})
    return found


def proxy_container(
    settings: Settings,
    *,
    service: str,
    config: Mapping[str, Any] | None,
    config_key: str,
    overlay: Mapping[str, Any],
    ends_after_s: int,
) -> Object:
    """The proxy.

    ``config`` is what is served where no file is mounted; ``overlay`` is merged over either;
    ``ends_after_s`` is how long after SIGTERM it may go on.
    """
    inline = overlay if config is None else merged(config, overlay)
    args = [] if config is not None else ["-c", f"{_CONFIG_DIRECTORY}/{config_key}"]
    args += [
        "--config-yaml",
        json.dumps(inline, separators=(",", ":")),
        *_concurrency(settings),
        "--service-node",
        "$(POD_NAME).$(POD_NAMESPACE)",
        "--service-cluster",
        service,
        "--log-level",
        settings.log_level,
        "--shutdown-deadline-s",
        str(ends_after_s),
    ]
    container: Object = {"name": PROXY_NAME, "image": settings.image}
    if settings.image_pull_policy:
        container["imagePullPolicy"] = settings.image_pull_policy
    container |= {
        "args": args,
        "env": [
            _field("POD_NAME", "metadata.name"),
            _field("POD_NAMESPACE", "metadata.namespace"),
            _field("POD_IP", "status.podIP"),
        ],
        "ports": [{"name": "sidecar-health", "containerPort": settings.health_port, "protocol": "TCP"}],
    }
    if settings.native:
        container["restartPolicy"] = "Always"
    else:
        # The kubelet starts no later container before this has ended.
        wait = ["sidecar", "wait", "--admin-port", str(settings.admin_port)]
        args += ["--shutdown-grace-s", str(min(settings.shutdown_grace, ends_after_s // 2))]
        container["lifecycle"] = {"postStart": {"exec": {"command": wait}}}
    return container | {
        "startupProbe": {"httpGet": _ready(settings), "periodSeconds": 1, "failureThreshold": 60},
        "readinessProbe": {"httpGet": _ready(settings), "periodSeconds": 5, "failureThreshold": 3},
        "resources": _resources(settings),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            "runAsGroup": settings.user,
            "runAsNonRoot": True,
            "runAsUser": settings.user,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": _mounts(settings, config is None),
    }


def _ready(settings: Settings) -> Object:
    return {"path": READY_PATH, "port": settings.health_port}


def merged(config: Mapping[str, Any], overlay: Mapping[str, Any]) -> Object:
    """Protobuf's merge, for the parts that both have: messages by field, lists grow."""
    out: Object = dict(config)
    for key, value in overlay.items():
        there = out.get(key)
        if isinstance(there, Mapping) and isinstance(value, Mapping):
            out[key] = merged(there, value)
        elif isinstance(there, list):
            out[key] = [*there, *value]
        else:
            out[key] = value
    return out


def _field(name: str, path: str) -> Object:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def _resources(settings: Settings) -> Object:
    requests = {"cpu": settings.cpu_request, "memory": settings.memory_request}
    limits = {"cpu": settings.cpu_limit, "memory": settings.memory_limit}
    found = {
        "limits": {name: value for name, value in limits.items() if value},
        "requests": {name: value for name, value in requests.items() if value},
    }
    return {name: values for name, values in found.items() if values}


def init_container(settings: Settings) -> Object:
    """What writes the rules of interception; the only part that needs a capability."""
    container: Object = {"name": INIT_NAME, "image": settings.image}
    if settings.image_pull_policy:
        container["imagePullPolicy"] = settings.image_pull_policy
    return container | {
        "command": ["sidecar", "iptables", "apply", *iptables_arguments(settings)],
        "resources": {
            "limits": {"cpu": "100m", "memory": "64Mi"},
            "requests": {"cpu": "10m", "memory": "32Mi"},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"add": ["NET_ADMIN", "NET_RAW"], "drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            "runAsGroup": 0,
            "runAsNonRoot": False,
            "runAsUser": 0,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }


def _concurrency(settings: Settings) -> list[str]:
    """None for 0: the proxy counts the CPUs that its limit allows."""
    return ["--concurrency", str(settings.concurrency)] if settings.concurrency else []


def iptables_arguments(settings: Settings) -> list[str]:
    """The flags of ``sidecar iptables``; what is as it is without them is left out."""
    arguments = [
        f"--inbound-port={settings.inbound_port}",
        f"--outbound-port={settings.outbound_port}",
        f"--proxy-uid={settings.user}",
    ]
    excluded = [*settings.exclude_inbound_ports, str(settings.health_port)]
    arguments.append(f"--exclude-inbound-ports={','.join(excluded)}")
    if settings.include_inbound_ports != ALL:
        arguments.append(f"--include-inbound-ports={settings.include_inbound_ports}")
    if settings.include_outbound_ranges != ALL:
        arguments.append(f"--include-outbound-ranges={settings.include_outbound_ranges}")
    lists = ("include_outbound_ports", "exclude_outbound_ports", "exclude_outbound_ranges", "exclude_users")
    arguments += [f"{flag(name)}={','.join(values)}" for name in lists if (values := getattr(settings, name))]
    if not settings.ipv6:
        arguments.append("--ipv6=false")
    if settings.dns_port:
        arguments.append(f"--dns-port={settings.dns_port}")
    return arguments
