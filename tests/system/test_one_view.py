"""One view over reloads: counters, states set at run time and stick tables carry over by name, and workers that finish what they have are
in every sum and listed. A stats-file carries counters over a real end.
"""

from __future__ import annotations

import csv
import io
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import ports
from tests.ports import free_ports
from tests.system.conftest import DEFAULTS, Proxy, eventually, get
from tests.system.test_processes_cli import ask

pytestmark = pytest.mark.system

FILE = """
global
  nbthread 2
  stats socket {dir}/s level admin
  stats-endpoint 127.0.0.1:{metrics}
  stats-file {dir}/saved
{defaults}
frontend {front}
  guid the-front
  bind 127.0.0.1:{port}
  http-request track-sc0 src table t
  default_backend b
backend b
  balance first
  server slow 127.0.0.1:{origin} weight 4
  server other 127.0.0.1:{origin} weight 4
  server third 127.0.0.1:{origin} weight 4
backend t
  stick-table type ip size 100 expire 1h store http_req_cnt,gpc0
{more}
"""


class View:
    """What the operator sees."""

    def __init__(self, directory: Path, metrics: int) -> None:
        self.directory = directory
        self.metrics = metrics

    def say(self, command: str) -> str:
        return ask(self.directory / "s", f"{command}\n").strip()

    def stat(self, name: str, kind: str, column: str) -> str:
        text = self.say("show stat").removeprefix("# ")
        return next(row[column] for row in csv.DictReader(io.StringIO(text)) if (row["pxname"], row["svname"]) == (name, kind))

    def info(self, field: str) -> str:
        return next(line.split(": ")[1] for line in self.say("show info").splitlines() if line.startswith(f"{field}: "))

    def metric(self, series: str) -> float:
        text = get(self.metrics, "/metrics")[1].decode()
        return float(next(line.rpartition(" ")[2] for line in text.splitlines() if line.startswith(f"{series} ")))

    def processes(self) -> tuple[list[str], list[str]]:
        """(pids of workers, of old workers)."""
        _, _, rest = ask(self.directory / "m", "show proc\n").partition("# workers\n")
        new, _, old = rest.partition("# old workers\n")
        return [line.split()[0] for line in new.split("\n") if line], [line.split()[0] for line in old.split("\n") if line]


def test_one_view_over_reloads_and_ends(start: Callable[..., Proxy], tmp_path: Path) -> None:
    port, metrics = free_ports(2)
    origin = ports.listener()
    origin.settimeout(10)
    facts = {"dir": tmp_path, "defaults": DEFAULTS, "metrics": metrics, "port": port, "origin": origin.getsockname()[1]}
    view = View(tmp_path, metrics)

    def answer() -> socket.socket:
        """Take one connection of a server and send the head and half of a body."""
        server = origin.accept()[0]
        server.recv(4096)
        server.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345")
        return server

    def transfer() -> tuple[socket.socket, socket.socket]:
        client = socket.create_connection(("127.0.0.1", port), 5)
        client.sendall(b"GET / HTTP/1.1\r\nHost: t\r\n\r\n")
        return client, answer()

    def finish(client: socket.socket, server: socket.socket) -> None:
        server.sendall(b"67890")
        body = b""
        while not body.endswith(b"67890"):
            body += client.recv(4096) or pytest.fail(f"cut off: {body!r}")
        client.close()
        server.close()

    proxy = start(FILE.format(front="f", more="", **facts), "-W", "-S", str(tmp_path / "m")).ready()
    proxy.says(f"stats-file '{tmp_path}/saved'")  # there is none yet: a warning
    for _ in range(3):
        finish(*transfer())
    eventually(lambda: view.stat("f", "FRONTEND", "req_tot") == "3", "three requests")
    view.say("set server b/other state drain; set weight b/third 7; disable server b/third")
    view.say("set table t key 192.0.2.1 data.gpc0 5; set maxconn server b/slow 9")
    first, none = view.processes()
    assert len(first) == 2 and none == []
    held = transfer()

    # -- a reload while it lasts
    proxy.reload(FILE.format(front="f", more="backend later\n", **facts))
    assert get(metrics, "/metrics")[0] == 200
    new, old = eventually(lambda: (found := view.processes())[1] and len(found[1]) == 1 and found, "one old worker is left")
    assert len(new) == 2 and set(new).isdisjoint(first) and old[0] in first
    # a stream is counted among requests when it ends
    assert [view.stat("f", "FRONTEND", name) for name in ("scur", "stot", "req_tot")] == ["1", "4", "3"]
    assert [view.stat("b", "slow", name) for name in ("scur", "stot")] == ["1", "4"]
    assert view.info("CurrConns") == "1" and view.info("CumReq") == "3"
    assert view.metric('haproxy_frontend_current_sessions{proxy="f"}') == 1
    assert view.metric('haproxy_frontend_sessions_total{proxy="f"}') == 4
    sessions = [line for line in view.say("show sess").splitlines() if " fe=f be=b srv=slow " in line]
    assert len(sessions) == 1
    number = sessions[0].split(":")[0]
    assert "srv_conn=b/slow" in view.say(f"show sess {number}")
    # -- what was set at run time, by name
    assert view.stat("b", "other", "status") == "DRAIN" and view.stat("b", "third", "status") == "MAINT"
    assert view.say("get weight b/third") == "7 (initial 4)"
    assert "key=192.0.2.1 " in view.say("show table t") and "gpc0=5" in view.say("show table t")
    assert view.say("show table t key 127.0.0.1").rpartition("http_req_cnt=")[2].startswith("4")
    # -- both generations count at once
    more = transfer()
    eventually(lambda: [view.stat("f", "FRONTEND", name) for name in ("scur", "stot")] == ["2", "5"], "both count")
    assert view.say("show sess").count(" fe=f be=b ") == 2
    finish(*more)
    finish(*held)
    eventually(lambda: view.processes()[1] == [], "the old worker is gone")
    assert [view.stat("f", "FRONTEND", name) for name in ("scur", "stot", "hrsp_2xx")] == ["0", "5", "5"]
    assert view.metric('haproxy_frontend_current_sessions{proxy="f"}') == 0

    # -- an end, and a start under another name
    saved = view.say("dump stats-file")
    (tmp_path / "saved").write_text(saved + "\n")
    proxy.end()
    proxy = start(FILE.format(front="renamed", more="", **facts), "-W", "-S", str(tmp_path / "m")).ready()
    assert "[WARNING]" not in proxy.stderr
    assert [view.stat("renamed", "FRONTEND", name) for name in ("scur", "stot", "hrsp_2xx")] == ["0", "5", "5"]
    assert view.stat("b", "slow", "stot") == "5"
    finish(*transfer())
    eventually(lambda: view.stat("renamed", "FRONTEND", "stot") == "6", "counting goes on")
    proxy.reload()
    assert view.stat("renamed", "FRONTEND", "stot") == "6", "the file is for a start, not for a reload"
    origin.close()
