"""The parts of the benchmark that need no proxy: process trees, configuration, medians and the table."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from bench import micro_stream
from bench.cases import CASES, SETS
from bench.processes import Sink, Usage, stop, tree
from bench.run import Sample, middle, table
from forkproxy.net.loop import READ
from forkproxy.state.layout import REQ_TOT


def sample(rate: float, user_us: float) -> Sample:
    return Sample(100, rate, user_us, 10.0, 500.0, 900.0, 0, 100, 2**20, 2**19)


def test_sets_name_cases() -> None:
    assert all(name in CASES for names in SETS.values() for name in names)


@pytest.mark.parametrize("name", CASES)
def test_configuration_has_what_the_case_says(name: str) -> None:
    case = CASES[name]
    text = case.config(1234, 5678, "sink")
    assert f"mode {case.mode}\n" in text
    assert "bind 127.0.0.1:1234\n" in text
    assert "server origin 127.0.0.1:5678\n" in text
    assert ("log sink len 2048 local0" in text) == ("option httplog" in text) == case.logged
    scripts = Path(__file__).parents[3] / "bench" / "lua"
    assert not case.lua or (scripts / f"{case.lua}.lua").exists()


def test_medians_and_ratio() -> None:
    first = middle([sample(100, 5), sample(300, 7), sample(200, 90)])
    assert (first["rate"], first["user_us"], first["cpu_us"], first["requests"]) == (200, 7, 17, 300)
    other = middle([sample(100, 24)])
    text = table(CASES["http-keepalive"], ["a", "b"], [first, other])
    assert "| a | 200 | 17.0 | 7.0 | 10.0 | 0.50 | 0.90 | 1.0 | 0.5 | 0 |" in text
    assert "| **ratio** | 0.50 | **2.00** |" in text
    assert "a: 1.000, b: 1.000" in text


def test_tree_and_usage_see_children_and_stop_ends_them() -> None:
    # A parent that ignores its end for the child: the child must go, too.
    inner = "import time, sys; sys.stdout.write('.'); sys.stdout.flush(); time.sleep(60)"
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


def test_an_exchange_by_hand() -> None:
    """What ``bench.micro_stream`` measures is an exchange: a request goes out, an answer comes back, and it is counted."""
    rt, c, up, front, back = micro_stream.world()
    back.data = micro_stream.ANSWER
    for i in range(3):
        front.data = micro_stream.REQUEST % (i, i)
        c.ready(c, READ)
        up.ready(up, READ)
    rt._turn()
    assert front.sent == back.sent == 3
    assert rt.frontends["f"].count.row[REQ_TOT] == 3
    for bell in rt.state.limits.bells:
        os.close(bell)
