"""Waiting for the end of a process that this one started."""

from __future__ import annotations

import os
import subprocess

import trio

__all__ = ["wait_for"]


async def wait_for(process: subprocess.Popen[bytes]) -> None:
    """Wait for the end of a process without a thread."""
    if process.poll() is not None:
        return
    descriptor = os.pidfd_open(process.pid)
    try:
        while process.poll() is None:
            await trio.lowlevel.wait_readable(descriptor)
    finally:
        trio.lowlevel.notify_closing(descriptor)
        os.close(descriptor)
