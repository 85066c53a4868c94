"""The stats-file: what is written is what is read; other versions' files, files of nobody's making, names that changed."""

from __future__ import annotations

import pytest

from forkproxy.state import layout
from forkproxy.state.names import backend_key, frontend_key, listener_key
from forkproxy.stats.statsfile import dump, preload
from forkproxy.values import replace

from .fixtures import World, world


@pytest.fixture
def small() -> World:
    made = world()
    for name in ("*:80",):
        made.rows.names.allocate(listener_key("f", name))
    return made


def put(made: World, key: str, offset: int, value: int) -> None:
    made.rows.cells(0)[made.rows.base(key) + offset] = value


def test_what_is_written_is_read_again(small: World) -> None:
    put(small, frontend_key("f"), layout.SESS_TOT, 7)
    put(small, frontend_key("f"), layout.SESS_CUR, 3)
    put(small, backend_key("b"), layout.HRSP_5XX, 2)
    put(small, "b/s1", layout.TTIME_MAX, 99)
    put(small, listener_key("f", "*:80"), layout.BYTES_IN, 1 << 40)
    lines = list(dump(small.plan, small.rows))
    heads = [line.split(" ")[0] for line in lines if line.startswith("#")]
    assert heads == ["#fe", "#be", "#li", "#srv"] and lines[0].startswith("#fe guid,name,") and ",stot," in lines[0]
    assert all(line.count(",") == lines[0].count(",") for line in lines[:3])
    other = world()
    other.rows.names.allocate(listener_key("f", "*:80"))
    assert preload(lines, other.plan, other.rows) == []
    assert other.rows.totals(frontend_key("f"))[layout.SESS_TOT] == 7
    assert other.rows.totals(frontend_key("f"))[layout.SESS_CUR] == 0, "what is now is not what was then"
    assert other.rows.totals(backend_key("b"))[layout.HRSP_5XX] == 2
    assert other.rows.totals("b/s1")[layout.TTIME_MAX] == 99
    assert other.rows.totals(listener_key("f", "*:80"))[layout.BYTES_IN] == 1 << 40
    assert preload(lines, other.plan, other.rows) == []
    assert other.rows.totals(frontend_key("f"))[layout.SESS_TOT] == 14 and other.rows.totals("b/s1")[layout.TTIME_MAX] == 99


def test_an_identifier_is_known_under_another_name(small: World) -> None:
    named = replace(small.plan, objects={"guids": {"b/s2": "the-one"}})
    file = "#srv guid,stot,unheard,bin\nthe-one,5,1,6\nanother,1,1,1\n\n#be guid,name,stot\n,b/<backend>,4\n,gone/<backend>,4\n"
    assert preload(file.splitlines(keepends=True), named, small.rows) == []
    assert [small.rows.totals("b/s2")[at] for at in (layout.SESS_TOT, layout.BYTES_IN)] == [5, 6]
    assert small.rows.totals(backend_key("b"))[layout.SESS_TOT] == 4
    assert "\nthe-one,b/s2,5," in "".join(dump(named, small.rows))


def test_files_of_nobodys_making(small: World) -> None:
    file = [
        "stray,1\n", "#fe name,stot\n", "x,1\n", "#other guid\n", "a,b\n",
        "#srv guid,name,stot\n", ",b/s1,-1\n", ",b/s1,x\n", ",b/s1,99999999999999999999\n", ",b/s1\n", ",b/s1,\n", ",b/s1,3,4\n",
    ]  # fmt: skip
    wrong = preload(file, small.plan, small.rows)
    assert wrong == ["line 2: the first column of '#fe' is not 'guid'", *(f"line {n}: not a number" for n in (7, 8, 9))]
    assert small.rows.totals("b/s1")[layout.SESS_TOT] == 3


def test_the_greater_of_two_maxima_stays(small: World) -> None:
    assert preload(["#srv guid,name,ttime_max,stot\n", ",b/s1,99,2\n", ",b/s1,50,3\n"], small.plan, small.rows) == []
    assert [small.rows.totals("b/s1")[at] for at in (layout.TTIME_MAX, layout.SESS_TOT)] == [99, 5]
