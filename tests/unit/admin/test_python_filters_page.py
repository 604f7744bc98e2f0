"""/python_filters: what is shown of filters in Python, of this process and of workers."""

from __future__ import annotations

from types import SimpleNamespace

from sidecar.admin.python_filters import python_filters_json, python_filters_text
from sidecar.api.python_filters import LastException, PythonFilters, PythonFilterStatus


def status(path: str = "here") -> PythonFilterStatus:
    return PythonFilterStatus(
        path, "http.in.python.F.", "f.py:F", "F", "/f.py", {"a": 1}, lambda: "mine",
        SimpleNamespace(value=7), SimpleNamespace(value=2),
    )  # fmt: skip


def test_page_is_empty_without_filters() -> None:
    assert python_filters_text(PythonFilters()) == "no filters in Python\n"
    assert python_filters_json(PythonFilters()) == {"python_filters": []}


def test_newest_exception_of_all_processes_is_shown() -> None:
    filters, worker, other = PythonFilters(), PythonFilters(), PythonFilters()
    for each in (filters, worker, other):
        each.add(status())
    worker.statuses[0].last = LastException(10.0, "id-1", "body", "KeyError: 1", "Traceback\n  line")
    other.statuses[0].last = LastException(9.0, "id-2", "body", "KeyError: 2", "Traceback")
    filters.take(worker.tell())
    filters.take(other.tell())
    (shown,) = python_filters_json(filters)["python_filters"]
    assert (shown["requests"], shown["exceptions"]) == (7, 2)
    assert shown["last_exception"]["request_id"] == "id-1"
    assert shown["last_exception"]["time"] == "1970-01-01T00:00:10.000+00:00"
    assert "in body, request id-1\n    Traceback\n      line\n" in python_filters_text(filters)
    filters.statuses[0].last = LastException(11.0, "", "on_complete", "KeyError: 3", "Traceback")
    assert "request -" in python_filters_text(filters)


def test_filter_whose_configuration_ends_is_not_shown_any_more() -> None:
    filters = PythonFilters()
    remove = filters.add(status("one"))
    filters.add(status("two"))
    remove()
    assert [each.path for each in filters.statuses] == ["two"]
