"""Cookies as Envoy reads them."""

from __future__ import annotations

import pytest

from sidecar.core.cookies import cookie_values
from sidecar.core.headers import RequestHeaders


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], {}),
        ([b"a=1; b=2"], {b"a": b"1", b"b": b"2"}),
        ([b"a=1", b"b=2;c=3"], {b"a": b"1", b"b": b"2", b"c": b"3"}),
        ([b"a=1; a=2"], {b"a": b"1"}),
        ([b'a="1"; b="; c="x'], {b"a": b"1", b"b": b'"', b"c": b'"x'}),
        ([b"a; b="], {b"b": b""}),
        ([b"a=b=c"], {b"a": b"b=c"}),
        ([b"; ;\ta=1;"], {b"a": b"1"}),
        ([b"a= 1 "], {b"a": b" 1 "}),
    ],
)
def test_cookies_are_read(lines: list[bytes], expected: dict[bytes, bytes]) -> None:
    headers = RequestHeaders(b"GET", b"/", b"a", b"http", [(b"cookie", line) for line in lines])
    assert cookie_values(headers) == expected
