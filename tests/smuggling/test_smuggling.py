"""What either codec of ours forwards of the corpus has one reading (`just smuggling` asks the others too)."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from tests.smuggling.attack import attack, readings
from tests.smuggling.corpus import VECTORS
from tests.smuggling.proxies import KINDS, OURS, Kind
from tests.smuggling.readers import Request, read_lax, read_strict

#: Each codec in front of another upstream: what is forwarded is judged by both readers anyway.
_CASES = [
    pytest.param(next(kind for kind in KINDS if kind.name == name), read, id=f"{name}, {read.__name__}")
    for name, read in zip(OURS, (read_strict, read_lax), strict=True)
]


@pytest.mark.parametrize(("kind", "read"), _CASES)
def test_nothing_that_we_forward_has_two_readings(kind: Kind, read: object, tmp_path: Path) -> None:
    outcomes = trio.run(attack, kind, read, VECTORS, tmp_path)
    assert [name for name, outcome in outcomes.items() if outcome.is_ambiguous] == []
    forwarded = sum(bool(outcome.messages) for outcome in outcomes.values())
    assert forwarded > 60  # the corpus holds requests that are fine: it is no use when nothing passes
    assert all(outcome.statuses for name, outcome in outcomes.items() if name not in _WAITING)


_WAITING = {vector.name for vector in VECTORS if vector.waits}


def test_vectors_have_names_of_their_own() -> None:
    assert len({vector.name for vector in VECTORS}) == len(VECTORS) > 300


POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n"


@pytest.mark.parametrize(
    ("data", "is_same"),
    [
        (POST + b"Content-Length: 2\r\n\r\nxy", True),
        (CHUNKED + b"\r\n1;a\r\nx\r\n0\r\nA: b\r\n\r\n", True),
        (CHUNKED + b"Content-Length: 5\r\n\r\n0\r\n\r\n", False),
        (POST + b"X: y\rContent-Length: 3\r\n\r\nabc", False),
        (POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", False),
        (POST + b"Host: b\r\n\r\n", False),
        (CHUNKED + b"\r\n0x1\r\nx\r\n0\r\n\r\n", False),
        (b"GET / HTTP/1.1\nHost: a\n\n", False),
    ],
)
def test_readers_agree_on_what_is_plain_alone(data: bytes, is_same: bool) -> None:
    assert (readings(data, read_strict) == readings(data, read_lax)) is is_same


def test_readers_find_every_request() -> None:
    data = b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n"
    expected = [Request(b"GET", target, b"a", b"") for target in (b"/1", b"/2")]
    assert readings(data, read_strict) == readings(data, read_lax) == expected
