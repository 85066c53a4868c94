"""Byte formats against Debian's haproxy: log lines as it sends them, PROXY headers as it builds and reads them."""

from __future__ import annotations

import re
import socket
import subprocess
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from forkproxy.wire.proxy_protocol import LOCAL_V2, TYPE_AUTHORITY, TYPE_UNIQUE_ID, build_v1, build_v2, parse
from forkproxy.wire.syslog import FORMATS, make
from tests.peers import needs
from tests.ports import free_ports

pytestmark = [pytest.mark.system, needs("haproxy")]

TARGETS = [*FORMATS, "local 80", "rfc5424 90", "raw 80"]
CONFIG = """\
global
  nbthread 1
  log-send-hostname edge7
defaults
  mode http
  timeout connect 5s
  timeout client 5s
  timeout server 5s
frontend logged
  bind unix@{dir}/logged
  log-format "%{{+Q}}r done"
  log-tag lb
{logs}
  http-request return status 200
listen accept
  bind unix@{dir}/accept accept-proxy
  http-request return status 200 content-type text/plain lf-string "%[src] %[src_port] %[dst] %[dst_port]"
listen send1
  mode tcp
  bind 127.0.0.1:{ports[0]}
  bind [::1]:{ports[0]}
  server s {dir}/one send-proxy
listen send2
  mode tcp
  bind 127.0.0.1:{ports[1]}
  bind [::1]:{ports[1]}
  server s {dir}/two send-proxy-v2
"""


def connect(path: Path | tuple[str, int]) -> socket.socket:
    """A connection, as soon as somebody listens."""
    deadline = time.monotonic() + 10
    while True:
        if isinstance(path, tuple):
            sock = socket.socket(socket.AF_INET6 if ":" in path[0] else socket.AF_INET)
        else:
            sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(10)
        try:
            sock.connect(path if isinstance(path, tuple) else str(path))
            return sock
        except OSError:
            sock.close()
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


class Oracle:
    """haproxy, and the sockets that it talks to."""

    def __init__(self, directory: Path) -> None:
        self.dir = directory
        self.logs: list[socket.socket] = []
        lines = []
        for n, target in enumerate(TARGETS):
            fmt, _, length = target.partition(" ")
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            sock.settimeout(10)
            sock.bind(str(directory / f"log{n}"))
            self.logs.append(sock)
            lines.append(f"  log {directory}/log{n} {f'len {length} ' if length else ''}format {fmt} local3")
        self.servers = {}
        for name in ("one", "two"):
            listener = socket.socket(socket.AF_UNIX)
            listener.settimeout(10)
            listener.bind(str(directory / name))
            listener.listen()
            self.servers[name] = listener
        self.ports = free_ports(2)
        config = directory / "cfg"
        config.write_text(CONFIG.format(dir=directory, logs="\n".join(lines), ports=self.ports))
        self.process = subprocess.Popen(["haproxy", "-q", "-db", "-f", str(config)])

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(10)
        for sock in (*self.logs, *self.servers.values()):
            sock.close()


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Oracle]:
    running = Oracle(tmp_path_factory.mktemp("wire"))
    yield running
    running.close()


def test_log_lines(oracle: Oracle) -> None:
    with connect(oracle.dir / "logged") as sock:
        sock.sendall(b"GET /" + b"p" * 50 + b" HTTP/1.1\r\nhost: x\r\n\r\n")
        assert sock.recv(4096).startswith(b"HTTP/1.1 200")
    text = b'"GET /' + b"p" * 50 + b' HTTP/1.1" done'
    lines = [sock.recv(4096) for sock in oracle.logs]
    stamp = re.search(rb"\d{4}-\S+", lines[FORMATS.index("iso")])
    assert stamp is not None
    for target, line in zip(TARGETS, lines, strict=True):
        fmt, _, length = target.partition(" ")
        own = re.search(rb"\d{4}-\d\d-\d\dT\S+", line) or stamp
        ours = make(fmt, 19, int(length or 1024), "lb", oracle.process.pid, "edge7")
        wall_s = datetime.fromisoformat(own[0].decode()).timestamp()
        # a second may have begun between two targets
        assert line in (ours(6, wall_s, text), ours(6, wall_s + 1, text)), target


@pytest.mark.parametrize(("name", "number"), [("one", 0), ("two", 1)])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_headers_that_haproxy_builds(oracle: Oracle, name: str, number: int, host: str) -> None:
    port = oracle.ports[number]
    with connect((host, port)) as client:
        client.sendall(b"payload")
        server, _ = oracle.servers[name].accept()
        with server:
            server.settimeout(10)
            data = b""
            while not data.endswith(b"payload"):
                more = server.recv(4096)
                assert more
                data += more
        build = build_v1 if number == 0 else build_v2
        expected = build(host, client.getsockname()[1], host, port)
        assert data == expected + b"payload"
        found = parse(data)
        assert found is not None
        assert (found[0].src, found[0].src_port, found[0].dst_port, found[1]) == (host, client.getsockname()[1], port, len(expected))


@pytest.mark.parametrize(
    ("header", "seen"),
    [
        (build_v1("192.0.2.7", 1234, "198.51.100.9", 80), b"192.0.2.7 1234 198.51.100.9 80"),
        (build_v1("2001:db8::7", 1234, "2001:db8::9", 80), b"2001:db8::7 1234 2001:db8::9 80"),
        (build_v2("192.0.2.7", 1234, "198.51.100.9", 80), b"192.0.2.7 1234 198.51.100.9 80"),
        (build_v2("2001:db8::7", 65535, "2001:db8::9", 1), b"2001:db8::7 65535 2001:db8::9 1"),
        (
            build_v2("192.0.2.7", 1, "192.0.2.8", 2, tlvs=[(TYPE_AUTHORITY, b"h.example"), (TYPE_UNIQUE_ID, b"u")], checksum=True),
            b"192.0.2.7 1 192.0.2.8 2",
        ),
        (build_v1("unix", 0, "unix", 0), None),
        (LOCAL_V2, None),
    ],
)
def test_headers_that_haproxy_reads(oracle: Oracle, header: bytes, seen: bytes | None) -> None:
    with connect(oracle.dir / "accept") as sock:
        sock.sendall(header + b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        answer = b""
        while more := sock.recv(4096):
            answer += more
    assert answer.startswith(b"HTTP/1.1 200")
    if seen is not None:
        assert answer.rpartition(b"\r\n\r\n")[2] == seen


@pytest.mark.parametrize("header", [b"PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n", b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\0", b"GET / HTTP/1.1\r\n"])
def test_headers_that_both_refuse(oracle: Oracle, header: bytes) -> None:
    with connect(oracle.dir / "accept") as sock:
        sock.sendall(header + b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        try:
            assert sock.recv(4096) == b""
        except ConnectionResetError:
            pass
    from forkproxy.errors import ProtocolError

    with pytest.raises(ProtocolError):
        parse(header)
