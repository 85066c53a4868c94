"""``values``: what the two decorators promise."""

from __future__ import annotations

import subprocess
import sys

import pytest

from forkproxy.values import field, frozen, record, replace


@frozen
class Point:
    """A value."""

    x: int
    y: int = 0

    @property
    def far(self) -> bool:
        return self.x > 100


@frozen
class Named(Point):
    """A value with another default and one more field."""

    name: str = ""
    y: int = 5


@record
class Box:
    """Something that changes."""

    size: int
    inside: list[int] = field(default_factory=list)


def test_fields_by_place_and_by_name_with_defaults() -> None:
    assert repr(Point(1)) == "Point(x=1, y=0)"
    assert Point(1, 2) == Point(y=2, x=1)
    assert repr(Named(1, name="a")) == "Named(x=1, y=5, name='a')"  # inherited fields first, as they stood
    assert Point(101).far and Named(101).far


@pytest.mark.parametrize(
    ("args", "named"),
    [((), {}), ((1, 2, 3), {}), ((1,), {"x": 2}), ((1,), {"z": 2}), ((), {"y": 1}), ((), {"y": 1, "z": 2}), ((), {"z": 2})],
)
def test_fields_that_are_missing_unknown_or_given_twice(args: tuple[int, ...], named: dict[str, int]) -> None:
    with pytest.raises(TypeError, match="Point"):
        Point(*args, **named)


def test_a_value_is_frozen_slotted_and_equal_by_its_contents() -> None:
    point = Point(1)
    for name in ("x", "new"):
        with pytest.raises(AttributeError, match="frozen"):
            setattr(point, name, 2)
    with pytest.raises(AttributeError, match="frozen"):
        del point.x
    assert not hasattr(point, "__dict__")
    assert {Point(1, 2): "found"}[Point(1, 2)] == "found"
    assert Point(1) != Point(2) and Point(1, 5) != Named(1)


def test_replace() -> None:
    changed = replace(Named(1, name="a"), x=7)
    assert type(changed) is Named and (changed.x, changed.y, changed.name) == (7, 5, "a")
    with pytest.raises(TypeError, match="z"):
        replace(Point(1), z=1)


def test_a_record_changes_and_makes_its_own_lists() -> None:
    one, other = Box(1), Box(1)
    one.inside.append(3)
    one.size = 2
    assert (one.size, one.inside, other.inside) == (2, [3], [])
    assert Box(1) != Box(1) and not hasattr(one, "__dict__")


def test_the_way_to_a_plan_imports_neither_dataclasses_nor_inspect() -> None:
    code = "import sys, forkproxy.config.load, forkproxy.config.build; print([m for m in ('dataclasses', 'inspect') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out == "[]\n"
