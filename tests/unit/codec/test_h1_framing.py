"""The length of a message of HTTP/1 agrees with its body."""

from __future__ import annotations

import pytest

from sidecar.codec.h1_framing import ANY_LENGTH, announced_length, is_wrong_length
from sidecar.core.headers import Field, HeaderMap


def _headers(*lengths: bytes) -> HeaderMap:
    fields: list[Field] = [(b"set-cookie", b"a"), (b"set-cookie", b"b")]
    return HeaderMap([*fields, *((b"content-length", each) for each in lengths)])


@pytest.mark.parametrize(
    ("lengths", "is_wrong", "left"),
    [
        ([b"5"], False, [b"5"]),
        ([b"05"], False, [b"05"]),
        ([b"3"], True, [b"5"]),
        ([b"five"], True, [b"5"]),
        ([b"-5"], True, [b"5"]),
        ([b"5, 5"], True, [b"5"]),
        ([b"5", b"5"], True, [b"5"]),
        ([b"0", b"5"], True, [b"5"]),
    ],
)
def test_length_of_a_body_at_hand_is_set_right(
    lengths: list[bytes], is_wrong: bool, left: list[bytes]
) -> None:
    headers = _headers(*lengths)
    assert is_wrong_length(headers, lengths[-1], 5) is is_wrong
    assert headers.get_all(b"content-length") == left


@pytest.mark.parametrize(
    ("lengths", "announced", "left"),
    [
        ([b"5"], 5, [b"5"]),
        ([b"five"], ANY_LENGTH, []),
        ([b"\xb2"], ANY_LENGTH, []),
        ([b""], ANY_LENGTH, []),
        ([b"5", b"5"], 5, [b"5"]),
        ([b"5", b"6"], ANY_LENGTH, []),
    ],
)
def test_length_of_a_body_to_come_is_believed_or_taken_away(
    lengths: list[bytes], announced: int, left: list[bytes]
) -> None:
    headers = _headers(*lengths)
    assert announced_length(headers, lengths[-1]) == announced
    assert headers.get_all(b"content-length") == left
