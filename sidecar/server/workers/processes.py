"""Waiting for the end of a process that this one started."""

from __future__ import annotations

import os
import subprocess

import trio

from sidecar.server.workers.forked import ForkedProcess

__all__ = ["wait_for"]

#: Between two looks, where no descriptor is left to wait with.
_LOOK_S = 0.05


async def wait_for(process: subprocess.Popen[bytes] | ForkedProcess) -> None:
    """Wait for the end of a process without a thread."""
    if process.poll() is not None:
        return
    try:
        descriptor = os.pidfd_open(process.pid)
    except OSError:
        while process.poll() is None:  # noqa: ASYNC110 - another process
            await trio.sleep(_LOOK_S)
        return
    try:
        while process.poll() is None:
            await trio.lowlevel.wait_readable(descriptor)
    finally:
        trio.lowlevel.notify_closing(descriptor)
        os.close(descriptor)
