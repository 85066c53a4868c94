"""Argument parsers of keywords: values, and complaints in HAProxy's words with the column of the word."""

from __future__ import annotations

from typing import Any

import pytest

from forkproxy.config.args import Condition, Int, OneOf, Opt, Rest, Sample, Size, Time, Word, apply
from forkproxy.config.lexer import split
from forkproxy.config.line import Line
from forkproxy.errors import ConfigError


def line(source: str, kwlen: int = 1) -> Line:
    lexed = split(source, {})
    made = Line(lexed.words, lexed.columns, file="f.cfg", number=3, section="global", source=source)
    made.keyword = " ".join(lexed.words[:kwlen])
    made.kwlen = kwlen
    return made


@pytest.mark.parametrize(
    ("source", "kwlen", "spec", "values"),
    [
        ("daemon", 1, (), ()),
        ("maxconn 10", 1, (Int(),), (10,)),
        ("mss -3", 1, (Int(),), (-3,)),
        ("timeout client 3s", 2, (Time("ms"),), (3.0,)),
        ("grace 3", 1, (Time("s"),), (3.0,)),
        ("bufsize 16k", 1, (Size(),), (16384,)),
        ("mode http", 1, (OneOf("tcp", "http"),), ("http",)),
        ("id a b", 1, (Word(), Word()), ("a", "b")),
        ("opt", 1, (Opt(Int(), 7),), (7,)),
        ("opt 3", 1, (Opt(Int(), 7),), (3,)),
        ("x a b c", 1, (Word(), Rest()), ("a", 2)),
        ("x", 1, (Rest(),), (1,)),
        ("use_backend b if { path / }", 1, (Word(), Condition()), ("b", 2)),
        ("use_backend b", 1, (Word(), Condition()), ("b", None)),
        ("monitor-net src,lower", 1, (Sample(),), ("src,lower",)),
    ],
)
def test_values(source: str, kwlen: int, spec: Any, values: tuple[Any, ...]) -> None:
    assert apply(spec, line(source, kwlen)) == values


@pytest.mark.parametrize(
    ("source", "kwlen", "spec", "message", "column"),
    [
        ("maxconn", 1, (Int(),), "'maxconn' expects an integer argument.", 8),
        ("maxconn 1 2", 1, (Int(),), "'maxconn' cannot handle unexpected argument '2'.", 11),
        ("maxconn x", 1, (Int(),), "'maxconn' expects an integer argument (got 'x').", 9),
        ("nbthread 0", 1, (Int(1, 64),), "'nbthread' value must be between 1 and 64 (was 0).", 10),
        ("x -1", 1, (Int(0),), "'x' value must be at least 0 (was -1).", 3),
        ("timeout client", 2, (Time("ms"),), "'timeout client' expects an integer value (in milliseconds)", 15),
        ("timeout client 3x", 2, (Time("ms"),), "unexpected character 'x' in 'timeout client'", 16),
        ("mode x", 1, (OneOf("tcp", "http"),), "'mode' expects 'tcp' or 'http' (got 'x').", 6),
        ("chroot", 1, (Word("a directory"),), "'chroot' expects a directory as argument.", 7),
        ("b 2x", 1, (Size(),), "'b' : unexpected character 'x' in '2x'", 3),
        ("use b when x", 1, (Word(), Condition()),
         "'use' expects either 'if' or 'unless' followed by a condition, but found 'when'.", 7),
    ],
)  # fmt: skip
def test_complaints(source: str, kwlen: int, spec: Any, message: str, column: int) -> None:
    with pytest.raises(ConfigError) as caught:
        apply(spec, line(source, kwlen))
    assert (caught.value.message, caught.value.column, caught.value.line) == (message, column, 3)
