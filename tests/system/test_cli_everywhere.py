"""A command reaches all workers and answers once: streams, descriptors, errors and activity of each; servers and entries of stick tables
that go while there is traffic.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests import ports
from tests.ports import free_ports
from tests.system.conftest import DEFAULTS, Load, Proxy, eventually
from tests.system.test_maps import ask

pytestmark = pytest.mark.system

FILE = """
global
  nbthread 3
  stats socket {dir}/s level admin
{defaults}
frontend f
  bind 127.0.0.1:{port}
  http-request track-sc0 url_param(k) table t if {{ url_param(k) -m found }}
  use_backend silent if {{ path /silent }}
  default_backend b
backend b
  balance roundrobin
  server a 127.0.0.1:{origin}
backend silent
  server s 127.0.0.1:{silent}
backend t
  stick-table type string size 10k expire 1h store http_req_cnt,gpc0
frontend origin
  bind 127.0.0.1:{origin}
  http-request return content-type text/plain string hello
"""


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """Takes connections and says nothing."""
    with closing(ports.listener()) as sock:
        yield sock


def test_everywhere(start: Callable[..., Proxy], load: Callable[..., Load], tmp_path: Path, silent: socket.socket) -> None:
    port, origin = free_ports(2)
    proxy = start(FILE.format(dir=tmp_path, port=port, origin=origin, silent=silent.getsockname()[1], defaults=DEFAULTS)).ready()
    path = tmp_path / "s"

    def say(command: str) -> str:
        return ask(path, command).strip()

    # -- streams of every worker
    held: list[socket.socket] = []

    def streams() -> dict[str, int]:
        """Number → worker (its slot is in the number)."""
        return {line.split(":")[0]: int(line.split(":")[0], 16) >> 40 for line in say("show sess backend silent").splitlines()}

    def in_all() -> bool:
        sock = socket.create_connection(("127.0.0.1", port), 5)
        sock.sendall(b"GET /silent HTTP/1.1\r\nHost: t\r\n\r\n")
        held.append(sock)
        return len(set(streams().values())) == 3

    eventually(in_all, "streams in all three workers")
    eventually(lambda: len(streams()) == len(held), "all of them")
    for number in streams():
        assert say(f"show sess {number}").startswith(f"{number}: [")
    assert len(say("show sess server silent/s").splitlines()) == len(held) and say("show sess backend b") == ""
    assert say("show sess older 1h backend silent") == "" and say("show sess all backend silent").count("frontend=f ") == len(held)
    assert len(re.findall(r"^# worker \d \(pid \d+\)$", say("show fd"), re.M)) == 3
    assert say("show fd -s").count("sv=silent/s busy") == len(held)
    activity = dict(line.split(": ", 1) for line in say("show activity").splitlines())
    total, *each = re.findall(r"\d+", activity["streams"])
    assert len(each) == 3 and int(total) == sum(map(int, each)) == len(held) and min(map(int, each)) > 0
    first = next(iter(streams()))
    assert say(f"shutdown session {first}") == "" and say(f"shutdown session {first}") == "No such session (use 'show sess')."
    assert len(streams()) == len(held) - 1
    assert say("shutdown sessions server silent/s") == "" and streams() == {}
    for sock in held:
        assert sock.recv(12) == b"HTTP/1.1 502", "each ended, in whichever worker"
        sock.close()

    # -- the newest bad message, whichever worker got it
    for count in range(6):
        with socket.create_connection(("127.0.0.1", port), 5) as sock:
            sock.sendall(f"GET /bad{count} HTTP/1.1\r\nbad header: x\r\n\r\n".encode())
            assert sock.recv(12) == b"HTTP/1.1 400"
        assert f"/bad{count} " in say("show errors f"), "the last one only"

    # -- servers come and go under traffic that never fails
    traffic = load(port, clients=6)
    for round_ in range(3):
        name = f"b/n{round_}"
        assert say(f"add server {name} 127.0.0.1:{origin} check; enable health {name}; enable server {name}") == "New server registered."
        eventually(lambda: int(stot(say("show stat b 4 -1"), name.partition("/")[2])) > 5, "it gets traffic")  # noqa: B023
        answer = say(f"disable server {name}; shutdown sessions server nope/x; wait 10s srv-removable {name}; del server {name}")
        assert answer == "No such backend.\n\nDone.\n\nServer deleted."
        assert name not in say("show servers state b")
    traffic.more()
    traffic.stop()
    assert traffic.failures == []

    # -- entries of a table are cleared by condition while others come
    loads = [load(port, clients=1, path=f"/?k=key{n}") for n in range(4)]
    say("set table t key old data.gpc0 7; set table t key older data.gpc0 8")
    for count in range(5):
        say(f"set table t key new{count} data.gpc0 1")
    assert say("clear table t data.gpc0 gt 6") == ""
    found = say("show table t")
    assert " key=old" not in found and all(f" key=new{n} " in found for n in range(5))
    assert say("clear table t data.gpc0 eq 1") == "" and " key=new" not in say("show table t")
    eventually(lambda: all(f" key=key{n} " in say("show table t") for n in range(4)), "those that are used")
    for one in loads:
        one.stop()
        assert one.failures == []
    eventually(lambda: " use=1" not in say("show table t"), "nobody holds an entry")
    assert say("clear table t") == "" and say("show table t").endswith("used:0")
    assert len(proxy.workers) == 3


def stot(text: str, name: str) -> str:
    return next((line.split(",")[7] for line in text.splitlines() if line.split(",")[1:2] == [name]), "0")
