"""RE2's replacement of every match."""

from __future__ import annotations

import pytest
import re2

from sidecar.core.substitution import make_replacer


@pytest.mark.parametrize(
    ("pattern", "substitution", "text", "expected"),
    [
        ("a", b"b", b"banana", b"bbnbnb"),
        ("x", b"b", b"banana", b"banana"),
        ("(a)(n)", rb"<\2\1\0>", b"banana", b"b<naan><naan>a"),
        ("(x)?a", rb"[\1]", b"ban", b"b[]n"),
        ("a", rb"\\1", b"ban", rb"b\1n"),
        ("a", rb"\1", b"ban", b"ban"),
        ("a", rb"c\q", b"ban", b"bcn"),
        ("x*", b"-", b"abxd", b"-a-b-d-"),
        ("^.*$", b"", b"abc", b""),
        ("", b"-", b"", b"-"),
    ],
)
def test_every_match_is_replaced_as_re2_does(
    pattern: str, substitution: bytes, text: bytes, expected: bytes
) -> None:
    assert make_replacer(re2.compile(pattern), substitution)(text) == expected
