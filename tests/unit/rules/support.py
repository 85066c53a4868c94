"""A transaction for tests of rules: real heads, a manual clock, nothing that moves bytes."""

from __future__ import annotations

from types import SimpleNamespace

from forkproxy.clock import ManualClock
from forkproxy.http.message import RequestHead, ResponseHead
from forkproxy.http.reader import Limits, parse_request
from forkproxy.plan import Address, Bind
from forkproxy.rules.context import RuleContext
from forkproxy.rules.txn import Origin, Txn
from forkproxy.rules.types import Addr
from forkproxy.rules.words import Words


class TestOrigin(Origin):
    """A client at a fixed address."""

    __slots__ = ()

    def local(self) -> tuple[str, int]:
        return ("127.0.0.1", 8080)


def make_txn(raw: bytes = b"GET /a/b?x=1 HTTP/1.1\r\nHost: www.example.com\r\n\r\n", src: str = "127.0.0.1", response: bool = False) -> Txn:
    """A transaction of frontend "fe", backend "be" and server "s1" that took 10 ms; ``raw`` b"" for TCP."""
    origin = TestOrigin()
    origin.src, origin.src_port, origin.family, origin.vars, origin.tracked = src, 40000, 2, None, None
    origin.bind = Bind(address=Address("ipv4", "127.0.0.1", 8080), id=1)
    origin.wall_accept = 1_700_000_000.25
    txn = Txn()
    txn.origin, txn.clock = origin, ManualClock()
    txn.fe = SimpleNamespace(name="fe", plan=SimpleNamespace(id=2, options=frozenset(), unique_id=None, mode="http", default_backend="be"))
    txn.be = SimpleNamespace(name="be", plan=SimpleNamespace(id=3))
    txn.srv = SimpleNamespace(name="s1", plan=SimpleNamespace(id=1, name="s1", address=Address("ipv4", "10.0.0.7", 80)))
    txn.req = None
    if raw:
        parsed = parse_request(raw, 0, Limits(16384, 101))
        assert parsed is not None
        txn.req = parsed[0]
    txn.res = ResponseHead.create(200, b"OK", [(b"Content-Type", b"text/plain"), (b"Set-Cookie", b"a=1; path=/")]) if response else None
    txn.body, txn.body_done, txn.res_body, txn.res_done = b"", True, b"", True
    txn.id, txn.status, txn.flags = 7, 200, b"--"
    txn.bytes_in, txn.bytes_out = 100, 1234
    txn.retries, txn.redispatched, txn.queue_be, txn.queue_srv = 0, False, 0, 0
    txn.conn_counts = (1, 1, 0, 0)
    txn.captures_req = txn.captures_res = txn.marks = txn.unique_id = txn.log_level = None
    txn.kept = txn.first_line = None
    txn.cookie_req = txn.cookie_res = b""
    txn.server_id = b"s1"
    txn.vars = {"txn.v": b"value", "txn.n": 7, "txn.ip": Addr("10.1.2.3")}
    txn.wall_start = 1_700_000_000.25
    txn.t_start, txn.t_first, txn.t_request, txn.t_queue = 1000.0, 1000.001, 1000.002, 1000.002
    txn.t_connect, txn.t_response, txn.t_end = 1000.003, 1000.010, 1000.011
    return txn


def words(text: str) -> Words:
    """A cursor over ``text`` as if it were a line of a file."""
    split = text.split()
    columns, at = [], 0
    for word in split:
        at = text.index(word, at)
        columns.append(at + 1)
        at += len(word)
    return Words(split, columns, file="t.cfg", line=3, source=text)


def context(kind: str = "http-req", **more: object) -> RuleContext:
    """The surroundings of a rule in the listen section "fe"."""
    return RuleContext(name="fe", kind=kind, **more)  # type: ignore[arg-type]


__all__ = ["RequestHead", "context", "make_txn", "words"]
