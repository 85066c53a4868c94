"""Words and columns of lines: manual 2.1 to 2.3, and what HAProxy prints for wrong ones."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forkproxy.config.lexer import LexError, split

ENV = {"A": "1", "EMPTY": "", "LIST": "p  q r", "B_2": "b", "SP": " x "}


def words(source: str) -> list[str]:
    return split(source, ENV, {".FILE": "f.cfg", ".LINE": "7"}.get).words


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("", []),
        ("   \t ", []),
        ("# comment only", []),
        ("a b\tc", ["a", "b", "c"]),
        ("a#comment", ["a"]),
        ("a\\#b", ["a#b"]),
        ('a "b # c"', ["a", "b # c"]),
        ("a 'b # c'", ["a", "b # c"]),
        ("a\r", ["a"]),
        ("a\\ b c", ["a b", "c"]),
        ("a\\\\b", ["a\\b"]),
        ("\\x41\\x0a", ["A\n"]),
        ("\\xc3\\xa9", ["\udcc3\udca9"]),
        ("a\\nb\\tc\\rd", ["a\nb\tc\rd"]),
        ("a\\qb", ["a\\qb"]),
        ("^/(a|b)\\.c$", ["^/(a|b)\\.c$"]),
        ("'a\\x41'", ["a\\x41"]),
        ('"a\'b"', ["a'b"]),
        ("'a\"b'", ['a"b']),
        ('a "" b', ["a", "", "b"]),
        ('""', [""]),
        ('ab"cd"\'ef\'', ["abcdef"]),
        # variables: only inside double quotes
        ("$A '$A' \"$A\"", ["$A", "$A", "1"]),
        ('"${A}x" "$A-x"', ["1x", "1-x"]),
        ('"\\$A"', ["$A"]),
        ('"${NO-default value}"', ["default value"]),
        ('"${EMPTY-default}"', [""]),
        ('"$NO"', [""]),
        ('"$B_2"', ["b"]),
        ('"${LIST[*]}"', ["p", "q", "r"]),
        ('x"${LIST[*]}"y', ["xp", "q", "ry"]),
        ('"${EMPTY[*]}" z', ["z"]),
        ('"${NO[*]-d e}"', ["d", "e"]),
        ('"${SP[*]}"', ["x"]),
        ('"$.FILE:$.LINE"', ["f.cfg:7"]),
        ('log-format "%{+Q}o %t"\' %s\'\\ %{-Q}r', ["log-format", "%{+Q}o %t %s %{-Q}r"]),
        ("path,regsub(\\\"(foo|bar)\\\",blah,g)", ['path,regsub("(foo|bar)",blah,g)']),
    ],
)
def test_words(source: str, expected: list[str]) -> None:
    assert words(source) == expected


@pytest.mark.parametrize("five", ["%{+Q}o\\ %t\\ %s\\ %{-Q}r", '"%{+Q}o %t %s %{-Q}r"', "'%{+Q}o %t %s %{-Q}r'"])
def test_the_manuals_equal_lines_are_equal(five: str) -> None:
    assert words(f"log-format {five}") == ["log-format", "%{+Q}o %t %s %{-Q}r"]


@pytest.mark.parametrize(
    ("source", "columns"),
    [("  server\ta", [3, 10]), (' bind "a b" c', [2, 7, 13]), ('x "${LIST[*]}"', [1, 3, 3, 3])],
)
def test_columns_count_from_one(source: str, columns: list[int]) -> None:
    assert split(source, ENV).columns == columns


@pytest.mark.parametrize(
    ("source", "message", "column"),
    [
        (' bind *:0 a"b', "unmatched quote", 12),
        ("a 'b", "unmatched quote", 3),
        ('mode "abc\\"', "unmatched quote", 6),
        ("a\\x4", "truncated or invalid hexadecimal sequence", 2),
        ("a\\xzz", "truncated or invalid hexadecimal sequence", 2),
        ("a\\x00", "truncated or invalid hexadecimal sequence", 2),
        (' mode "$-"', "forbidden first char in environment variable name", 9),
        (' mode "${1}"', "forbidden first char in environment variable name", 10),
        (' mode "${FOO x}"', "unmatched brace in environment variable name", 9),
        ('"${A"', "unmatched brace in environment variable name", 3),
        ('"$.NO"', "forbidden first char in environment variable name", 3),
    ],
)
def test_errors_tell_where(source: str, message: str, column: int) -> None:
    with pytest.raises(LexError) as caught:
        words(source)
    assert (str(caught.value), caught.value.column) == (message, column)


@given(st.lists(st.text(st.characters(blacklist_categories=("Cs", "Cc"), max_codepoint=0x2FF), min_size=1), min_size=1, max_size=5))
def test_strong_quotes_protect_everything(texts: list[str]) -> None:
    texts = [t.replace("'", "") or "x" for t in texts]
    assert words(" ".join(f"'{t}'" for t in texts)) == texts


@given(st.text(alphabet="ab \t\"'\\#$x4{}[*]-_.", max_size=30))
def test_any_text_gives_words_or_a_place(source: str) -> None:
    try:
        lexed = split(source, ENV)
    except LexError as exc:
        assert 1 <= exc.column <= len(source) + 1
    else:
        assert len(lexed.words) == len(lexed.columns)
        assert lexed.columns == sorted(lexed.columns)
