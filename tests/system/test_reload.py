"""Reload: nothing dropped, nothing refused; a bad file changes nothing."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable

import pytest

from tests import ports
from tests.ports import free_ports
from tests.system.conftest import Load, Proxy, eventually, get, hello, listening, refused

pytestmark = pytest.mark.system

Start = Callable[..., Proxy]


@pytest.mark.parametrize("keep", [True, False], ids=["keep-alive", "new connections"])
def test_reload_under_load_fails_no_request(start: Start, load: Callable[..., Load], keep: bool) -> None:
    (port,) = free_ports(1)
    proxy = start(hello(port)).ready()
    clients = load(port, 8, keep=keep)
    clients.more(100)
    before = {w.pid for w in proxy.workers}
    for n in range(3):
        proxy.reload(hello(port, text=f"hello {n}"))
        clients.more(100)
    eventually(lambda: len(proxy.workers) == 2, "the old workers' end")
    clients.more(100)
    clients.stop()
    assert clients.failures == []
    assert not before & {w.pid for w in proxy.workers}
    assert get(port) == (200, b"hello 2")
    assert proxy.process.poll() is None  # the master is the same


def test_listeners_added_kept_and_removed(start: Start, load: Callable[..., Load]) -> None:
    kept, removed, added = free_ports(3)

    def config(second: int) -> str:
        return hello(kept, more=f"frontend g\n  bind 127.0.0.1:{second}\n  http-request return status 200\n")

    proxy = start(config(removed)).ready()
    assert get(removed)[0] == 200
    clients = load(kept, 4, keep=False)
    proxy.reload(config(added))
    assert get(added)[0] == 200
    eventually(lambda: refused(removed), "the removed listener is closed")
    clients.more(50)
    clients.stop()
    assert clients.failures == []


def test_fewer_and_more_workers_lose_no_connection(start: Start, load: Callable[..., Load]) -> None:
    (port,) = free_ports(1)
    proxy = start(hello(port, workers=4)).ready()
    clients = load(port, 8, keep=False)
    clients.more(50)
    for workers in (1, 3):
        proxy.reload(hello(port, workers=workers))
        eventually(lambda: len(proxy.workers) == workers, f"{workers} workers")  # noqa: B023
        clients.more(200)
    # the sockets of workers that are no longer there were closed without a loss
    eventually(lambda: listening(proxy.pid, port) == 3, "surplus sockets closed")
    clients.more(100)
    clients.stop()
    assert clients.failures == []


@pytest.mark.parametrize(
    "broken",
    ["", "frontend f\n  bnid 127.0.0.1:1\n", "frontend f\n  bind 127.0.0.1:{taken}\n  http-request return status 200\n"],
    ids=["nothing", "text", "port"],
)
def test_a_bad_file_changes_nothing_and_says_so(start: Start, broken: str) -> None:
    (port,) = free_ports(1)
    proxy = start(hello(port)).ready()
    before = [w.pid for w in proxy.workers]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        proxy.config.write_text(hello(port, text="new").split("frontend")[0] + broken.replace("{taken}", str(taken.getsockname()[1])))
        proxy.signal(signal.SIGUSR2)
        proxy.event("STATUS=Reload failed!")
    assert "[ALERT]" in proxy.stderr
    assert ("bnid" in proxy.stderr) or ("No enabled listener found" in proxy.stderr) or ("Address already in use" in proxy.stderr)
    assert [w.pid for w in proxy.workers] == before
    assert get(port) == (200, b"hello")
    proxy.reload(hello(port, text="good again"))
    assert get(port) == (200, b"good again")


def test_notifications_of_a_reload(start: Start) -> None:
    (port,) = free_ports(1)
    proxy = start(hello(port), "-Ws").ready()
    assert proxy.events[-1] == f"READY=1\nMAINPID={proxy.pid}\nSTATUS=Ready.\n"
    proxy.signal(signal.SIGHUP)
    message = proxy.event("RELOADING=1")
    assert message.startswith("RELOADING=1\nSTATUS=Reloading Configuration.\nMONOTONIC_USEC=")
    assert proxy.event("READY=1") == f"READY=1\nMAINPID={proxy.pid}\nSTATUS=Ready.\n"
    proxy.signal(signal.SIGTERM)
    assert proxy.event("STOPPING=1") == "STOPPING=1"


def test_an_old_worker_finishes_what_it_has(start: Start) -> None:
    """A slow TCP session outlives the reload, until hard-stop-after."""
    (port,) = free_ports(1)
    with ports.listener() as origin:

        def config(hard: str) -> str:
            return f"""
global
  nbthread 1
  hard-stop-after {hard}
defaults
  timeout connect 5s
  timeout client 30s
  timeout server 30s
listen t
  mode tcp
  bind 127.0.0.1:{port}
  server s 127.0.0.1:{origin.getsockname()[1]}
"""

        proxy = start(config("1s")).ready()
        with socket.create_connection(("127.0.0.1", port), 5) as client:
            server, _ = origin.accept()
            with server:
                proxy.reload(config("2s"))
                eventually(lambda: any("(draining)" in " ".join(w.cmdline()) for w in proxy.workers), "title of the old worker")
                client.sendall(b"ping")
                assert server.recv(10) == b"ping"
                server.sendall(b"pong")
                assert client.recv(10) == b"pong"
                eventually(lambda: len(proxy.workers) == 1, "hard stop")
                assert client.recv(10) == b""


def test_reload_in_one_process(start: Start) -> None:
    (port,) = free_ports(1)
    proxy = start(hello(port, workers=1), "-d", "-W").ready()
    assert get(port) == (200, b"hello")
    proxy.reload(hello(port, workers=1, text="new"))
    eventually(lambda: get(port) == (200, b"new"), "the new file")  # in one process, the old part may accept once more
    assert proxy.workers == []


def test_many_reloads_at_once_end_with_the_newest_file(start: Start) -> None:
    (port,) = free_ports(1)
    proxy = start(hello(port)).ready()
    for _ in range(5):
        proxy.signal(signal.SIGUSR2)
    proxy.config.write_text(hello(port, text="newest"))
    proxy.signal(signal.SIGUSR2)
    eventually(lambda: get(port) == (200, b"newest"), "the newest file")
    eventually(lambda: len(proxy.workers) == 2, "the old workers' end")
