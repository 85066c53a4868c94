"""What a ring holds for who asks again: only what came since, also when lines were dropped meanwhile or the ring is another one."""

from __future__ import annotations

from contextlib import closing

from forkproxy.net.logring import Ring
from forkproxy.net.loop import Loop
from forkproxy.plan import Ring as RingPlan
from forkproxy.proxy.logs import kept


def test_since() -> None:
    with closing(Loop()) as loop:
        ring = Ring(loop, 10, [], None, None, True)
        sinks = {("", "", RingPlan(name="r", size_bytes=10)): ring}
        assert kept(sinks, "r") == (0, "") == kept(sinks, "nope")
        for line in (b"a\n", b"b\n"):
            ring.send(6, line)
        assert kept(sinks, "r") == (2, "a\nb\n") and kept(sinks, "r", 1) == (2, "b\n") and kept(sinks, "r", 2) == (2, "")
        for number in range(9):
            ring.send(6, b"%d\n" % number)
        assert kept(sinks, "r", 2) == (11, "4\n5\n6\n7\n8\n"), "the oldest were dropped"
        assert kept(sinks, "r", 10) == (11, "8\n")
        assert kept(sinks, "r", 500) == (11, "4\n5\n6\n7\n8\n"), "that was another ring"
