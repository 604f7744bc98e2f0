"""When PINGs go out, and when a silent peer is given up."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from sidecar.codec.h2_types import KeepaliveSettings
from sidecar.net.h2_keepalive import Keepalive
from sidecar.net.timer import run_timers


class Peer:
    """A connection whose time a test moves."""

    def __init__(self, **settings: float) -> None:
        self.now = 100.0
        self.pings = 0
        self.is_lost = False
        self.strand: Any = SimpleNamespace(timers=None, stir=lambda: None)
        wire: Any = SimpleNamespace(
            reactor=SimpleNamespace(clock=lambda: self.now),
            codec=SimpleNamespace(ping=self._ping),
            flush_later=lambda: None,
        )
        defaults = {"timeout_s": 1.0, "interval_s": 10.0, "jitter_percent": 0.0}
        self.keepalive = Keepalive(
            KeepaliveSettings(**{**defaults, **settings}), wire, self.strand, self._lose
        )

    def _ping(self, opaque: bytes) -> None:
        assert len(opaque) == 8
        self.pings += 1

    def _lose(self) -> None:
        self.is_lost = True

    def passes(self, seconds: float) -> None:
        self.now += seconds
        run_timers(self.strand, self.now)


def test_ping_goes_out_after_the_interval() -> None:
    peer = Peer()
    peer.passes(9.9)
    assert peer.pings == 0
    peer.passes(0.2)
    assert peer.pings == 1


def test_peer_that_does_not_answer_is_lost_after_the_timeout() -> None:
    peer = Peer()
    peer.passes(10.1)
    peer.passes(0.9)
    assert not peer.is_lost
    peer.passes(0.2)
    assert peer.is_lost
    assert peer.strand.timers is None


def test_answer_starts_the_interval_anew() -> None:
    peer = Peer()
    peer.passes(10.1)
    peer.keepalive.on_pong()
    peer.passes(9.9)
    assert peer.pings == 1
    peer.passes(0.2)
    assert peer.pings == 2
    assert not peer.is_lost


def test_data_puts_the_timeout_off() -> None:
    peer = Peer()
    peer.passes(10.1)
    peer.passes(0.8)
    peer.keepalive.on_data()
    peer.passes(0.9)
    assert not peer.is_lost
    peer.passes(0.2)
    assert peer.is_lost


def test_jitter_lengthens_the_interval_by_no_more_than_its_share() -> None:
    peers = [Peer(jitter_percent=50.0) for _ in range(50)]
    whens = [peer.strand.timers[0].when - peer.now for peer in peers]
    assert all(10.0 <= when <= 15.0 for when in whens)
    assert len(set(whens)) > 1


@pytest.mark.parametrize(("silence", "pings"), [(1.9, 0), (2.1, 1)])
def test_stream_behind_a_silence_sends_a_ping_first(silence: float, pings: int) -> None:
    peer = Peer(interval_s=0.0, connection_idle_interval_s=2.0)
    assert peer.strand.timers is None
    peer.passes(silence)
    peer.keepalive.before_stream()
    peer.keepalive.before_stream()
    assert peer.pings == pings


def test_answer_that_nobody_asked_for_is_let_pass() -> None:
    peer = Peer(interval_s=0.0)
    peer.keepalive.on_pong()
    peer.passes(100)
    assert (peer.pings, peer.is_lost) == (0, False)
