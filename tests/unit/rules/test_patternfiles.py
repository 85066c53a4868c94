"""Lists that change at run time: operations, versions, equal keys, indexes that follow; the actions that change them."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from forkproxy.errors import ConfigError
from forkproxy.rules.acl import compile_acl
from forkproxy.rules.patternfiles import LOT, PatternFile, PatternFiles, lots
from forkproxy.rules.patterns import Entry
from forkproxy.rules.ruleset import parse_rule
from forkproxy.rules.types import Addr
from tests.unit.rules.support import context, make_txn, words


def a_map(text: bytes, name: str = "virt@m") -> tuple[PatternFiles, PatternFile]:
    files = PatternFiles()
    file = files.get(name, True)
    file.load(text)
    files.settle()
    return files, file


def shown(file: PatternFile, version: int | None = None) -> list[tuple[bytes, bytes | None]]:
    return [(e.text, e.value) for e in file.of(version)]


def test_operations() -> None:
    files, file = a_map(b"# c\n/a one\n /b\ttwo  words \n/b three\n\n/c\n")
    view = file.view("str")
    assert shown(file) == [(b"/a", b"one"), (b"/b", b"two  words"), (b"/b", b"three"), (b"/c", b"")]
    for op, key, value in (
        (["set", 0, "/a", None, "eins"], b"/a", b"eins"),
        (["set", 0, "/b", 1, "drei"], b"/b", b"two  words"),
        (["del", 0, "/b", 0], b"/b", b"drei"),
        (["add", 0, None, "/b", "more"], b"/b", b"drei"),
        (["set", 0, "/b", None, "x"], b"/b", b"x"),
        (["del", 0, "/b", None], b"/b", None),
        (["put", 0, "/b", "new"], b"/b", b"new"),
        (["put", 0, "/b", "newer"], b"/b", b"newer"),
        (["once", 0, "/d"], b"/d", None),
        (["once", 0, "/d"], b"/d", None),
        (["drop", 0, "/a"], b"/a", None),
        (["drop", 0, "/a"], b"/a", None),
        (["put", 0, "/\udcff", "\udcfe"], b"/\xff", b"\xfe"),
    ):
        files.apply([op])
        entry = view.find(key)
        assert (entry and entry.value) == value, op
    assert len(file.contents) == 4 and [e.text for e in file.contents] == [b"/c", b"/b", b"/d", b"/\xff"]
    files.apply([["clear", 0, None]])
    assert view.find(b"/b") is None and not len(file.contents)
    with pytest.raises(ValueError, match="unknown change"):
        files.apply([["nothing", 0]])


def test_versions() -> None:
    files, file = a_map(b"k old\n")
    views = [file.view("str"), file.view("str", icase=True), file.view("beg"), file.view("reg")]
    files.apply([["prepare", 0], ["add", 0, 1, "k", "new"], ["prepare", 0], ["add", 0, 2, "n", "newest"]])
    assert [v.find(b"k").value for v in views] == [b"old"] * 4 and file.entries() == 3
    assert (shown(file, 1), shown(file, 2), shown(file, 7)) == ([(b"k", b"new")], [(b"n", b"newest")], [])
    files.apply([["clear", 0, 2]])
    assert shown(file, 2) == []
    files.apply([["add", 0, 2, "k", "newest"], ["commit", 0, 1]])
    assert [v.find(b"k").value for v in views] == [b"new"] * 4 and (file.version, file.newest) == (1, 2)
    files.apply([["commit", 0, 2]])
    assert [v.find(b"k").value for v in views] == [b"newest"] * 4 and file.entries() == 1
    files.apply([["prepare", 0], ["prepare", 0], ["add", 0, 3, "k", "skipped"], ["add", 0, 4, "k", "four"], ["commit", 0, 4]])
    assert shown(file) == [(b"k", b"four")] and shown(file, 3) == [] and file.entries() == 1, "older versions go"


@pytest.mark.parametrize(
    ("method", "icase", "key", "value"),
    [
        ("str", False, "new", b"new"), ("str", True, "NEW", b"nEw"), ("beg", False, "ne", b"new"), ("end", False, "ew", b"new"),
        ("sub", True, "E", b"new"), ("dir", False, "x", b"/x/"), ("dom", False, "x", b"a.x.b"), ("reg", False, "^n", b"new"),
    ],
)  # fmt: skip
def test_every_index_follows(method: str, icase: bool, key: str, value: bytes) -> None:
    files, file = a_map(b"zz first\n")
    view = file.view(method, icase)
    assert view.find(value) is None
    files.apply([["add", 0, None, key, "1"]])
    assert view.find(value).value == b"1"
    files.apply([["add", 0, None, key, "2"], ["del", 0, key, 0]])
    assert view.find(value).value == b"2"
    files.apply([["del", 0, key, None]])
    assert view.find(value) is None


def test_networks_added_one_by_one() -> None:
    """What is found is what an index made at once finds: the most specific network."""
    rng = random.Random(3)
    nets = [f"{rng.randint(1, 3)}.{rng.randint(0, 3)}.{rng.randint(0, 3)}.0/{rng.randint(6, 26)}" for _ in range(200)]
    files, file = a_map("".join(f"{net} {net}\n" for net in nets[:100]).encode())
    view = file.view("ip")
    for i, net in enumerate(nets[100:]):
        files.apply([["once", 0, net], ["set", 0, net, None, net]])
        if i % 10 == 9:
            _, whole = a_map("".join(f"{n} {n}\n" for n in dict.fromkeys(nets[: 101 + i])).encode())
            for probe in (Addr(f"{rng.randint(1, 3)}.{rng.randint(0, 3)}.{rng.randint(0, 3)}.{rng.randint(0, 255)}") for _ in range(50)):
                mine, its = view.find(probe), whole.view("ip").find(probe)
                assert (mine and mine.text) == (its and its.text), probe


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    _, file = a_map(b"1.2.3.0/24 5\n")
    file.view("ip")
    for entry, message in (
        (Entry(b"x", b"1"), "not a valid IPv4"), (Entry(b"1.2.3.4", b"x" * LOT), "too long"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            file.check(entry)
    numbers = tmp_path / "numbers"
    numbers.write_text("# c\na 1\nb x\n")
    with pytest.raises(ConfigError, match=f"'x' is not an integer at line 3 of file '{numbers}'"):
        parse_rule("http-req", words(f"set-var(txn.a) path,map_str_int({numbers})"), context())


def test_numbers() -> None:
    """As haproxy's: those that were asked for, and the others in order around them."""
    ctx = context()
    ctx.files.get("virt@a", False)
    ctx.files.inline(1, "acl 'path'")
    ctx.files.get("virt@b", False)
    ctx.files.settle()
    assert [file.number for file in ctx.files.lists] == [0, 1, 2]
    assert ctx.files.find("#1") is ctx.files.lists[1] and ctx.files.find("virt@b") is ctx.files.find("#2")
    assert ctx.files.find("#9") is None and ctx.files.find("b") is None
    with pytest.raises(ConfigError, match="unique id 1 already exists"):
        compile_acl(words("path -u 1 /x"), ctx)


def test_an_acl_with_an_identifier_changes() -> None:
    ctx = context()
    path, length = compile_acl(words("path -i -u 7 /x"), ctx), compile_acl(words("path_len -u 8 ge 10"), ctx)
    ctx.files.settle()
    yes, no = make_txn(b"GET /X HTTP/1.1\r\nHost: h\r\n\r\n"), make_txn(b"GET /Y HTTP/1.1\r\nHost: h\r\n\r\n")
    assert path.match(yes) and not path.match(no) and not length.match(no)
    ctx.files.apply([["add", 7, None, "/y", None], ["add", 8, None, "2", None]])
    assert path.match(no) and length.match(no)


def test_actions() -> None:
    ctx = context()
    told: list[Any] = []
    lines = (
        "set-map(virt@m) %[path] %[req.hdr(v)]", "del-map(virt@m) %[path] if { req.hdr(v) gone }",
        "add-acl(virt@l) %[path]", "del-acl(virt@l) %[path] if { req.hdr(v) gone }",
    )  # fmt: skip
    rules = [parse_rule("http-req", words(line), ctx) for line in lines]
    ctx.files.get("virt@m", True).view("str")
    ctx.files.settle()
    ctx.files.announce = told.append
    for value in (b"1", b"1", b"2", b"gone"):
        for rule in rules:
            rule.step(make_txn(b"GET /k HTTP/1.1\r\nHost: h\r\nV: " + value + b"\r\n\r\n"))
    assert told == [
        ["put", 0, "/k", "1"], ["once", 1, "/k"], ["put", 0, "/k", "2"], ["put", 0, "/k", "gone"], ["drop", 0, "/k"], ["drop", 1, "/k"],
    ]  # fmt: skip
    assert not len(ctx.files.lists[0].contents) and not len(ctx.files.lists[1].contents)
    for line, message in (("set-map a b", "in parentheses"), ("set-map() a b", "name of a file"), ("set-map(/nowhere/x) a b", "failed to")):
        with pytest.raises(ConfigError, match=message):
            parse_rule("http-req", words(line), context())


def test_lots() -> None:
    ops = [["put", 0, "k" * 1000, "v" * 1000] for _ in range(30)]
    made = list(lots(ops))
    assert [op for lot in made for op in lot] == ops and len(made) == 3
    assert list(lots([])) == []


def test_equal_values_are_kept_once(tmp_path: Path) -> None:
    (tmp_path / "m").write_text("a  one two\nb one two\nc three\n# d one\n\ne\n")
    table = PatternFiles().get(str(tmp_path / "m"), True).contents.table
    assert {key: entry.value for key, entry in table.items()} == {b"a": b"one two", b"b": b"one two", b"c": b"three", b"e": b""}
    assert table[b"a"].value is table[b"b"].value
