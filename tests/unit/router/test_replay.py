"""Bodies that are kept for another try."""

from __future__ import annotations

from sidecar.observability.stats import Store
from sidecar.router.replay import ReplayBuffer


def test_pieces_are_kept_up_to_the_limit_and_not_beyond() -> None:
    abandoned = Store().counter("abandoned")
    replay = ReplayBuffer(5, abandoned)
    replay.keep(b"abc")
    replay.keep(b"de")
    assert (replay.whole(), replay.is_lost, abandoned.value) == (b"abcde", False, 0)
    replay.keep(b"f")
    replay.keep(b"g")
    assert (replay.whole(), replay.is_lost, abandoned.value) == (b"", True, 1)
