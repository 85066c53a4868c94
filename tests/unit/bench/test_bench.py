"""The parts of the benchmark that need no proxy: process trees, configuration, medians and the table."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from bench import configs, micro_stream, paced
from bench.cases import CASES, ROWS, SETS
from bench.configs import Place
from bench.load import Sample, middle, section
from bench.probes import probes
from bench.processes import Sink, Usage, sleeps, stop, tree
from bench.run import MEASURES, TOGETHER, chosen, grouped
from bench.sides import Ways
from bench.table import table as summary
from forkproxy.net.loop import READ
from forkproxy.state.layout import REQ_TOT
from tests.peers import needs
from tests.unit.config.reading import good


def sample(rate: float, user_us: float) -> Sample:
    return Sample(100, rate, user_us, 10.0, 500.0, 900.0, 0, 100, 2**20, 2**19)


def test_sets_name_cases() -> None:
    assert all(name in CASES for names in SETS.values() for name in names)
    assert all(row.cases and all(name in CASES for name in row.cases) for row in ROWS)


@pytest.mark.parametrize("name", CASES)
def test_configuration_is_what_both_sides_read(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    place = Place(1234, 5678, Path("/run/sink"), tmp_path / "cli", tmp_path)
    text = case.config(case, place)
    assert f"mode {case.mode}\n" in text
    assert "bind 127.0.0.1:1234\n" in text
    assert "127.0.0.1:5678" in text
    assert ("log /run/sink len 2048 local0" in text) == ("option httplog" in text) == case.logged
    scripts = Path(__file__).parents[3] / "bench" / "lua"
    assert not case.lua or (scripts / f"{case.lua}.lua").exists()
    assert case.kind in MEASURES
    assert probes(case)
    if case.servers < 1000 and case.entries < 10_000 and case.kind != "scaling":  # the others are larger, no more
        plan = good(text)
        assert plan.frontends


@needs("nginx")
def test_nginx_reads_the_plain_cases(tmp_path: Path) -> None:
    place = Place(1234, 5678, tmp_path / "sink", tmp_path / "cli", tmp_path)
    read = []
    for case in CASES.values():
        try:
            text = configs.for_nginx(case, place)
        except ValueError:
            continue
        (tmp_path / "file").write_text(text)
        words, _ = Ways(("nginx",)).command("nginx")
        words += [str(tmp_path / "file"), "-t"]
        said = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
        assert said.returncode == 0, (case.name, said.stderr)
        assert ("access_log syslog:" in text) == ("X-Forwarded-For" in text) == case.logged
        read.append(case.name)
    assert {"http-keepalive", "http-10k", "conns-32", "conns-4096"} <= set(read)
    assert {"http-production", "tcp-small", "servers-2", "stick-1000", "scaling", "route-map", "idle-memory"}.isdisjoint(read)


def test_the_production_file_is_as_long_as_it_says() -> None:
    assert configs.production(CASES["http-production"], Place(1, 2, Path("s"), Path("c"), Path("d"))).count("\n") >= 60


def numbers_of(name: str, **sides: float) -> dict[str, Any]:
    each = [[{"cpu_us": slow * x} for slow in (1.0, 3.0, 2.0)] for x in sides.values()]  # the machine was busy in the second round
    return {name: {"medians": [dict.fromkeys(("cpu_us", "bytes", "p99_us", "gain"), x) for x in sides.values()], "rounds": each}}


def test_rows_of_the_table() -> None:
    numbers = numbers_of("http-keepalive", a=10, b=13.04) | numbers_of("idle-memory", a=1000, b=4000) | numbers_of("scaling", a=1.5, b=1.3)
    numbers["http-keepalive"]["rounds"][1][2]["cpu_us"] = 90.0  # bad luck, once
    numbers["http-keepalive"]["medians"][1]["cpu_us"] = 39.12  # of 13.04, 39.12 and 90; that is 1.96 times the other side's median
    for size, costs in ((32, (10.0, 20.0, 10.0)), (512, (9.0, 18.0, 30.0)), (4096, (11.0, 23.0, 10.0))):  # a neighbour came and went
        numbers[f"conns-{size}"] = {"medians": [], "rounds": [[{"cpu_us": 1.0}] * 3, [{"cpu_us": cost} for cost in costs]]}
    text = summary(("haproxy", "forkproxy"), numbers)
    lines = text.splitlines()[2:]
    assert [line.split(" | ")[1:] for line in lines] == [
        ["≤ 1.30", "10.0 µs", "1.30 |"],
        ["≤ 3,072", "1,000", "4,000 ✗ |"],
        ["≥ 1.00", "1.50", "0.87 ✗ |"],
        ["≤ 1.20", "1.00", "1.22 ✗ |"],
    ]
    assert summary(("haproxy",), {}) == ""


def test_cases_are_named_by_groups() -> None:
    assert chosen(["tcp-1m", "tcp"]) == ["tcp-1m", "tcp-small", "tcp-conn", "tcp-100m"]
    with pytest.raises(ValueError, match="unknown case: tpc;"):
        chosen(["tpc"])


def test_the_package_is_the_side_named_compiled() -> None:
    assert Ways(("haproxy", "forkproxy", "compiled"), package="/p").command("forkproxy")[1] == {}
    assert Ways(("haproxy", "forkproxy", "compiled"), package="/p").command("compiled")[1] == {"FORKPROXY_PACKAGE": "/p"}
    assert Ways(("haproxy", "forkproxy"), package="/p").command("forkproxy")[1] == {"FORKPROXY_PACKAGE": "/p"}


def test_paced_requests_count_from_when_they_should_have_left() -> None:
    """A server that takes 5 ms for each answer, one after the other, and gives a wrong one: those that should have left long ago are
    late, because there are only two connections."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        clients = [server.accept()[0] for _ in range(2)]
        open_ = dict.fromkeys(clients)
        answered = 0
        while open_:
            for client in select.select(list(open_), [], [])[0]:
                if not client.recv(65536):
                    client.close()
                    del open_[client]
                    continue
                threading.Event().wait(0.005)
                client.sendall(b"HTTP/1.1 %d OK\r\n\r\n" % (500 if answered == 3 else 200) + b"x" * 128)
                answered += 1

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        latencies, wrong = paced.generate(server.getsockname()[1], 500.0, 0.1, 2, 60.0)
    finally:
        thread.join(60)
        server.close()
    assert wrong == 1
    assert len(latencies) > 4  # fifty of five milliseconds each, where nobody else wants the processor
    assert max(latencies) > 0.02


def test_what_counts_of_a_steady_rate_begins_after_everybody_asked_and_ends_before_anybody_goes() -> None:
    server = socket.create_server(("127.0.0.1", 0))
    log: list[str] = []

    def serve() -> None:
        clients = [server.accept()[0] for _ in range(3)]
        open_ = dict.fromkeys(clients)
        asked = set()
        while open_:
            for client in select.select(list(open_), [], [])[0]:
                if not client.recv(65536):
                    client.close()
                    del open_[client]
                    log.append("gone")
                    continue
                asked.add(client)
                if len(asked) == 3 and "all asked" not in log:
                    log.append("all asked")
                client.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 128)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        latencies, wrong = paced.generate(server.getsockname()[1], 300.0, 0.1, 3, 60.0, warm=0.2, say=log.append)
    finally:
        thread.join(60)
        server.close()
    assert log == ["all asked", "begun", "done", "gone", "gone", "gone"]
    assert wrong == 0
    assert 0 < len(latencies) < 55  # thirty in a tenth of a second; sixty came before


def test_cases_that_are_compared_are_measured_together() -> None:
    assert grouped(["steady-32", "tcp-1m", "steady-512", "steady-4096"]) == [("steady-32", "steady-512", "steady-4096"), ("tcp-1m",)]
    assert grouped(["steady-32", "steady-512"]) == [("steady-32",), ("steady-512",)]
    assert {CASES[group[0]].kind for group in grouped(list(CASES)) if len(group) > 1} == set(TOGETHER)
    assert all(len({CASES[name].kind for name in group}) == 1 for group in grouped(list(CASES)))


def test_medians_and_ratio() -> None:
    first = middle([sample(100, 5), sample(300, 7), sample(200, 90)])
    assert (first["rate"], first["user_us"], first["cpu_us"], first["requests"]) == (200, 7, 17, 300)
    other = middle([sample(100, 24)])
    text = section(CASES["http-keepalive"], ["a", "b"], [first, other])
    assert "| a | 200 | 17.0 | 7.0 | 10.0 | 0.50 | 0.90 | 1.0 | 0.5 | 0 |" in text
    assert "| **ratio** | 0.50 | **2.00** |" in text
    assert "a: 1.000, b: 1.000" in text


def test_tree_and_usage_see_children_and_stop_ends_them() -> None:
    # A parent that ignores its end for the child: the child must go, too.
    inner = "import signal, sys; sys.stdout.write('.'); sys.stdout.flush(); signal.pause()"
    outer = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])"
    process = subprocess.Popen([sys.executable, "-c", outer], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.read(1) == b"."
    family = tree(process.pid)
    assert len(family) == 2
    ends = [os.pidfd_open(pid) for pid in family]  # readable when the process ends, whoever waits for it
    usage = Usage.of(process.pid)
    assert usage.rss_bytes >= usage.pss_bytes > 0
    stop(process)
    process.stdout.close()
    for end in ends:
        assert select.select([end], [], [], 10)[0]
        os.close(end)


def test_sink_counts(tmp_path: Path) -> None:
    sink = Sink(tmp_path / "log")
    sink.start()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        for _ in range(50):
            s.sendto(b"<134>x\n", str(sink.path))
    sink.stop()
    assert sink.lines == 50


def test_who_waits_is_woken() -> None:
    """``bench.load`` tells how often the origin had to be woken."""
    before = sleeps(os.getpid())
    for _ in range(5):
        select.select((), (), (), 0.001)
    assert sleeps(os.getpid()) - before >= 5


def test_an_exchange_by_hand() -> None:
    """What ``bench.micro_stream`` measures is an exchange: a request goes out, an answer comes back, and it is counted."""
    rt, c, up, front, back = micro_stream.world()
    back.data = micro_stream.ANSWER
    for i in range(3):
        front.data = micro_stream.REQUEST % (i, i)
        c.ready(c, READ)
        rt.outbox.send()
        up.ready(up, READ)
        rt.outbox.send()
    rt._turn()
    assert front.sent == back.sent == 3
    assert rt.frontends["f"].count.row[REQ_TOT] == 3
    for bell in rt.state.limits.bells:
        os.close(bell)


def test_what_a_row_compares_is_measured_in_turn() -> None:
    conns = ("conns-32", "conns-512", "conns-4096")
    assert grouped(["http-close", *conns, "tcp-small"]) == [("http-close",), conns, ("tcp-small",)]
    assert grouped(conns[:2]) == [(conns[0],), (conns[1],)]
    assert [name for group in grouped(chosen(["wanted"])) for name in group] == chosen(["wanted"])
