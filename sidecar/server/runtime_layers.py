"""The layers of the runtime that change while serving: a directory, the admin API, a control plane (RTDS).

Envoy's ``Runtime::LoaderImpl``.  A directory is read when something is moved to ``symlink_root``: a link that
is replaced, as its name says.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import trio

from sidecar.config.compile.runtime import parse_entry, struct_entries
from sidecar.core.errors import ConfigError, XdsError
from sidecar.core.runtime import Entry, Layer, Runtime
from sidecar.xds.subscription import Resource, ResourceKind, Subscription

if TYPE_CHECKING:
    from sidecar.net.file_watcher import FileWatcher
    from sidecar.observability.stats import Store
    from sidecar.xds.sources import Sources

__all__ = ["NoAdminLayer", "RuntimeLayers", "RuntimeSubscription"]

log = logging.getLogger("sidecar.runtime")

RUNTIME = "envoy.service.runtime.v3.Runtime"
_MAX_DEPTH = 16


class NoAdminLayer(Exception):
    """The configuration has no layer for ``/runtime_modify``."""


class RuntimeSubscription:
    """One layer that a control plane fills (:class:`sidecar.xds.subscription.Subscriber`)."""

    def __init__(self, name: str, layer: Layer, reload: Callable[[], None]) -> None:
        self.kind = ResourceKind(
            RUNTIME, "name", lambda message, path: struct_entries(message.layer, f"{path}.layer")
        )
        self.answered = trio.Event()
        self.subscription: Subscription | None = None
        self._name = name
        self._layer = layer
        self._reload = reload

    def on_update(self, resources: Sequence[Resource], version: str) -> None:
        if len(resources) != 1:
            self.answered.set()
            raise XdsError(f"Unexpected RTDS resource length: {len(resources)}")
        resource = resources[0]
        if resource.name != self._name:
            raise XdsError(f"Unexpected RTDS runtime (expecting {self._name}): {resource.name}")
        self._layer.values = resource.value
        self._reload()
        self.answered.set()

    def on_delta(self, added: Sequence[Resource], removed: Sequence[str], version: str) -> None:
        if not added and removed:
            self._layer.values = {}
            self._reload()
            self.answered.set()
            return
        self.on_update(added, version)

    def on_failure(self) -> None:
        self.answered.set()


class RuntimeLayers:
    """See the module."""

    def __init__(self, runtime: Runtime, bootstrap: Any, store: Store, watcher: FileWatcher) -> None:
        """Reads what there is.  Raises: ConfigError, when a directory cannot be watched."""
        self.runtime = runtime
        self._messages = tuple(bootstrap.layered_runtime.layers)
        self._service_cluster = bootstrap.node.cluster
        self._admin = self._find_admin()
        self._overrides: dict[str, Entry] = {}
        scope = store.scope("runtime")
        self._num_keys = scope.gauge("num_keys")
        self._num_layers = scope.gauge("num_layers")
        self._overrides_active = scope.gauge("admin_overrides_active")
        self._load_success = scope.counter("load_success")
        self._load_error = scope.counter("load_error")
        self._dir_exists = scope.counter("override_dir_exists")
        self._dir_not_exists = scope.counter("override_dir_not_exists")
        scope.counter("deprecated_feature_use")
        scope.gauge("deprecated_feature_seen_since_process_start")
        self._scope = scope
        #: Those of control planes.
        self.subscriptions: list[RuntimeSubscription] = []
        for index, message in enumerate(self._messages):
            if message.WhichOneof("layer_specifier") == "disk_layer":
                root = message.disk_layer.symlink_root
                path = f"layered_runtime.layers[{index}].disk_layer.symlink_root"
                try:
                    watcher.watch_file(root, self.load)
                except ValueError as error:
                    raise ConfigError(path, str(error)) from error
                except OSError as error:
                    reason = f"unable to add filesystem watch for file {root}: {error.strerror}"
                    raise ConfigError(path, reason) from error
        self.load()

    def _find_admin(self) -> Layer | None:
        if not self._messages:
            return self.runtime.layers[0] if self.runtime.layers else None
        for message, layer in zip(self._messages, self.runtime.layers, strict=True):
            if message.WhichOneof("layer_specifier") == "admin_layer":
                return layer
        return None

    # -- loading ---------------------------------------------------------------------------------------
    def load(self) -> None:
        """Read the directories again, and tell who follows."""
        found = errors = 0
        for message, layer in zip(self._messages, self.runtime.layers, strict=bool(self._messages)):
            if message.WhichOneof("layer_specifier") != "disk_layer":
                continue
            disk = message.disk_layer
            path = f"{disk.symlink_root}/{disk.subdirectory}"
            if disk.append_service_cluster:
                path += f"/{self._service_cluster}"
            layer.is_there = os.path.isdir(path)
            if not layer.is_there:
                layer.values = {}
                continue
            try:
                layer.values = _read_directory(path)
                found += 1
            except (OSError, ValueError) as error:
                layer.is_there, layer.values = False, {}
                errors += 1
                log.warning("error loading runtime values for layer %s from disk: %s", layer.name, error)
        (self._load_error if errors else self._load_success).value += 1
        # Envoy wants two of them to say so.
        (self._dir_exists if found > 1 else self._dir_not_exists).value += 1
        self.runtime.changed()
        self._num_layers.set(sum(layer.is_there for layer in self.runtime.layers))
        self._num_keys.set(len(self.runtime.entries))

    def modify(self, values: Mapping[str, str]) -> None:
        """Override values; an empty text takes an override back.  Raises: NoAdminLayer."""
        if self._admin is None:
            raise NoAdminLayer
        for key, text in values.items():
            self._overrides.pop(key, None)
            if text:
                self._overrides[key] = parse_entry(text)
        self._admin.values = dict(self._overrides)
        self._overrides_active.set(int(bool(self._overrides)))
        self.load()

    # -- control planes --------------------------------------------------------------------------------
    async def discover(self, sources: Sources, nursery: trio.Nursery) -> None:
        """Ask for the layers of control planes, and wait for the first answers.  Raises: ConfigError."""
        self.load()  # Envoy does it a second time, too
        for index, (message, layer) in enumerate(zip(self._messages, self.runtime.layers, strict=False)):
            if message.WhichOneof("layer_specifier") != "rtds_layer":
                continue
            rtds = message.rtds_layer
            wanted = RuntimeSubscription(rtds.name, layer, self.load)
            path = f"layered_runtime.layers[{index}].rtds_layer.rtds_config"
            wanted.subscription = sources.subscribe(rtds.rtds_config, path, wanted, self._scope, (rtds.name,))
            self.subscriptions.append(wanted)
        for each in self.subscriptions:
            assert each.subscription is not None
            each.subscription.start()
            nursery.start_soon(each.subscription.run, name="rtds")
        for each in self.subscriptions:
            await each.answered.wait()


def _read_directory(path: str, prefix: str = "", depth: int = 1) -> dict[str, Entry]:
    """A file is a key, directories are what stands before its dots.  Raises: OSError, ValueError."""
    if depth > _MAX_DEPTH:
        raise ValueError(f"Walk recursion depth exceeded {_MAX_DEPTH}")
    entries: dict[str, Entry] = {}
    with os.scandir(path) as directory:
        for each in directory:
            key = f"{prefix}.{each.name}" if prefix else each.name
            if each.is_dir():
                entries.update(_read_directory(each.path, key, depth + 1))
            elif each.is_file():
                with open(each.path, encoding="utf-8", errors="replace") as file:
                    lines = [line for line in file.read().split("\n") if line and not line.startswith("#")]
                entries[key] = parse_entry("\n".join(lines).rstrip())
    return entries
