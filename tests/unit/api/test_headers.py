"""Header maps: order, repetition, pseudo headers, and the index behind them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.core.headers import HeaderMap, RequestHeaders, ResponseHeaders


def make() -> HeaderMap:
    return HeaderMap([(b"a", b"1"), (b"b", b"2"), (b"a", b"3")])


def test_get_gives_the_first_value_and_get_all_gives_every_one() -> None:
    headers = make()
    assert headers.get(b"a") == b"1"
    assert headers.get_all(b"a") == [b"1", b"3"]
    assert headers.get_joined(b"a") == b"1,3"
    assert (headers.get(b"c"), headers.get_all(b"c"), headers.get_joined(b"c")) == (None, [], None)
    assert b"b" in headers
    assert b"c" not in headers


def test_add_appends_behind_what_is_there() -> None:
    headers = make()
    assert headers.get(b"a") == b"1"
    headers.add(b"a", b"4")
    headers.add(b"c", b"5")
    assert headers.get(b"a") == b"1"
    assert headers.fields == [(b"a", b"1"), (b"b", b"2"), (b"a", b"3"), (b"a", b"4"), (b"c", b"5")]


@pytest.mark.parametrize("looked", [False, True])
def test_set_replaces_in_place_of_the_first_value(looked: bool) -> None:
    headers = make()
    if looked:
        headers.get(b"b")
    headers.set(b"a", b"9")
    headers.set(b"b", b"8")
    headers.set(b"c", b"7")
    assert headers.fields == [(b"a", b"9"), (b"b", b"8"), (b"c", b"7")]
    assert [headers.get(name) for name in (b"a", b"b", b"c")] == [b"9", b"8", b"7"]


def test_remove_drops_every_value_and_tells_how_many() -> None:
    headers = make()
    assert headers.remove(b"a") == 2
    assert headers.remove(b"a") == 0
    assert headers.fields == [(b"b", b"2")]
    assert b"a" not in headers


def test_byte_size_counts_names_and_values() -> None:
    assert make().byte_size() == 6
    assert RequestHeaders(b"GET", b"/").byte_size() == len(b":methodGET:path/")


def test_replace_all_takes_the_new_content_alone() -> None:
    headers = RequestHeaders(b"GET", b"/", b"h", b"http", [(b"a", b"1")])
    assert headers.get(b"a") == b"1"
    headers.replace_all([(b":method", b"PUT"), (b"b", b"2"), (b":path", b"/x")])
    assert list(headers) == [(b":path", b"/x"), (b":method", b"PUT"), (b"b", b"2")]
    assert headers.get(b"a") is None
    assert headers.authority is None


def test_request_headers_answer_to_pseudo_names_and_attributes_alike() -> None:
    headers = RequestHeaders(b"GET", b"/a", b"host:1", b"https", [(b"x", b"y")])
    assert list(headers) == [
        (b":authority", b"host:1"),
        (b":path", b"/a"),
        (b":method", b"GET"),
        (b":scheme", b"https"),
        (b"x", b"y"),
    ]
    assert len(headers) == 5
    assert headers.get(b":path") == b"/a"
    assert headers.get_all(b":path") == [b"/a"]
    assert headers.get(b"host") == b"host:1"
    headers.set(b":path", b"/b")
    headers.add(b":method", b"POST")
    assert (headers.path, headers.method) == (b"/b", b"POST")
    assert headers.remove(b":scheme") == 1
    assert headers.remove(b":scheme") == 0
    assert headers.scheme is None
    assert b":scheme" not in headers
    assert headers.get(b":scheme") is None


def test_response_headers_keep_their_status_as_a_number() -> None:
    headers = ResponseHeaders(200, [(b"a", b"b")])
    assert headers.get(b":status") == b"200"
    headers.set(b":status", b"404")
    assert headers.status == 404
    headers.set(b":status", b"4o4")
    headers.set(b":status", b"1000")
    assert headers.status == 404
    assert list(headers) == [(b":status", b"404"), (b"a", b"b")]


def test_pseudo_header_where_it_does_not_belong_is_a_plain_field() -> None:
    headers = ResponseHeaders(200)
    headers.add(b":path", b"/")
    assert headers.fields == [(b":path", b"/")]


_NAMES = st.sampled_from([b"a", b"b", b"c"])
_VALUES = st.sampled_from([b"1", b"2"])
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), _NAMES, _VALUES),
        st.tuples(st.just("set"), _NAMES, _VALUES),
        st.tuples(st.just("remove"), _NAMES, _VALUES),
        st.tuples(st.just("look"), _NAMES, _VALUES),
    ),
    max_size=12,
)


@settings(deadline=None, max_examples=300)
@given(fields=st.lists(st.tuples(_NAMES, _VALUES), max_size=5), steps=_STEPS)
def test_header_map_agrees_with_a_plain_list(
    fields: list[tuple[bytes, bytes]], steps: list[tuple[str, bytes, bytes]]
) -> None:
    headers = HeaderMap(list(fields))
    model = list(fields)
    for action, name, value in steps:
        if action == "add":
            headers.add(name, value)
            model.append((name, value))
        elif action == "set":
            headers.set(name, value)
            places = [place for place, field in enumerate(model) if field[0] == name]
            if places:
                model[places[0]] = (name, value)
                model = [field for place, field in enumerate(model) if place not in places[1:]]
            else:
                model.append((name, value))
        elif action == "remove":
            assert headers.remove(name) == sum(field[0] == name for field in model)
            model = [field for field in model if field[0] != name]
        values = [field[1] for field in model if field[0] == name]
        assert headers.get(name) == (values[0] if values else None)
        assert (name in headers) == bool(values)
        assert headers.fields == model
