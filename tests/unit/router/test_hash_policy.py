"""Hash policies: what each finds in a request, and how several become one."""

from __future__ import annotations

from typing import Any

import pytest

from sidecar.core.hashing import xx_hash
from sidecar.core.headers import Field, RequestHeaders
from sidecar.router.hash_policy import (
    Cookie,
    HashPolicy,
    by_cookie,
    by_header,
    by_query,
    by_source_ip,
    combined,
)


class _Connection:
    local_address = "10.0.0.1:80"


class _Stream:
    remote_address = "10.1.2.3:4567"
    routing_cookies: list[bytes] | None = None
    connection = _Connection()


def hashed(
    policy: HashPolicy, *fields: Field, path: bytes = b"/", address: str = "", set_cookie: bool = True
) -> Any:
    stream: Any = _Stream()
    if address:
        stream.remote_address = address
    value = policy(RequestHeaders(b"GET", path, b"a", b"http", list(fields)), stream, set_cookie)
    return value, stream.routing_cookies


def test_values_of_a_header_count_in_any_order() -> None:
    policy = by_header(b"x", None)
    assert hashed(policy) == (None, None)
    assert hashed(policy, (b"x", b"a"))[0] == xx_hash(b"a")
    assert hashed(policy, (b"x", b"a"), (b"x", b"b")) == hashed(policy, (b"x", b"b"), (b"x", b"a"))
    assert hashed(by_header(b"x", bytes.upper), (b"x", b"a"))[0] == xx_hash(b"A")
    assert hashed(by_header(b"host", None))[0] == xx_hash(b"a")


@pytest.mark.parametrize(
    ("path", "value"),
    [(b"/?k=a&k=b", b"a"), (b"/?x&k=", b""), (b"/?k", b""), (b"/", None), (b"/?key=a", None)],
)
def test_first_value_of_a_query_parameter_counts(path: bytes, value: bytes | None) -> None:
    assert hashed(by_query(b"k"), path=path)[0] == (None if value is None else xx_hash(value))


def test_address_counts_without_its_port() -> None:
    assert hashed(by_source_ip())[0] == xx_hash(b"10.1.2.3")
    assert hashed(by_source_ip(), address="[::1]:80")[0] == xx_hash(b"::1")
    assert hashed(by_source_ip(), address="/a/socket")[0] is None


def test_cookie_is_made_once_there_is_a_ttl() -> None:
    assert hashed(by_cookie(Cookie(b"k"))) == (None, None)
    made = Cookie(b"k", 60, b"/p", ((b"SameSite", b"Strict"), (b"Secure", b"")))
    text = b"%016x" % xx_hash(b"10.1.2.3:456710.0.0.1:80")
    expected = b'k="' + text + b'"; Max-Age=60; Path=/p; SameSite=Strict; Secure; HttpOnly'
    assert hashed(by_cookie(made)) == (xx_hash(text), [expected])
    assert hashed(by_cookie(made), set_cookie=False) == (None, None)
    assert hashed(by_cookie(made), (b"cookie", b'a=b; k="v"')) == (xx_hash(b"v"), None)


def test_policies_are_turned_into_each_other_until_a_terminal_one() -> None:
    x, y = by_header(b"x", None), by_header(b"y", None)
    fields = [(b"x", b"a"), (b"y", b"b")]
    a, b = xx_hash(b"a"), xx_hash(b"b")
    turned = (a << 1 | a >> 63) & (2**64 - 1)
    assert hashed(combined([(x, False), (y, False)]), *fields)[0] == turned ^ b
    assert hashed(combined([(x, True), (y, False)]), *fields)[0] == a
    assert hashed(combined([(x, True), (y, False)]), fields[1])[0] == b
    assert hashed(combined([(x, False), (y, False)]))[0] is None
