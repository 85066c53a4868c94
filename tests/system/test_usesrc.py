"""``source … usesrc``: servers see addresses that this machine does not have; ``namespace``: servers that nobody else reaches. Two network
namespaces of the test's own, joined by a wire; haproxy runs beside us in the first one, the server is in the second one."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pytest

from tests.peers import needs
from tests.ports import free_ports
from tests.system.conftest import Proxy, eventually, get, listens
from tests.system.duet import read_head

pytestmark = [pytest.mark.system, needs("haproxy")]

T = TypeVar("T")
_libc = ctypes.CDLL(None, use_errno=True)


def move(name: str) -> None:
    """The calling thread (or process) lives in that namespace from now on."""
    fd = os.open(f"/run/netns/{name}", os.O_RDONLY)
    try:
        if _libc.setns(fd, 0):
            raise OSError(ctypes.get_errno(), f"setns {name}")
    finally:
        os.close(fd)


def inside(name: str, do: Callable[..., T], *args: Any) -> T:
    """``do`` in a thread of that namespace: sockets that it makes stay there."""
    with ThreadPoolExecutor(1, initializer=move, initargs=(name,)) as pool:
        return pool.submit(do, *args).result()


class Wire(NamedTuple):
    """Names of the namespaces. The first one takes whatever comes over the wire for its own, the second one sends answers over it."""

    here: str
    there: str


@pytest.fixture
def wire() -> Iterator[Wire]:
    names = Wire(f"fp{os.getpid()}a", f"fp{os.getpid()}b")
    here, there = names
    steps = [
        f"netns add {here}", f"netns add {there}", f"-n {here} link add w0 type veth peer name w1 netns {there}",
        f"-n {here} addr add 10.77.0.1/24 dev w0", f"-n {there} addr add 10.77.0.2/24 dev w1",
        f"-n {here} link set lo up", f"-n {there} link set lo up", f"-n {here} link set w0 up", f"-n {there} link set w1 up",
        f"-n {there} route add 198.51.100.0/24 via 10.77.0.1", f"-n {here} rule add iif w0 lookup 100",
        f"-n {here} route add local 0.0.0.0/0 dev lo table 100",
    ]  # fmt: skip
    if shutil.which("ip") is None or os.geteuid():
        pytest.skip("needs root and iproute2 for network namespaces")
    try:
        for step in steps:
            done = subprocess.run(["ip", *step.split()], capture_output=True, text=True, check=False)
            if done.returncode:
                pytest.skip(f"no network namespaces here: ip {step}: {done.stderr.strip()}")
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def serve(sock: socket.socket) -> None:
    """Tells each request the address that its connection comes from."""
    while True:
        try:
            peer, (host, port) = sock.accept()
        except OSError:
            return
        threading.Thread(target=_answer, args=(peer, f"{host}:{port}".encode()), daemon=True).start()


def _answer(peer: socket.socket, told: bytes) -> None:
    with contextlib.suppress(ConnectionError), peer:
        while b"\r\n\r\n" in read_head(peer):
            peer.sendall(b"HTTP/1.1 200 OK\r\nX-Seen: %b\r\nContent-Length: 0\r\n\r\n" % told)


KINDS = {
    "client": "client", "clientip": "clientip", "last": "hdr_ip(x-forwarded-for)", "first": "hdr_ip(X-Forwarded-For,1)",
    "one": "198.51.100.50",
}  # fmt: skip
FIELDS = (b"X-Forwarded-For: 198.51.100.21, 198.51.100.22\r\nX-Forwarded-For: 198.51.100.23\r\n", b"", b"X-Forwarded-For: x\r\n")
TEXT = """
global
  nbthread 3
  stats socket {directory}/{name}.sock
defaults
  mode http
  timeout connect 5s
  timeout client 10s
  timeout server 10s
frontend f
  bind 10.77.0.1:{port} accept-proxy
  use_backend %[path,field(2,/)]
""" + "".join(f"backend {name}\n  source 10.77.0.1 usesrc {kind}\n  server s 10.77.0.2:8000\n" for name, kind in KINDS.items())


def exchange(port: int, client_port: int) -> dict[str, list[str]]:
    """What the server sees of four requests of one client for each backend, two connections with two each."""
    seen: dict[str, list[str]] = {}
    for name in KINDS:
        seen[name] = []
        for number in (1, 2):
            with socket.create_connection(("10.77.0.1", port), 10) as sock:
                sock.sendall(b"PROXY TCP4 198.51.100.9 10.77.0.1 %d 80\r\n" % (client_port + number))
                for fields in FIELDS:
                    sock.sendall(b"GET /%b/ HTTP/1.1\r\nHost: a\r\n%b\r\n" % (name.encode(), fields))
                    head = read_head(sock).lower()
                    if not head.startswith(b"http/1.1 200"):
                        seen[name].append(head[9:12].decode())
                        break
                    host, _, port_seen = head.partition(b"x-seen: ")[2].partition(b"\r")[0].decode().partition(":")
                    own = port_seen in (str(client_port + 1), str(client_port + 2))
                    seen[name].append(f"{host}{' and port' if own else ''}")
    return seen


def test_a_server_in_another_namespace(tmp_path: Path, start: Callable[..., Proxy], wire: Wire) -> None:
    """Reached, and checked, by who lives in neither of them."""
    port, there = free_ports(2)
    server = inside(wire.there, socket.create_server, ("127.0.0.1", there))
    threading.Thread(target=serve, args=(server,), daemon=True).start()
    proxy = start(f"""
defaults
  mode http
  timeout connect 1s
  timeout client 5s
  timeout server 5s
listen f
  bind 127.0.0.1:{port}
  retries 0
  use-server here if {{ path /here }}
  server there 127.0.0.1:{there} namespace {wire.there} check inter 100s
  server here 127.0.0.1:{there} weight 0
""").ready()
    try:
        assert [get(port, path)[0] for path in ("/", "/here", "/")] == [200, 503, 200]
        assert "DOWN" not in proxy.stderr
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


def test_servers_see_who_asks(tmp_path: Path, start: Callable[..., Proxy], wire: Wire) -> None:
    server = inside(wire.there, socket.create_server, ("10.77.0.2", 8000))
    threading.Thread(target=serve, args=(server,), daemon=True).start()
    config = tmp_path / "haproxy.cfg"
    config.write_text(TEXT.format(directory=tmp_path, name="haproxy", port=8001))
    reference = subprocess.Popen(["haproxy", "-db", "-f", str(config)], preexec_fn=lambda: move(wire.here), stderr=subprocess.DEVNULL)
    try:
        start(TEXT.format(directory=tmp_path, name="ours", port=8002), preexec_fn=lambda: move(wire.here)).ready()
        eventually(lambda: listens(tmp_path / "haproxy.sock"), "haproxy")
        theirs = inside(wire.here, exchange, 8001, 20000)
        ours = inside(wire.here, exchange, 8002, 21000)
        # Where a field has no address the manual wants our own to be seen; 2.6 answers with 500.
        for name in ("client", "clientip", "one"):
            assert ours[name] == theirs[name]
        for name in ("first", "last"):
            assert ours[name][0] == theirs[name][0]
        assert ours["client"] == ["198.51.100.9 and port"] * 6 and ours["clientip"] == ["198.51.100.9"] * 6
        assert ours["last"] == ["198.51.100.23", "10.77.0.1", "10.77.0.1"] * 2
        assert ours["first"] == ["198.51.100.21", "10.77.0.1", "10.77.0.1"] * 2
        assert ours["one"] == ["198.51.100.50"] * 6
    finally:
        reference.terminate()
        reference.wait(5)
        server.shutdown(socket.SHUT_RDWR)
        server.close()
