"""What an injection is made of, from the command line and from annotations of the pod, which say more.

Each setting is a field here, a flag of ``sidecar inject`` and an annotation ``trio-sidecar/<name>`` of the
pod
template: ``exclude_inbound_ports``, ``--exclude-inbound-ports`` and ``trio-sidecar/exclude-inbound-ports``
are one.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import fields, replace

from sidecar._version import __version__
from sidecar.core.dataclass import dataclass

__all__ = [
    "ANNOTATIONS",
    "INJECT",
    "PREFIX",
    "STATUS",
    "SettingError",
    "Settings",
    "annotation",
    "flag",
    "is_wanted",
    "with_annotations",
]

PREFIX = "trio-sidecar/"
#: ``"false"`` leaves the pod alone; the webhook wants ``"true"`` where its policy is to ask.  A label works
#: too.
INJECT = PREFIX + "inject"
#: Written by the injection: what it did, so that it can be taken back.
STATUS = PREFIX + "status"

ALL = "*"
_INTERCEPTIONS = ("redirect", "none")
_DELIVERIES = ("configmap", "inline")
_LEVELS = ("trace", "debug", "info", "warning", "warn", "error", "critical", "off")
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_PATH = re.compile(r"(/[-._a-zA-Z0-9]+)+")
_QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?([EPTGMk]i?|m)?")


class SettingError(ValueError):
    """A setting that cannot be.

    ``name`` is the field; the text says what is wrong and what would be right.
    """

    def __init__(self, name: str, text: str) -> None:
        super().__init__(text)
        self.name = name


@dataclass(frozen=True, slots=True)
class Settings:
    """How the sidecar is added.  Ports are numbers, durations seconds, resources Kubernetes quantities."""

    image: str = f"trio-sidecar/sidecar:{__version__}"
    image_pull_policy: str = ""
    native: bool = True
    #: ``NAME`` or ``NAME:KEY`` of a ConfigMap that is there, instead of the configuration that is written
    #: here.
    config_map: str = ""
    #: Where a configuration that is written here goes: a ConfigMap beside the workload, or the container's
    #: command.
    config_delivery: str = "configmap"
    interception: str = "redirect"
    include_inbound_ports: str = ALL
    exclude_inbound_ports: tuple[str, ...] = ()
    include_outbound_ports: tuple[str, ...] = ()
    exclude_outbound_ports: tuple[str, ...] = ()
    include_outbound_ranges: str = ALL
    exclude_outbound_ranges: tuple[str, ...] = ()
    exclude_users: tuple[str, ...] = ()
    #: Port of a DNS listener of the configuration, to which queries go; 0 leaves them alone.
    dns_port: int = 0
    #: Whether the proxy listens on IPv6 and its connections are intercepted; a kernel without IPv6 wants
    #: false.
    ipv6: bool = True
    rewrite_probes: bool = True
    inbound_port: int = 15006
    outbound_port: int = 15001
    admin_port: int = 15000
    health_port: int = 15020
    concurrency: int = 1
    log_level: str = "info"
    #: After SIGTERM a plain container, which gets it together with the application, lets new connections come
    #: this long; a native sidecar gets it when the application has ended.
    shutdown_grace: int = 5
    user: int = 1337
    cpu_request: str = "50m"
    cpu_limit: str = ""
    memory_request: str = "96Mi"
    memory_limit: str = "256Mi"
    #: ConfigMaps whose keys are scripts, in ``/etc/sidecar-lua/<name>/``.
    lua: tuple[str, ...] = ()
    #: Sources of modules, in ``/etc/sidecar-wasm/<name>/``: ``configmap:NAME``, ``pvc:NAME``,
    #: ``image:REFERENCE``.
    wasm: tuple[str, ...] = ()
    #: Secrets whose keys are files, certificates above all, in ``/etc/sidecar-secrets/<name>/``.
    secrets: tuple[str, ...] = ()
    #: ``VOLUME:PATH``: volumes that the pod has, for the proxy to read: a socket of SPIRE, a disk.
    mounts: tuple[str, ...] = ()


def annotation(name: str) -> str:
    """The annotation of a setting: ``trio-sidecar/exclude-inbound-ports`` of ``exclude_inbound_ports``."""
    return PREFIX + name.replace("_", "-")


def flag(name: str) -> str:
    """The flag of a setting."""
    return "--" + name.replace("_", "-")


#: Every annotation that the injection reads, with the setting it sets.
ANNOTATIONS: dict[str, str] = {annotation(item.name): item.name for item in fields(Settings)}
_NOT_SETTINGS = (INJECT, STATUS)


def is_wanted(annotations: Mapping[str, str], labels: Mapping[str, str], default: bool) -> bool:
    """Whether the pod asks for the sidecar, refuses it, or leaves it to ``default``.

    :raises SettingError: the value is neither ``"true"`` nor ``"false"``.
    """
    for source in (annotations, labels):
        if INJECT in source:
            return _boolean("inject", str(source[INJECT]))
    return default


def with_annotations(settings: Settings, annotations: Mapping[str, object]) -> Settings:
    """The settings with those of the pod over them.

    :raises SettingError: an annotation of ours that nobody reads, or a value that cannot be.
    """
    said: dict[str, str] = {}
    for key, value in annotations.items():
        if not key.startswith(PREFIX) or key in _NOT_SETTINGS:
            continue
        name = ANNOTATIONS.get(key)
        if name is None:
            near = difflib.get_close_matches(key, [*ANNOTATIONS, *_NOT_SETTINGS], 1)
            hint = f", did you mean '{near[0]}'?" if near else ""
            raise SettingError(key.removeprefix(PREFIX), f"no such annotation '{key}'{hint}")
        said[name] = str(value)
    return with_texts(settings, said)


def with_texts(settings: Settings, texts: Mapping[str, str]) -> Settings:
    """The settings with these over them, which are texts by the name of the field."""
    values = {name: PARSERS[name](name, text.strip()) for name, text in texts.items()}
    changed = replace(settings, **values)  # type: ignore[arg-type]
    _check_ports(changed)
    return changed


def _check_ports(settings: Settings) -> None:
    names = ("inbound_port", "outbound_port", "admin_port", "health_port")
    taken: dict[int, str] = {}
    for name in names:
        port = getattr(settings, name)
        if port in taken:
            raise SettingError(name, f"port {port} is that of {taken[port].replace('_', '-')} already")
        taken[port] = name


def _boolean(name: str, text: str) -> bool:
    if text not in ("true", "false"):
        raise SettingError(name, f"'{text}' is neither 'true' nor 'false'")
    return text == "true"


def _one_of(*choices: str) -> Callable[[str, str], str]:
    def parse(name: str, text: str) -> str:
        if text not in choices:
            near = difflib.get_close_matches(text, choices, 1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise SettingError(name, f"'{text}' is none of {', '.join(choices)}{hint}")
        return text

    return parse


def _number(low: int, high: int) -> Callable[[str, str], int]:
    def parse(name: str, text: str) -> int:
        if not text.isascii() or not text.isdigit() or not low <= int(text) <= high:
            raise SettingError(name, f"'{text}' is no number from {low} to {high}")
        return int(text)

    return parse


def _items(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


def _port_ranges(name: str, text: str) -> tuple[str, ...]:
    for item in _items(text):
        low, dash, high = item.partition("-")
        ends = (low, high) if dash else (low,)
        if not all(end.isascii() and end.isdigit() and 1 <= int(end) <= 65535 for end in ends):
            raise SettingError(name, f"'{item}' is no port and no range of ports, as 8080 or 9000-9010")
        if dash and int(low) > int(high):
            raise SettingError(name, f"the range '{item}' ends before it begins")
    return tuple(_items(text))


def _ranges(name: str, text: str) -> tuple[str, ...]:
    for item in _items(text):
        try:
            ipaddress.ip_network(item)
        except ValueError as error:
            raise SettingError(name, f"'{item}' is no range of addresses: {error}") from None
    return tuple(_items(text))


def _all_or(parse: Callable[[str, str], tuple[str, ...]]) -> Callable[[str, str], str]:
    def parsed(name: str, text: str) -> str:
        return ALL if text == ALL else ",".join(parse(name, text))

    return parsed


def _users(name: str, text: str) -> tuple[str, ...]:
    for item in _items(text):
        if not item.isascii() or not item.isdigit():
            raise SettingError(name, f"'{item}' is no number of a user")
    return tuple(_items(text))


def _quantity(name: str, text: str) -> str:
    if text and not _QUANTITY.fullmatch(text):
        raise SettingError(name, f"'{text}' is no quantity, as 100m or 128Mi")
    return text


def _object_name(name: str, text: str) -> str:
    if not all(_NAME.fullmatch(part) for part in text.split(".")):
        raise SettingError(name, f"'{text}' is no name of an object")
    return text


def _config_map(name: str, text: str) -> str:
    found, colon, key = text.partition(":")
    if colon and not re.fullmatch(r"[-._a-zA-Z0-9]+", key):
        raise SettingError(name, f"'{key}' is no key of a ConfigMap")
    return _object_name(name, found) + colon + key if text else ""


def _object_names(name: str, text: str) -> tuple[str, ...]:
    return tuple(_object_name(name, item) for item in _items(text))


def _modules(name: str, text: str) -> tuple[str, ...]:
    for item in _items(text):
        kind, colon, what = item.partition(":")
        if not colon or not what or kind not in ("configmap", "pvc", "image"):
            raise SettingError(name, f"'{item}' is none of configmap:NAME, pvc:NAME, image:REFERENCE")
        if kind != "image":
            _object_name(name, what)
    return tuple(_items(text))


def _mounts(name: str, text: str) -> tuple[str, ...]:
    for item in _items(text):
        volume, _, path = item.partition(":")
        if not _NAME.fullmatch(volume) or not _PATH.fullmatch(path) or ".." in path.split("/"):
            raise SettingError(name, f"'{item}' is no VOLUME:PATH, as certificates:/etc/certificates")
    return tuple(_items(text))


def _text(name: str, text: str) -> str:
    if not text or any(c.isspace() for c in text):
        raise SettingError(name, f"'{text}' is no reference of an image")
    return text


_port = _number(1, 65535)

#: How a text becomes the value of each field.
PARSERS: dict[str, Callable[[str, str], object]] = {
    "image": _text,
    "image_pull_policy": _one_of("", "Always", "IfNotPresent", "Never"),
    "native": _boolean,
    "config_map": _config_map,
    "config_delivery": _one_of(*_DELIVERIES),
    "interception": _one_of(*_INTERCEPTIONS),
    "include_inbound_ports": _all_or(_port_ranges),
    "exclude_inbound_ports": _port_ranges,
    "include_outbound_ports": _port_ranges,
    "exclude_outbound_ports": _port_ranges,
    "include_outbound_ranges": _all_or(_ranges),
    "exclude_outbound_ranges": _ranges,
    "exclude_users": _users,
    "dns_port": _number(0, 65535),
    "ipv6": _boolean,
    "rewrite_probes": _boolean,
    "inbound_port": _port,
    "outbound_port": _port,
    "admin_port": _port,
    "health_port": _port,
    "concurrency": _number(0, 1024),
    "log_level": _one_of(*_LEVELS),
    "shutdown_grace": _number(0, 86_400),
    "user": _number(1, 2**31 - 1),
    "cpu_request": _quantity,
    "cpu_limit": _quantity,
    "memory_request": _quantity,
    "memory_limit": _quantity,
    "lua": _object_names,
    "wasm": _modules,
    "secrets": _object_names,
    "mounts": _mounts,
}
