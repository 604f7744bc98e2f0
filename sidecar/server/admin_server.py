"""The admin listener: the admin API served by the proxy's own HTTP stack.

It is a listener with a connection manager whose terminal is :class:`sidecar.admin.api.AdminApi`; it comes
first and goes last, and draining does not touch it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from sidecar.admin.api import AdminApi
from sidecar.admin.state import Discovered, ListenerStatus
from sidecar.api.message import FixedBody, LocalReply, ResponseMessage
from sidecar.api.python_filters import PythonFilters
from sidecar.api.taps import Taps
from sidecar.codec.h1_choice import h1_codec
from sidecar.codec.h2_choice import h2_codec_class
from sidecar.core.address import Address
from sidecar.core.headers import ResponseHeaders
from sidecar.core.options import Options
from sidecar.core.runtime import Runtime
from sidecar.http.connection_manager import ConnectionManager
from sidecar.http.hcm_stats import HcmStats
from sidecar.http.request_options import RequestOptions
from sidecar.http.serve import serve_http
from sidecar.net.reactor import adopted
from sidecar.observability.stats import Store
from sidecar.observability.tags import TagProducer
from sidecar.router.exchange import Router
from sidecar.server.admin_tap import AdminTap
from sidecar.server.filter_chain import FilterChain, FilterChains
from sidecar.server.hot_restart.endpoint import VERSION
from sidecar.server.listener import Listener
from sidecar.server.listener_options import compile_admin_bind
from sidecar.server.runtime_layers import NoAdminLayer
from sidecar.upstream.cluster import Cluster

if TYPE_CHECKING:
    from sidecar.api.stream import Stream
    from sidecar.net.reactor import Strand, Transport
    from sidecar.server.main import Server

__all__ = ["AdminServer"]

logger = logging.getLogger("sidecar.admin")

#: What counts for connection managers with routes: Envoy's admin interface has none of it.
_NOT_ADMIN = (
    "no_cluster",
    "no_route",
    *(
        f"passthrough_internal_redirect_{reason}"
        for reason in ("bad_location", "no_route", "predicate", "too_many_redirects", "unsafe_scheme")
    ),
    "rq_direct_response",
    "rq_overload_local_reply",
    "rq_redirect",
    "rq_reset_after_downstream_response_started",
    "rq_total",
    *(
        f"tracing.{name}"
        for name in ("client_enabled", "health_check", "not_traceable", "random_sampling", "service_forced")
    ),
)

#: The body of an admin request is never needed; this much of it is read.
_BODY_LIMIT_BYTES = 1024 * 1024


class AdminServer:
    """The admin listener and what it knows (:class:`sidecar.admin.state.AdminState`)."""

    def __init__(
        self, server: Server, address: Address, access_logs: Iterable[Any], tag_producer: TagProducer
    ) -> None:
        self._server = server
        self.options: Options = server.options
        self.store: Store = server.store
        self.reactor = server.reactor
        self.tag_producer = tag_producer
        self.started_s = server.started_s
        self.bootstrap = server.loaded.bootstrap
        self.access_logs = tuple(access_logs)
        rules = server.assembly.admin_rules()
        self._api = AdminApi(self, rules, self.bootstrap.admin.profile_path)
        self._h2_codec_class = h2_codec_class(server.options.http2_codec)
        reactor = server.reactor
        router = Router(reactor, server.assembly.clusters.get, server.assembly.pools.get)
        manager = ConnectionManager(reactor, HcmStats(server.store.scope("http.admin")), router)
        manager.stat_prefix = "admin"
        manager.h1_codec = h1_codec(server.options.http1_codec)
        self._tap = AdminTap(
            reactor,
            server.assembly.taps,
            server.role,
            server.assembly.context("admin").every,  # type: ignore[arg-type]
        )
        manager.access_logs = (*self.access_logs, self._tap)
        manager.generate_request_id = False
        manager.use_remote_address = True
        manager.request_options = RequestOptions(normalize_path=True, merge_slashes=True)
        manager.terminal = self._answer
        self._manager = manager
        serve: Any = self._serve
        if rules.tls is not None:
            from sidecar.net.tls_server import tls_serve

            serve = tls_serve(rules.tls, serve, None)
        chains = self._chains = FilterChains([FilterChain("", serve, manager, rules.tls)])
        self.listener = Listener(
            "admin",
            [address],
            chains,
            reactor,
            server.store,
            stat_prefix="admin",
            bind_options=compile_admin_bind(self.bootstrap.admin),
        )
        server.store.forget(f"http.admin.{name}" for name in _NOT_ADMIN)
        self.listener.on_bound.append(self._on_bound)

    def _on_bound(self, scope: Any) -> None:
        self._chains.set_scope(scope)
        missing = ("extension_config_missing", "network_extension_config_missing")
        self.store.forget(scope.prefix + name for name in missing)

    async def _serve(self, connection: Any, transport: Transport, strand: Strand) -> None:
        await serve_http(self._manager, connection, transport, strand, h2_codec_class=self._h2_codec_class)

    async def _answer(self, stream: Stream) -> ResponseMessage:
        request = stream.request
        headers = request.headers
        too_large = LocalReply(413, b"Payload Too Large", close=True)
        body = await request.buffer_body(_BODY_LIMIT_BYTES, too_large)
        if self._server.role.has_workers or self._server.takeover is not None:
            async with adopted():
                await self._server.collect()
        answer = self._api.handle(headers.method or b"GET", headers.path or b"/", body, headers)
        stream.details = "via_upstream"
        if answer.tap is not None:
            traces = self._tap.begin(stream, *answer.tap)
            return ResponseMessage(ResponseHeaders(answer.status, list(answer.headers)), traces)
        return ResponseMessage(ResponseHeaders(answer.status, list(answer.headers)), FixedBody(answer.body))

    def write_address(self, path: str) -> None:
        """``--admin-address-path``: the bound address, for whoever started the process."""
        if not path:
            return
        try:
            with open(path, "w", encoding="utf-8") as file:
                file.write(self.listener.address.text)
        except OSError as error:
            logger.critical("cannot open admin address output file %s for writing: %s", path, error.strerror)

    def reopen(self) -> None:
        """Listen again where it did.  Raises: BindError."""
        self.listener.open_again()

    def close(self) -> None:
        """Release the listener and the access logs."""
        self.listener.close()
        for log in self.access_logs:
            log.close()

    # -- AdminState --------------------------------------------------------------------------------------
    @property
    def server_state(self) -> str:
        server = self._server
        if server.is_live:
            # Draining listeners is no state of the server: only a failed health check is shown.
            return "DRAINING" if server.draining.is_unready else "LIVE"
        return "INITIALIZING" if server.is_initializing else "PRE_INITIALIZING"

    @property
    def first_started_s(self) -> float:
        return self._server.first_started_s

    @property
    def hot_restart_version(self) -> str:
        return "disabled" if self._server.successor is None else VERSION

    @property
    def runtime(self) -> Runtime:
        return self._server.assembly.runtime_layers.runtime

    def modify_runtime(self, values: Mapping[str, str]) -> bool:
        try:
            self._server.assembly.runtime_layers.modify(values)
        except NoAdminLayer:
            return False
        self._server.role.call("runtime", values=dict(values))
        return True

    def set_log_levels(self, levels: Mapping[str, str]) -> None:
        self._server.role.call("log_levels", levels=dict(levels))

    def reset_counters(self) -> None:
        self.store.reset_counters()
        self._server.role.call("reset_counters")

    def clusters(self) -> Iterable[Cluster]:
        return self._server.assembly.clusters.clusters.values()

    def discovered(self) -> Discovered:
        return self._server.discovered()

    @property
    def python_filters(self) -> PythonFilters:
        return self._server.assembly.python_filters

    @property
    def taps(self) -> Taps:
        return self._server.assembly.taps

    def tls_contexts(self) -> Iterable[Any]:
        return self._server.assembly.tls_contexts()

    def listeners(self) -> Iterable[ListenerStatus]:
        return [
            ListenerStatus(
                each.name,
                [address.text for address in each.addresses],
                each.message,
                self._server.listener_manager.added(each),
            )
            for each in self._server.assembly.listeners
        ]

    def refresh_stats(self) -> None:
        self._server.refresh_stats()
        if self._server.flushes_on_admin:
            self._server.flush_stats()

    def set_health_failed(self, failed: bool) -> None:
        self._server.draining.health_failed = failed
        self._server.role.call("health_failed", failed=failed)

    def drain_listeners(
        self, *, inbound_only: bool = False, graceful: bool = False, skip_exit: bool = False
    ) -> None:
        self._server.drain_listeners(inbound_only=inbound_only, graceful=graceful, skip_exit=skip_exit)
        self._server.role.call(
            "drain_listeners", inbound_only=inbound_only, graceful=graceful, skip_exit=skip_exit
        )

    def reopen_logs(self) -> None:
        self._server.reopen_logs()
        self._server.role.call("reopen_logs")

    def stop(self) -> None:
        self._server.stop()
