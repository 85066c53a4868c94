"""What the README promises: ``make run`` starts the quick start and says what to try; two requests show two servers, metrics answer."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.ports import free_ports
from tests.system.conftest import ROOT, Proxy, eventually, get, hello

pytestmark = pytest.mark.system

#: what etc/quickstart.cfg listens on; any of it may be taken where tests run
PORTS = (8080, 8404, 8081, 8082)


def test_two_servers_in_turn_and_metrics(tmp_path: Path) -> None:
    text = (ROOT / "etc" / "quickstart.cfg").read_text()
    assert {int(port) for port in re.findall(r"127\.0\.0\.1:(\d+)", text)} == set(PORTS)
    free = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
    for port, other in free.items():
        text = text.replace(f"127.0.0.1:{port}", f"127.0.0.1:{other}")
    proxy = Proxy(tmp_path, text).ready()
    try:
        answers = [get(free[8080]) for _ in range(4)]
        assert {status for status, _ in answers} == {200}
        names = [body.split()[-1].decode() for _, body in answers]
        assert sorted(names[:2]) == ["blue", "green"]
        assert names[2:] == names[:2]

        def counted() -> bool:  # counters are written at the end of a turn of the worker's loop
            status, metrics = get(free[8404], "/metrics")
            assert status == 200
            return b'haproxy_frontend_http_requests_total{proxy="web"} 4\n' in metrics

        eventually(counted, "four requests in the metrics")
        assert get(free[8404], "/health")[0] == 200
    finally:
        proxy.end()


def test_who_looks_on_sees_what_it_listens_on(tmp_path: Path) -> None:
    """On a terminal, or with ``-V``; not with ``-q``, and not in a file."""
    port, other, third = free_ports(3)
    ours, theirs = pty.openpty()
    more = f"  bind [::1]:{port}\nlisten stats\n  bind 127.0.0.1:{other}\n  stats enable\nfrontend off\n  bind :1\n  disabled\n"
    text = hello(port, more=more)
    text = text.replace("global\n", f"global\n  stats socket {tmp_path}/s level admin\n  stats-endpoint 127.0.0.1:{third}\n")
    told = [
        f"  frontend f (http): 127.0.0.1:{port}, [::1]:{port}", f"  listen stats (http): 127.0.0.1:{other}",
        f"  runtime CLI: unix@{tmp_path}/s", f"  /metrics and /health: 127.0.0.1:{third}",
    ]  # fmt: skip
    for words, terminal, expected in ((["-W"], True, told), (["-W", "-V"], False, told), (["-W", "-q"], True, []), (["-W"], False, [])):
        where: dict[str, Any] = {"stderr": theirs} if terminal else {}
        proxy = Proxy(tmp_path, text, *words, **where)
        try:
            proxy.ready()
            shown = proxy.stderr
            if terminal and expected:  # what it writes to the terminal comes before it is seen to end, and after it is ready
                raw = b""
                while f"{told[-1]}\r\n".encode() not in raw:  # a terminal may give a line without its end
                    raw += os.read(ours, 65536)
                shown = raw.decode().replace("\r\n", "\n")
            elif expected:
                proxy.says(told[-1])
                shown = proxy.stderr
            else:
                proxy.signal(signal.SIGUSR1)
                assert proxy.wait() == 0
                shown = proxy.stderr
            lines = shown.splitlines()
            assert [line for line in lines if line.startswith("  ") and line.strip()] == expected  # blank: progress of a slow start, erased
            first = rf"forkproxy \S+ serves: pid {proxy.pid}, 2 workers, started in \d+\.\d s"
            assert sum(bool(re.fullmatch(first, line)) for line in lines) == bool(expected)
        finally:
            proxy.end()
    os.set_blocking(ours, False)
    with pytest.raises(BlockingIOError):  # -q wrote nothing to the terminal
        os.read(ours, 1)
    os.close(ours)
    os.close(theirs)


def test_make_run_prints_what_to_try() -> None:
    """Without running it: the lines that the target prints name the addresses of the file."""
    done = subprocess.run(["make", "-n", "run"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=20)
    for line in ("curl localhost:8080", "curl localhost:8404/metrics", "forkproxy -f etc/quickstart.cfg"):
        assert line in done.stdout
