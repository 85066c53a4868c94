"""The control channel: order, back-pressure, the end."""

from __future__ import annotations

from forkproxy.clock import ManualClock
from forkproxy.net.loop import Loop
from forkproxy.worker.channel import Channel, Message, pair


def test_messages_arrive_in_order_even_when_the_kernel_is_full() -> None:
    loop = Loop(ManualClock())
    ours, theirs = pair()
    got: list[Message] = []
    one = Channel(ours, loop, lambda _m: None, lambda: None)
    two = Channel(theirs, loop, got.append, lambda: None)
    text = "x" * 4000
    for n in range(500):
        one.send("note", n=n, text=text)
    assert len(got) == 0
    for _ in range(1000):
        loop.run_once(0)
        if len(got) == 500:
            break
    assert [m["n"] for m in got] == list(range(500))
    one.close()
    two.close()
    loop.close()


def test_the_end_is_told_once_after_what_was_said() -> None:
    loop = Loop(ManualClock())
    ours, theirs = pair()
    events: list[str] = []
    one = Channel(ours, loop, lambda _m: None, lambda: None)
    two = Channel(theirs, loop, lambda m: events.append(m["op"]), lambda: events.append("end"))
    one.send("ready")
    one.close()
    for _ in range(3):
        loop.run_once(0)
    assert events == ["ready", "end"]
    two.send("into the void")
    two.close()
    loop.close()
