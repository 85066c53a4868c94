"""``http.cookies``: what is left of a line when cookies are changed or taken out. The expected texts are what haproxy 2.6 sends."""

from __future__ import annotations

import pytest

from forkproxy.http.cookies import change_cookie, change_set_cookie, find_plain, without_plain
from forkproxy.http.message import RequestHead


@pytest.mark.parametrize(
    ("line", "left"),
    [
        (b"S=x", None),
        (b"a=1; S=x; b=2", b"a=1; b=2"),
        (b"S=x; b=2", b"b=2"),
        (b"a=1; S=x", b"a=1"),
        (b"a=1;S=x;b=2", b"a=1; b=2"),
        (b"a=1 ; S=x ; b=2", b"a=1; b=2"),
        (b"a=1, S=x, b=2", b"a=1, b=2"),
        (b"S=x,b=2", b"b=2"),
        (b"S\t=\tx ; b =2", b"b=2"),
        (b'S="x;y=1"; b=2', b"b=2"),
        (b'S="x\\";y=1"; b=2', b"b=2"),
        (b'a="x, y"; S=1', b'a="x, y"'),
        (b'S="never closed; b=2', None),
        (b"S; b=2", b"S; b=2"),
        (b"S=; b=2", b"b=2"),
        (b"S=1; S=2", None),
        (b"S=1; S=2; z=1", b"z=1"),
        (b"s=1; SX=1; XS=1", b"s=1; SX=1; XS=1"),
        (b"$Version=1; S=x; $Path=/; b=2", b"$Version=1; b=2"),
        (b"$Version=1; S=x", None),
        (b"a=1; S=x; $Path=/", b"a=1"),
        (b"x; S=1", b"x"),
        (b"x; S=1; y", b"x; y"),
        (b"; S=1", None),
        (b";; S=1;; b=1", b";; ; b=1"),
        (b"S=1;", None),
        (b"a=1;; S=1;", b"a=1;; "),
        (b"a=b=S=1; S=2", b"a=b=S=1"),
        (b"=S; S=2", b"=S"),
        (b"", b""),
        (b"a = 1; S=x ; b = 2", b"a=1; b=2"),
        (b"$a = 1; S=x; $b = 2; c = 3", b"$a = 1; c=3"),
    ],
)
def test_taking_a_cookie_out(line: bytes, left: bytes | None) -> None:
    assert change_cookie(line, b"S", lambda value: None) == left


@pytest.mark.parametrize(
    ("line", "left", "seen"),
    [
        (b"S=c2~q; b=1", b"S=q; b=1", [b"c2~q"]),
        (b"a=1;S=c2~ ;b=1", b"a=1;S= ;b=1", [b"c2~"]),
        (b"S=c1~a~b; S=c2~x", b"S=a~b; S=x", [b"c1~a~b", b"c2~x"]),
        (b"$V=1; S=c2~q; $P=/", b"$V=1; S=q; $P=/", [b"c2~q"]),
        (b"a=1; S=c2;", b"a=1; S=c2;", [b"c2"]),
        (b"a = 1; S = c2~x ; b = 2", b"a=1; S=x ; b=2", [b"c2~x"]),
    ],
)
def test_changing_a_cookie(line: bytes, left: bytes, seen: list[bytes]) -> None:
    asked: list[bytes] = []

    def change(value: bytes) -> bytes:
        asked.append(value)
        return value.partition(b"~")[2] if b"~" in value else value

    assert change_cookie(line, b"S", change) == left
    assert asked == seen


@pytest.mark.parametrize(
    ("line", "left"),
    [
        (b"S=abc; path=/x", b"S=<abc>; path=/x"),
        (b"S=abc", b"S=<abc>"),
        (b"other=1; S=2", b"other=1; S=2"),
        (b'S="a b"; Expires=Thu, 01 Jan 1970', b'S=<"a b">; Expires=Thu, 01 Jan 1970'),
        (b"S=", b"S=<>"),
        (b"S", b"S"),
        (b"S = x ; HttpOnly", b"S=<x> ; HttpOnly"),
    ],
)
def test_the_cookie_of_a_response(line: bytes, left: bytes) -> None:
    assert change_set_cookie(line, b"S", lambda value: b"<" + value + b">") == left
    assert (change_set_cookie(line, b"S", lambda value: None) is None) == (b"<" in left)


def test_fields_are_edited_where_they_stand() -> None:
    fields = [(b"Cookie", b"cut"), (b"X", b"1"), (b"cookie", b"keep"), (b"COOKIE", b"longer"), (b"Y", b"2")]
    head = RequestHead.create(b"GET", b"/", fields)
    assert head.get(b"x") == b"1"
    answers = {b"cut": None, b"keep": b"keep", b"longer": b"s"}
    head.edit(b"cookie", lambda value: answers[value])
    assert head.fields_raw == b"X: 1\r\ncookie: keep\r\nCOOKIE: s\r\nY: 2\r\n"
    assert head.changed and head.get_all(b"cookie") == [b"keep", b"s"] and head.get(b"y") == b"2"
    untouched = RequestHead.create(b"GET", b"/", fields)
    untouched.edit(b"cookie", lambda value: value)
    assert not untouched.changed


PLAIN = [b"S=x", b"a=1; S=x; b=2", b"S=x; b=2", b"a=1; S=x", b"a=1; S=; b=2", b"a=b=c; S=x=y", b"SX=1; S=2"]
UNUSUAL = [
    b"a=1;S=x", b"a=1; S=x ;b=2", b"a=1, S=x", b"S =x", b"S= x", b'a="S=x"', b"$V=1; S=x", b"S=1; S=2", b"a=S=x", b"XS=x", b"a=1;  S=x",
    b"S; a=S=x", b"a=1; S=x;",
]  # fmt: skip


@pytest.mark.parametrize("line", PLAIN + UNUSUAL)
@pytest.mark.parametrize(("before", "after"), [(b"", b""), (b"X: 1\r\n", b"Y: 2\r\n")])
def test_the_usual_cookie_is_found_at_once(line: bytes, before: bytes, after: bytes) -> None:
    fields = before + b"Cookie: " + line + b"\r\n" + after
    found = find_plain(fields, b"S")
    assert (found is not None) == (line in PLAIN)
    if found is not None:
        seen: list[bytes] = []
        left = change_cookie(line, b"S", seen.append)
        assert [fields[found[1] : found[2]]] == seen
        assert without_plain(fields, b"S", *found) == before + (b"" if left is None else b"Cookie: " + left + b"\r\n") + after


def test_a_cookie_of_another_field_is_none() -> None:
    assert find_plain(b"X: S=x\r\n", b"S") is None
    assert find_plain(b"X: S=x\r\nCookie: S=y\r\n", b"S") is None
    assert find_plain(b"Cookie:S=y\r\n", b"S") is None
