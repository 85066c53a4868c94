"""What happens to streams and connections, counted in the entries of stick tables that they track (manual 11.1).

Called only where the configuration has tables. An event is counted in what the stream tracks under a number, and where it tracks
nothing under it, in what its connection tracks. Knows streams and entries; which entry is tracked is up to rules (``rules.tables``).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from forkproxy.rules.tables import now_ms

if TYPE_CHECKING:
    from forkproxy.clock import Clock
    from forkproxy.proxy.client import Client
    from forkproxy.proxy.stream import Stream
    from forkproxy.rules.txn import Origin


def _entries(s: Stream) -> Iterator[Any]:
    mine, connection = s.tracked, s.origin.tracked
    if connection is None:
        return iter([held for held in mine or () if held is not None])
    if mine is None:
        return iter([held for held in connection if held is not None])
    return iter([held for pair in zip(mine, connection, strict=True) if (held := pair[0] or pair[1]) is not None])


def _count(s: Stream, *names: str) -> None:
    now = now_ms(s)
    for held in _entries(s):
        table = held[0]
        table.count(held, now, tuple((table.events[name], 1) for name in names))


def connection_request(s: Stream) -> None:
    """A request came on a connection that tracks something."""
    now = now_ms(s)
    for held in s.origin.tracked or ():
        if held is not None:
            held[0].count(held, now, ((held[0].events["http_req"], 1),))


def session_started(origin: Origin, clock: Clock) -> None:
    """A connection that tracks something passed the rules of layer 4."""
    now = int(clock.now * 1000.0)
    for held in origin.tracked or ():
        if held is not None:
            held[0].count(held, now, ((held[0].events["sess"], 1),))


def answered(s: Stream, status: int) -> None:
    """A server answered with ``status``, one of those that count."""
    _count(s, *s.fe.verdicts[status])


def client_error(s: Stream) -> None:
    """A request was wrong, was denied or never came whole. What never became one is one of those that were tried; that nothing came at
    all is no error (as observed)."""
    if not s.mode_http:
        return
    if s.req is not None:
        _count(s, "http_err")
    elif s.bytes_in:
        _count(s, "http_req", "http_err")
    else:
        _count(s, "http_req")


def server_error(s: Stream) -> None:
    """A response was wrong or broken off."""
    if s.mode_http:
        _count(s, "http_fail")


def moved(s: Stream, bytes_in: int, bytes_out: int) -> None:
    """What a stream moved that goes on (``option contstats``)."""
    now = now_ms(s)
    for held in _entries(s):
        events = held[0].events
        held[0].count(held, now, ((events["bytes_in"], bytes_in), (events["bytes_out"], bytes_out)))


def ended(s: Stream, counted: tuple[int, int]) -> None:
    """The stream is over: what it moved (but for what was ``counted`` before), and what it holds."""
    mine, connection = s.tracked, s.origin.tracked
    if mine is None and connection is None:
        return
    now = now_ms(s)
    bytes_in, bytes_out = s.bytes_in - counted[0], s.bytes_out - counted[1]
    if connection is not None:
        for i, held in enumerate(connection):
            if held is not None and (mine is None or mine[i] is None):
                events = held[0].events
                held[0].count(held, now, ((events["bytes_in"], bytes_in), (events["bytes_out"], bytes_out)))
    if mine is not None:
        s.tracked = None
        for held in mine:
            if held is not None:
                held[0].let_go(held, now, bytes_in, bytes_out)


def connection_ended(c: Client) -> None:
    """The client's connection is closed: it holds nothing any more."""
    now = int(c.rt.clock.now * 1000.0)
    for held in c.origin.tracked or ():
        if held is not None:
            held[0].let_go(held, now, 0, 0)


def catch_up(ledger: Any, clock: Any) -> None:
    """Let go what could not be let go when its stream ended."""
    late, ledger.late = ledger.late, []
    now = int(clock.now * 1000.0)
    for held in late:
        held[0].let_go(held, now, 0, 0)
