"""What the processes of a server count together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from sidecar.core.shared_buckets import SharedBucketTable, make_bucket
from sidecar.core.shared_memory import SharedMemory, make_count
from sidecar.observability.stats import Store
from sidecar.upstream.resources import CircuitBreakerLimits, RetryBudget
from sidecar.upstream.shared_resources import make_resources


def two() -> tuple[SharedMemory, SharedMemory]:
    """Workers 0 and 1, and the supervisor that forgets them is as good as a third."""
    supervisor = SharedMemory.create(3)
    first = SharedMemory(os.dup(supervisor.descriptor), 0, 3)
    second = SharedMemory(os.dup(supervisor.descriptor), 1, 3)
    return first, second


def test_a_key_names_the_same_block_in_every_process() -> None:
    first, second = two()
    found = [first.words_of_each(b"a", 4), first.words_of_all(b"a", 2), first.words_of_each(b"b", 1)]
    assert [second.words_of_each(b"b", 1), second.words_of_all(b"a", 2), second.words_of_each(b"a", 4)] == [
        found[2], found[1], found[0],
    ]  # fmt: skip
    assert found[1] == found[0] + 12  # type: ignore[operator]  # both are there
    assert second.words_of_each(b"c", 1) == first.words_of_each(b"c", 1)


def test_a_memory_that_is_full_gives_nothing(caplog: pytest.LogCaptureFixture) -> None:
    first, _ = two()
    assert first.words_of_all(b"a", 1 << 40) is None
    assert first.words_of_each(b"b", 1 << 40) is None
    assert [each.getMessage() for each in caplog.records] == [
        "the memory of the workers is full: what is limited from now on is limited by worker"
    ]
    assert first.words_of_all(b"c", 1) is not None


def test_counts_add_up_until_a_process_is_forgotten() -> None:
    first, second = two()
    ours, theirs = make_count(first, "x"), make_count(second, "x")
    ours.add(2)
    theirs.add(3)
    assert (ours.total(), theirs.total()) == (5, 5)
    first.forget(1)
    assert ours.total() == 2
    alone = make_count(None, "x")
    alone.add(1)
    assert alone.total() == 1


def limits(**fields: object) -> tuple[CircuitBreakerLimits, CircuitBreakerLimits]:
    return CircuitBreakerLimits(**fields), CircuitBreakerLimits(**fields)  # type: ignore[arg-type]  # as named


def test_circuit_breakers_allow_so_much_to_all_processes() -> None:
    first, second = two()
    stores = Store(), Store()
    given = limits(max_requests=3, max_retries=2, track_remaining=True)
    ours = make_resources("c", given, stores[0].scope(""), first)
    theirs = make_resources("c", given, stores[1].scope(""), second)
    ours[0].requests += 1
    theirs[0].requests += 2
    assert ours[0].requests == 1
    assert ours[0].requests >= ours[0].max_requests
    assert ours[1].requests < ours[1].max_requests
    assert [each.gauges["default.rq_open"].value for each in stores] == [1, 1]
    assert [each.gauges["default.remaining_rq"].value for each in stores] == [0, 0]
    theirs[0].requests -= 1
    assert ours[0].requests < ours[0].max_requests
    ours[0].retries.add()
    assert theirs[0].retries.can_create()
    theirs[0].retries.add()
    assert not ours[0].retries.can_create()
    assert stores[0].gauges["default.rq_retry_open"].value == 1
    first.forget(1)
    assert ours[0].retries.can_create()
    assert ours[0].max_requests == 3


def test_a_retry_budget_is_a_share_of_what_all_processes_have_under_way() -> None:
    first, second = two()
    given = limits(retry_budget=RetryBudget(50.0, 0))
    ours = make_resources("c", given, Store().scope(""), first)[0]
    theirs = make_resources("c", given, Store().scope(""), second)[0]
    assert not ours.retries.can_create()
    theirs.requests += 1
    theirs.pending += 1
    assert ours.retries.can_create()


def test_a_cluster_in_the_place_of_another_goes_on_counting_what_is_under_way() -> None:
    first, _ = two()
    old = make_resources("c", limits(), Store().scope(""), first)[0]
    old.connections += 1
    old.retries.add()
    new = make_resources("c", limits(max_connections=1), Store().scope(""), first)[0]
    assert new.connections >= new.max_connections
    old.connections -= 1
    old.retries.remove()
    assert (new.connections, new.retries.active) == (0, 0)


def test_a_bucket_is_one_for_all_processes() -> None:
    first, second = two()
    ours, theirs = (make_bucket(each, "b", 3, 1, 10.0) for each in (first, second))
    assert [ours.take(1000.0), theirs.take(1000.0), ours.take(1000.0), theirs.take(1000.0)] == [
        True, True, True, False,
    ]  # fmt: skip
    assert theirs.remaining(1010.0) == 1
    theirs.give_back(1000.0, 2)
    assert ours.remaining(1000.0) == 2
    assert make_bucket(first, "other", 1, 1, 10.0).take(1000.0)


def test_buckets_of_values_are_shared_and_the_one_least_used_gives_way() -> None:
    first, second = two()
    ours, theirs = (SharedBucketTable.make(each, "t", 2) for each in (first, second))
    assert ours is not None
    assert theirs is not None
    settings = (1, 1, 100.0)
    assert ours.bucket("a", 1.0, settings).take(1.0)
    assert not theirs.bucket("a", 2.0, settings).take(2.0)
    assert theirs.bucket("b", 3.0, settings).take(3.0)
    assert not ours.bucket("a", 4.0, settings).take(4.0)
    assert ours.bucket("c", 5.0, settings).take(5.0)  # in the place of b
    assert not theirs.bucket("a", 6.0, settings).take(6.0)
    assert theirs.bucket("b", 7.0, settings).take(7.0)
    assert SharedBucketTable.make(None, "t", 2) is None
    assert SharedBucketTable.make(first, "t", 0) is None


KILLED = textwrap.dedent("""
    import sys, time
    from sidecar.core.shared_memory import SharedMemory
    memory = SharedMemory(int(sys.argv[1]), 1, 3)
    with memory.lock(5):
        print(flush=True)
        time.sleep(60)
""")


def test_a_process_that_is_killed_gives_its_lock_back() -> None:
    memory = SharedMemory.create(3)
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(memory.descriptor)],
        pass_fds=(memory.descriptor,), stdout=subprocess.PIPE,
    )  # fmt: skip
    with child:
        assert child.stdout is not None
        child.stdout.readline()
        child.send_signal(signal.SIGKILL)
    began = time.monotonic()
    with memory.lock(5):
        assert time.monotonic() - began < 30
