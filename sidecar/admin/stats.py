"""``/stats`` and ``/stats/prometheus``."""

from __future__ import annotations

import html
from collections.abc import Callable

from sidecar.admin.query import RegexError, compile_filter
from sidecar.admin.state import JSON, TEXT, AdminState
from sidecar.observability.prometheus import render_prometheus
from sidecar.observability.prometheus_protobuf import PROTOBUF, render_protobuf, wants_protobuf
from sidecar.observability.rendering import Selection, render_json, render_text
from sidecar.observability.stats import Store

__all__ = ["recent_lookups", "stats"]

Answer = tuple[int, bytes, str | bytes]

_TYPES = ("All", "Counters", "Gauges", "Histograms", "TextReadouts")
#: What the parameter may say, and what it means.
_BUCKETS = {
    "": "summary",
    "none": "summary",
    "summary": "summary",
    "cumulative": "cumulative",
    "disjoint": "disjoint",
    "detailed": "detailed",
    "prometheusnative": "prometheusnative",
}
_FORMATS = ("text", "json", "prometheus", "html", "active-html")


def stats(
    state: AdminState, query: dict[str, str], *, prometheus: bool, accept: bytes | None = None
) -> Answer:
    """Status, content type and body.  ``prometheus`` is the path ``/stats/prometheus``."""
    try:
        wants = _wants(query)
    except RegexError as error:
        return 400, TEXT, f"Invalid re2 regex: {error}"
    buckets = _BUCKETS.get(query.get("histogram_buckets", ""))
    if buckets is None:
        usage = "usage: /stats?histogram_buckets=(cumulative|disjoint|detailed|summary|prometheusnative)\n"
        return 400, TEXT, usage
    kind = query.get("type") or "All"
    if kind not in _TYPES:
        return 400, TEXT, "invalid &type= param"
    hidden = query.get("hidden") or "exclude"
    if hidden not in ("include", "only", "exclude"):
        return 400, TEXT, "usage: /stats?hidden=(include|only|exclude)\n\n"
    form = "prometheus" if prometheus else query.get("format") or "text"
    if form not in _FORMATS:
        return 400, TEXT, "usage: /stats?format=(html|active-html|json|prometheus|text)\n\n"
    state.refresh_stats()
    if hidden == "only":  # there are no hidden stats
        wants = _nothing
    if form == "prometheus":
        return _prometheus(state, query, wants, buckets, is_protobuf=wants_protobuf(accept))
    selection = Selection("usedonly" in query, wants, kind, buckets)
    if form == "json":
        return 200, JSON, render_json(state.store, selection)
    text = render_text(state.store, selection)
    if form == "text":
        return 200, TEXT, text
    page = f"<!DOCTYPE html>\n<html lang='en'>\n<body>\n<pre>\n{html.escape(text)}</pre>\n</body>\n</html>\n"
    return 200, b"text/html; charset=UTF-8", page


def _prometheus(
    state: AdminState,
    query: dict[str, str],
    wants: Callable[[str], bool] | None,
    buckets: str,
    *,
    is_protobuf: bool,
) -> Answer:
    if not query.get("histogram_buckets"):
        buckets = "cumulative"
    elif buckets == "prometheusnative":
        if not is_protobuf:
            reason = "unsupported prometheusnative histogram type when not using protobuf exposition format"
            return 400, TEXT, reason
    elif buckets not in ("cumulative", "summary"):
        return 400, TEXT, "unsupported prometheus histogram bucket mode"
    selection = Selection("usedonly" in query, wants, "All", buckets)
    readouts = "text_readouts" in query
    if is_protobuf:
        body = render_protobuf(state.store, selection, state.tag_producer, text_readouts=readouts)
        return 200, PROTOBUF, body
    return 200, TEXT, render_prometheus(state.store, selection, state.tag_producer, text_readouts=readouts)


def _wants(query: dict[str, str]) -> Callable[[str], bool] | None:
    if "filter" not in query:
        return None
    pattern = compile_filter(query["filter"])
    if "invert_filter" in query:
        return lambda name: pattern.search(name) is None
    return lambda name: pattern.search(name) is not None


def _nothing(name: str) -> bool:
    return False


def recent_lookups(store: Store) -> str:
    """``/stats/recentlookups``: the names that were looked up since it was turned on."""
    recent = store.recent_lookups
    if recent is None:
        head = "Lookup tracking is not enabled. Use /stats/recentlookups/enable to enable.\n"
    else:
        head = "   Count Lookup\n"
        for name, count in sorted(recent.items(), key=lambda item: (-item[1], item[0])):
            head += f"{count:>8} {name}\n"
    return f"{head}\ntotal: {store.lookups}\n"
