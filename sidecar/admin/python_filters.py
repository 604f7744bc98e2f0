"""``/python_filters``: each filter in Python, what it was configured with, and its last exception."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from sidecar.api.python_filters import LastException, PythonFilters

__all__ = ["python_filters_json", "python_filters_text"]


def python_filters_json(filters: PythonFilters) -> dict[str, Any]:
    """As plain data."""
    return {
        "python_filters": [
            {
                "name": status.name(),
                "filter": status.filter,
                "class": status.class_name,
                "source": status.source,
                "configured_at": status.path,
                "stat_prefix": status.stat_prefix,
                "settings": status.settings,
                "requests": status.requests.value,
                "exceptions": status.exceptions.value,
                "last_exception": None if last is None else _exception(last),
            }
            for status, last in filters.shown()
        ]
    }


def _exception(last: LastException) -> dict[str, Any]:
    return {
        "time": datetime.fromtimestamp(last.time_s, UTC).isoformat(timespec="milliseconds"),
        "request_id": last.request_id,
        "hook": last.hook,
        "exception": last.text,
        "traceback": last.traceback,
    }


def python_filters_text(filters: PythonFilters) -> str:
    """For people."""
    lines = []
    for each in python_filters_json(filters)["python_filters"]:
        last = each["last_exception"]
        lines.append(f"{each['name']}: {each['class']} of {each['source']}")
        lines += [f"  {key}: {each[key]}" for key in ("filter", "configured_at", "stat_prefix")]
        lines.append(f"  settings: {json.dumps(each['settings'])}")
        lines.append(f"  requests: {each['requests']}")
        lines.append(f"  exceptions: {each['exceptions']}")
        if last is not None:
            lines.append(
                f"  last exception: {last['time']} in {last['hook']}, request {last['request_id'] or '-'}"
            )
            lines += [f"    {line}" for line in last["traceback"].splitlines()]
    return "\n".join(lines) + "\n" if lines else "no filters in Python\n"
