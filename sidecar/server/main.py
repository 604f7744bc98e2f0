"""The composition root: builds the proxy from a loaded configuration, runs it, ends it.

Order matters: sockets are bound before anything runs, so that a port in use is an error of the
configuration; listeners accept only when every cluster had its first answer; on the way out the
listeners close before the connections, the access logs last.
"""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import trio

from sidecar.admin.certificates import days_until_first_expires, seconds_until_first_staple_expires
from sidecar.admin.state import Discovered, Found, Refused
from sidecar.config.compile.connection_limits import DOWNSTREAM_CONNECTIONS
from sidecar.config.compile.stats import compile_store, compile_tag_producer, flush_interval_s
from sidecar.config.errors import ConfigErrors, Path, Problem, parse_path
from sidecar.config.load import Loaded
from sidecar.core.collector import collect_from_now_on, keep_all
from sidecar.core.errors import ConfigError
from sidecar.core.module_bundle import leave_bundle
from sidecar.core.options import Options
from sidecar.extensions.catalog import make_registry
from sidecar.net.reactor import Reactor, open_reactor
from sidecar.observability.snapshot import Snapshots
from sidecar.server.assembly import Assembly
from sidecar.server.draining import DrainManager
from sidecar.server.heap import keep_freed_memory
from sidecar.server.hot_restart.endpoint import Endpoint
from sidecar.server.listener import BindError, Listener
from sidecar.server.listener_manager import LdsApi, ListenerManager
from sidecar.server.process_stats import make_process_stats, show_clusters
from sidecar.server.role import Role
from sidecar.server.shutdown import Shutdown
from sidecar.server.start_log import tell_of_start
from sidecar.server.timers import Timers
from sidecar.server.workers.stats import StatsMerger
from sidecar.xds.cds import CdsApi

if TYPE_CHECKING:
    from sidecar.server.admin_server import AdminServer
    from sidecar.server.hot_restart.successor import Successor
    from sidecar.server.hot_restart.takeover import Takeover
    from sidecar.server.workers.forked import Forked

__all__ = ["Server", "compile_only", "prepare_workers", "serve"]

logger = logging.getLogger("sidecar.main")
config_logger = logging.getLogger("sidecar.config")


def prepare_workers(options: Options) -> list[Forked] | int:
    """The workers that can be started before anything is open; in a worker the descriptor of its channel."""
    if options.concurrency <= 1 or options.mode != "serve":
        return []
    from sidecar.server.workers import supervisor, worker  # noqa: F401 - for all of them at once
    from sidecar.server.workers.forked import fork_workers

    return fork_workers(options.concurrency)


def serve(
    options: Options,
    loaded: Loaded,
    role: Role | None = None,
    endpoint: Endpoint | None = None,
    arguments: Sequence[str] = (),
    forked: Sequence[Forked] = (),
) -> int:
    """Serve until a signal or ``/quitquitquit``; the exit status.

    ``endpoint`` is for hot restarts, ``arguments`` is the command line of the next epoch; ``forked`` are
    workers that run already.

    Raises: ConfigErrors and RestartError, before anything was served.
    """
    takeover = None
    if endpoint is not None and endpoint.parent is not None:
        from sidecar.server.hot_restart.takeover import Takeover

        takeover = Takeover(endpoint.parent)
    if role is None:
        sockets = None if takeover is None else takeover.sockets
        if options.concurrency > 1 and options.mode == "serve":
            from sidecar.server.workers.supervisor import Supervisor  # who serves alone needs none of it

            role = Supervisor(options.concurrency, sockets, forked)
        else:
            role = Role(sockets)
    server = Server(options, loaded, role)
    server.takeover = takeover
    if endpoint is not None:
        from sidecar.server.hot_restart.successor import Successor

        server.successor = Successor(endpoint, server, arguments)
    for problem in server.assembly.warnings:
        logger.warning("%s", problem)
    try:
        server.bind()
        trio.run(server.run)
    except KeyboardInterrupt:
        return 0
    except BaseExceptionGroup as group:
        mistakes, others = group.split(ConfigError)
        if mistakes is None:
            raise
        if others is not None:
            logger.critical("what went wrong besides the configuration:", exc_info=others)
        problems = [loaded.problem(error.path, error.reason) for error in _config_errors(mistakes)]
        raise ConfigErrors(problems) from group
    finally:
        server.close()
    return server.exit_status


def _config_errors(group: BaseExceptionGroup[Any]) -> Iterator[ConfigError]:
    """What is wrong with the configuration and could show in the run alone: a file that is not there."""
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _config_errors(error)
        elif isinstance(error, ConfigError):
            yield error


def compile_only(options: Options, loaded: Loaded) -> None:
    """Make everything that ``loaded`` says, and throw it away.  Raises: ConfigErrors."""
    try:
        server = Server(options, loaded)
    except ConfigErrors as errors:
        refused = [parse_path(problem.path) for problem in loaded.refusals]
        problems = [problem for problem in errors.problems if not _is_told(problem, refused)]
        if any(problem.severity == "error" for problem in problems):
            raise ConfigErrors(problems) from errors
        return
    loaded.warnings.extend(server.assembly.warnings)
    server.close()
    server.reactor.close()


def _is_told(problem: Problem, refused: list[Path]) -> bool:
    """Whether an error follows from something that will not be served: that is no verdict of Envoy's."""
    path = parse_path(problem.path)
    return problem.severity == "error" and any(path[: len(each)] == each[: len(path)] for each in refused)


class Server:
    """One proxy process."""

    def __init__(self, options: Options, loaded: Loaded, role: Role | None = None) -> None:
        self.options = options
        self.role = role or Role()
        self.loaded = loaded
        self.started_s = time.time()
        self.exit_status = 0
        #: The epoch before, and who takes this one's place.
        self.takeover: Takeover | None = None
        self.successor: Successor | None = None
        self.reactor = Reactor()
        self.is_live = False
        self.is_initializing = True
        #: It is to end once it has served who waits: a worker that was told so while it started.
        self._ends_once_live = False
        self.draining = DrainManager(options, self.reactor.clock)
        self._stop: trio.Event | None = None
        self._nursery: trio.Nursery | None = None
        self._drain_scope: trio.CancelScope | None = None
        try:
            self.store = compile_store(loaded.bootstrap)
            self.tag_producer = compile_tag_producer(loaded.bootstrap)
        except ConfigError as error:
            self.reactor.close()
            raise ConfigErrors([loaded.problem(error.path, error.reason)]) from error
        self._timers = Timers(self.store.counter("server.envoy_bug_failures"))
        self.merger = StatsMerger(self.store)
        self._snapshots = Snapshots(self.store, self.tag_producer)
        self._flush_interval_s = flush_interval_s(loaded.bootstrap) if self.role.is_main else 0.0
        self.flushes_on_admin = not self._flush_interval_s
        try:
            self.assembly = Assembly(
                options,
                loaded,
                make_registry(
                    min_flush_bytes=options.file_flush_min_size_kb * 1024,
                    wasm_cache_dir=options.wasm_cache_dir,
                ),
                self.reactor,
                self.store,
                draining=self.draining,
                timers=self._timers,
                role=self.role,
            )
        except ConfigErrors:
            self.reactor.close()
            raise
        self.admin: AdminServer | None = None
        try:
            bootstrap = loaded.bootstrap
            if self.role.is_main and bootstrap.HasField("admin") and bootstrap.admin.HasField("address"):
                from sidecar.server.admin_server import AdminServer

                self.admin = AdminServer(
                    self, self.assembly.admin_address(), self.assembly.admin_access_logs(), self.tag_producer
                )
        except ConfigError as error:
            self.assembly.close()
            self.reactor.close()
            problem = loaded.problem(error.path, error.reason, line_in_text=error.line_in_text)
            raise ConfigErrors([problem]) from error
        self._cds: CdsApi | None = None
        self._lds: LdsApi | None = None
        self._static_listeners = list(self.assembly.listeners)
        self._make_stats()
        self.listener_manager = ListenerManager(
            self.assembly, self.store, self.draining, float(options.drain_time_s)
        )
        self._shutdown = Shutdown(options, self.draining, self._serving, self.stop)

    # -- life ------------------------------------------------------------------------------------------
    def bind(self) -> None:
        """Bind every listener.  Raises: ConfigErrors naming the address that cannot be had."""
        problems: list[Problem] = []
        if self.takeover is not None:
            self.takeover.take_sockets()
        for listener in self.assembly.listeners:
            try:
                listener.open()
            except BindError as error:
                path = self.assembly.listener_paths[listener.name] + ".address"
                problems.append(
                    self.loaded.problem(path, f"error adding listener named '{listener.name}': {error}")
                )
        if self.takeover is not None and not problems:
            self.takeover.close_admin()
        if self.admin is not None:
            try:
                self.admin.listener.open()
            except BindError as error:
                problems.append(self.loaded.problem("admin.address", str(error)))
        if problems:
            raise ConfigErrors(problems)
        if self.admin is not None:
            self.admin.write_address(self.options.admin_address_path)
        if self.role.is_main:
            address = None if self.admin is None else self.admin.listener.address.text
            tell_of_start(self.loaded.bootstrap, address)

    async def run(self) -> None:
        """Run until stopped."""
        collect_from_now_on()  # a first answer of a control plane may be long in coming
        self._stop = trio.Event()
        if self.loaded.bootstrap.enable_dispatcher_stats:
            from sidecar.server.dispatcher_stats import make_dispatcher_stats

            trio.lowlevel.add_instrument(make_dispatcher_stats(self.store, self.role))
        async with open_reactor(self.reactor), trio.open_nursery() as nursery:
            self._nursery = nursery
            await nursery.start(self._signals)
            self.role.start(self, nursery)
            if self.takeover is not None:
                self.takeover.start(self, nursery)
            if self.successor is not None:
                nursery.start_soon(self.successor.run, name="hot restart")
            nursery.start_soon(self._sweep, name="sweep")
            nursery.start_soon(self._timers.run, name="timers")
            nursery.start_soon(self.assembly.files.watcher.run, name="file watcher")
            if self._flush_interval_s:
                nursery.start_soon(self._flush_stats, name="stats flush")
            if self.admin is not None:
                nursery.start_soon(self.admin.listener.run, name="admin")
            await nursery.start(self.assembly.clusters.run)
            self.assembly.background.start(nursery)
            if self.assembly.overload is not None:
                self.assembly.overload.start(self._timers.every)
            has_cds = self.loaded.bootstrap.dynamic_resources.HasField("cds_config")
            await self.assembly.clusters.initial_resolution(is_all=not has_cds)
            await self.assembly.runtime_layers.discover(self.assembly.sources, nursery)
            await self._discover_clusters(nursery)
            self.assembly.confirm_warm_clusters()
            reporter = self.assembly.load_reporter()
            if reporter is not None:
                nursery.start_soon(reporter.run, name="load reports")
            await self.assembly.preparation.run(nursery)
            if self.options.mode != "init_only":
                if self.role.is_main:
                    self._warn_of_connections()
                    logger.info("all clusters initialized. initializing init manager")
                await self._discover_listeners(nursery)
                for listener in self._static_listeners:
                    listener.begin()
                    nursery.start_soon(listener.run, name=f"listener {listener.name}")
                await self.role.ready()
                self._go_live()
                await self._stop.wait()
                await self.role.end("stop")
                if self.role.is_main:
                    logger.info("shutting down server instance")
                    logger.info("main dispatch loop exited")
            logger.info("exiting")
            self.is_live = False
            nursery.cancel_scope.cancel()

    def _warn_of_connections(self) -> None:
        """What Envoy says where no resource monitor bounds the connections of clients."""
        monitors = self.loaded.bootstrap.overload_manager.resource_monitors
        if any(each.typed_config.type_url.endswith(DOWNSTREAM_CONNECTIONS) for each in monitors):
            return
        if self.assembly.has_global_limit:  # the runtime's
            logger.warning(
                "Usage of the deprecated runtime key overload.global_downstream_max_connections, consider "
                "switching to `envoy.resource_monitors.global_downstream_max_connections` instead.This "
                "runtime key will be removed in future."
            )
        logger.warning(
            "There is no configured limit to the number of allowed active downstream connections. "
            "Configure a limit in `envoy.resource_monitors.global_downstream_max_connections` resource "
            "monitor."
        )

    async def _discover_clusters(self, nursery: trio.Nursery) -> None:
        """Ask for clusters, if a control plane has some, and wait for the first answer and their hosts."""
        resources = self.loaded.bootstrap.dynamic_resources
        if not resources.HasField("cds_config"):
            return
        cds = self._cds = self.assembly.cds()
        subscription = self.assembly.sources.subscribe(
            resources.cds_config,
            "dynamic_resources.cds_config",
            cds,
            self.store.scope("cluster_manager.cds"),
            None,
        )
        subscription.start()
        nursery.start_soon(subscription.run, name="cds")
        await cds.answered.wait()
        await self.assembly.clusters.initial_resolution()

    async def _discover_listeners(self, nursery: trio.Nursery) -> None:
        """The same for listeners."""
        self.listener_manager.start(nursery)
        resources = self.loaded.bootstrap.dynamic_resources
        if not resources.HasField("lds_config"):
            return
        lds = self._lds = LdsApi(self.listener_manager, self.assembly.known_clusters)
        subscription = self.assembly.sources.subscribe(
            resources.lds_config,
            "dynamic_resources.lds_config",
            lds,
            self.store.scope("listener_manager.lds"),
            None,
        )
        subscription.start()
        nursery.start_soon(subscription.run, name="lds")
        await lds.answered.wait()
        await self.listener_manager.warm()

    def close(self) -> None:
        """Release what the process holds; idempotent."""
        for listener in self.assembly.listeners:
            listener.close()
        for owner in (*self.assembly.terminals, *self.assembly.listeners):
            for log in (*owner.access_logs, *getattr(owner, "upstream_logs", ())):
                log.close()
        for file in self.assembly.event_logs.files.values():
            file.close()
        if self.admin is not None:
            self.admin.close()
        self.assembly.close()

    def stop(self) -> None:
        """End the process in good order."""
        if self._stop is not None:
            self._stop.set()
        if self._nursery is not None and self.is_initializing:
            self._nursery.cancel_scope.cancel()  # whoever is waited for, nobody waits any more

    def shut_down(self) -> None:
        """Finish what is under way, then end; a second time, or while nobody serves yet: end at once.

        Connections may wait in the queue of a worker that starts beside others: it serves them first.
        """
        if self.is_initializing and not self.role.is_main:
            self._ends_once_live = True
            return
        is_starting = self.is_initializing and not self.role.serves
        if is_starting or self._nursery is None or self._shutdown.has_begun:
            self.stop()
        else:
            self._shutdown.has_begun = True
            how = self._shut_workers_down if self.role.has_workers else self._shutdown.run
            self._nursery.start_soon(how, name="shutdown")

    async def _shut_workers_down(self) -> None:
        self.draining.is_shutting_down = True
        assert self._nursery is not None
        self._nursery.start_soon(self._release_sockets, name="release of sockets")
        await self.role.end("shut_down")
        self.stop()

    async def _release_sockets(self) -> None:
        """Let go of what workers accept on before they do: who comes later is refused."""
        await trio.sleep(self.options.shutdown_grace_s)
        for listener in self._serving():
            listener.stop_accepting()

    @property
    def is_ending(self) -> bool:
        """Whether it drains before its end."""
        return self._shutdown.has_begun

    def _serving(self) -> list[Listener]:
        """The listeners that may have connections."""
        return [*self.assembly.listeners, *self.listener_manager.draining()]

    def _go_live(self) -> None:
        self.is_live = True
        self.is_initializing = False
        self.store.gauge("server.live").set(1)
        self.store.histogram("server.initialization_time_ms", "milliseconds").record(
            int((time.time() - self.started_s) * 1000)
        )
        manager = self.store.scope("listener_manager")
        manager.gauge("workers_started").set(1)
        manager.gauge("total_listeners_warming").set(0)
        manager.gauge("total_listeners_active").set(len(self.assembly.listeners))
        # Envoy counts once for each worker.
        created = len(self._static_listeners) * (self.role.sockets.workers or 1)
        manager.counter("listener_create_success").value += created
        self.role.told_live()
        if self.takeover is not None:
            assert self._nursery is not None
            self.takeover.told_live(self._nursery)
        if self.role.is_main:
            config_logger.info("all dependencies initialized. starting workers")
        logger.info("starting main dispatch loop")
        if self._ends_once_live:
            self.shut_down()
        # What the configuration made lives as long as the process: keep the collector from walking it.
        leave_bundle(write=self.role.is_main)
        keep_all(is_copy=not self.role.is_main)
        keep_freed_memory()

    def _make_stats(self) -> None:
        scope = self.store.scope("server")
        for name in ("debug_assertion_failures", "dropped_stat_flushes", "dynamic_unknown_fields",
                     "envoy_bug_failures", "envoy_notifications", "static_unknown_fields",
                     "wip_protos"):  # fmt: skip
            scope.counter(name)
        for name in ("concurrency", "days_until_first_cert_expiring", "hot_restart_epoch",
                     "hot_restart_generation", "live",
                     "memory_allocated", "memory_heap_size", "memory_physical_size", "parent_connections",
                     "seconds_until_first_ocsp_response_expiring", "state", "stats_recent_lookups",
                     "total_connections", "uptime", "version"):  # fmt: skip
            scope.gauge(name)
        scope.gauge("concurrency").set(self.options.concurrency)
        scope.gauge("hot_restart_epoch").set(self.options.restart_epoch)
        scope.gauge("days_until_first_cert_expiring").set(4294967295)
        scope.histogram("initialization_time_ms", "milliseconds")
        manager = self.store.scope("listener_manager")
        for name in ("listener_added", "listener_create_failure", "listener_create_success",
                     "listener_in_place_updated", "listener_modified", "listener_removed",
                     "listener_stopped"):  # fmt: skip
            manager.counter(name)
        for name in ("total_filter_chains_draining", "total_listeners_active", "total_listeners_draining",
                     "total_listeners_warming", "workers_started"):  # fmt: skip
            manager.gauge(name)
        manager.counter("listener_added").value += len(self.assembly.listeners)
        make_process_stats(self.store)

    def refresh_stats(self) -> None:
        """Bring the server's gauges up to date."""
        scope = self.store.scope("server")
        scope.gauge("uptime").set(int(time.time() - self.first_started_s))
        scope.gauge("hot_restart_generation").set(self.generation)
        scope.gauge("live").set(int(self.is_live and not self.draining.is_unready))
        scope.gauge("state").set(1 if self.draining.is_unready else 0 if self.is_live else 3)
        contexts = self.assembly.tls_contexts()
        scope.gauge("days_until_first_cert_expiring").set(days_until_first_expires(contexts))
        seconds = seconds_until_first_staple_expires(contexts)
        scope.gauge("seconds_until_first_ocsp_response_expiring").set(seconds)
        connections = sum(each.active for each in self.assembly.listeners) + self.role.connections
        if self.takeover is not None:
            scope.gauge("parent_connections").set(self.takeover.connections)
            connections += self.takeover.connections
        scope.gauge("total_connections").set(connections)
        resident = self.resident_bytes() + self.role.resident_bytes
        scope.gauge("stats_recent_lookups").set(self.store.lookups)
        show_clusters(self.store, self.assembly.clusters.clusters.values())
        for name in ("memory_allocated", "memory_heap_size", "memory_physical_size"):
            scope.gauge(name).set(resident)

    # -- hot restart -------------------------------------------------------------------------------------
    @property
    def first_started_s(self) -> float:
        """Wall clock when the first epoch began."""
        return self.started_s if self.takeover is None else self.takeover.started_s

    @property
    def generation(self) -> int:
        """The number of epochs, with this one."""
        return 1 if self.takeover is None else self.takeover.generation + 1

    async def collect(self) -> None:
        """Have what other processes counted in the store."""
        await self.role.collect()
        if self.takeover is not None:
            await self.takeover.collect()

    def end_predecessor(self) -> None:
        """A third epoch begins: the first has to be gone."""
        if self.takeover is not None:
            self.takeover.terminate()

    def drain_for_successor(self) -> None:
        """Another epoch serves: accept no more, and let connections end."""
        logger.info("closing and draining listeners")
        listeners = self._serving()
        self._stop_listeners(listeners)
        if self.draining.begin(inbound_only=False):
            self.draining.tell(manager for each in listeners for manager in each.chains.managers)
        self._shutdown.end_grace()
        self.role.call("drain_for_successor")

    def resident_bytes(self) -> int:
        """The memory that this process holds."""
        try:
            with open("/proc/self/statm", "rb") as file:
                return int(file.read().split()[1]) * 4096
        except OSError:  # no descriptor is left: what was known stays
            return int(self.store.gauge("server.memory_allocated").value)

    def all_listeners(self) -> list[Listener]:
        """Those that serve, and then those that are about to."""
        return [*self.assembly.listeners, *self.listener_manager.warming()]

    # -- what the admin API asks for ---------------------------------------------------------------------
    def discovered(self) -> Discovered:
        """What control planes sent."""
        cds, lds = self._cds, self._lds
        warming, draining = self.listener_manager.others()
        return Discovered(
            clusters_version="" if cds is None else cds.version,
            listeners_version="" if lds is None else lds.version,
            cluster_times=self.assembly.taken_clusters.times,
            warming_clusters=self.assembly.clusters.warming(),
            warming_listeners=warming,
            draining_listeners=draining,
            refused_listeners=[] if lds is None else [Refused(*each) for each in lds.refused],
            routes=[
                (each.version, each.message, each.updated_s)
                for each in self.assembly.routes
                if each.message is not None
            ],
            scopes=[
                (each.name, each.version, list(each.scopes.values()), each.updated_s)
                for each in self.assembly.scopes
                if each.version
            ],
            secrets=[
                Found(each.name, each.version, each.message, each.at_s)
                for each in self.assembly.secrets.dynamic()
            ],
            extensions={
                category: [Found(each.name, each.version, each.message, each.at_s) for each in found]
                for category, found in self.assembly.extension_configs.by_category().items()
            },
        )

    def drain_listeners(
        self,
        *,
        inbound_only: bool = False,
        graceful: bool = False,
        skip_exit: bool = False,
        at_s: float | None = None,
    ) -> None:
        """Close listeners, at once or after the drain time; ``at_s``: when that was asked for, if not now."""
        chosen = [
            each
            for each in self.assembly.listeners
            if not inbound_only or each.traffic_direction == "INBOUND"
        ]
        if not graceful:
            self._stop_listeners(chosen)
            return
        if not self.draining.begin(inbound_only=inbound_only, since_s=at_s):
            return
        self.draining.tell(manager for each in chosen for manager in each.chains.managers)
        if self._nursery is not None:
            late_s = 0.0 if at_s is None else self.reactor.clock() - at_s
            pause_s = max(self.options.drain_time_s - late_s, 0.0)
            self._nursery.start_soon(self._drain_later, chosen, pause_s, skip_exit, name="drain")

    async def _drain_later(self, listeners: list[Listener], pause_s: float, skip_exit: bool) -> None:
        await trio.sleep(pause_s)
        if not skip_exit:
            self._stop_listeners(listeners)

    def _stop_listeners(self, listeners: Iterable[Listener]) -> None:
        stopped = self.store.scope("listener_manager").counter("listener_stopped")
        for listener in listeners:
            stopped.value += not listener.is_draining
            listener.stop_accepting()

    def reopen_logs(self) -> None:
        """Open the access log files anew (SIGUSR1)."""
        for log in self._access_logs():
            reopen = getattr(log, "reopen", None)
            if reopen is not None:
                reopen()

    def _access_logs(self) -> list[Any]:
        owners = (*self.assembly.terminals, *self.assembly.listeners)
        logs: list[Any] = [log for owner in owners for log in owner.access_logs]
        logs += [log for owner in owners for log in getattr(owner, "upstream_logs", ())]
        if self.admin is not None:
            logs.extend(self.admin.access_logs)
        logs.extend(self.assembly.event_logs.files.values())
        return logs

    # -- tasks -----------------------------------------------------------------------------------------
    async def _signals(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        numbers = [signal.SIGUSR2]
        if self.role.is_main:
            numbers += [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP]
        with trio.open_signal_receiver(*numbers) as received:
            task_status.started()
            async for number in received:
                if number == signal.SIGUSR1:
                    logger.warning("caught ENVOY_SIGUSR1. Reopening access logs.")
                    self.reopen_logs()
                    self.role.call("reopen_logs")
                elif number == signal.SIGUSR2:
                    from sidecar.net.strand_dump import dump_strands, strands_text

                    logger.warning("caught SIGUSR2: %s", strands_text(dump_strands(self.reactor)).rstrip())
                elif number == signal.SIGHUP and self.successor is not None:
                    self.successor.begin()
                elif number == signal.SIGHUP:
                    logger.warning("caught and eating SIGHUP. See documentation on how to hot restart.")
                else:
                    # So Envoy names them.
                    logger.warning("caught %s", "ENVOY_SIGTERM" if number == signal.SIGTERM else "SIGINT")
                    self.shut_down()

    async def _sweep(self) -> None:
        file_interval = max(self.options.file_flush_interval_msec / 1000, 0.05)
        next_flush = trio.current_time() + file_interval
        next_look = 0.0
        pools = self.assembly.pools
        while True:
            await self.reactor.pause(0.1)
            now = trio.current_time()
            due = now >= next_flush
            if due:
                next_flush = now + file_interval
            for log in self._access_logs():
                if due or getattr(log, "is_prompt", False):
                    log.flush()
            pools.sweep_aged(self.reactor.clock())
            if now >= next_look:
                next_look = now + 1.0
                pools.sweep(self.reactor.clock())

    async def _flush_stats(self) -> None:
        while True:
            await trio.sleep(self._flush_interval_s)
            if self.successor is not None and self.successor.has_admin:
                continue  # what is counted here goes to the next epoch
            await self.collect()
            self.refresh_stats()
            self.flush_stats()

    def flush_stats(self) -> None:
        """End the interval of the statistics, and let the sinks send what it brought."""
        self.store.flush()
        if self.assembly.stats_sinks:
            snapshot = self._snapshots.take()
            for sink in self.assembly.stats_sinks:
                sink.flush(snapshot)
