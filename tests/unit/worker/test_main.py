"""The role of a worker: what it obeys, in which order it looks, how it leaves. The runtime is pretended."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from forkproxy import registry
from forkproxy.clock import ManualClock
from forkproxy.master.shared import Shared
from forkproxy.net.loop import Loop, Watched
from forkproxy.plan import Address, Backend, Bind, Frontend, Global, Plan, Server
from forkproxy.state import layout, servers
from forkproxy.worker import channel, inbox
from forkproxy.worker.heritage import Heritage, Listener
from forkproxy.worker.main import MOST_ASKED, PATIENCE_S, WorkerRole


class Runtime:
    """Notes what it was told."""

    def __init__(self, told: list[Any]) -> None:
        self.told = told
        self.left = 0

    def attach(self, listeners: list[Listener]) -> None:
        self.told.append(("attach", [sock for _fe, _bind, sock in listeners]))

    def detach(self, sockets: Iterable[socket.socket] | None = None) -> None:
        self.told.append("detach" if sockets is None else ("detach", list(sockets)))

    def pause(self) -> None:
        self.told.append("pause")

    def resume(self) -> None:
        self.told.append("resume")

    def heirs(self, give: Callable[[socket.socket, dict[str, Any]], bool], without: Iterable[str] | None) -> None:
        self.told.append(("heirs", without))

    def adopt(self, sock: socket.socket, note: dict[str, Any]) -> None:
        self.told.append(("adopt", note))
        sock.close()

    def drain(self, spread_s: float | None) -> None:
        self.told.append(("drain", spread_s))

    def busy(self) -> int:
        return self.left

    def plan_now(self) -> Plan:
        return Plan(global_=Global())

    def kill_all(self) -> None:
        self.told.append("kill")

    def refresh(self) -> None:
        self.told.append("refresh")

    def close(self) -> None:
        self.told.append("close")


class Stage:
    def __init__(self, meanwhile: Callable[[Shared], object] = lambda _shared: None) -> None:
        """``meanwhile`` happens while the runtime is made."""
        self.clock = ManualClock()
        self.loop = Loop(self.clock)
        server = Server(name="s", address=Address("ipv4", "127.0.0.1", 1), backend="b", id=1)
        plan = Plan(
            global_=Global(hard_stop_after_s=7.0),
            frontends=(Frontend(name="f", id=1),),
            backends={"b": Backend(name="b", id=2, servers=(server,))},
        )
        self.shared = Shared(plan, 1, self.clock)
        slot = self.shared.take_slot(1)
        assert slot is not None
        ours, theirs = channel.pair()
        self.said: list[str] = []
        self.master_loop = Loop(self.clock)
        self.master = channel.Channel(ours, self.master_loop, lambda m: self.said.append(m["op"]), lambda: None)
        self.ends = inbox.pair()
        self.successor = os.eventfd(0, os.EFD_NONBLOCK)
        self.told: list[Any] = []
        self.runtime = Runtime(self.told)
        self.ended: list[int] = []
        heritage = Heritage(
            number=1, generation=1, plan=plan, slot=slot, state=self.shared.state, pulse=self.shared.pulse(slot),
            channel=theirs, share=[], inbox=self.ends, successor=self.successor, inline=True,
        )  # fmt: skip

        def made(_heritage: Heritage, _loop: Loop) -> Runtime:
            meanwhile(self.shared)
            return self.runtime

        self.role = WorkerRole(heritage, self.loop, made, self.ended.append)
        self.told.clear()

    def turn(self, seconds_s: float = 0.0) -> None:
        self.clock.advance(seconds_s)
        for _ in range(3):
            self.loop.run_once(0)
        self.master_loop.run_once(0)

    def close(self) -> None:
        if self.role.state != "done":
            self.role.stop()
        self.master.close()
        for end in self.ends:
            end.close()
        os.close(self.successor)
        self.loop.close()
        self.master_loop.close()


@pytest.fixture
def stage() -> Iterator[Stage]:
    made = Stage()
    yield made
    made.close()


def test_servers_are_looked_at_before_a_turns_events(stage: Stage) -> None:
    """A request of the same turn in which the news is there must not meet the dead server."""
    read_end, write_end = os.pipe()

    def request(w: Watched, _mask: int) -> None:
        stage.told.append("request")
        stage.loop.remove(w)

    stage.loop.add(Watched(read_end, request))
    stage.shared.state.servers.set("b/s", srv_op=servers.RUNNING)
    os.write(write_end, b"x")
    stage.loop.run_once(0)
    assert stage.told == ["refresh", "request"]
    os.close(read_end)
    os.close(write_end)


def test_news_of_a_server_that_come_while_the_runtime_is_made_are_not_lost() -> None:
    stage = Stage(lambda shared: shared.state.servers.set("b/s", srv_op=servers.RUNNING))
    stage.loop.run_once(0)
    assert stage.told == ["refresh"]
    stage.close()


def test_drains_with_heirs_and_ends_when_nothing_is_left(stage: Stage) -> None:
    stage.runtime.left = 1
    stage.master.send("heirs", without=["a"])
    stage.master.send("drain", spread_s=2.0)
    stage.turn()
    assert stage.told == [("heirs", ["a"]), "detach", ("drain", 2.0)]
    assert stage.said == ["ready", "stopped"]
    assert stage.ended == []
    stage.runtime.left = 0
    stage.turn(0.2)
    assert stage.told[-1] == "close"
    assert stage.ended == [0]


def test_a_draining_worker_leaves_the_inbox_to_its_heirs(stage: Stage) -> None:
    stage.runtime.left = 1
    stage.master.send("heirs", without=[])
    stage.master.send("drain")
    stage.turn()
    other = inbox.Inbox(stage.ends, Loop(stage.clock), lambda sock, _note: sock.close())
    ours, theirs = socket.socketpair()
    other.give(theirs, {"n": 1})
    stage.turn()
    assert ("adopt", {"n": 1}) not in stage.told
    assert other.take(1)
    ours.close()
    theirs.close()


def test_without_heirs_it_takes_what_was_passed_on_before_it_leaves(stage: Stage) -> None:
    ours, theirs = socket.socketpair()
    assert stage.role._inbox is not None
    for n in range(10):
        assert stage.role._inbox.give(theirs, {"n": n})
    stage.role.drain(None, None)
    assert stage.told == ["detach", *(("adopt", {"n": n}) for n in range(10)), ("drain", None)]
    ours.close()
    theirs.close()


def test_an_orphan_serves_for_a_while_then_drains(stage: Stage) -> None:
    stage.runtime.left = 1
    stage.master.close()
    stage.turn()
    assert stage.role.state == "orphan"
    assert stage.told == []
    stage.turn(6.9)
    assert stage.role.state == "orphan"
    stage.turn(0.2)
    assert stage.told == ["detach", ("drain", None)]


def test_an_orphan_with_a_successor_gives_its_clients_away_at_once(stage: Stage) -> None:
    stage.runtime.left = 1
    stage.master.close()
    stage.turn()
    os.eventfd_write(stage.successor, 1)
    stage.turn()
    assert stage.told == [("heirs", []), "detach", ("drain", None)]


def test_adopts_and_lets_go_of_sockets(stage: Stage) -> None:
    heritage = stage.role.heritage
    socks = [socket.socket() for _ in range(3)]
    bind = Bind(address=Address("ipv4", "127.0.0.1", 1))
    heritage.escrow = {("k", i): (heritage.plan.frontends[0], bind, sock) for i, sock in enumerate(socks)}
    heritage.share = [("k", 0)]
    for op, index, more in (
        ("adopt", 1, {}),
        ("adopt", 1, {}),  # again: nothing new
        ("adopt", 0, {}),  # its own
        ("release", 1, {"forget": False}),
        ("release", 2, {"forget": False}),  # never had it
        ("adopt", 1, {}),
        ("release", 0, {"forget": True}),
        ("adopt", 0, {}),  # gone for good
    ):
        stage.master.send(op, sockets=[["k", index]], **more)
        stage.turn()
    attached = [("attach", [socks[1]]), ("attach", []), ("attach", [])]
    assert stage.told == [
        *attached, ("detach", [socks[1]]), ("detach", []), ("attach", [socks[1]]), ("detach", [socks[0]]), ("attach", []),
    ]  # fmt: skip
    assert stage.said == ["ready", "released", "released", "released"]
    assert [sock.fileno() >= 0 for sock in socks] == [False, True, True]
    assert heritage.share == []
    stage.runtime.left = 1
    stage.master.send("drain")
    stage.master.send("drain")
    stage.master.send("adopt", sockets=[["k", 1]])
    stage.told.clear()
    stage.turn()
    assert stage.told == ["detach", ("drain", None)]
    assert stage.shared.state.segment.slot(heritage.slot)[layout.DRAINING] == 1
    assert all(sock.fileno() < 0 for sock in socks)


def test_hard_stop(stage: Stage) -> None:
    stage.runtime.left = 1
    stage.master.send("drain", hard_s=3.0)
    stage.turn()
    stage.turn(2.9)
    assert "kill" not in stage.told
    stage.turn(0.2)
    assert "kill" in stage.told
    assert stage.ended == [0]


def test_orders_are_carried_out_and_what_goes_wrong_is_the_answer(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    heard: list[dict[str, Any]] = []
    stage.master._on_message = heard.append

    def sing(runtime: Runtime, song: str) -> Any:
        assert runtime is stage.runtime
        if song == "unknown":
            raise LookupError("no such song")
        if song == "broken":
            raise RuntimeError
        return iter([f"{song}\n"] * 10000) if song == "long" else [song]

    monkeypatch.setitem(registry.ORDERS, "sing", sing)
    for number, song in enumerate(("short", "unknown", "broken", "long")):
        stage.master.send("order", id=number, what="sing", fields={"song": song})
    for _ in range(5):
        stage.turn()
    assert [m for m in heard if m["op"] == "answer" and "slice" not in m] == [
        {"op": "answer", "id": 0, "value": ["short"]},
        {"op": "answer", "id": 1, "error": "no such song"},
        {"op": "answer", "id": 2, "error": "internal error"},
        {"op": "answer", "id": 3, "value": ""},
    ]
    assert "".join(m.get("slice", "") for m in heard) == "long\n" * 10000
    assert max(len(m.get("slice", "")) for m in heard) < 20000
    assert "RuntimeError" in capsys.readouterr().err


def test_forms_of_the_statistics_page_go_to_the_master_and_its_answer_back(stage: Stage) -> None:
    from forkproxy.stats.forms import Form

    became: list[str] = []
    for _ in range(MOST_ASKED + 1):
        stage.role._manage(Form("drain", "b", ("s",)), became.append)
    stage.turn()
    assert stage.said.count("form") == MOST_ASKED and became == ["UNKN"], "no more than so many wait"
    stage.master.send("managed", id=2, status="DONE")
    stage.master.send("managed", id=2, status="DONE")
    stage.turn()
    assert became == ["UNKN", "DONE"]
    stage.turn(PATIENCE_S + 0.1)
    assert became == ["UNKN", "DONE"] + ["UNKN"] * (MOST_ASKED - 1), "a master that does not answer is not waited for"
