"""The board: who is up, who follows whom, what the log says; lines compared with HAProxy 2.6 for the same events."""

from __future__ import annotations

import pytest

from forkproxy.clock import ManualClock
from forkproxy.health.agent import parse_answer
from forkproxy.health.board import Board
from forkproxy.health.conversation import Orders, Result
from forkproxy.health.machine import State
from forkproxy.health.status import Status
from forkproxy.plan import Address, Backend, Check, Global, Plan, Server
from forkproxy.state import layout
from forkproxy.state.counters import Rows
from forkproxy.state.names import NameTable, backend_key
from forkproxy.state.segment import Segment
from forkproxy.state.servers import AGENT_TEXT, CHECK_TEXT, SCALE, ServerTable

OK = Result(Status.L4OK)
REFUSED = Result(Status.L4CON, 0, "Connection refused")
CHECK = Check()


def server(name: str, **more: object) -> Server:
    return Server(name=name, id=1, backend="b", address=Address("ipv4", "127.0.0.1", 80), **more)  # type: ignore[arg-type]


class Bench:
    """A board over real cells with a driven clock; ``said`` is the log."""

    def __init__(self, *servers: Server) -> None:
        self.clock = ManualClock()
        names = NameTable(32)
        for key in [backend_key("b"), *(one.key for one in servers), "b/new"]:
            names.allocate(key)
        self.segment = Segment.create(1, 32)
        self.rows = Rows(self.segment, names, self.clock)
        self.table = ServerTable(self.rows)
        self.said: list[str] = []
        self.changes: list[tuple[str, State, State]] = []
        self.limits: list[tuple[str, int]] = []
        self.board = self.fresh(*servers)

    def fresh(self, *servers: Server) -> Board:
        board = Board(
            self.table,
            self.clock,
            lambda backend, level, text: self.said.append(f"{level} {text}"),
            lambda entry, before: self.changes.append((entry.key, before, entry.op)),
            lambda entry, maxconn: self.limits.append((entry.key, maxconn)),
        )
        board.replace(plan(*servers))
        return board

    def check(self, name: str, *results: Result) -> None:
        for result in results:
            self.board.result(self.board.entries[f"b/{name}"], result, 0)

    def status(self, name: str) -> str:
        return self.board.entries[f"b/{name}"].status()


def test_an_agent_takes_a_server_down_and_only_it_brings_it_back() -> None:
    agent = Check(kind="agent-check", rise=1, fall=1)
    bench = Bench(server("s1", check=CHECK, agent=agent, weight=10, maxconn=5), server("s2", track="b/s1"))
    entry = bench.board.entries["b/s1"]
    bench.check("s1", OK)
    bench.board.agent(entry, parse_answer(b"down #disk full"), 0)
    assert bench.said[0].startswith(
        '1 Server b/s1 is DOWN, reason: Layer7 wrong status, code: 0, info: "via agent : down (disk full)", check duration: 0ms.'
    )
    assert (bench.status("s1"), bench.status("s2")) == ("DOWN (agent)", "DOWN (agent)")
    bench.check("s1", OK)
    assert bench.status("s1") == "DOWN (agent)"
    bench.board.agent(entry, REFUSED, 0)  # it cannot be asked: nothing changes
    assert bench.status("s1") == "DOWN (agent)"
    bench.board.agent(entry, parse_answer(b"weight:40% maxconn:7"), 0)
    assert (bench.table.get("b/s1").uweight, bench.limits, bench.status("s1")) == (4, [("b/s1", 7)], "DOWN (agent)")
    bench.check("s1", REFUSED, REFUSED, REFUSED)
    bench.board.agent(entry, parse_answer(b"up"), 0)
    assert bench.status("s1") == "DOWN"
    bench.check("s1", OK, OK)
    assert bench.status("s1") == bench.status("s2") == "UP"
    bench.board.agent(entry, parse_answer(b"maint"), 0)
    assert bench.status("s1") == "MAINT"
    bench.board.agent(entry, parse_answer(b"ready 300"), 0)
    assert (bench.status("s1"), bench.table.said("b/s1", AGENT_TEXT)) == ("UP 1/3", "agent reports an error : 300")


@pytest.mark.parametrize(
    ("line", "status", "text", "orders"),
    [
        (b"", Status.CHECKED, "", Orders()),
        (b"UP", Status.L7OK, "via agent : UP", Orders()),
        (b"up,stopped", Status.L7STS, "via agent : stopped", Orders()),
        (b"fail # the disk, is full ", Status.L7STS, "via agent : fail (the disk, is full)", Orders()),
        (b"ready 75%\tmaxconn:30,up", Status.L7OK, "via agent : up", Orders("ready", "75%", "30")),
        (b"weight:7 drain", Status.CHECKED, "", Orders("drain", "7")),
        (b"maint what up", Status.L7OK, "via agent : up (what)", Orders("maint")),
        (b"-5% then", Status.CHECKED, "agent reports an error : -5%", Orders()),
        (b"maxconn: weight:", Status.CHECKED, "", Orders("", "", "")),
    ],
)
def test_answers_of_agents(line: bytes, status: Status, text: str, orders: Orders) -> None:
    assert parse_answer(line) == Result(status, 0, text, orders)


@pytest.mark.parametrize(
    ("action", "statuses", "fails"),
    [("fastinter", ["UP", "UP"], 0), ("fail-check", ["UP 2/3", "UP 1/3"], 2), ("sudden-death", ["UP 1/3", "DOWN"], 2),
     ("mark-down", ["DOWN", "DOWN"], 1)],
)  # fmt: skip
def test_what_errors_of_the_traffic_lead_to(action: str, statuses: list[str], fails: int) -> None:
    bench = Bench(server("s1", check=CHECK, on_error=action))
    bench.check("s1", OK)
    found = []
    for _ in range(2):
        bench.board.observed(bench.board.entries["b/s1"], 10, "Wrong http response")
        found.append(bench.status("s1"))
    assert found == statuses
    assert (bench.table.read("b/s1", "chk_fail"), bench.table.read("b/s1", "failed_hana")) == (fails, 2)
    if "DOWN" in statuses:
        why = 'reason: Health analyze, info: "Detected 10 consecutive errors, last one was: Wrong http response". 0 active'
        assert bench.said[0].startswith(f"1 Server b/s1 is DOWN, {why}")


def test_the_log_tells_the_streams_of_a_server() -> None:
    bench = Bench(server("s1", maxconn=3), server("s2"))
    cells, rows = bench.rows.cells(0), bench.rows
    bench.segment.claim(0, 1)
    cells[rows.base("b/s1") + layout.SESS_CUR] = 2
    cells[rows.base("b/s1") + layout.QUEUE_CUR] = 4
    cells[rows.base(backend_key("b")) + layout.QUEUE_CUR] = 9
    bench.board.set_state("b/s1", "maint")
    assert bench.said[0].endswith("2 sessions active, 4 requeued, 0 remaining in queue.")
    bench.board.set_state("b/s1", "drain")
    bench.board.set_state("b/s1", "ready")


def plan(*servers: Server) -> Plan:
    return Plan(global_=Global(), backends={"b": Backend(name="b", id=1, servers=servers)})


def test_dead_server_goes_down_with_its_first_check() -> None:
    bench = Bench(server("s1", check=CHECK), server("s2"))
    epoch = bench.table.epoch
    bench.check("s1", REFUSED)
    assert bench.said == [
        '1 Server b/s1 is DOWN, reason: Layer4 connection problem, info: "Connection refused", check duration: 0ms. '
        "1 active and 0 backup servers left. 0 sessions active, 0 requeued, 0 remaining in queue."
    ]
    assert bench.table.epoch > epoch
    assert not bench.table.get("b/s1").usable
    assert bench.table.read("b/s1", "chk_down") == bench.table.read("b/s1", "chk_fail") == 1
    assert bench.changes == [("b/s1", State.RUNNING, State.STOPPED)]
    assert bench.table.said("b/s1", CHECK_TEXT) == "Connection refused"


def test_nobody_left_and_back() -> None:
    bench = Bench(server("s1", check=CHECK))
    bench.check("s1", REFUSED)
    assert bench.said[1] == "0 backend b has no server available!"
    bench.clock.advance(10)
    bench.check("s1", OK, OK)
    assert bench.said[2].startswith("5 Server b/s1 is UP, reason: Layer4 check passed, check duration: 0ms. 1 active and 0 backup")
    assert bench.table.read("b/s1", "downtime_s") == bench.table.read(backend_key("b"), "downtime_s") == 10
    assert bench.table.read(backend_key("b"), "chk_down") == 1


def test_a_change_that_does_not_concern_workers_leaves_the_epoch() -> None:
    bench = Bench(server("s1", check=CHECK))
    bench.check("s1", OK)
    epoch = bench.table.epoch
    bench.check("s1", OK, REFUSED)
    assert bench.status("s1") == "UP 2/3"
    assert bench.table.epoch == epoch


def test_every_change_is_logged_when_asked() -> None:
    bench = Bench(server("s1", check=Check(log_checks=True)))
    bench.check("s1", OK, OK, REFUSED)
    assert bench.said == [
        "5 Health check for server b/s1 succeeded, reason: Layer4 check passed, check duration: 0ms, status: 3/3 UP.",
        '5 Health check for server b/s1 failed, reason: Layer4 connection problem, info: "Connection refused", '
        "check duration: 0ms, status: 2/3 UP.",
    ]
    bench.check("s1", REFUSED, REFUSED)
    assert bench.said[-2] == (
        "1 Server b/s1 is DOWN. 0 active and 0 backup servers left. 0 sessions active, 0 requeued, 0 remaining in queue."
    )


def test_tracking_follows_through_a_chain() -> None:
    bench = Bench(server("s3", track="b/s2"), server("s1", check=CHECK), server("s2", track="b/s1"))
    bench.check("s1", OK, REFUSED)
    assert [bench.status(name) for name in ("s1", "s2", "s3")] == ["UP 2/3"] * 3
    assert bench.table.get("b/s3").health == 3
    bench.check("s1", REFUSED, REFUSED)
    assert [bench.status(name) for name in ("s1", "s2", "s3")] == ["DOWN"] * 3
    assert [line[:35] for line in bench.said] == [
        "1 Server b/s1 is DOWN, reason: Laye",
        "1 Server b/s2 is DOWN via b/s1. 1 a",
        "1 Server b/s3 is DOWN via b/s2. 0 a",
        "0 backend b has no server available",
    ]


def test_stopping_is_a_notice_and_so_is_its_death() -> None:
    bench = Bench(server("s1", check=CHECK), server("s2", backup=True))
    bench.check("s1", Result(Status.L7OKC, 404))
    assert bench.said[-1] == (
        "5 Server b/s1 is stopping, reason: Layer7 check conditionally passed, code: 404, check duration: 0ms. "
        "0 active and 1 backup servers online. Running on backup. 0 sessions requeued, 0 total in queue."
    )
    assert bench.table.get("b/s1").op == State.STOPPING
    bench.check("s1", REFUSED, REFUSED, REFUSED)
    assert bench.said[-1].startswith("5 Server b/s1 is DOWN, reason: Layer4 connection problem")


def test_maintenance_and_its_heirs() -> None:
    bench = Bench(server("s1", check=CHECK), server("s2"), server("s3", track="b/s1"))
    bench.check("s1", OK)
    bench.board.set_state("b/s1", "maint")
    assert (bench.status("s1"), bench.status("s3")) == ("MAINT", "MAINT (via b/s1)")
    bench.board.set_state("b/s1", "ready")
    assert (bench.status("s1"), bench.status("s3")) == ("UP 1/3", "UP 1/3")
    bench.board.set_state("b/s1", "drain")
    assert bench.status("s3") == "DRAIN 1/3"
    bench.board.set_state("b/s1", "ready")
    assert bench.said == [
        "1 Server b/s1 is going DOWN for maintenance. 2 active and 0 backup servers left. "
        "0 sessions active, 0 requeued, 0 remaining in queue.",
        "1 Server b/s3 is going DOWN for maintenance via b/s1. 1 active and 0 backup servers left. "
        "0 sessions active, 0 requeued, 0 remaining in queue.",
        "5 Server b/s1 is UP/READY (leaving forced maintenance).",
        "5 Server b/s3 is UP/READY (leaving maintenance).",
        "5 Server b/s1 enters drain state. 2 active and 0 backup servers online. 0 sessions requeued, 0 total in queue.",
        "5 Server b/s3 enters drain state via b/s1. 1 active and 0 backup servers online. 0 sessions requeued, 0 total in queue.",
        "5 Server b/s1 is UP (leaving forced drain).",
        "5 Server b/s3 is UP (leaving forced drain).",
    ]


def test_results_in_maintenance_do_not_count() -> None:
    bench = Bench(server("s1", check=CHECK))
    bench.board.set_state("b/s1", "maint")
    bench.check("s1", REFUSED)
    bench.board.set_state("b/s1", "ready")
    assert bench.status("s1") == "UP 1/3"
    assert bench.table.read("b/s1", "chk_fail") == 0


def test_down_server_enters_maintenance_quietly() -> None:
    bench = Bench(server("s1", check=CHECK), server("s2"))
    bench.check("s1", REFUSED)
    bench.board.set_state("b/s1", "maint")
    assert bench.said[-1] == "5 Server b/s1 was DOWN and now enters maintenance."
    with pytest.raises(ValueError):
        bench.board.set_state("b/s1", "nonsense")


def test_disabled_in_the_file() -> None:
    bench = Bench(server("s1", disabled=True), server("s2"))
    assert (bench.status("s1"), bench.status("s2")) == ("MAINT", "no check")
    assert bench.board.groups["b"].active == 1
    bench.board.set_state("b/s1", "ready")
    assert bench.said == ["5 Server b/s1 is UP/READY (leaving forced maintenance)."]
    assert bench.board.groups["b"].active == 2


def test_health_from_the_cli() -> None:
    bench = Bench(server("s1", check=CHECK), server("s2"))
    bench.check("s1", OK)
    for word in ("down", "up", "stopping"):
        bench.board.set_health("b/s1", word)
    assert [line.split(".")[0] for line in bench.said] == [
        "1 Server b/s1 is DOWN, changed from CLI",
        "5 Server b/s1 is UP, changed from CLI",
        "5 Server b/s1 is stopping, changed from CLI",
    ]
    with pytest.raises(ValueError, match="unknown health 'nope'"):
        bench.board.set_health("b/s1", "nope")


def test_health_from_the_cli_of_a_server_that_nobody_checks() -> None:
    bench = Bench(server("s1"), server("s2"), server("s3", track="b/s1"))
    seen = []
    for word in ("down", "stopping", "up", "down"):
        bench.board.set_health("b/s1", word)
        seen.append((bench.status("s1"), bench.status("s3"), bench.board.groups["b"].active))
    assert seen == [("DOWN", "DOWN", 1), ("NOLB", "NOLB", 1), ("no check", "no check", 3), ("DOWN", "DOWN", 1)]
    bench.board.set_state("b/s1", "maint")
    bench.board.set_state("b/s1", "ready")
    assert (bench.status("s1"), bench.status("s3")) == ("no check", "no check"), "forgotten with maintenance"


def test_weight_zero_drains() -> None:
    bench = Bench(server("s1"))
    bench.board.set_weight("b/s1", 0)
    assert bench.status("s1") == "no check"  # as in HAProxy's columns; the exporter says DRAIN
    assert bench.table.get("b/s1").weight == 0
    assert bench.said == ["0 backend b has no server available!"]
    bench.board.set_weight("b/s1", 256)
    assert bench.table.get("b/s1").weight == 256 * SCALE
    with pytest.raises(ValueError):
        bench.board.set_weight("b/s1", 257)


def test_nobody_left_is_said_once() -> None:
    bench = Bench(server("s1", check=CHECK), server("s2"))
    bench.check("s1", REFUSED)
    bench.board.set_state("b/s2", "maint")
    bench.board.set_state("b/s1", "maint")  # it was down before
    assert sum("has no server available" in line for line in bench.said) == 1


def test_a_slow_start_of_little_weight_is_never_nothing() -> None:
    bench = Bench(server("s1", check=CHECK, weight=1, slowstart_s=1000.0))
    bench.check("s1", REFUSED, OK, OK)
    assert bench.table.get("b/s1").weight == 1


def test_slow_start() -> None:
    bench = Bench(server("s1", check=CHECK, weight=10, slowstart_s=10.0))
    bench.check("s1", REFUSED, OK, OK)
    assert (bench.table.get("b/s1").op, bench.table.get("b/s1").throttle) == (State.STARTING, 1)
    assert bench.table.get("b/s1").usable
    bench.clock.advance(5)
    bench.board.step()
    assert (bench.table.get("b/s1").weight, bench.table.get("b/s1").throttle) == (5 * SCALE, 50)
    bench.check("s1", OK)
    assert bench.board.entries["b/s1"].op is State.STARTING
    bench.clock.advance(5)
    bench.board.step()
    state = bench.table.get("b/s1")
    assert (state.op, state.weight, state.throttle, bench.board.slow) == (State.RUNNING, 10 * SCALE, 0, set())


def test_reload_keeps_what_is_known() -> None:
    bench = Bench(server("s1", check=CHECK), server("s2"), server("s3"))
    bench.check("s1", REFUSED)
    bench.board.set_state("b/s2", "drain")
    bench.board.set_weight("b/s3", 5)
    since = bench.board.entries["b/s1"].since
    bench.clock.advance(3)
    bench.said.clear()
    bench.board.replace(plan(server("s1", check=CHECK), server("s2"), server("s3"), server("new", check=CHECK)))
    assert [bench.status(name) for name in ("s1", "s2", "s3", "new")] == ["DOWN", "DRAIN", "no check", "UP 1/3"]
    assert bench.board.entries["b/s3"].uweight == 5
    assert bench.board.entries["b/s1"].since == since
    assert bench.said == []
    assert bench.board.groups["b"].active == 2


def test_a_new_master_reads_what_the_old_one_wrote() -> None:
    bench = Bench(server("s1", check=CHECK), server("s2"))
    bench.check("s1", REFUSED)
    bench.board.set_state("b/s2", "drain")
    heir = bench.fresh(server("s1", check=CHECK), server("s2"))
    assert [heir.entries[key].status() for key in ("b/s1", "b/s2")] == ["DOWN", "DRAIN"]


def test_a_ring_of_trackers_does_not_hang() -> None:
    bench = Bench(server("s1", track="b/s2"), server("s2", track="b/s1"))
    assert bench.status("s1") == "no check"
