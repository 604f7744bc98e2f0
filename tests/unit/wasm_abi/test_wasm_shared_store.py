"""What VMs share: limits, what goes with a vm_id, and that a saved state goes on as the one before."""

import marshal

import pytest

from wasm_abi.shared_store import SharedState, SharedStore, StoreFullError


def test_room_is_that_of_all_and_comes_back_with_what_is_taken_or_dropped() -> None:
    state = SharedState(1000)
    assert state.set(b"v", b"k", b"x" * 700, 0)
    with pytest.raises(StoreFullError, match="1000 may be"):
        state.set(b"w", b"k", b"x" * 200, 0)
    assert state.set(b"v", b"k", b"x", 0)
    number = state.register(b"w", b"q", 0)
    assert state.enqueue(number, b"y" * 500) == 0
    with pytest.raises(StoreFullError):
        state.enqueue(number, b"y" * 200)
    assert state.take(number) == b"y" * 500
    state.drop(b"v")
    state.drop(b"w")
    assert state.set(b"v", b"k", b"x" * 800, 0)


def test_queue_of_a_vm_id_without_vms_is_no_queue_any_more() -> None:
    store = SharedStore()
    told: list[int] = []
    store.acquire(b"v")
    number = store.register_queue(b"v", b"q", told.append)
    assert store.enqueue(number, b"1")
    store.release(b"v")
    assert told == [number]
    assert store.resolve_queue(b"v", b"q") is None
    assert not store.enqueue(number, b"2")
    assert store.take(number) is False


def test_saved_state_goes_on_where_it_was() -> None:
    state, other = SharedState(), SharedState()
    state.set(b"v", b"k", b"one", 0)
    number = state.register(b"v", b"q", 1)
    state.enqueue(number, b"item")
    other.restore(marshal.loads(marshal.dumps(state.save())))
    for each in (state, other):
        assert each.data[b"v"][b"k"] == (b"one", 1)
        assert not each.set(b"v", b"k", b"two", 7)
        assert each.set(b"v", b"k", b"two", 1)
        assert each.data[b"v"][b"k"] == (b"two", 2)
        assert each.enqueue(number, b"more") == 1
        assert [each.take(number) for _ in range(3)] == [b"item", b"more", True]
        assert each.register(b"v", b"other", 0) == number + 1
