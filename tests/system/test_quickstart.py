"""What the README promises: ``make run`` starts the quick start and says what to try; two requests show two servers, metrics answer."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.ports import free_ports
from tests.system.conftest import ROOT, Proxy, eventually, get

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


def test_make_run_prints_what_to_try() -> None:
    """Without running it: the lines that the target prints name the addresses of the file."""
    done = subprocess.run(["make", "-n", "run"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=20)
    for line in ("curl localhost:8080", "curl localhost:8404/metrics", "forkproxy -f etc/quickstart.cfg"):
        assert line in done.stdout
