"""getaddrinfo(3) asked in a thread, with answers made up here."""

from __future__ import annotations

import socket
from typing import Any

import pytest
import trio

from sidecar.net.getaddrinfo import GetAddrInfoResolver
from tests.support.cancelling import cancel_at_every_step

V4 = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 0))
V6 = (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("2001:db8::1", 0, 0, 0))


def answer(monkeypatch: pytest.MonkeyPatch, *outcomes: Any) -> list[str]:
    """Let the system answer with these, the last one again and again; the names that were asked for."""
    left = list(outcomes)
    asked: list[str] = []

    async def getaddrinfo(name: str, port: object, **options: object) -> Any:
        await trio.lowlevel.checkpoint()
        asked.append(name)
        outcome = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(outcome, int):
            raise socket.gaierror(outcome, "made up")
        return outcome

    monkeypatch.setattr(trio.socket, "getaddrinfo", getaddrinfo)
    return asked


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        ("AUTO", ["2001:db8::1"]),
        ("V4_ONLY", ["192.0.2.1"]),
        ("V6_ONLY", ["2001:db8::1"]),
        ("V4_PREFERRED", ["192.0.2.1"]),
        ("ALL", ["192.0.2.1", "2001:db8::1"]),
    ],
)
async def test_family_chooses_of_the_answer(
    monkeypatch: pytest.MonkeyPatch, family: str, expected: list[str]
) -> None:
    answer(monkeypatch, [V6, V4])
    found = await GetAddrInfoResolver().resolve("a.test", family)
    assert (found.ok, found.addresses) == (True, tuple((ip, 60) for ip in expected))


async def test_name_that_does_not_exist_is_an_empty_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, socket.EAI_NONAME)
    found = await GetAddrInfoResolver().resolve("a.test", "AUTO")
    assert (found.ok, found.addresses) == (True, ())


async def test_failure_is_told_and_one_that_may_pass_is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answer(monkeypatch, socket.EAI_FAIL)
    assert (await GetAddrInfoResolver().resolve("a.test", "AUTO")).ok is False
    asked = answer(monkeypatch, socket.EAI_AGAIN, socket.EAI_AGAIN, [V4])
    assert (await GetAddrInfoResolver().resolve("a.test", "AUTO")).addresses == (("192.0.2.1", 60),)
    assert len(asked) == 3
    asked = answer(monkeypatch, socket.EAI_AGAIN)
    assert (await GetAddrInfoResolver(1).resolve("a.test", "AUTO")).ok is False
    assert len(asked) == 2


async def test_resolve_is_cancelled_at_any_step(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        answer(monkeypatch, socket.EAI_AGAIN, [V4])
        await GetAddrInfoResolver().resolve("a.test", "AUTO")

    assert await cancel_at_every_step(work, lambda: None) > 1
