"""What becomes of a value on its way into metadata."""

from __future__ import annotations

import pytest

from sidecar.extensions.http.header_to_metadata import KeyValue
from sidecar.extensions.http.header_to_metadata_config import _CONVERT, _decoded
from sidecar.extensions.http.set_metadata import merge

STRING, NUMBER, PROTO = _CONVERT


@pytest.mark.parametrize(
    ("value", "said", "found"),
    [
        (b"", b"said", {"own": {"k": "said"}}),
        (b"fixed", b"said", {"own": {"k": "fixed"}}),
        (b"", b"", {}),
        (b"", b"x" * 8191, {"own": {"k": "x" * 8191}}),
        (b"", b"x" * 8192, {}),
    ],
)
def test_a_fixed_value_wins_and_a_long_one_is_left_out(
    value: bytes, said: bytes, found: dict[str, object]
) -> None:
    metadata: dict[str, dict[str, object]] = {}
    KeyValue("own", "k", value, None, STRING).put(said, metadata)
    assert metadata == found


def test_a_value_that_is_not_of_its_type_is_left_out() -> None:
    assert NUMBER(b" 1.5 ") == 1.5
    assert NUMBER(b"many") is None
    assert _decoded(STRING)(b"aGk") == "hi"
    assert _decoded(STRING)(b"%%%") is None
    assert _decoded(PROTO)(b"//8=") is None


def test_structs_are_merged_and_lists_joined() -> None:
    into = {"a": 1, "l": [1], "s": {"x": 1, "y": 2}}
    merge(into, {"a": [2], "l": [2], "s": {"x": 3}, "n": None})
    assert into == {"a": [2], "l": [1, 2], "s": {"x": 3, "y": 2}, "n": None}
