"""The runner over real loopback sockets, its clock driven by hand: no test waits for time to pass."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from forkproxy.clock import ManualClock
from forkproxy.health.status import Status
from forkproxy.master.check_sockets import proxy_line
from forkproxy.master.errands import LIMIT
from forkproxy.master.health_runner import Runner
from forkproxy.net.loop import Loop
from forkproxy.plan import Address, Backend, Check, CheckStep, Global, Plan, SavedState, Server
from forkproxy.state import layout
from forkproxy.state.counters import Rows
from forkproxy.state.names import NameTable, backend_key
from forkproxy.state.segment import Segment
from forkproxy.state.servers import CHECK_TEXT, IN_FLIGHT, ServerTable
from forkproxy.values import replace

CHECK = Check(inter_s=2.0, fastinter_s=0.5, downinter_s=5.0)


class Origin:
    """A listening socket that answers when it is told to."""

    def __init__(self, address: tuple[str, int] | str = ("127.0.0.1", 0), family: int = socket.AF_INET) -> None:
        self.sock = socket.socket(family)
        self.sock.bind(address)
        self.sock.listen(16)
        self.sock.settimeout(5)

    @property
    def address(self) -> Address:
        if self.sock.family == socket.AF_UNIX:
            return Address("unix", self.sock.getsockname())
        return Address("ipv4", "127.0.0.1", self.sock.getsockname()[1])

    def accept(self) -> socket.socket:
        connection, _ = self.sock.accept()
        connection.settimeout(5)
        return connection

    def close(self) -> None:
        self.sock.close()


class Bench:
    """A runner, its loop, its clock and what it said."""

    def __init__(self, *servers: Server, global_: Global | None = None) -> None:
        self.clock = ManualClock()
        self.loop = Loop(self.clock)
        self.failures: list[Exception] = []
        self.loop.on_error = lambda w, exc: self.failures.append(exc)
        names = NameTable(2048)
        for key in [backend_key("b"), *(server.key for server in servers), "b/later"]:
            names.allocate(key)
        self.table = ServerTable(Rows(Segment.create(1, 2048), names, self.clock))
        self.said: list[str] = []
        self.global_ = global_ or Global()
        self.runner = Runner(self.plan(*servers), self.loop, self.table, lambda backend, level, text: self.said.append(text))

    def plan(self, *servers: Server) -> Plan:
        return Plan(global_=self.global_, backends={"b": Backend(name="b", id=1, servers=servers)})

    def status(self, name: str = "s1") -> str:
        return self.runner.board.entries[f"b/{name}"].status()

    def board_text(self) -> str:
        return self.table.said("b/s1", CHECK_TEXT)

    def checking(self, key: str, agent: bool = False) -> bool:
        """Whether statistics show that a check is in flight."""
        return self.table.read(key, "agent_look" if agent else "check_look") == IN_FLIGHT

    def until(self, condition: Callable[[], object], what: str = "") -> None:
        """Turn the loop until the condition holds; sockets on loopback need a few turns, time stands still."""
        for _ in range(200):
            if condition():
                return
            self.loop.run_once(0.02)
        raise AssertionError(f"never happened: {what or condition}")

    def turn(self, seconds: float = 0.0) -> None:
        self.clock.advance(seconds)
        self.loop.run_once(0)

    def close(self) -> None:
        self.runner.stop()
        assert len(self.loop) == 0
        self.loop.close()
        assert self.failures == []


def server(name: str = "s1", address: Address | None = None, check: Check | None = CHECK, **more: object) -> Server:
    return Server(name=name, id=1, backend="b", address=address or Address("ipv4", "127.0.0.1", 1), check=check, **more)  # type: ignore[arg-type]


@pytest.fixture
def origin() -> Iterator[Origin]:
    made = Origin()
    yield made
    made.close()


def refused() -> Address:
    """An address where nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return Address("ipv4", "127.0.0.1", sock.getsockname()[1])


def test_connects_and_is_up(origin: Origin) -> None:
    bench = Bench(server(address=origin.address))
    bench.until(lambda: bench.status() == "UP")
    assert bench.table.read("b/s1", "check_status") == Status.L4OK
    bench.close()


def test_refused_is_down_at_once() -> None:
    bench = Bench(server(address=refused()))
    bench.until(lambda: bench.status() == "DOWN")
    assert bench.said[0].startswith(
        'Server b/s1 is DOWN, reason: Layer4 connection problem, info: "Connection refused", check duration: 0ms. 0 active'
    )
    assert bench.said[1] == "backend b has no server available!"
    bench.close()


def test_intervals_follow_the_state(origin: Origin) -> None:
    bench = Bench(server(address=origin.address))
    bench.until(lambda: bench.status() == "UP")
    origin.close()
    bench.turn(1.9)
    assert bench.status() == "UP"
    bench.turn(0.2)  # inter
    bench.until(lambda: bench.status() == "UP 2/3")
    for wanted in ("UP 1/3", "DOWN"):
        bench.turn(0.6)  # fastinter
        bench.until(lambda wanted=wanted: bench.status() == wanted)  # type: ignore[misc]
    failures = bench.table.read("b/s1", "chk_fail")
    bench.turn(4.5)  # downinter is longer
    assert not bench.checking("b/s1")
    bench.turn(0.6)
    bench.until(lambda: not bench.checking("b/s1"))
    assert failures == bench.table.read("b/s1", "chk_fail") == 3
    bench.close()


def http_check(*steps: CheckStep, **more: object) -> Check:
    return Check(kind="http", inter_s=2.0, steps=steps, options={"method": "GET", "uri": "/chk"}, **more)  # type: ignore[arg-type]


def test_http_exchange(origin: Origin) -> None:
    bench = Bench(server(address=origin.address, check=http_check()))
    bench.until(lambda: bench.checking("b/s1"))
    connection = origin.accept()
    bench.turn()
    assert connection.recv(4096) == b"GET /chk HTTP/1.0\r\n\r\n"
    connection.sendall(b"HTTP/1.1 503 Bad thing\r\nContent-Length: 0\r\n\r\n")
    bench.until(lambda: bench.status() == "DOWN")
    assert 'reason: Layer7 wrong status, code: 503, info: "Bad thing"' in bench.said[0]
    connection.close()
    bench.close()


def test_answer_that_never_comes(origin: Origin) -> None:
    bench = Bench(server(address=origin.address, check=http_check(timeout_s=0.3, connect_timeout_s=1.0)))
    bench.until(lambda: bench.checking("b/s1"))
    connection = origin.accept()
    bench.turn()
    connection.recv(4096)
    bench.turn(0.29)
    assert bench.checking("b/s1")
    bench.turn(0.02)
    assert bench.status() == "DOWN"
    assert "reason: Layer7 timeout, check duration: 310ms" in bench.said[0]
    connection.close()
    bench.close()


def test_inter_is_the_whole_timeout_without_timeout_check(origin: Origin) -> None:
    bench = Bench(server(address=origin.address, check=http_check()))
    bench.until(lambda: bench.checking("b/s1"))
    connection = origin.accept()
    bench.turn(1.0)
    connection.recv(4096)
    bench.turn(0.9)
    assert bench.checking("b/s1")
    bench.turn(0.2)
    assert "Layer7 timeout" in bench.said[0]
    connection.close()
    bench.close()


def test_connect_that_never_ends() -> None:
    full = Origin()
    full.sock.listen(0)
    fillers = []
    for _ in range(4):  # a full accept queue swallows further attempts
        filler = socket.socket()
        filler.setblocking(False)
        filler.connect_ex(full.sock.getsockname())
        fillers.append(filler)
    bench = Bench(server(address=full.address))
    bench.until(lambda: bench.checking("b/s1"))
    bench.turn(1.9)
    assert bench.checking("b/s1")
    bench.turn(0.2)
    assert bench.status() == "DOWN"
    assert "reason: Layer4 timeout" in bench.said[0]
    for filler in fillers:
        filler.close()
    full.close()
    bench.close()


def test_a_hanging_server_does_not_delay_the_others(origin: Origin) -> None:
    silent = Origin()
    bench = Bench(server("s1", silent.address, http_check()), server("s2", origin.address))
    bench.turn(1.0)
    bench.until(lambda: bench.status("s2") == "UP")
    assert bench.checking("b/s1")
    silent.close()
    bench.close()


def test_first_checks_are_spread() -> None:
    servers = [server(f"s{i}", refused_at) for i, refused_at in enumerate([refused()] * 1000)]
    bench = Bench(*servers)
    before = 0
    for _ in range(10):  # fastinter 0.5 s: yet unchecked
        bench.turn(0.05)
        for _ in range(6):
            bench.turn()
        down = sum(bench.status(f"s{i}") == "DOWN" for i in range(1000))
        assert 50 <= down - before <= 150
        before = down
    bench.close()


def test_max_spread_checks() -> None:
    servers = [server(f"s{i}", check=Check(inter_s=100.0)) for i in range(10)]
    bench = Bench(*servers, global_=Global(max_spread_checks_s=1.0))
    bench.turn(1.0)
    for _ in range(5):
        bench.turn()
    assert all(bench.status(f"s{i}") == "DOWN" for i in range(10))
    bench.close()


def test_send_proxy_and_check_port(origin: Origin) -> None:
    check = Check(send_proxy=True, port=origin.address.port)
    bench = Bench(server(address=Address("ipv4", "127.0.0.1", 9), check=check))
    bench.until(lambda: bench.status() == "UP")
    connection = origin.accept()
    line = connection.recv(200).split()
    assert line[:4] == [b"PROXY", b"TCP4", b"127.0.0.1", b"127.0.0.1"]
    assert int(line[5]) == origin.address.port
    connection.close()
    bench.close()


def test_unix_sockets(tmp_path: Path) -> None:
    alive = Origin(str(tmp_path / "s"), socket.AF_UNIX)
    bench = Bench(server("s1", alive.address), server("s2", Address("unix", str(tmp_path / "none"))))
    bench.turn(1.0)
    bench.until(lambda: bench.status("s1") == "UP" and bench.status("s2") == "DOWN")
    assert 'reason: Socket error, info: "General socket error (No such file or directory)"' in bench.said[0]
    alive.close()
    bench.close()


def test_hops(origin: Origin) -> None:
    other = Origin()
    check = http_check(
        CheckStep(kind="connect", args={"port": origin.address.port}),
        CheckStep(kind="send", args={"uri": "/1"}),
        CheckStep(kind="connect", args={"port": other.address.port}),
        CheckStep(kind="send", args={"uri": "/2"}),
    )
    bench = Bench(server(check=check))
    bench.until(lambda: bench.checking("b/s1"))
    for place, uri in ((origin, b"/1"), (other, b"/2")):
        connection = place.accept()
        bench.turn()
        assert connection.recv(4096) == b"GET " + uri + b" HTTP/1.0\r\n\r\n"
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        bench.loop.run_once(1)
        connection.close()
    bench.until(lambda: bench.status() == "UP")
    other.close()
    bench.close()


def test_send_state(origin: Origin) -> None:
    bench = Bench(server(address=origin.address, check=http_check(send_state=True)), global_=Global(node="n1"))
    bench.until(lambda: bench.checking("b/s1"))
    connection = origin.accept()
    bench.turn()
    field = connection.recv(4096).split(b"\r\n")[1].decode()
    port = origin.address.port
    assert field == (
        f"x-haproxy-server-state: UP 1/3; address=127.0.0.1; port={port}; name=b/s1; node=n1; weight=1/1; scur=0/0; qcur=0"
    )
    connection.close()
    bench.close()


def test_no_checks_in_maintenance(origin: Origin) -> None:
    bench = Bench(server(address=origin.address, disabled=True))
    bench.turn(10.0)
    bench.turn(10.0)
    assert not bench.checking("b/s1")
    bench.runner.board.set_state("b/s1", "ready")
    bench.runner.check_now("b/s1")
    bench.until(lambda: bench.status() == "UP")
    bench.close()


def test_replace_keeps_states_and_starts_new_checks(origin: Origin) -> None:
    bench = Bench(server("s1", refused()))
    bench.until(lambda: bench.status() == "DOWN")
    bench.said.clear()
    bench.runner.replace(bench.plan(server("s1", refused()), server("later", origin.address)))
    assert (bench.status("s1"), bench.status("later"), bench.said) == ("DOWN", "UP 1/3", [])
    bench.turn(5.0)
    bench.until(lambda: bench.status("later") == "UP")
    bench.close()


def test_a_plan_that_cannot_be_compiled_changes_nothing(origin: Origin) -> None:
    bench = Bench(server("s1", origin.address))
    wrong = Check(kind="http", steps=(CheckStep(kind="expect", args={"match": "status", "pattern": "abc"}),))
    with pytest.raises(ValueError):
        bench.runner.replace(bench.plan(server("later", check=wrong)))
    bench.until(lambda: bench.status("s1") == "UP")
    bench.close()


def test_slow_start_is_stepped(origin: Origin) -> None:
    bench = Bench(server("s1", origin.address, slowstart_s=10.0, init_state="fully-down"))
    for _ in range(3):
        bench.turn(5.0)
        bench.until(lambda: not bench.checking("b/s1"))
    assert bench.table.get("b/s1").throttle > 0
    for _ in range(6):
        bench.turn(2.0)
    assert bench.table.get("b/s1").throttle == 0
    bench.close()


def test_running_out_of_descriptors_is_no_verdict(monkeypatch: pytest.MonkeyPatch, origin: Origin) -> None:
    from forkproxy.net import sockets

    bench = Bench(server(address=origin.address))
    real = sockets.dial

    def broken(*args: object, **more: object) -> object:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(sockets, "dial", broken)
    bench.turn()
    bench.turn()
    assert bench.status() == "UP 1/3"
    monkeypatch.setattr(sockets, "dial", real)
    bench.turn(2.0)
    bench.until(lambda: bench.status() == "UP")
    bench.close()


def external(command: Path, **more: object) -> Check:
    return Check(kind="external-check", inter_s=2.0, options={"command": str(command), "path": "/usr/bin:/bin", **more})


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_a_program_sees_the_server_and_its_exit_is_the_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "of the master")
    look = script(tmp_path / "look", f'echo "$@" $HAPROXY_SERVER_NAME $HAPROXY_SERVER_MAXCONN $SECRET > {tmp_path}/said; exit 3')
    bench = Bench(server(address=Address("ipv4", "10.0.0.1", 81), check=external(look), maxconn=9))
    bench.until(lambda: bench.status() == "DOWN")
    assert (tmp_path / "said").read_text() == "NOT_USED NOT_USED 10.0.0.1 81 s1 9\n"
    assert bench.said[0].startswith("Server b/s1 is DOWN, reason: External check error, code: 3, check duration: ")
    script(look, "exit 0")
    for _ in range(2):
        bench.turn(2.0)
        bench.until(lambda: not bench.checking("b/s1"))
    assert bench.status() == "UP"
    look.unlink()
    bench.turn(2.0)
    bench.until(lambda: bench.status() == "UP 2/3")
    assert bench.board_text() == "No such file or directory"
    bench.close()


def test_a_program_that_takes_too_long_is_ended_with_all_it_started(tmp_path: Path) -> None:
    slow = script(tmp_path / "slow", f"trap '' TERM; sleep 300 & echo $! > {tmp_path}/child; wait")  # the child ignores it, too
    bench = Bench(server(check=external(slow)))
    bench.until(lambda: (tmp_path / "child").exists() and (tmp_path / "child").read_text().strip())
    child = int((tmp_path / "child").read_text())
    bench.turn(2.1)
    assert bench.said[0].startswith("Server b/s1 is DOWN, reason: External check timeout, code: 0, check duration: ")
    bench.turn(1.1)  # what ignores the first signal gets the second
    bench.until(lambda: not bench.runner._errands.running)
    bench.until(lambda: not alive(child))
    bench.close()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_only_so_many_programs_at_a_time(tmp_path: Path) -> None:
    wait = script(tmp_path / "wait", "exec sleep 300")
    bench = Bench(*(server(f"s{i}", check=external(wait)) for i in range(LIMIT + 5)), global_=Global(max_spread_checks_s=0.0))
    bench.turn()
    bench.turn(0.1)
    assert len(bench.runner._errands.running) == LIMIT
    bench.close()
    assert not bench.runner._errands.running


def test_checks_that_a_state_file_tells_to_be_disabled_stay_so_until_somebody_wants_them(origin: Origin) -> None:
    saved = SavedState(op=0, admin=0, uweight=1, iweight=1, age_s=5, check_status=8, checking=False)
    bench = Bench(server(address=origin.address, saved=saved), server("s2", address=origin.address, saved=replace(saved, checking=True)))
    assert not bench.runner.runs("b/s1") and bench.runner.runs("b/s2")
    bench.until(lambda: bench.table.read("b/s2", "check_status") == 6)
    assert bench.status() == "DOWN"
    bench.runner.resume("b/s1")
    bench.until(lambda: bench.table.read("b/s1", "check_status") == 6)
    bench.close()


def test_checks_that_were_suspended_stay_so_over_reloads_and_in_the_next_master(origin: Origin) -> None:
    bench = Bench(server("s1", address=origin.address), server("s2", address=origin.address))
    runner = bench.runner
    runner.suspend("b/s1")
    assert [runner.runs(key) for key in ("b/s1", "b/s2")] == [False, True]
    runner.replace(bench.plan(server("s1", address=origin.address), server("s2", address=origin.address)))
    assert [runner.runs(key) for key in ("b/s1", "b/s2")] == [False, True]
    runner.stop()
    plan = bench.plan(server("s1", address=origin.address), server("s2", address=origin.address))
    runner = Runner(plan, bench.loop, bench.table, lambda backend, level, text: None)
    assert [runner.runs(key) for key in ("b/s1", "b/s2")] == [False, True]
    runner.resume("b/s1")
    runner.replace(bench.plan(server("s1", address=origin.address)))
    assert runner.runs("b/s1")
    runner.stop()
    bench.close()


def test_noise_between_checks(origin: Origin) -> None:
    bench = Bench(server(address=origin.address), global_=Global(spread_checks_percent=50))
    delays = set()
    bench.until(lambda: bench.status() == "UP")
    for _ in range(8):
        bench.until(lambda: not bench.checking("b/s1"))
        timer = bench.runner._jobs["b/s1"].timer
        assert timer is not None
        delays.add(round(timer.when - bench.clock.now, 6))
        bench.turn(3.0)
    assert len(delays) > 4 and all(1.0 <= delay <= 3.0 for delay in delays)
    bench.close()


@pytest.mark.parametrize("linger", [False, True])
def test_a_connection_ends_with_a_reset_unless_told_otherwise(origin: Origin, linger: bool) -> None:
    steps = (CheckStep(kind="connect", args={"linger": linger}), CheckStep(kind="send", args={"data": b"x"}))
    bench = Bench(server(address=origin.address, check=Check(kind="tcp-check", inter_s=2.0, steps=steps)))
    bench.until(lambda: bench.status() == "UP")
    connection = origin.accept()
    try:
        got = connection.recv(10) + connection.recv(10)
    except ConnectionResetError:
        got = b"reset"
    assert got == (b"x" if linger else b"reset")
    connection.close()
    bench.close()


def test_the_proxy_line_of_ipv6() -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as here, socket.create_connection(here.getsockname()[:2]) as sock:
        mine, there = sock.getsockname()[1], sock.getpeername()[1]
        assert proxy_line(sock) == f"PROXY TCP6 ::1 ::1 {mine} {there}\r\n".encode()


def test_errors_of_the_traffic_hasten_the_next_check(origin: Origin) -> None:
    check = Check(inter_s=60.0, fastinter_s=1.0)
    bench = Bench(server(address=origin.address, check=check, observe="layer7", error_limit=3, on_error="fastinter"))
    bench.until(lambda: bench.status() == "UP")
    cells, base = bench.table.rows.cells(0), bench.table.rows.base("b/s1")
    bench.table.rows.segment.claim(0, 1)
    cells[base + layout.OBSERVED_BAD] = cells[base + layout.OBSERVED_RUN] = 3
    cells[base + layout.OBSERVED_WHY] = 2
    bench.turn(0.06)
    timer = bench.runner._jobs["b/s1"].timer
    assert timer is not None and timer.when - bench.clock.now == pytest.approx(1.0)
    assert (bench.table.read("b/s1", "failed_hana"), bench.status()) == (1, "UP")
    bench.close()


def test_an_agent_ends_the_maintenance_that_it_began(origin: Origin) -> None:
    agent = Check(kind="agent-check", inter_s=2.0, rise=1, fall=1, address=origin.address, port=origin.address.port)
    bench = Bench(server(address=refused(), check=None, agent=agent))
    for line, status in ((b"maint\n", "MAINT"), (b"ready\n", "no check")):
        bench.until(lambda: bench.checking("b/s1", agent=True))
        connection = origin.accept()
        connection.sendall(line)
        bench.until(lambda status=status: bench.status() == status)  # type: ignore[misc]
        connection.close()
        bench.turn(2.0)
    bench.close()
