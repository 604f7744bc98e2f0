"""Compiles ``envoy.extensions.wasm.v3.PluginConfig``: code, VM, plugin.

The only part of Wasm that sees protobuf, beside the factories of the places that plugins stand in.  A guest
whose code is at hand is started and configured here, so that one that cannot run, or that refuses its
configuration, refuses ours; one whose code is fetched is started when it comes.  VMs are shared by everything
with the same vm_id, code, VM configuration, environment and capabilities, plugins by what has the same VM,
root_id and configuration: as in Envoy, which forgets the environment and the capabilities.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable
from dataclasses import field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sidecar.config.compile.route_timeouts import duration_s
from sidecar.core.dataclass import dataclass
from sidecar.core.errors import ConfigError
from sidecar.extensions.http.wasm_host import PluginSide
from sidecar.extensions.wasm.code_cache import CodeCache, RemoteCode, define_stats
from sidecar.extensions.wasm.foreign import FOREIGN_FUNCTIONS
from sidecar.extensions.wasm.live import LivePlugin
from sidecar.extensions.wasm.log_meter import LogMeter
from sidecar.extensions.wasm.restart import Restart
from sidecar.extensions.wasm.workers_store import make_store
from wasm_abi import Engine, Limits, ModuleCache, ModuleError, Plugin, Vm, WasmError
from wasm_abi.module_cache import user_directory

if TYPE_CHECKING:
    from sidecar.api.context import FactoryContext
    from wasm_abi import GuestModule

__all__ = ["DEFAULT_LIMITS", "Plugins"]

logger = logging.getLogger("sidecar.wasm")

_RUNTIME = "envoy.wasm.runtime."
_RUNTIMES = ("", *(_RUNTIME + name for name in ("v8", "wasmtime", "wamr")))
_FAIL_RELOAD, _FAIL_CLOSED, _FAIL_OPEN = 1, 2, 3
_RELOAD_BACKOFF_S = 1.0
DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class _VmSettings:
    """What a ``VmConfig`` says besides the code."""

    vm_id: str
    configuration: bytes
    environment: dict[str, str]
    #: Names of capabilities that a guest may use; empty: all.
    allowed: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Settings:
    """What a ``PluginConfig`` says."""

    name: str
    root_id: str
    vm: _VmSettings
    runtime: str
    configuration: bytes
    policy: int
    backoff_s: float
    allow_on_headers_stop_iteration: bool
    traps_open: bool
    limits: Limits
    #: How much the guest may log in a second; 0: as much as it likes.
    log_bytes_per_s: int
    #: Each stream gets a VM of its own.
    per_stream: bool


@dataclass(slots=True)
class _VmRecipe:
    """What it takes to make a VM, and the one that is alive."""

    module: GuestModule
    settings: _VmSettings
    limits: Limits
    #: ``wasm.<runtime>.created`` and ``active``.
    created: Any
    active: Any
    vm: Vm | None = None
    users: int = 0

    def live(self, side: PluginSide) -> Vm:
        """The shared VM, made anew when there is none or it failed.  Raises: ModuleError, WasmTrap."""
        if self.vm is not None and self.vm.failure is not None:
            self.close()
        if self.vm is None:
            self.vm = self.one_more(side, inside=True)
        return self.vm

    def one_more(self, side: PluginSide, *, inside: bool = False) -> Vm:
        """A VM of its own; ``inside``: it is to take many calls.  Raises: ModuleError, WasmTrap."""
        settings = self.settings
        self.active.inc()
        vm = Vm(
            self.module,
            host=side,
            vm_id=settings.vm_id.encode(),
            configuration=settings.configuration,
            environment=settings.environment,
            allowed=settings.allowed,
            limits=self.limits,
            foreign_functions=FOREIGN_FUNCTIONS,
            inside=inside,
            on_close=self.active.dec,
        )
        self.created.inc()
        return vm

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


@dataclass(slots=True)
class _Following:
    """The reload of a plugin that another place shares: whoever comes first renews it for both."""

    live: LivePlugin
    shared: LivePlugin

    def __call__(self) -> tuple[Plugin, PluginSide] | None:
        if not self.shared.revive():
            return None
        assert self.shared.plugin is not None
        assert self.shared.side is not None
        return self.shared.plugin, self.shared.side


def _reload_counters(store: Any, name: str) -> list[Any]:
    scope = store.scope(f"wasm.{name}" if name else "wasm")
    scope.counter("vm_reload")
    return [scope.counter(f"vm_reload_{kind}") for kind in ("success", "failure", "backoff")]


def _report_reload(name: str, error: WasmError) -> None:
    logger.error("plugin %s could not be reloaded: %s", name, error)


class Plugins:
    """The plugins of one process, wherever they stand: it holds the engine and the shared VMs.

    ``module_directory`` is where compiled modules are kept: "" in the user's cache, "none" nowhere.
    """

    def __init__(self, module_directory: str = "none") -> None:
        self.code = CodeCache()
        self._module_directory = module_directory
        #: Whether routes have plugins of their own.
        self.has_routes = False
        self._engine: Engine | None = None
        self._recipes: dict[tuple[Any, ...], _VmRecipe] = {}
        self._plugins: dict[tuple[Any, ...], _Started] = {}

    def compile(
        self,
        config: Any,
        context: FactoryContext,
        *,
        limits: Limits = DEFAULT_LIMITS,
        per_stream: bool = False,
        log_bytes_per_s: int = 0,
    ) -> LivePlugin:
        """The plugin of a ``PluginConfig``, running or still to come.  Raises: ConfigError."""
        policy = _failure_policy(config)
        define_stats(context.root_stats)
        _check_supported(config, context)
        vm_config = config.vm_config
        vm = _VmSettings(
            vm_config.vm_id,
            _any_bytes(vm_config.configuration, "config.vm_config.configuration"),
            _environment(vm_config.environment_variables),
            frozenset(config.capability_restriction_config.allowed_capabilities),
        )
        settings = _Settings(
            name=config.name,
            root_id=config.root_id,
            vm=vm,
            runtime=vm_config.runtime,
            configuration=_any_bytes(config.configuration, "config.configuration"),
            policy=policy,
            backoff_s=_backoff(config),
            allow_on_headers_stop_iteration=config.allow_on_headers_stop_iteration.value,
            traps_open=config.fail_open,
            limits=limits,
            log_bytes_per_s=log_bytes_per_s,
            per_stream=per_stream,
        )
        if vm_config.HasField("code") and vm_config.code.WhichOneof("specifier") == "remote":
            return self._remote(vm_config, settings, context)
        code = _read_code(vm_config, context)
        where = _source_name(vm_config.code.local)
        try:
            module = self._compile_code(code, context)
        except ModuleError as error:
            raise ConfigError("config.vm_config.code", f"{where}: {error}") from error
        try:
            return self._use(settings, module, context)
        except WasmError as error:
            reason = f"Unable to create Wasm plugin {config.name}: {where}: {error}"
            raise ConfigError("config", reason) from error

    # -- code that is fetched ------------------------------------------------------------------------
    def _remote(self, vm_config: Any, settings: _Settings, context: FactoryContext) -> LivePlugin:
        source = _remote_code(vm_config.code.remote)
        store = context.root_stats
        code = self.code.look(source.sha256, store)
        live = LivePlugin(fail_open=settings.policy == _FAIL_OPEN, traps_open=settings.traps_open)
        _reload_counters(store, settings.name)
        if code is None:
            # What the supervisor has taken its workers take: there the code may still be to come.
            if vm_config.nack_on_code_cache_miss and context.is_main:
                if context.in_any_case is not None and not self.code.is_refused(source.sha256):
                    context.in_any_case(partial(self._fetch, source, context))
                reason = f"Unable to create Wasm plugin {settings.name}: its code is still to be fetched"
                raise ConfigError("config", reason)
            if context.before_serving is not None:
                context.before_serving(partial(self._start_later, live, source, settings, context))
            return live
        self._begin(live, code, source, settings, context)
        return live

    async def _fetch(self, source: RemoteCode, context: FactoryContext) -> bytes | None:
        assert context.http_client is not None
        return await self.code.fetch(source, context.http_client(), context.root_stats)

    async def _start_later(
        self, live: LivePlugin, source: RemoteCode, settings: _Settings, context: FactoryContext
    ) -> None:
        code = await self._fetch(source, context)
        if code is None:
            logger.critical("Plugin %s failed to load", settings.name)
        else:
            self._begin(live, code, source, settings, context)

    def _begin(
        self,
        live: LivePlugin,
        code: bytes,
        source: RemoteCode,
        settings: _Settings,
        context: FactoryContext,
    ) -> None:
        """Start a plugin whose code has come; one that cannot be started stays away."""
        try:
            started = self._use(settings, self._compile_code(code, context), context)
        except WasmError as error:
            logger.critical("Plugin %s failed to load: %s: %s", settings.name, source.uri, error)
            return
        assert started.plugin is not None
        assert started.side is not None
        live.use(started.plugin, started.side)
        live.reload = None if started.reload is None else _Following(live, started)

    # -- VMs and plugins -----------------------------------------------------------------------------
    def _compile_code(self, code: bytes, context: FactoryContext) -> GuestModule:
        if self._engine is None:
            store = make_store(context.shared_memory, context.notes)
            self._engine = Engine(cache=_module_cache(self._module_directory), shared=store)
        return self._engine.compile(code)

    def _use(self, settings: _Settings, module: GuestModule, context: FactoryContext) -> LivePlugin:
        """The plugin with these settings, started unless it runs.  Raises: WasmError."""
        vm = settings.vm
        environment = tuple(sorted(vm.environment.items()))
        recipe_key = (vm.vm_id, module.digest, vm.configuration, environment, vm.allowed, settings.limits)
        own = (settings.root_id, settings.name, settings.configuration, settings.policy, settings.per_stream)
        key = (*recipe_key, *own, settings.log_bytes_per_s)
        started = self._plugins.get(key)
        if started is None:
            recipe = self._recipes.get(recipe_key)
            if recipe is None:
                store, prefix = context.root_stats, f"wasm.{settings.runtime}"  # as given, nothing among it
                created, active = store.counter(f"{prefix}.created"), store.gauge(f"{prefix}.active")
                recipe = _VmRecipe(module, vm, settings.limits, created, active)
            started = self._start(settings, recipe, context)
            if recipe_key not in self._recipes:
                # What the guest has shared outlives a VM that fails, as it does in Envoy.
                module.engine.shared.acquire(vm.vm_id.encode())
            self._recipes[recipe_key] = recipe
            self._plugins[key] = started
            self._count_vms(context.root_stats)
        started.users += 1
        context.on_close(lambda: self._release(key, recipe_key, context.root_stats))
        return started.live

    def _start(self, settings: _Settings, recipe: _VmRecipe, context: FactoryContext) -> _Started:
        name, root_id = settings.name, settings.root_id
        meter: LogMeter | None = None
        if settings.log_bytes_per_s:
            scope = context.root_stats.scope(f"wasm.{name}" if name else "wasm")
            meter = LogMeter(settings.log_bytes_per_s, scope.counter("log_lines_dropped"))

        def start(*, alone: bool = False) -> tuple[Plugin, PluginSide]:
            side = PluginSide(name, root_id, settings.vm.vm_id, context, has_timers=not alone, meter=meter)
            vm = recipe.one_more(side) if alone else recipe.live(side)
            plugin = Plugin(
                vm,
                side,
                name=name.encode(),
                root_id=root_id.encode(),
                configuration=settings.configuration,
                allow_on_headers_stop_iteration=settings.allow_on_headers_stop_iteration,
                calls=side.calls,
            )
            side.serve(plugin)
            try:
                plugin.start()
            except WasmError:
                if alone:
                    vm.close()
                raise
            return plugin, side

        try:
            plugin, side = start()
        except WasmError:
            if recipe.users == 0:
                recipe.close()
            raise
        counters = _reload_counters(context.root_stats, name)
        reload: _Reload | Restart | None = None
        if settings.policy == _FAIL_RELOAD:
            reload = _Reload(start, settings.backoff_s, name, *counters)
        elif settings.policy != _FAIL_OPEN or settings.traps_open:
            # FAIL_OPEN is what it is in Envoy: what comes later goes on without the plugin.
            reload = Restart(start, name, context.root_stats)
            reload.watch(plugin)
        recipe.users += 1
        fail_open, traps_open = settings.policy == _FAIL_OPEN, settings.traps_open
        live = LivePlugin(plugin, side, fail_open=fail_open, traps_open=traps_open, reload=reload)
        if settings.per_stream:
            live.make = partial(start, alone=True)
        return _Started(live, recipe)

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
        assert live.plugin is not None
        assert live.side is not None
        live.side.stop()
        try:
            live.plugin.shutdown()
        except WasmError as error:
            live.side.report("at its end", error)
        recipe.users -= 1
        if recipe.users == 0:
            self._recipes.pop(recipe_key, None)
            recipe.close()
            recipe.module.engine.shared.release(recipe.settings.vm_id.encode())
        self._count_vms(store)


def _module_cache(directory: str) -> ModuleCache | None:
    """The cache of ``--wasm-cache-dir``."""
    if directory == "none":
        return None
    place = Path(directory) if directory else user_directory()
    return None if place is None else ModuleCache(place)


def _check_supported(config: Any, context: FactoryContext) -> None:
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
    if kind is None:
        raise ConfigError(path, "Failed to load Wasm code: code is required")
    code = context.read_data_source(vm_config.code.local, f"{path}.local")
    if not code:
        where = _source_name(vm_config.code.local)
        raise ConfigError(path, f"Failed to load Wasm code from {where}: it is empty")
    return code


def _remote_code(remote: Any) -> RemoteCode:
    policy = remote.retry_policy
    backoff = policy.retry_back_off
    base_s = duration_s(backoff.base_interval) or 1.0
    return RemoteCode(
        uri=remote.http_uri.uri,
        cluster=remote.http_uri.cluster,
        timeout_s=duration_s(remote.http_uri.timeout),
        sha256=remote.sha256.lower(),
        retries=policy.num_retries.value if policy.HasField("num_retries") else 1,
        base_interval_s=base_s,
        max_interval_s=duration_s(backoff.max_interval) or 10 * base_s,
    )


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
