"""Heads: questions and edits on the field lines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forkproxy.http import message
from forkproxy.http.message import BodyKind, Field, RequestHead, ResponseHead
from forkproxy.http.reader import Limits, parse_request

RAW = b"GET /a HTTP/1.1\r\nHost: x\r\nUser-Agent: u\r\nX-A: 1\r\nx-a:2 \r\nX-AB: \t3\r\nEmpty:\r\n\r\n"


def head() -> RequestHead:
    parsed = parse_request(RAW, 0, Limits())
    assert parsed is not None
    return parsed[0]


def test_get_finds_the_first_in_any_case_and_cuts_white_space() -> None:
    h = head()
    assert h.get(b"x-a") == b"1"
    assert h.get(b"x-ab") == b"3"
    assert h.get(b"host") == b"x"
    assert h.get(b"empty") == b""
    assert h.get(b"a") is None
    assert h.get(b"x") is None
    assert h.get(b"1") is None


def test_get_all_has_one_entry_per_line() -> None:
    h = head()
    assert h.get_all(b"x-a") == [b"1", b"2"]
    assert h.get_all(b"x-b") == []


def test_items_keep_names_as_received() -> None:
    assert head().items() == [
        (b"Host", b"x"), (b"User-Agent", b"u"), (b"X-A", b"1"), (b"x-a", b"2"), (b"X-AB", b"3"), (b"Empty", b""),
    ]  # fmt: skip


def test_untouched_fields_go_on_as_they_came() -> None:
    h = head()
    h.get(b"host")
    assert h.block() == RAW[17:-2]
    assert not h.changed


@pytest.mark.parametrize(("change", "reframed"), [
    (lambda h: h.add(b"Connection", b"x"), True), (lambda h: h.add(b"X-A", b"x"), False),
    (lambda h: h.remove(b"host"), True), (lambda h: h.remove(b"upgrade"), False), (lambda h: h.remove(b"x-a"), False),
    (lambda h: h.set(b"Host", b"y"), True), (lambda h: h.set(b"Transfer-Encoding", b"x"), True), (lambda h: h.set(b"X-A", b"y"), False),
    (lambda h: h.edit(b"host", lambda _old: b"y"), True), (lambda h: h.edit(b"host", lambda old: old), False),
    (lambda h: h.edit(b"x-a", lambda _old: None), False),
    (lambda h: h.replace_all([(b"X", b"y")]), True), (lambda h: h.put(b"Host: x\r\nX: y\r\n"), False),
])  # fmt: skip
def test_who_edits_what_framing_depends_on_says_so(change: Callable[[RequestHead], object], reframed: bool) -> None:
    h = head()
    change(h)
    assert h.reframed is reframed


@pytest.mark.parametrize("asked_before", [True, False])
def test_edits(asked_before: bool) -> None:
    h = head()
    if asked_before:
        assert h.get(b"host") == b"x"
    h.add(b"X-New", b"V")
    assert h.changed
    assert h.get(b"x-new") == b"V"
    assert h.remove(b"x-a") == 2
    assert h.remove(b"x-a") == 0
    h.set(b"User-Agent", b"other")
    assert h.get(b"user-agent") == b"other"
    assert h.block() == b"Host: x\r\nX-AB: \t3\r\nEmpty:\r\nX-New: V\r\nUser-Agent: other\r\n"
    assert h.get_all(b"x-ab") == [b"3"]
    assert h.remove(b"host") == 1
    assert h.get(b"host") is None
    h.replace_all([(b"A", b"b"), (b"C", b"d")])
    assert h.block() == b"A: b\r\nC: d\r\n"
    assert h.get(b"c") == b"d"
    assert h.get(b"x-ab") is None


def test_removing_neighbours_and_everything() -> None:
    h = RequestHead.create(b"GET", b"/", [(b"A", b"1"), (b"a", b"2"), (b"A", b"3")])
    assert h.remove(b"a") == 3
    assert h.block() == b""
    assert h.items() == []
    h.add(b"B", b"x")
    assert h.get(b"b") == b"x"


_NAMES = st.sampled_from([b"A", b"a", b"Ab", b"X-A", b"Host"])
_VALUES = st.sampled_from([b"", b"1", b"a: b", b"x-a", b"Ab:"])
_CHANGES = st.one_of(
    st.tuples(st.sampled_from(["add", "set"]), _NAMES, _VALUES),
    st.tuples(st.sampled_from(["remove", "edit", "drop", "ask"]), _NAMES, st.just(b"")),
    st.tuples(st.just("revise"), st.lists(_NAMES, min_size=1, unique_by=bytes.lower), _VALUES),
)


@given(st.lists(st.tuples(_NAMES, _VALUES), max_size=5), st.lists(_CHANGES, max_size=6))
def test_a_head_answers_as_a_list_of_fields_would(received: list[tuple[bytes, bytes]], changes: list[tuple[str, Any, bytes]]) -> None:
    head = RequestHead.create(b"GET", b"/", received)
    model = list(received)
    for what, name, value in changes:
        if what == "revise":
            head.revise(tuple(map(Field, name)), b"".join(b"%b: %b\r\n" % (n, value) for n in name), frames=False)
            model = [f for f in model if f[0].lower() not in {n.lower() for n in name}] + [(n, value) for n in name]
            continue
        lower = name.lower()
        others = [f for f in model if f[0].lower() != lower]
        if what == "add":
            head.add(name, value)
            model.append((name, value))
        elif what == "set":
            head.set(name, value)
            model = [*others, (name, value)]
        elif what == "remove":
            assert head.remove(lower) == len(model) - len(others)
            model = others
        elif what == "edit":
            head.edit(lower, lambda old: old + b"!")
            model = [(n, v + b"!" if n.lower() == lower else v) for n, v in model]
        elif what == "drop":
            head.edit(lower, lambda old: None if old == b"1" else old)
            model = [(n, v) for n, v in model if n.lower() != lower or v != b"1"]
        mine = [v for n, v in model if n.lower() == lower]
        assert head.get_all(lower) == mine
        assert (head.get(lower), head.last(lower)) == ((mine[0], mine[-1]) if mine else (None, None))
    assert head.items() == model
    assert head.block() == b"".join(b"%b: %b\r\n" % field for field in model)


def test_start_lines() -> None:
    h = head()
    h.set_target(b"/b")
    h.set_method(b"POST")
    assert h.start_line() == b"POST /b HTTP/1.1\r\n"
    assert h.changed
    assert RequestHead.create(b"GET", b"/", version=10).start_line() == b"GET / HTTP/1.0\r\n"
    made = ResponseHead.create(404, b"Not Found", [(b"A", b"b")], body=BodyKind.LENGTH, length=3)
    assert made.start_line() + made.block() == b"HTTP/1.1 404 Not Found\r\nA: b\r\n"
    assert (made.body, made.length, made.keep_alive, made.upgrade) == (BodyKind.LENGTH, 3, True, None)
    assert ResponseHead.create(200, b"OK", version=10).start_line() == b"HTTP/1.0 200 OK\r\n"


def test_host_of_a_made_head() -> None:
    assert RequestHead.create(b"GET", b"/", [(b"Host", b"x")]).host == b"x"


def test_names_that_clients_made_up_are_not_remembered_for_ever() -> None:
    h = head()
    for i in range(3000):
        assert h.get(b"x-%d" % i) is None
    assert len(message._needles) <= 1000
    assert h.get(b"x-ab") == b"3"
