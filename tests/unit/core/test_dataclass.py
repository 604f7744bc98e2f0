"""Whatever the standard data classes do with these arguments, ours do."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Callable
from typing import Any, ClassVar

import pytest

from sidecar.core import dataclass as ours


@pytest.fixture(params=["standard", "looked up", "written"])
def dataclass(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    if request.param == "written":
        monkeypatch.setattr(ours, "_FEW", 0)
    return dataclasses.dataclass if request.param == "standard" else ours.dataclass


@ours.dataclass(frozen=True, slots=True)
class Pickled:
    name: str
    size: int = 3


def test_init_takes_positions_names_and_defaults(dataclass: Callable[..., Any]) -> None:
    @dataclass(frozen=True, slots=True)
    class Value:
        kind: ClassVar[str] = "value"
        first: int
        second: str = "two"
        third: list[int] = dataclasses.field(default_factory=list)
        fourth: int = dataclasses.field(init=False, default=4)

    one, two = Value(1), Value(1, third=[3], second="2")
    assert (one.first, one.second, one.third, one.fourth) == (1, "two", [], 4)
    assert (two.second, two.third) == ("2", [3])
    assert one.third is not Value(1).third
    assert Value.kind == "value"
    with pytest.raises(TypeError):
        Value()
    with pytest.raises(TypeError):
        Value(1, fifth=5)


def test_post_init_is_called_behind_the_fields(dataclass: Callable[..., Any]) -> None:
    @dataclass(slots=True, eq=False)
    class Value:
        first: int
        double: int = dataclasses.field(init=False)

        def __post_init__(self) -> None:
            self.double = self.first * 2

    assert Value(2).double == 4
    assert Value(2) != Value(2)
    assert len({Value(2), Value(2)}) == 2


def test_equal_values_of_a_frozen_class_have_one_hash(dataclass: Callable[..., Any]) -> None:
    @dataclass(frozen=True, slots=True)
    class Value:
        first: int
        ignored: int = dataclasses.field(default=0, compare=False)

    assert Value(1, 2) == Value(1, 3)
    assert Value(1) != Value(2)
    assert Value(1) != (1, 0)
    assert {Value(1, 2): "it"}[Value(1, 3)] == "it"


def test_value_that_may_change_has_no_hash(dataclass: Callable[..., Any]) -> None:
    @dataclass(slots=True)
    class Value:
        first: int

    changed = Value(1)
    changed.first = 2
    assert changed == Value(2)
    with pytest.raises(TypeError):
        hash(changed)


def test_frozen_value_refuses_changes(dataclass: Callable[..., Any]) -> None:
    @dataclass(frozen=True)
    class Value:
        first: int

    class Further(Value):
        pass

    value, further = Value(1), Further(1)
    for each, name in ((value, "first"), (value, "other"), (further, "first")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(each, name, 2)
        with pytest.raises(dataclasses.FrozenInstanceError):
            delattr(each, name)
    further.__dict__.clear()
    setattr(further, "other", 2)  # noqa: B010 - what a class adds is its own affair
    delattr(further, "other")


def test_methods_of_the_class_stay(dataclass: Callable[..., Any]) -> None:
    @dataclass(frozen=True, slots=True)
    class Value:
        first: int

        def __eq__(self, other: object) -> bool:
            return True

        def __hash__(self) -> int:
            return 7

        def __repr__(self) -> str:
            return "shown"

    assert Value(1) == 5
    assert hash(Value(1)) == 7
    assert repr(Value(1)) == "shown"


def test_derived_class_has_the_fields_of_its_base(dataclass: Callable[..., Any]) -> None:
    @dataclass(frozen=True, slots=True)
    class Base:
        first: int
        second: int = 2

    @dataclass(frozen=True, slots=True)
    class Derived(Base):
        third: int = 3

    assert Base(1) == Base(1)
    assert repr(Derived(1, third=5)).endswith("Derived(first=1, second=2, third=5)")
    assert Derived(1) == Derived(1)
    assert Derived(1) != Base(1)


def test_tools_of_the_standard_library_know_the_class(dataclass: Callable[..., Any]) -> None:
    @dataclass(frozen=True, slots=True)
    class Value:
        first: int
        second: tuple[int, ...] = ()

    value = Value(1, (2,))
    assert dataclasses.replace(value, first=3) == Value(3, (2,))
    assert dataclasses.asdict(value) == {"first": 1, "second": (2,)}
    assert [each.name for each in dataclasses.fields(Value)] == ["first", "second"]
    assert copy.copy(value) == copy.deepcopy(value) == value
    assert not hasattr(value, "__dict__")
    match value:
        case Value(first, (second,)):
            assert (first, second) == (1, 2)


def test_value_that_holds_itself_is_shown(dataclass: Callable[..., Any]) -> None:
    @dataclass(eq=False)
    class Value:
        held: Any = None

    value = Value()
    value.held = value
    assert repr(value).endswith("Value(held=...)")


def test_values_can_be_pickled() -> None:
    assert pickle.loads(pickle.dumps(Pickled("it"))) == Pickled("it", 3)


def test_methods_are_written_when_they_are_called_often() -> None:
    @ours.dataclass(frozen=True)
    class Value:
        first: int

    methods = []
    for number in range(ours._FEW + 2):
        assert Value(number) == Value(number)
        assert hash(Value(number)) == hash((number,))
        methods.append(Value.__init__)
    assert methods[0].__code__.co_filename == ours.__file__
    assert methods[-1].__code__.co_filename == "<string>"
    assert methods[-1].__qualname__ == f"{Value.__qualname__}.__init__"
    with pytest.raises(TypeError, match="first"):
        Value()  # type: ignore[call-arg]
    assert Value.__eq__(Value(1), 1) is NotImplemented


def test_wrong_arguments_are_refused_by_the_first_call_too(dataclass: Callable[..., Any]) -> None:
    for arguments, named in (((), {}), ((1, 2, 3), {}), ((1,), {"first": 1}), ((1,), {"other": 2})):

        @dataclass(slots=True)
        class Value:
            first: int
            second: int = 2

        with pytest.raises(TypeError):
            Value(*arguments, **named)
