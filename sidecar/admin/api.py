"""The admin API: from a request to an answer, without I/O.

Paths, methods, codes, headers and texts are Envoy's.  Whoever serves it (the server's admin listener)
hands in the request and sends the answer; ``server``, ``date`` and the framing are its business.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from sidecar.admin.certificates import certificates_json
from sidecar.admin.clusters import clusters_json, clusters_text, listeners_json, listeners_text
from sidecar.admin.config_dump import config_dump, node_json
from sidecar.admin.help import OWN_PATHS, PATHS, TAP_PATH, help_text, index_page
from sidecar.admin.init_dump import init_dump_json
from sidecar.admin.loggers import logging_levels
from sidecar.admin.profiling import Profilers
from sidecar.admin.python_filters import python_filters_json, python_filters_text
from sidecar.admin.query import RegexError, compile_filter, parse_query, pretty_json
from sidecar.admin.runtime import modify_runtime, runtime_json
from sidecar.admin.server_info import memory, server_info
from sidecar.admin.state import JSON, TEXT, AdminResponse, AdminState
from sidecar.admin.stats import recent_lookups, stats
from sidecar.admin.tap import BadTap, read_tap
from sidecar.api.admin_access import OPEN, AccessRules, Denial
from sidecar.core.headers import HeaderMap
from sidecar.core.log import get_levels
from sidecar.net.strand_dump import dump_strands, strands_json, strands_text

__all__ = ["AdminApi"]

_Query = dict[str, str]
_Answer = tuple[int, bytes, str | bytes]

#: What a body has to say of itself to count as parameters, to the letter.
_FORM = b"application/x-www-form-urlencoded"
_OK: _Answer = (200, TEXT, "OK\n")


class AdminApi:
    """Answers admin requests about one server."""

    def __init__(self, state: AdminState, rules: AccessRules = OPEN, profile_path: str = "") -> None:
        self._state = state
        self._rules = rules
        profilers = Profilers(profile_path)
        self._handlers: dict[str, Callable[[_Query], _Answer]] = {
            "/allocprofiler": lambda query: _text(profilers.heap(query)),
            "/cpuprofiler": lambda query: _text(profilers.cpu(query)),
            "/heap_dump": lambda query: _text(profilers.heap_dump()),
            "/heapprofiler": lambda query: _text(profilers.heap(query)),
            "/": lambda query: (200, b"text/html; charset=UTF-8", index_page()),
            "/help": lambda query: (200, TEXT, help_text(has_taps=state.taps.is_used)),
            "/certs": lambda query: (200, JSON, pretty_json(certificates_json(state.tls_contexts()))),
            "/clusters": self._clusters,
            "/config_dump": lambda query: config_dump(state, query),
            "/contention": lambda query: (
                200,
                TEXT,
                "Mutex contention tracing is not enabled. To enable, run Envoy with flag "
                "--enable-mutex-tracing.",
            ),
            "/drain_listeners": self._drain_listeners,
            "/healthcheck/fail": lambda query: self._set_health_failed(True),
            "/healthcheck/ok": lambda query: self._set_health_failed(False),
            "/hot_restart_version": lambda query: (200, TEXT, state.hot_restart_version),
            "/init_dump": lambda query: (200, JSON, pretty_json(init_dump_json(state, query))),
            "/listeners": self._listeners,
            "/logging": self._logging,
            "/memory": lambda query: (200, JSON, pretty_json(memory())),
            "/python_filters": self._python_filters,
            "/quitquitquit": self._quit,
            "/ready": self._ready,
            "/reopen_logs": self._reopen_logs,
            "/reset_counters": self._reset_counters,
            "/runtime": lambda query: (200, JSON, pretty_json(runtime_json(state.runtime))),
            "/server_info": lambda query: (200, JSON, pretty_json(server_info(state, node_json(state)))),
            "/strands": self._strands,
            "/stats/recentlookups": lambda query: (200, TEXT, recent_lookups(state.store)),
            "/stats/recentlookups/clear": lambda query: self._track_lookups("clear"),
            "/stats/recentlookups/disable": lambda query: self._track_lookups("disable"),
            "/stats/recentlookups/enable": lambda query: self._track_lookups("enable"),
        }

    def handle(
        self, method: bytes, target: bytes, body: bytes = b"", headers: HeaderMap | None = None
    ) -> AdminResponse:
        """The answer to ``method target``; ``body`` may hold what else could stand in a query."""
        denial = self._rules.deny(method, target, headers)
        if denial is not None:
            return _denied(denial)
        text = target.decode("utf-8", "surrogateescape").partition("#")[0]
        path, _, query_text = text.partition("?")
        entry = PATHS.get(path) or OWN_PATHS.get(path)
        has_taps = self._state.taps.is_used
        if has_taps and path == "/tap":
            entry = TAP_PATH
        if entry is None:
            return _respond(404, TEXT, "invalid path. " + help_text(has_taps=has_taps))
        if entry.mutates and method != b"POST":
            name = method.decode("ascii", "replace")
            return _respond(405, TEXT, f"Method {name} not allowed, POST required.")
        if entry.mutates and (denial := self._rules.deny_change()) is not None:
            return _denied(denial)
        if entry is TAP_PATH:
            return self._tap(body)
        query = parse_query(query_text)
        if path == "/runtime_modify":
            if not query and headers is not None and headers.get(b"content-type") == _FORM:
                query = parse_query(body.decode("utf-8", "surrogateescape"))
            return _respond(*modify_runtime(self._state, query))
        if path in ("/stats", "/stats/prometheus"):
            accept = None if headers is None else headers.get_joined(b"accept")
            return _respond(*stats(self._state, query, prometheus=path != "/stats", accept=accept))
        handler = self._handlers.get(path)
        if handler is None:
            return _respond(501, TEXT, f"{path} is not supported by this build\n")
        answer = _respond(*handler(query))
        if answer.status != 200 and path == "/config_dump" and b"name_regex" not in answer.body:
            answer.headers.insert(0, (b"x-content-type-options", b"nosniff"))  # Envoy says it twice here
        return answer

    def _tap(self, body: bytes) -> AdminResponse:
        try:
            request, attached = read_tap(body, self._state.taps, self._state.runtime)
        except BadTap as error:
            return _respond(400, TEXT, str(error))
        return replace(_respond(200, TEXT, ""), tap=(request, attached))

    # -- looking ------------------------------------------------------------------------------
    def _clusters(self, query: _Query) -> _Answer:
        clusters = list(self._state.clusters())
        if "filter" in query:
            try:
                pattern = compile_filter(query["filter"])
            except RegexError:
                return 400, TEXT, "Invalid re2 regex"
            clusters = [cluster for cluster in clusters if pattern.search(cluster.name) is not None]
        if query.get("format") == "json":
            return 200, JSON, pretty_json(clusters_json(clusters))
        return 200, TEXT, clusters_text(clusters)

    def _listeners(self, query: _Query) -> _Answer:
        listeners = self._state.listeners()
        if query.get("format") == "json":
            return 200, JSON, pretty_json(listeners_json(listeners))
        return 200, TEXT, listeners_text(listeners)

    def _strands(self, query: _Query) -> _Answer:
        found = dump_strands(self._state.reactor)
        if query.get("format") == "json":
            return 200, JSON, pretty_json(strands_json(found))
        return 200, TEXT, strands_text(found)

    def _python_filters(self, query: _Query) -> _Answer:
        filters = self._state.python_filters
        if query.get("format") == "json":
            return 200, JSON, pretty_json(python_filters_json(filters))
        return 200, TEXT, python_filters_text(filters)

    def _ready(self, query: _Query) -> _Answer:
        server_state = self._state.server_state
        return (200 if server_state == "LIVE" else 503), TEXT, server_state + "\n"

    # -- changing -----------------------------------------------------------------------------
    def _logging(self, query: _Query) -> _Answer:
        status, text = logging_levels(query)
        if query and status == 200:
            self._state.set_log_levels(get_levels())
        return status, TEXT, text

    def _set_health_failed(self, failed: bool) -> _Answer:
        self._state.set_health_failed(failed)
        return _OK

    def _drain_listeners(self, query: _Query) -> _Answer:
        self._state.drain_listeners(
            inbound_only="inboundonly" in query,
            graceful="graceful" in query,
            skip_exit="skip_exit" in query,
        )
        return _OK

    def _quit(self, query: _Query) -> _Answer:
        self._state.stop()
        return _OK

    def _reopen_logs(self, query: _Query) -> _Answer:
        self._state.reopen_logs()
        return _OK

    def _track_lookups(self, what: str) -> _Answer:
        self._state.store.track_lookups(what)
        return _OK

    def _reset_counters(self, query: _Query) -> _Answer:
        self._state.reset_counters()
        return _OK


def _text(answer: tuple[int, str]) -> _Answer:
    return answer[0], TEXT, answer[1]


def _denied(denial: Denial) -> AdminResponse:
    status, text, headers = denial
    answer = _respond(status, TEXT, text)
    answer.headers.extend(headers)
    return answer


def _respond(status: int, content_type: bytes, text: str | bytes) -> AdminResponse:
    body = text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")
    headers = [
        (b"content-type", content_type),
        (b"cache-control", b"no-cache, max-age=0"),
        (b"x-content-type-options", b"nosniff"),
    ]
    return AdminResponse(status, headers, body)
