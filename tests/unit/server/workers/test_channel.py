"""A channel whose peer takes nothing."""

from __future__ import annotations

import os
import socket

import pytest

from sidecar.server.workers import channel as channels
from sidecar.server.workers.channel import Channel


def test_channel_whose_peer_takes_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels, "_LIMIT_BYTES", 1 << 20)
    ours, theirs = socket.socketpair()
    channel = Channel(ours)
    read, write = os.pipe()
    descriptors = len(os.listdir("/proc/self/fd"))
    sent = 0
    while not channel.is_closed and sent < 100:
        channel.send("call", {}, [bytes(100_000)], [read])
        sent += 1
    assert 10 <= sent < 100
    # What was kept for the peer is closed, and so is the socket.
    theirs.close()
    assert len(os.listdir("/proc/self/fd")) == descriptors - 2
    for each in (read, write):
        os.close(each)
