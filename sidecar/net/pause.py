"""Waiting inside a strand, on trio's clock, so that tests decide how time goes."""

from __future__ import annotations

import trio

from sidecar.net.reactor import adopted

__all__ = ["pause"]


async def pause(seconds: float) -> None:
    """Let ``seconds`` go by.  Raises: what the strand is failed with meanwhile."""
    async with adopted():
        await trio.sleep(seconds)
