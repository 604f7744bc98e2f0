"""The new epoch's part of a hot restart, with an old one that ends in the middle."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from sidecar.server.hot_restart.endpoint import RestartError
from sidecar.server.hot_restart.takeover import Takeover
from sidecar.server.workers.channel import Channel


@pytest.fixture
def pair() -> Iterator[tuple[Takeover, Channel, socket.socket]]:
    """One that was greeted, and the old epoch's end."""
    ours, theirs = socket.socketpair()
    old = Channel(theirs)
    old.send("welcome", {"started_s": 12.5, "generation": 3, "epoch": 0})
    takeover = Takeover(ours)
    yield takeover, old, theirs
    takeover.sockets.close()
    old.close()
    ours.close()


def test_sockets_that_came_before_the_end_of_the_old_epoch_are_used(
    pair: tuple[Takeover, Channel, socket.socket],
) -> None:
    takeover, old, theirs = pair
    with socket.create_server(("127.0.0.1", 0)) as given:
        name = f"127.0.0.1:{given.getsockname()[1]}"
        old.send("socket", {"sockets": [(int(socket.SOCK_STREAM), name)]}, (), [given.fileno()])
    theirs.shutdown(socket.SHUT_WR)
    takeover.take_sockets()
    takeover.close_admin()
    # Nobody else holds it: a connection can be made until it is let go.
    port = int(name.rpartition(":")[2])
    socket.create_connection(("127.0.0.1", port), 5).close()
    takeover.sockets.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 5)


def test_old_epoch_that_ends_after_its_sockets_has_no_admin_interface_to_close(
    pair: tuple[Takeover, Channel, socket.socket],
) -> None:
    takeover, old, _ = pair
    old.send("done")
    takeover.take_sockets()
    old.close()
    takeover.close_admin()


def test_old_epoch_that_refuses_to_close_its_admin_interface_ends_the_start(
    pair: tuple[Takeover, Channel, socket.socket],
) -> None:
    takeover, old, _ = pair
    old.send("done")
    takeover.take_sockets()
    old.send("refused", {"reason": "it is busy"})
    with pytest.raises(RestartError, match="it is busy"):
        takeover.close_admin()


def test_old_epoch_that_ends_before_it_greets_ends_the_start() -> None:
    ours, theirs = socket.socketpair()
    theirs.close()
    with pytest.raises(RestartError, match="it does not answer"):
        Takeover(ours)
    ours.close()
