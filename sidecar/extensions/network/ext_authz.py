"""The network filter that asks another service whether a connection may go on.

It asks when the first byte has come, so that everything about the connection is known, and holds what comes
until the answer is here (``source/extensions/filters/network/ext_authz/ext_authz.cc``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from time import monotonic
from typing import TYPE_CHECKING, Any

from sidecar.api.network import CLOSE, CONTINUE, HOLD, NetworkFilter, NetworkSession
from sidecar.api.stream import Flag
from sidecar.core.dataclass import dataclass
from sidecar.extensions.authz.check_messages import CHECK, CheckRequest, decision_of
from sidecar.extensions.authz.decision import DENIED, ERROR, OK, Decision
from sidecar.extensions.authz.shadow import keep, shadow_decision

if TYPE_CHECKING:
    from sidecar.router.grpc_client import GrpcClient, GrpcUnaryCall

__all__ = ["NetworkExtAuthz", "NetworkSettings"]

_NAMESPACE = "envoy.filters.network.ext_authz"
_COUNTERS = ("cx_closed", "denied", "error", "failure_mode_allowed", "ok", "total", "disabled")
_VERDICTS = {OK: "ok", DENIED: "denied", ERROR: "error"}


@dataclass(frozen=True, slots=True)
class NetworkSettings:
    """``envoy.extensions.filters.network.ext_authz.v3.ExtAuthz`` without its service."""

    failure_mode_allow: bool = False
    include_peer_certificate: bool = False
    include_tls_session: bool = False
    filter_enabled_metadata: Callable[[Any], bool] | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    metadata_context_namespaces: tuple[str, ...] = ()
    #: Whether decisions are only watched: they stand in filter state, and refuse nothing.
    shadow_mode: bool = False


class NetworkExtAuthz(NetworkFilter):
    """``envoy.filters.network.ext_authz``."""

    def __init__(self, settings: NetworkSettings, client: GrpcClient | None, stats: Any) -> None:
        """``stats``: the scope ``ext_authz.<stat_prefix>.``; no client refuses all."""
        self._settings = settings
        self._client = client
        self._counters = {name: stats.counter(name) for name in _COUNTERS}
        self._active = stats.gauge("active")
        self._calls: dict[NetworkSession, GrpcUnaryCall] = {}

    def on_first_data(self, session: NetworkSession, data: bytes) -> int:
        settings = self._settings
        enabled = settings.filter_enabled_metadata
        if enabled is not None and not enabled(session.connection.dynamic_metadata):
            self._counters["disabled"].value += 1
            return CONTINUE
        self._counters["total"].value += 1
        if self._client is None:
            return self._decide(session, Decision(), 0.0)
        began = monotonic()
        call = self._client.call(CHECK, self._message(session.connection))
        self._calls[session] = call
        self._active.inc()

        def answered(_call: Any) -> None:
            if self._calls.pop(session, None) is None:
                return  # the connection is over
            self._active.dec()
            assert call.status is not None
            is_good = call.status.is_ok and call.message is not None
            decision = decision_of(call.message or b"") if is_good else Decision()
            verdict = self._decide(session, decision, monotonic() - began)
            if session.resume is not None:
                session.resume(verdict)

        call.on_done = answered
        return HOLD

    def on_close(self, session: NetworkSession) -> None:
        call = self._calls.pop(session, None)
        if call is not None:
            self._active.dec()
            call.cancel()

    def _message(self, connection: Any) -> bytes:
        settings = self._settings
        made = CheckRequest()
        made.set_peers(
            connection,
            own_service=connection.requested_server_name,
            include_certificate=settings.include_peer_certificate,
            labels=settings.labels,
        )
        if settings.include_tls_session:
            made.set_tls_session(connection)
        found = connection.dynamic_metadata or {}
        names = settings.metadata_context_namespaces
        made.set_metadata({name: found[name] for name in names if name in found})
        return made.serialized()

    def _decide(self, session: NetworkSession, decision: Decision, took_s: float) -> int:
        """Count and keep what was said: CONTINUE or CLOSE."""
        verdict = decision.verdict
        self._counters[_VERDICTS[verdict]].value += 1
        metadata = decision.metadata
        if verdict == OK:
            metadata["ext_authz_duration"] = float(int(took_s * 1000))
        stream = session.connection.stream
        if metadata:
            stream.metadata_namespace(_NAMESPACE).update(metadata)
        if self._settings.shadow_mode:
            status = decision.status if verdict == DENIED else 0
            keep(session.connection, _NAMESPACE, shadow_decision(_VERDICTS[verdict].upper(), status))
            return CONTINUE
        if verdict == ERROR and self._settings.failure_mode_allow:
            self._counters["failure_mode_allowed"].value += 1
            return CONTINUE
        if verdict == OK:
            return CONTINUE
        self._counters["cx_closed"].value += 1
        stream.flags |= Flag.UNAUTHORIZED_EXTERNAL_SERVICE
        stream.details = "ext_authz_denied" if verdict == DENIED else "ext_authz_error"
        return CLOSE
