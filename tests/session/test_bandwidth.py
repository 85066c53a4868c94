"""Bandwidth limits: what passes when, in answers, requests and sessions of bytes; by a clock that is driven by hand."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

import forkproxy.rules.library  # noqa: F401
from forkproxy.net.loop import ERR, ET, HUP, READ
from forkproxy.rules.bandwidth import Bandwidth
from forkproxy.rules.context import RuleContext
from forkproxy.rules.ruleset import parse_rule
from forkproxy.rules.words import Words
from forkproxy.state.ledger import Ledger
from forkproxy.state.stickspec import HOLDERS, Store, TableRef, TableSpec, columns
from forkproxy.state.sticktable import Table
from tests.session.stage import Stage, Wire

KINDS = {
    "http_request": "http-req", "http_response": "http-res", "tcp_request_content": "tcp-req-cont", "tcp_response_content": "tcp-res-cont",
}  # fmt: skip
GET = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
SIZE = 5000
LENGTH = b"Content-Length: 5000\r\n\r\n"


class Limited:
    """A stage with filters of 1000 bytes in a second: ``out`` and ``in`` per stream, ``all-out`` and ``all-in`` by source."""

    def __init__(self, monkeypatch: Any, mode: str = "http", back: dict[str, list[str]] | None = None, least: int = 0,
                 period_ms: int = 1000, server_s: float = 5.0, **rules: list[str]) -> None:  # fmt: skip
        stores = (Store("conn_cur"), Store("bytes_in_rate", 1, 1000), Store("bytes_out_rate", 1, 1000))
        ref = TableRef(TableSpec(name="t", type="ip", key_bytes=4, size=5, stores=stores))
        self.table = Table(ref.spec, 1)
        self.table.ledger = Ledger(64)
        ref.bind(self.table)
        self.filters = {}
        for name, inward in (("in", True), ("out", False)):
            own = {"name": name, "inward": inward, "limit": 1000, "period_ms": period_ms, "least": least}
            rate = columns(ref.spec)[0][f"bytes_{name}_rate"].offset
            self.filters[name] = Bandwidth(**own)  # type: ignore[arg-type]  # values of several types
            self.filters[f"all-{name}"] = Bandwidth(**{**own, "name": f"all-{name}", "key": "src", "table": ref, "rate": rate})  # type: ignore[arg-type]
        context = RuleContext(name="f", mode=mode, filters=self.filters, tables={"t": ref})

        def compiled(sets: dict[str, list[str]]) -> dict[str, Any]:
            return {name: tuple(parse_rule(KINDS[name], Words.of(text), context).step for text in texts) for name, texts in sets.items()}

        options = frozenset({"bandwidth"})
        self.stage = Stage(
            monkeypatch, front={"mode": mode, "options": options, **compiled(rules)}, back={"mode": mode, **compiled(back or {})},
            tables={"t": ref}, client_s=10.0, server_s=server_s, connect_s=1.0,
        )  # fmt: skip

    def passes(self, seconds: float, *wires: Wire) -> None:
        """Time goes by, and what wires have to say is read whenever we want to."""
        end = self.stage.clock.now + seconds
        while self.stage.clock.now < end:
            self.stage.passes(0.01)
            for wire in wires:
                while wire.said and self.stage.reads(wire):
                    self.stage.event(wire, READ)

    def asked(self, raw: bytes = GET) -> tuple[Wire, Wire]:
        """A client's request at its server."""
        c = self.stage.client()
        if raw:
            self.stage.says(c, raw)
        up = self.stage.dialled[-1]
        self.stage.stands(up)
        return c, up

    def rate(self, name: str) -> int:
        """What the table says of the client now."""
        found = self.table.look(b"\xc0\x00\x02\x01\0\0\0\0", 0, lambda cells, base, now: (cells[base + HOLDERS], cells[base + 4]))
        return int(found[0]) if name == "holders" else int(found[1])


Make = Callable[..., Limited]


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Make:
    return lambda **rules: Limited(monkeypatch, **rules)


def body(wire: Wire) -> int:
    """Bytes of the body that came."""
    return len(wire.got.partition(b"\r\n\r\n")[2])


#: ways in which a body comes: its framing, its pieces behind the head, the bytes of it that the client gets in all
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
BODIES = {
    "whole with its head": (LENGTH, [b"x" * SIZE], SIZE),
    "later": (LENGTH, [b"", b"x" * SIZE], SIZE),
    "in pieces": (LENGTH, [b"x" * 700, *[b"x" * 430] * 10], SIZE),
    "chunks": (CHUNKED, [b"1388\r\n" + b"x" * SIZE + b"\r\n0\r\n\r\n"], SIZE + 13),
    "to the end": (b"\r\n", [b"x" * 3000, b"x" * 2000, b""], SIZE),
}


@pytest.mark.parametrize("name", list(BODIES))
@pytest.mark.parametrize("where", ["http_request", "http_response", "tcp_request_content", "backend"])
def test_an_answer(make: Make, name: str, where: str) -> None:
    rule = ["set-bandwidth-limit out"]
    t = make(back={"http_response": rule}) if where == "backend" else make(**{where: rule})
    framing, pieces, size = BODIES[name]
    c, up = t.asked()
    began = t.stage.clock.now
    t.stage.says(up, b"HTTP/1.1 200 OK\r\n" + framing + pieces[0])
    up.said += pieces[1:]
    t.passes(0.02, up)
    assert 900 <= body(c) <= 1000, "the first second's bytes at once, the head besides"
    for _ in range(30):
        t.passes(0.1, up)
        elapsed = t.stage.clock.now - began
        assert 1000 * (elapsed - 0.2) <= body(c) <= max(1000, 1000 * elapsed + 10)
    t.passes(2.5, up)
    assert body(c) == size
    assert [line[0] for line in t.stage.log] == ["--"]
    if name != "to the end":
        assert not c.closed and not up.closed
        t.stage.says(c, GET)  # both connections go on
        t.stage.says(up, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        assert c.got.endswith(b"ok")


def test_what_rules_say_and_what_they_do_not(make: Make) -> None:
    for rule, at_once, after_3s in (
        ("out limit 2k", 2048, SIZE), ("out limit 100 period 10s", 100, 100), ("out period 500ms", 1000, SIZE),
        ("out limit int(0)", 1000, 3000), ("out limit int(300),mul(2)", 600, 1800), ("out period var(txn.none)", 1000, 3000),
        ("in", SIZE, SIZE),
    ):  # fmt: skip
        t = make(http_request=["set-bandwidth-limit out", f"set-bandwidth-limit {rule}"] if rule != "in" else ["set-bandwidth-limit in"])
        c, up = t.asked()
        t.stage.says(up, b"HTTP/1.1 200 OK\r\n" + LENGTH + b"x" * SIZE)
        t.passes(0.01, up)
        assert body(c) == at_once, rule
        t.passes(2.99, up)
        assert abs(body(c) - after_3s) <= 45, rule


def test_the_filters_own_period(make: Make) -> None:
    t = make(http_request=["set-bandwidth-limit out limit 500"], period_ms=4000)
    c, up = t.asked()
    t.stage.says(up, b"HTTP/1.1 200 OK\r\n" + LENGTH + b"x" * SIZE)
    t.passes(6.0, up)
    assert abs(body(c) - 750) <= 45


def test_pieces_are_as_large_as_the_filter_says(make: Make) -> None:
    t = make(http_request=["set-bandwidth-limit out"], least=400)
    c, up = t.asked()
    t.stage.says(up, b"HTTP/1.1 200 OK\r\n" + LENGTH + b"x" * SIZE)
    seen = set()
    for _ in range(600):
        t.passes(0.01, up)
        seen.add(body(c))
    steps = sorted(seen)
    assert all(b - a >= 400 for a, b in itertools.pairwise(steps[:-1])) and steps[-1] == SIZE


def test_a_request(make: Make) -> None:
    """What came with the head waits for its server with it; the rest follows, and no timer ends what we hold ourselves."""
    t = make(http_request=["set-bandwidth-limit in limit 1000 period 20s"])
    c = t.stage.client()
    t.stage.says(c, b"POST /a HTTP/1.1\r\nHost: a\r\n" + LENGTH + b"x" * 600)
    up = t.stage.dialled[-1]
    t.stage.stands(up)
    assert body(up) == 600
    t.stage.says(c, b"x" * 4400)
    assert body(up) == 1000
    t.passes(30, c)
    assert 1400 <= body(up) <= 1600 and not c.closed
    for _ in range(100):
        if body(up) < SIZE:
            t.passes(1, c)
    assert body(up) == SIZE
    t.stage.says(up, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    assert c.got.endswith(b"ok") and [line[0] for line in t.stage.log] == ["--"]


def test_requests_that_come_whole_share_a_limit(make: Make) -> None:
    t = make(http_request=["set-bandwidth-limit all-in"])
    raw = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 500\r\n\r\n" + b"x" * 500
    clients = [t.stage.client() for _ in range(4)]
    for c in clients:
        t.stage.says(c, raw)
    assert len(t.stage.dialled) == 2, "a second's worth"
    left = t.stage.client()
    t.stage.says(left, raw)
    t.stage.resets(left)  # gone while it waits
    t.passes(1.0)
    assert len(t.stage.dialled) == 2
    t.passes(2.1)
    assert len(t.stage.dialled) == 4
    assert left.closed
    for up in t.stage.dialled:
        t.stage.stands(up)
        t.stage.says(up, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    assert t.rate("holders") == 0 and not list(t.table.ledger.held())


def test_answers_share_a_limit(make: Make) -> None:
    t = make(http_request=["set-bandwidth-limit all-out"])
    pairs = [t.asked() for _ in range(2)]
    for _, up in pairs:
        t.stage.says(up, b"HTTP/1.1 200 OK\r\n" + LENGTH)
        up.said.append(b"x" * SIZE)
    ups = [up for _, up in pairs]
    t.passes(0.1, *ups)
    assert t.rate("holders") == 2 and t.rate("conn_cur") == 0
    t.passes(3.9, *ups)
    sizes = [body(c) for c, _ in pairs]
    assert 3600 <= sum(sizes) <= 4100 and abs(sizes[0] - sizes[1]) < 600, sizes
    t.stage.resets(pairs[1][0])
    assert t.rate("holders") == 1
    before = body(pairs[0][0])
    t.passes(1.5, *ups)
    assert 1300 <= body(pairs[0][0]) - before <= 1700, "all of it is the first one's now"
    t.passes(5, *ups)
    assert body(pairs[0][0]) == SIZE and t.rate("holders") == 0


def test_two_limits_at_once(make: Make) -> None:
    t = make(http_request=["set-bandwidth-limit all-out", "set-bandwidth-limit out limit 400"])
    c, up = t.asked()
    t.stage.says(up, b"HTTP/1.1 200 OK\r\n" + LENGTH + b"x" * SIZE)
    t.passes(5, up)
    assert 1900 <= body(c) <= 2050


@pytest.mark.parametrize("sent_first", [True, False])
def test_a_session_of_bytes(make: Make, sent_first: bool) -> None:
    t = make(mode="tcp", tcp_request_content=["set-bandwidth-limit in limit 500", "set-bandwidth-limit out"])
    c = t.stage.client()
    if sent_first:
        t.stage.says(c, b"q" * 1600)
    up = t.stage.dialled[-1]
    t.stage.stands(up)
    if not sent_first:
        t.stage.says(c, b"q" * 1600)
    c.said.append(b"")
    t.stage.says(up, b"a" * 3000)
    t.passes(0.05, c, up)
    assert (len(up.got), len(c.got)) == (500, 1000)
    t.passes(2, c, up)
    assert 900 <= len(up.got) <= 1050 and 1900 <= len(c.got) <= 2100 and not up.ended
    t.passes(2, c, up)
    assert up.got == b"q" * 1600 and up.ended and c.got == b"a" * 3000
    t.stage.says(up, b"")
    assert c.closed and up.closed and t.stage.log == [("--", 0, False, "s0", 1600, 3000)]


@pytest.mark.parametrize("server_s", [5.0, 0.5])
def test_a_session_that_is_held_longer_than_its_timeouts(make: Make, server_s: float) -> None:
    t = make(mode="tcp", server_s=server_s, tcp_request_content=["set-bandwidth-limit out limit 100 period 40s"])
    c, up = t.asked(b"")
    t.stage.says(up, b"a" * 150)
    t.passes(30, c, up)
    assert len(c.got) == 100 and not c.closed, "nobody is idle"
    t.passes(40, c, up)
    assert len(c.got) == 150
    t.passes(6, c, up)
    assert c.closed and t.stage.log[0][0] == "sD"


def test_rules_about_the_first_bytes_of_a_server(make: Make) -> None:
    t = make(mode="tcp", back={"tcp_response_content": ["set-bandwidth-limit out if { res.len gt 2 }"]})
    c, up = t.asked(b"")
    t.stage.says(up, b"a" * 3000)
    t.passes(0.05, c, up)
    assert len(c.got) == 1000
    t.passes(3.5, c, up)
    assert len(c.got) == 3000


def test_ends_while_a_stream_is_held(make: Make) -> None:
    for end, flags, got in (("client", "CD", 1000), ("server", "SD", 1000), ("server later", "SD", 3000)):
        t = make(http_request=["set-bandwidth-limit out"])
        c, up = t.asked()
        t.stage.says(up, b"HTTP/1.1 200 OK\r\n" + LENGTH)
        t.stage.says(up, b"x" * 3000)
        assert body(c) == 1000
        if end == "client":
            t.stage.resets(c)
        else:
            up.said += [b""] if "later" in end else [ConnectionResetError(104, "reset")]
            if "later" not in end:
                del up.said[0]
                t.stage.event(up, ERR | HUP)
                t.stage.event(up, ERR | HUP)
            t.passes(4, up)
        assert c.closed and up.closed and body(c) == got and [line[0] for line in t.stage.log] == [flags], end


def test_an_answer_that_is_held_longer_than_its_timeouts(make: Make) -> None:
    t = make(http_request=["set-bandwidth-limit out limit 100 period 40s"])
    c, up = t.asked()
    t.stage.says(up, b"HTTP/1.1 200 OK\r\nContent-Length: 150\r\n\r\n")
    t.stage.says(up, b"x" * 150)
    t.passes(30, up)
    assert body(c) == 100 and not c.closed
    t.stage.event(up, HUP)  # it closed both ways, which the kernel tells in every turn
    watched = t.stage.watcher(up)
    assert watched.mask & ET
    t.passes(1.5, up)
    assert not watched.mask & ET, "who reads again is told level by level"
    t.passes(40, up)
    assert body(c) == 150 and [line[0] for line in t.stage.log] == ["--"]


def test_nothing_is_left_of_a_stream_that_ends_while_it_is_held(make: Make) -> None:
    t = make(http_request=["set-bandwidth-limit out"])
    c, up = t.asked()
    before = len(list(t.stage.loop.timers()))
    t.stage.says(up, b"HTTP/1.1 200 OK\r\n" + LENGTH + b"x" * SIZE)
    assert len(list(t.stage.loop.timers())) == before + 1
    t.stage.resets(c)
    assert len(list(t.stage.loop.timers())) == before and c.closed


def test_the_client_is_slow(make: Make) -> None:
    """What waits in the server's buffer goes on when the client takes bytes again, although the kernel has nothing to tell of it."""
    t = make(http_request=["set-bandwidth-limit out"])
    c, up = t.asked()
    c.room = 300
    t.stage.says(up, b"HTTP/1.1 200 OK\r\n" + LENGTH + b"x" * SIZE)
    t.passes(2.0, up)
    assert len(c.got) == 300
    t.stage.takes(c)
    t.passes(5.0, up)
    assert body(c) == SIZE and [line[0] for line in t.stage.log] == ["--"]
