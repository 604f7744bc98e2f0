"""How much freed memory the C library keeps: enough for the next body.

With its defaults glibc gives the top of the heap back to the system as soon as 128 KiB of it are free, and
maps each larger block anew: a response of 64 KiB then costs seven page faults, and system calls.  It raises
both limits by itself once a larger block that was mapped is freed.  So one such block is all it takes, and
other C libraries are none the worse for it.
"""

__all__ = ["keep_freed_memory"]

#: More than the longest read: blocks up to this size are no longer mapped each by itself, and up to twice as
#: much is kept.
_BLOCK_BYTES = (1 << 20) + (1 << 16)


def keep_freed_memory() -> None:
    """Let the C library keep some freed memory for the next bodies.  Called once, before a process serves."""
    bytes(_BLOCK_BYTES)
