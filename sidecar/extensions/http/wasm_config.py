"""Compiles ``envoy.extensions.filters.http.wasm.v3.Wasm``: code, VM, plugin, filter.

The only part of the Wasm filter that sees protobuf.  The guest is started and configured here, so that one
that cannot run, or that refuses its configuration, refuses ours.  VMs are shared by everything with the same
vm_id, code and VM configuration, plugins by what has the same VM, root_id and configuration, as in Envoy.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sidecar.core.errors import ConfigError
from sidecar.extensions.http.wasm import LivePlugin, WasmFilter
from sidecar.extensions.http.wasm_host import PluginSide
from wasm_abi import Engine, ModuleError, Plugin, Vm, WasmError

if TYPE_CHECKING:
    from sidecar.api.context import FactoryContext
    from wasm_abi import GuestModule

__all__ = ["WasmFactory"]

logger = logging.getLogger("sidecar.wasm")

_RUNTIME = "envoy.wasm.runtime."
_RUNTIMES = ("", *(_RUNTIME + name for name in ("v8", "wasmtime", "wamr")))
_FAIL_RELOAD, _FAIL_CLOSED, _FAIL_OPEN = 1, 2, 3
_RELOAD_BACKOFF_S = 1.0


@dataclass(slots=True)
class _VmRecipe:
    """What it takes to make a VM, and the one that is alive."""

    module: GuestModule
    vm_id: bytes
    configuration: bytes
    environment: dict[str, str]
    vm: Vm | None = None
    users: int = 0

    def live(self, side: PluginSide) -> Vm:
        """The shared VM, made anew when there is none or it failed.  Raises: ModuleError, WasmTrap."""
        if self.vm is None or self.vm.failure is not None:
            self.vm = Vm(
                self.module,
                host=side,
                vm_id=self.vm_id,
                configuration=self.configuration,
                environment=self.environment,
            )
        return self.vm

    def close(self) -> None:
        """Nobody uses the VM any more."""
        vm, self.vm = self.vm, None
        if vm is not None:
            vm.close()


@dataclass(slots=True)
class _Started:
    """A running plugin and how many filters use it."""

    live: LivePlugin
    recipe: _VmRecipe
    users: int = 0


@dataclass(slots=True)
class _Reload:
    """``FAIL_RELOAD``: the next stream after the backoff starts a new VM."""

    start: Callable[[], tuple[Plugin, PluginSide]]
    backoff_s: float
    name: str
    success: Any
    failure: Any
    backoff: Any
    retry_at_s: float = 0.0
    clock: Callable[[], float] = field(default=time.monotonic)

    def __call__(self) -> tuple[Plugin, PluginSide] | None:
        now = self.clock()
        if now < self.retry_at_s:
            self.backoff.inc()
            return None
        self.retry_at_s = now + self.backoff_s
        try:
            fresh = self.start()
        except WasmError as error:
            _report_reload(self.name, error)
            self.failure.inc()
            return None
        self.success.inc()
        return fresh


def _report_reload(name: str, error: WasmError) -> None:
    logger.error("plugin %s could not be reloaded: %s", name, error)


class WasmFactory:
    """Makes Wasm filters.  One per process: it holds the engine and the shared VMs."""

    name = "envoy.filters.http.wasm"
    category = "envoy.filters.http"
    config_type = "envoy.extensions.filters.http.wasm.v3.Wasm"

    def __init__(self) -> None:
        self._engine: Engine | None = None
        self._recipes: dict[tuple[Any, ...], _VmRecipe] = {}
        self._plugins: dict[tuple[Any, ...], _Started] = {}

    def compile(self, message: Any, context: FactoryContext) -> WasmFilter:
        """The filter.  Raises: ConfigError."""
        config = message.config
        vm_config = config.vm_config
        policy = _failure_policy(config)
        _check_supported(config, context)
        recipe_key, recipe = self._recipe(vm_config, context)
        configuration = _any_bytes(config.configuration, "config.configuration")
        key = (*recipe_key, config.root_id, config.name, configuration, policy)
        started = self._plugins.get(key)
        if started is None:
            started = self._start(config, configuration, recipe, policy, context)
            self._plugins[key] = started
        started.users += 1
        context.on_close(lambda: self._release(key, recipe_key, context.root_stats))
        return WasmFilter(started.live)

    def _recipe(self, vm_config: Any, context: FactoryContext) -> tuple[tuple[Any, ...], _VmRecipe]:
        code = _read_code(vm_config, context)
        environment = _environment(vm_config.environment_variables)
        configuration = _any_bytes(vm_config.configuration, "config.vm_config.configuration")
        if self._engine is None:
            self._engine = Engine()
        try:
            module = self._engine.compile(code)
        except ModuleError as error:
            where = _source_name(vm_config.code.local)
            raise ConfigError("config.vm_config.code", f"{where}: {error}") from error
        key = (vm_config.vm_id, module.digest, configuration)
        recipe = self._recipes.get(key)
        if recipe is None:
            recipe = _VmRecipe(module, vm_config.vm_id.encode(), configuration, environment)
            self._recipes[key] = recipe
        return key, recipe

    def _start(
        self, config: Any, configuration: bytes, recipe: _VmRecipe, policy: int, context: FactoryContext
    ) -> _Started:
        name, root_id, vm_id = config.name, config.root_id, config.vm_config.vm_id
        runtime = config.vm_config.runtime or f"{_RUNTIME}v8"
        allow = (
            config.allow_on_headers_stop_iteration.value
            if config.HasField("allow_on_headers_stop_iteration")
            else False
        )

        def start() -> tuple[Plugin, PluginSide]:
            side = PluginSide(name, root_id, vm_id, context)
            before = recipe.vm
            vm = recipe.live(side)
            if vm is not before:
                context.root_stats.counter(f"wasm.{runtime}.created").inc()
            plugin = Plugin(
                vm,
                side,
                name=name.encode(),
                root_id=root_id.encode(),
                configuration=configuration,
                allow_on_headers_stop_iteration=allow,
            )
            side.plugin = plugin
            plugin.start()
            return plugin, side

        try:
            plugin, side = start()
        except WasmError as error:
            if recipe.users == 0:
                recipe.close()
            where = _source_name(config.vm_config.code.local)
            reason = f"Unable to create Wasm plugin {name}: {where}: {error}"
            raise ConfigError("config", reason) from error
        scope = context.root_stats.scope(f"wasm.{name}" if name else "wasm")
        counters = [scope.counter(f"vm_reload_{kind}") for kind in ("success", "failure", "backoff")]
        scope.counter("vm_reload")
        reload = _Reload(start, _backoff(config), name, *counters) if policy == _FAIL_RELOAD else None
        recipe.users += 1
        self._count_vms(context.root_stats)
        return _Started(LivePlugin(plugin, side, fail_open=policy == _FAIL_OPEN, reload=reload), recipe)

    def _count_vms(self, store: Any) -> None:
        store.gauge("wasm.wasm_vm_count").set(sum(recipe.vm is not None for recipe in self._recipes.values()))

    def _release(self, key: tuple[Any, ...], recipe_key: tuple[Any, ...], store: Any) -> None:
        """One configuration less uses the plugin; the last one ends it, and the VM when it is the last."""
        started = self._plugins.get(key)
        if started is None:
            return
        started.users -= 1
        if started.users:
            return
        del self._plugins[key]
        live, recipe = started.live, started.recipe
        live.side.stop()
        try:
            live.plugin.shutdown()
        except WasmError as error:
            live.side.report("at its end", error)
        recipe.users -= 1
        if recipe.users == 0:
            self._recipes.pop(recipe_key, None)
            recipe.close()
        self._count_vms(store)


def _check_supported(config: Any, context: FactoryContext) -> None:
    if config.capability_restriction_config.allowed_capabilities:
        raise ConfigError(
            "config.capability_restriction_config",
            "capability restriction is not supported by this release",
        )
    runtime = config.vm_config.runtime
    if runtime not in _RUNTIMES:
        raise ConfigError(
            "config.vm_config.runtime",
            f"Failed to create Wasm VM using {runtime} runtime: known are "
            f"{', '.join(_RUNTIMES[1:])}, all of which run on wasmtime here",
        )
    if runtime and runtime != _RUNTIME + "wasmtime":
        logger.info("plugin %s: %s is run by wasmtime", config.name, runtime)
    if config.vm_config.allow_precompiled:
        reason = "precompiled code is not used: the module is compiled here"
        context.warn("config.vm_config.allow_precompiled", reason)


def _failure_policy(config: Any) -> int:
    if config.fail_open and config.failure_policy:
        raise ConfigError("config", "only one of fail_open or failure_policy can be set")
    if config.fail_open:
        return _FAIL_OPEN
    return config.failure_policy or _FAIL_CLOSED


def _backoff(config: Any) -> float:
    backoff = config.reload_config.backoff
    seconds = backoff.base_interval.seconds + backoff.base_interval.nanos / 1e9
    return seconds or _RELOAD_BACKOFF_S


def _read_code(vm_config: Any, context: FactoryContext) -> bytes:
    path = "config.vm_config.code"
    kind = vm_config.code.WhichOneof("specifier") if vm_config.HasField("code") else None
    if kind == "remote":
        reason = "remote Wasm code is not supported by this release; use code.local"
        raise ConfigError(f"{path}.remote", reason)
    if kind is None:
        raise ConfigError(path, "Failed to load Wasm code: code is required")
    code = context.read_data_source(vm_config.code.local, f"{path}.local")
    if not code:
        where = _source_name(vm_config.code.local)
        raise ConfigError(path, f"Failed to load Wasm code from {where}: it is empty")
    return code


def _source_name(source: Any) -> str:
    """What to call a DataSource in an error."""
    kind = source.WhichOneof("specifier")
    if kind == "filename":
        name: str = source.filename
        return name
    return f"<{kind}>"


def _environment(variables: Any) -> dict[str, str]:
    twice = set(variables.host_env_keys) & set(variables.key_values)
    if twice or len(set(variables.host_env_keys)) != len(variables.host_env_keys):
        key = min(twice) if twice else max(variables.host_env_keys, key=list(variables.host_env_keys).count)
        raise ConfigError(
            "config.vm_config.environment_variables", f"Key {key} is duplicated. All the keys must be unique."
        )
    environment = {key: os.environ[key] for key in variables.host_env_keys if key in os.environ}
    environment.update(variables.key_values)
    return environment


def _any_bytes(packed: Any, path: str) -> bytes:
    """What a guest gets of an ``Any``: JSON of a Struct, the bytes of a StringValue or BytesValue."""
    from google.protobuf import struct_pb2, wrappers_pb2  # only here are they needed

    kind = packed.type_url.rpartition("/")[2]
    known = {
        "google.protobuf.Struct": struct_pb2.Struct,
        "google.protobuf.StringValue": wrappers_pb2.StringValue,
        "google.protobuf.BytesValue": wrappers_pb2.BytesValue,
    }.get(kind)
    if known is None:
        value: bytes = packed.value
        return value
    message: Any = known()
    if not packed.Unpack(message):
        raise ConfigError(path, f"cannot be unpacked as {kind}")
    if kind == "google.protobuf.Struct":
        return json.dumps(_plain(message), separators=(",", ":"), ensure_ascii=False, sort_keys=True).encode()
    text = message.value
    return text.encode() if isinstance(text, str) else bytes(text)


def _plain(value: Any) -> Any:
    """A Struct as JSON data; whole numbers without a point."""
    kind = value.DESCRIPTOR.name
    if kind == "Struct":
        return {key: _plain(item) for key, item in value.fields.items()}
    if kind == "ListValue":
        return [_plain(item) for item in value.values]
    which = value.WhichOneof("kind")
    if which in ("struct_value", "list_value"):
        return _plain(getattr(value, which))
    if which == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() and abs(number) < 1e15 else number
    return None if which in (None, "null_value") else getattr(value, which)
