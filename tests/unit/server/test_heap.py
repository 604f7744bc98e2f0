"""Freed memory that is kept, and what is left in cycles."""

import gc
import platform
import subprocess
import sys
import weakref

import pytest

from sidecar.server.heap import Endings
from sidecar.server.overload_manager import free_heap_bytes, shrink_heap

_SCRIPT = """
import resource, sys
from sidecar.server.heap import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
begun = faults()
for _ in range(100):
    blocks = [bytes(120_000) for _ in range(16)]  # each is too small to be mapped by itself
    del blocks
print(faults() - begun)
"""


def _faults(kind: str) -> int:
    command = [sys.executable, "-c", _SCRIPT, kind]
    return int(subprocess.run(command, capture_output=True, check=True, text=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is glibc that gives memory back at once")
def test_memory_of_bodies_is_not_given_back_between_two_of_them() -> None:
    assert _faults("kept") < 2000 < _faults("given back")


class _Node:
    me: "_Node"


def test_old_cycles_go_after_so_many_endings() -> None:
    before = gc.get_threshold()
    gc.set_threshold(50_000, 50, 1000)
    try:
        node = _Node()
        node.me = node
        gone = weakref.ref(node)
        gc.collect()  # it is of the oldest generation now
        del node
        endings = Endings()
        for _ in range(Endings.BETWEEN_COLLECTIONS - 1):
            endings.one_more()
        assert gone() is not None
        endings.one_more()
        assert gone() is None
    finally:
        gc.set_threshold(*before)


@pytest.mark.skipif(free_heap_bytes() is None, reason="the C library does not say what is free")
def test_heap_is_given_back_where_more_of_it_is_free_than_may_be() -> None:
    assert not shrink_heap(1 << 50)
    assert shrink_heap(0)
