"""The runtime: layers over one another, and cells that follow them."""

import gc

from sidecar.core.runtime import Entry, Layer, Runtime


def number(value: int) -> Entry:
    return Entry(str(value), boolean=value != 0, integer=value, double=float(value))


def test_later_layer_counts() -> None:
    runtime = Runtime([Layer("a", {"k": number(1), "l": number(2)}), Layer("b", {"k": number(3)})])
    assert (runtime.integer("k", 0), runtime.integer("l", 0), runtime.integer("m", 5)) == (3, 2, 5)


def test_cell_follows_its_key() -> None:
    layer = Layer("a")
    runtime = Runtime([layer], is_live=True)
    share, switch, count = runtime.fraction("k", 5, 1000), runtime.flag("k", True), runtime.number("k", 7)
    assert (share.numerator, share.denominator, switch.value, count.value) == (5, 1000, True, 7)
    layer.values = {"k": number(0)}
    runtime.changed()
    assert (share.numerator, share.denominator, switch.value, count.value) == (0, 100, False, 0)
    assert not share()
    layer.values = {"k": Entry("x", fraction=(3, 10_000))}
    runtime.changed()
    assert (share.numerator, share.denominator, switch.value, count.value) == (3, 10_000, True, 7)
    assert share.covers(2)
    assert not share.covers(3)


def test_cells_of_one_key_and_default_are_one() -> None:
    runtime = Runtime([Layer("a")], is_live=True)
    assert runtime.flag("k", True) is runtime.flag("k", True)
    assert runtime.number("k", 1) is not runtime.number("k", 1.0)
    assert runtime.number("", 1) is not runtime.number("", 1)


def test_cell_that_nobody_keeps_is_gone() -> None:
    runtime = Runtime([Layer("a")], is_live=True)
    for each in range(1000):
        runtime.number(f"k{each}", 1)
    gc.collect()
    assert not runtime._cells


def test_key_that_nothing_can_set_is_not_followed() -> None:
    runtime = Runtime([Layer("a", {"k": number(1)})])
    assert [runtime.follows(each) for each in ("k", "l", "")] == [True, False, False]
    assert Runtime(is_live=True).follows("l")
