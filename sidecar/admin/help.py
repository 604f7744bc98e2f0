"""The table of admin paths, ``/help`` and the start page.

The words are Envoy's, since scripts read them.
"""

from __future__ import annotations

import html

from sidecar.core.dataclass import dataclass

__all__ = ["OWN_PATHS", "PATHS", "TAP_PATH", "AdminPath", "help_text", "index_page"]


@dataclass(frozen=True, slots=True)
class AdminPath:
    """One path: whether it changes state, what it does, and its parameters."""

    description: str
    parameters: tuple[tuple[str, str], ...] = ()
    mutates: bool = False


_USED_ONLY = ("usedonly", "Only include stats that have been written by system since restart")
_STATS_FILTER = ("filter", "Regular expression (Google re2) for filtering stats")
_INVERT = ("invert_filter", "Invert the filter regex")

PATHS: dict[str, AdminPath] = {
    "/": AdminPath("Admin home page"),
    "/allocprofiler": AdminPath(
        "enable/disable the allocation profiler (if supported)",
        (("enable", "enable/disable the allocation profiler; One of (y, n)"),),
        mutates=True,
    ),
    "/certs": AdminPath("print certs on machine"),
    "/clusters": AdminPath(
        "upstream cluster status",
        (("filter", "Regular expression (Google re2) for filtering clusters by name"),),
    ),
    "/config_dump": AdminPath(
        "dump current Envoy configs",
        (
            ("resource", "The resource to dump"),
            (
                "mask",
                "The mask to apply. When both resource and mask are specified, the mask is applied to every "
                "element in the desired repeated field so that only a subset of fields are returned. The "
                "mask is parsed as a Protobuf::FieldMask",
            ),
            (
                "name_regex",
                "Dump only the currently loaded configurations whose names match the specified regex. Can be "
                "used with both resource and mask query parameters.",
            ),
            (
                "include_eds",
                "Dump currently loaded configuration including EDS. See the response definition for more "
                "information",
            ),
        ),
    ),
    "/contention": AdminPath("dump current Envoy mutex contention stats (if enabled)"),
    "/cpuprofiler": AdminPath(
        "enable/disable the CPU profiler",
        (("enable", "enables the CPU profiler; One of (y, n)"),),
        mutates=True,
    ),
    "/drain_listeners": AdminPath(
        "drain listeners",
        (
            (
                "graceful",
                "When draining listeners, enter a graceful drain period prior to closing listeners. This "
                "behaviour and duration is configurable via server options or CLI",
            ),
            (
                "skip_exit",
                "When draining listeners, drain the connections but never stop the listeners. The graceful "
                "parameter has no effect when this is set, since the drain period only delays stopping the "
                "listeners",
            ),
            (
                "inboundonly",
                "Drains all inbound listeners. traffic_direction field in "
                "envoy_v3_api_msg_config.listener.v3.Listener is used to determine whether a listener is "
                "inbound or outbound.",
            ),
        ),
        mutates=True,
    ),
    "/healthcheck/fail": AdminPath("cause the server to fail health checks", mutates=True),
    "/healthcheck/ok": AdminPath("cause the server to pass health checks", mutates=True),
    "/heap_dump": AdminPath("dump current Envoy heap (if supported)"),
    "/heapprofiler": AdminPath(
        "enable/disable the heap profiler",
        (("enable", "enable/disable the heap profiler; One of (y, n)"),),
        mutates=True,
    ),
    "/help": AdminPath("print out list of admin commands"),
    "/hot_restart_version": AdminPath("print the hot restart compatibility version"),
    "/init_dump": AdminPath(
        "dump current Envoy init manager information (experimental)",
        (
            (
                "mask",
                "The desired component to dump unready targets. The mask is parsed as a Protobuf::FieldMask. "
                "For example, get the unready targets of all listeners with /init_dump?mask=listener`",
            ),
        ),
    ),
    "/listeners": AdminPath("print listener info", (("format", "File format to use; One of (text, json)"),)),
    "/logging": AdminPath(
        "query/change logging levels",
        (
            (
                "paths",
                "Change multiple logging levels by setting to "
                "<logger_name1>:<desired_level1>,<logger_name2>:<desired_level2>. If fine grain logging is "
                "enabled, use __FILE__ or a glob experision as the logger name. For example, "
                "source/common*:warning",
            ),
            (
                "group",
                "Change given logger group to desired level, set to <logger_group_name>:<desired_level>. "
                "logger_group_name must be a logger name.",
            ),
            (
                "level",
                "desired logging level, this will change all loggers's level; One of (, trace, debug, info, "
                "warning, error, critical, off)",
            ),
        ),
        mutates=True,
    ),
    "/memory": AdminPath("print current allocation/heap usage"),
    "/memory/tcmalloc": AdminPath("print TCMalloc stats"),
    "/peak_heap_dump": AdminPath("dump peak Envoy heap (if supported)"),
    "/quitquitquit": AdminPath("exit the server", mutates=True),
    "/ready": AdminPath("print server state, return 200 if LIVE, otherwise return 503"),
    "/reopen_logs": AdminPath("reopen access logs", mutates=True),
    "/reset_counters": AdminPath("reset all counters to zero", mutates=True),
    "/runtime": AdminPath("print runtime values"),
    "/runtime_modify": AdminPath(
        "Adds or modifies runtime values as passed in query parameters. To delete a previously added key, "
        "use an empty string as the value. Note that deletion only applies to overrides added via this "
        "endpoint; values loaded from disk can be modified via override but not deleted. E.g. "
        "?key1=value1&key2=value2...",
        mutates=True,
    ),
    "/server_info": AdminPath("print server version/status information"),
    "/stats": AdminPath(
        "print server stats",
        (
            _USED_ONLY,
            _STATS_FILTER,
            _INVERT,
            ("format", "Format to use; One of (html, active-html, text, json)"),
            ("type", "Stat types to include.; One of (All, Counters, Histograms, Gauges, TextReadouts)"),
            (
                "histogram_buckets",
                "Histogram bucket display mode; One of (cumulative, disjoint, detailed, summary)",
            ),
        ),
    ),
    "/stats/prometheus": AdminPath(
        "print server stats in prometheus format",
        (
            _USED_ONLY,
            (
                "text_readouts",
                "Render text_readouts as new gaugues with value 0 (increases Prometheus data size)",
            ),
            _STATS_FILTER,
            _INVERT,
            ("histogram_buckets", "Histogram bucket display mode; One of (cumulative, summary)"),
        ),
    ),
    "/stats/recentlookups": AdminPath("Show recent stat-name lookups"),
    "/stats/recentlookups/clear": AdminPath("clear list of stat-name lookups and counter", mutates=True),
    "/stats/recentlookups/disable": AdminPath(
        "disable recording of reset stat-name lookup names", mutates=True
    ),
    "/stats/recentlookups/enable": AdminPath(
        "enable recording of reset stat-name lookup names", mutates=True
    ),
}


#: What is there where a filter may be tapped.
TAP_PATH = AdminPath("tap filter control", mutates=True)

#: Paths that Envoy does not have.  ``/help`` leaves them out: it says what Envoy's says.
OWN_PATHS: dict[str, AdminPath] = {
    "/python_filters": AdminPath(
        "filters in Python: their settings, requests, exceptions and last traceback",
        (("format", "Use ``json`` for JSON"),),
    ),
    "/strands": AdminPath(
        "what every connection and stream of the proxy waits for",
        (("format", "Use ``json`` for JSON"),),
    ),
}


def help_text(*, has_taps: bool = False) -> str:
    """``/help``; behind "invalid path. " also the answer to an unknown path."""
    lines = ["admin commands are:\n"]
    paths = sorted({**PATHS, "/tap": TAP_PATH}.items()) if has_taps else PATHS.items()
    for path, entry in paths:
        lines.append(f"  {path}{' (POST)' if entry.mutates else ''}: {entry.description}\n")
        lines += [f"      {name}: {description}\n" for name, description in entry.parameters]
    return "".join(lines)


def index_page() -> str:
    """The start page: a table of links and buttons."""
    rows = []
    for path, entry in PATHS.items():
        if path == "/":
            continue
        name = html.escape(path.removeprefix("/"))
        if entry.mutates:
            cell = f"<form action='{name}' method='post'><button>{name}</button></form>"
        else:
            cell = f"<a href='{name}'>{name}</a>"
        rows.append(f"<tr><td>{cell}</td><td>{html.escape(entry.description)}</td></tr>\n")
    return (
        "<!DOCTYPE html>\n<html lang='en'>\n<head>\n<title>sidecar admin</title>\n"
        "<style>body{font-family:sans-serif}td{padding:2px 12px 2px 0}form{margin:0}</style>\n</head>\n"
        f"<body>\n<table>\n<tr><th>Command</th><th>Description</th></tr>\n{''.join(rows)}</table>\n"
        "</body>\n</html>\n"
    )
