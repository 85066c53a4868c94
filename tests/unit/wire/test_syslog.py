"""Lines as HAProxy wrote them on a datagram socket for the same target."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from forkproxy.wire.syslog import FORMATS, make

WALL_S = 1795259403.126685  # 2026-11-21 11:10:03.126685 UTC


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC0")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("fmt", "host", "expected"),
    [
        ("local", "", b"<134>Nov 21 11:10:03 haproxy[13988]: text\n"),
        ("rfc3164", "", b"<134>Nov 21 11:10:03 localhost haproxy[13988]: text\n"),
        ("rfc3164", "myhost", b"<134>Nov 21 11:10:03 myhost haproxy[13988]: text\n"),
        ("rfc5424", "", b"<134>1 2026-11-21T11:10:03.126685+00:00 - haproxy 13988 - - text\n"),
        ("rfc5424", "myhost", b"<134>1 2026-11-21T11:10:03.126685+00:00 myhost haproxy 13988 - - text\n"),
        ("short", "", b"<6>text\n"),
        ("raw", "", b"text\n"),
        ("timed", "", b"<6>2026-11-21T11:10:03.126685+00:00 text\n"),
        ("iso", "", b"2026-11-21T11:10:03.126685+00:00 text\n"),
        ("priority", "", b"<134>text\n"),
    ],
)
def test_formats(fmt: str, host: str, expected: bytes) -> None:
    line = make(fmt, 16, 1024, "haproxy", 13988, host)
    assert line(6, WALL_S, b"text") == expected
    assert line(6, WALL_S, b"text") == expected


def test_day_of_one_digit_is_padded_with_a_blank() -> None:
    assert make("local", 16, 1024, "p", 1)(6, 1790812800.0, b"x").startswith(b"<134>Oct  1 00:00:00 p[1]: ")


@pytest.mark.parametrize("fmt", FORMATS)
def test_length_counts_the_header_but_not_the_line_feed(fmt: str) -> None:
    line = make(fmt, 16, 80, "haproxy", 1)
    cut = line(6, WALL_S, b"a" * 200)
    assert len(cut) == 81
    assert cut.endswith(b"a\n")
    fits = line(6, WALL_S, b"")
    assert line(6, WALL_S, b"b" * (81 - len(fits))) == fits[:-1] + b"b" * (81 - len(fits)) + b"\n"


@pytest.mark.parametrize("fmt", ["local", "rfc3164", "rfc5424", "timed", "iso"])
def test_headers_follow_time_and_level(fmt: str) -> None:
    kept = make(fmt, 3, 1024, "p", 9, "h")
    for wall_s, level in ((WALL_S, 6), (WALL_S, 3), (WALL_S + 0.5, 6), (WALL_S + 1, 3), (WALL_S - 70, 6)):
        assert kept(level, wall_s, b"m") == make(fmt, 3, 1024, "p", 9, "h")(level, wall_s, b"m")


def test_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "XST+3:30")
    time.tzset()
    assert make("iso", 16, 1024, "p", 1)(6, WALL_S, b"x") == b"2026-11-21T07:40:03.126685-03:30 x\n"


def test_unknown_format() -> None:
    with pytest.raises(ValueError, match="unknown log format"):
        make("rfc1", 16, 1024, "p", 1)


@pytest.mark.parametrize("fmt", ["rfc5424", "timed", "iso"])
def test_a_fraction_is_never_rounded_to_the_next_second(fmt: str) -> None:
    assert b".999999" in make(fmt, 0, 100, "t", 1)(6, 1_700_000_000.9999998, b"x")
