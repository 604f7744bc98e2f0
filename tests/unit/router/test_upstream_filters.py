"""What filters of a try see of a stream, and what they leave to it."""

from __future__ import annotations

from typing import Any

from sidecar.api.filters import HttpFilter
from sidecar.api.message import RequestMessage
from sidecar.api.stream import LOOK_AGAIN, Stream
from sidecar.core.headers import RequestHeaders
from sidecar.router.upstream_filters import UpstreamFilters, UpstreamView


def _stream() -> Any:
    class _Hcm:
        slot_count = 1

    headers = RequestHeaders([])
    return Stream(None, _Hcm(), RequestMessage(headers), "HTTP/1.1")  # type: ignore[arg-type]


def test_view_shares_the_stream_but_what_belongs_to_a_try() -> None:
    stream = _stream()
    stream.resolve_route = False
    request = RequestMessage(stream.request.headers)
    view: Any = UpstreamView(stream, request, (HttpFilter(), HttpFilter()))
    view.metadata_namespace("a")["b"] = 1
    view.flags = 4
    view.response_code = 201
    view.override_host = ("127.0.0.1:1", True)
    view.set_slot(1, "mine")
    assert stream.dynamic_metadata == {"a": {"b": 1}}
    assert (stream.flags, stream.response_code, stream.override_host, stream.slots) == (4, 0, None, None)
    assert view.request is request
    assert (view.get_slot(1), view.get_slot(0)) == ("mine", None)


def test_view_has_no_other_route_looked_up() -> None:
    stream = _stream()
    stream.route, stream.resolve_route = "found", False
    view: Any = UpstreamView(stream, stream.request, ())
    view.clear_route_cache()
    view.resolve_route = LOOK_AGAIN
    assert (stream.resolve_route, view.resolve_route, view.find_route()) == (False, False, "found")


class _Edits(HttpFilter):
    def __init__(self, name: str, *, is_disabled: bool = False) -> None:
        self.config_name = name
        self.is_disabled = is_disabled

    def decode_headers(self, stream: Stream) -> None:
        return None


class _Route:
    def __init__(self, **switches: bool) -> None:
        self.filter_switches = switches


def test_route_turns_filters_on_and_off() -> None:
    one, other = _Edits("one"), _Edits("other", is_disabled=True)
    filters = UpstreamFilters((one, other))

    def active(route: Any) -> list[Any]:
        return [hook.__self__ for hook, _ in filters.hooks(route).decode]  # type: ignore[attr-defined]

    assert active(None) == [one]
    assert active(_Route(other=False)) == [one, other]
    assert active(_Route(one=True)) == []
    assert filters.hooks(_Route(one=True)) is filters.hooks(_Route(one=True))
