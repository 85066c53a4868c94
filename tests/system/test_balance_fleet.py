"""A mixed fleet: forkproxy and Debian's haproxy with the same file choose the same server for the same request, over real traffic."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers import needs
from tests.ports import free_ports

FORKPROXY = Path(__file__).parents[2] / "bin" / "forkproxy"
pytestmark = [pytest.mark.system, needs("haproxy")]

BACKENDS = [
    ("hdr(k)", "map-based"),
    ("hdr(k)", "consistent"),
    ("uri", "consistent djb2 avalanche"),
    ("url_param id", "map-based wt6"),
    ("url_param id check_post", "map-based crc32"),
    ("hash req.hdr(k),lower", "consistent crc32"),
    ("hash req.hdr(k),length", "consistent"),
    ("hash src", "map-based"),
    ("source", "map-based"),
    ("source", "consistent"),
    ("hdr(host) use_domain_only", "map-based crc32 avalanche"),
    ("roundrobin", "map-based"),
    ("leastconn", "map-based"),
    ("static-rr", "map-based"),
]
WEIGHTS = (3, 1, 2)


def start(command: list[str], port: int) -> subprocess.Popen[bytes]:
    """Start a proxy and wait until it listens."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(1000):
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return process
        assert process.poll() is None, command
        time.sleep(0.01)
    raise AssertionError(f"{command} does not listen")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int]]:
    """The ports of haproxy and forkproxy; the servers are frontends of haproxy that tell their number."""
    directory = tmp_path_factory.mktemp("fleet")
    *servers, one, other = free_ports(len(WEIGHTS) + 2)
    common = ["global", "  nbthread 1", "defaults", "  mode http"]
    common += [f"  timeout {side} 5s" for side in ("client", "server", "connect")]
    answers = []
    for n, port in enumerate(servers):
        answers += [f"frontend o{n}", f"  bind 127.0.0.1:{port}", f"  http-request return status 200 hdr x-server s{n}"]
    proxy = ["frontend f", "  bind 127.0.0.1:{port}", "  http-request set-src req.hdr_ip(x-src)"]
    proxy += [f"  use_backend b{n} if {{{{ req.hdr(be) b{n} }}}}" for n in range(len(BACKENDS))]
    for n, (balance, hash_type) in enumerate(BACKENDS):
        proxy += [f"backend b{n}", f"  balance {balance}", f"  hash-type {hash_type}"]
        proxy += [f"  server s{i} 127.0.0.1:{port} weight {w}" for i, (port, w) in enumerate(zip(servers, WEIGHTS, strict=True))]
    text = "\n".join(proxy) + "\n"
    (directory / "haproxy.cfg").write_text("\n".join([*common, *answers]) + "\n" + text.format(port=one))
    (directory / "forkproxy.cfg").write_text("\n".join(common) + "\n" + text.format(port=other))
    running = []
    try:
        running.append(start(["haproxy", "-q", "-db", "-f", str(directory / "haproxy.cfg")], one))
        running.append(start([sys.executable, str(FORKPROXY), "-q", "-db", "-f", str(directory / "forkproxy.cfg")], other))
        yield one, other
    finally:
        for process in running:
            process.terminate()
            process.wait(10)


def chosen(port: int, backend: int, key: int) -> bytes:
    """The server that answers the request with this key."""
    body = b"id=b%d" % key if key % 2 and "check_post" in BACKENDS[backend][0] else b""
    target = b"/x/%d" % key + (b"" if body else b"?id=%d" % key)
    head = [
        b"%b %b HTTP/1.1" % (b"POST" if body else b"GET", target),
        b"host: www.h%d.org" % key,
        b"be: b%d" % backend,
        b"connection: close",
    ]
    head += [b"k: %bey%d" % (b"K" * (key % 9), key), b"x-src: 10.%d.3.%d" % (key, key * 7 % 250), b"content-length: %d" % len(body)]
    with socket.create_connection(("127.0.0.1", port), 10) as sock:
        sock.sendall(b"\r\n".join(head) + b"\r\n\r\n" + body)
        answer = b""
        while data := sock.recv(4096):
            answer += data
    assert answer.startswith(b"HTTP/1.1 200"), answer
    return answer.partition(b"x-server: ")[2].partition(b"\r\n")[0]


@pytest.mark.parametrize("backend", range(len(BACKENDS)), ids=[" / ".join(b) for b in BACKENDS])
def test_the_same_server(fleet: tuple[int, int], backend: int) -> None:
    choices = [(chosen(fleet[0], backend, key), chosen(fleet[1], backend, key)) for key in range(60)]
    assert [a for a, _ in choices] == [b for _, b in choices]
    assert len({a for a, _ in choices}) > 1
