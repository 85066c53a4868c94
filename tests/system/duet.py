"""The same configuration and the same exchange through Debian's haproxy and through forkproxy: what client, server and log saw.

An exchange is a client (a function over a connected socket that returns what it received) and a server (a function over an accepted
socket, called once per connection). Times and ports are taken out of log lines, names of fields are compared in lower case.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from tests import ports
from tests.peers import needs
from tests.ports import free_ports

ROOT = Path(__file__).resolve().parents[2]
#: marks of tests that need both balancers. A table of exchanges is one test, and on a busy machine a long one.
BESIDE_HAPROXY = [
    pytest.mark.system, pytest.mark.timeout(200), needs("haproxy"),
]  # fmt: skip

Script = Callable[[socket.socket], object]
#: a script that serves every exchange, the answers of a server in turn, or what makes a script for each exchange
Server = Script | tuple[bytes, ...] | partial[Script]
#: how each balancer is started, by its name
COMMANDS = {"haproxy": ["haproxy", "-db"], "forkproxy": [sys.executable, str(ROOT / "bin" / "forkproxy"), "-d"]}


class Seen(NamedTuple):
    """What an exchange came to: bytes at the client, bytes at each connection of the server, lines of the log, how long it took."""

    client: bytes
    server: list[bytes]
    log: list[str]
    took_s: float = 0.0


def read_head(sock: socket.socket, got: bytes = b"") -> bytes:
    """Receive until the end of a head (and whatever came with it)."""
    while b"\r\n\r\n" not in got:
        data = sock.recv(65536)
        if not data:
            break
        got += data
    return got


def read_all(sock: socket.socket, got: bytes = b"") -> bytes:
    """Receive until the peer closes or resets."""
    parts = [got]
    try:
        while data := sock.recv(65536):
            parts.append(data)
    except ConnectionError:
        parts.append(b"<reset>")
    return b"".join(parts)


def read_until(sock: socket.socket, end: bytes, got: bytes = b"") -> bytes:
    """Receive until ``end`` came."""
    while end not in got:
        data = sock.recv(65536)
        if not data:
            return got + b"<closed>"
        got += data
    return got


class Origin:
    """A scripted server: each connection runs ``script``; what it received is kept."""

    def __init__(self) -> None:
        self.sock = ports.listener(backlog=64)
        self.port = self.sock.getsockname()[1]
        self.script: Script = lambda sock: None
        self.open: list[socket.socket] = []
        self.seen: list[Spy] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self.sock.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        peer.settimeout(8)
        self.open.append(peer)
        spy = Spy(peer)
        self.seen.append(spy)
        with contextlib.suppress(OSError), peer:
            self.script(spy)  # type: ignore[arg-type]
        spy.over = True

    def begin(self, script: Script) -> None:
        """The next exchange: connections of earlier ones are closed, so that both balancers start alike."""
        for peer in self.open:
            with contextlib.suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)
        self.script = script
        self.open, self.seen = [], []

    def close(self) -> None:
        self.sock.close()


class Spy:
    """A socket that remembers what it received."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.got = bytearray()
        self.over = False

    def recv(self, size: int) -> bytes:
        data = self._sock.recv(size)
        self.got += data
        return data

    def __getattr__(self, name: str) -> object:
        return getattr(self._sock, name)


_LISTENS, _TIME_WAIT = 10, 6  # states of TCP in the kernel
ALIVE = 0xFFF & ~(1 << _LISTENS | 1 << _TIME_WAIT)


def sockets(states: int, local: int = 0, peer: int = 0) -> int:
    """How many open descriptors there are for IPv4 TCP sockets in ``states`` (bits) with these ports (0: any), asked by sock_diag(7):
    /proc/net/tcp costs tens of milliseconds on a machine with thousands of them."""
    ask = struct.pack("=IHHII", 72, 20, 0x301, 1, 0)  # SOCK_DIAG_BY_FAMILY, dump
    ask += struct.pack("=BBBBI", socket.AF_INET, socket.IPPROTO_TCP, 0, 0, states) + struct.pack("!HH", local, peer) + bytes(44)
    found = 0
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4) as netlink:
        netlink.send(ask)
        while True:
            data = netlink.recv(1 << 20)
            while data:
                size, kind = struct.unpack_from("=IH", data)
                if kind != 20:
                    return found
                found += struct.unpack_from("=I", data, 16 + 68)[0] != 0  # its inode
                data = data[(size + 3) & ~3 :]


def listened(port: int) -> bool:
    """Whether somebody listens on the port (asked of the kernel: a connection would be an exchange)."""
    return sockets(1 << _LISTENS, local=port) > 0


def held(accepted: int, dialled: int) -> bool:
    """Whether somebody has an open descriptor for a connection to the port ``accepted``, or for one from elsewhere to ``dialled``."""
    return sockets(ALIVE, local=accepted) > 0 or sockets(ALIVE, peer=dialled) > 0


class Side:
    """One of the two balancers with an origin and a log of its own; ours is one process unless ``workers``.

    In the text ``{port}``, ``{origin}``, ``{log}``, ``{dead}`` (a port that refuses), ``{dir}`` and ``{name}`` are filled in.
    It serves from here on; leaving the ``with`` ends it."""

    def __init__(self, directory: Path, text: str, name: str = "forkproxy", workers: bool = False) -> None:
        self.name = name
        #: called before each exchange, when nobody holds a connection of the one before any more
        self.between: Callable[[], object] | None = None
        self.origin = Origin()
        self.log = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.log.bind(("127.0.0.1", 0))
        self.port, dead = free_ports(2)
        file = directory / f"{name}.cfg"
        log = f"127.0.0.1:{self.log.getsockname()[1]}"
        file.write_text(text.format(port=self.port, origin=self.origin.port, log=log, dir=directory, dead=dead, name=name))
        self.stderr = open(directory / f"{name}.err", "wb")  # noqa: SIM115  (open as long as the process runs)
        environ = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            [*COMMANDS[name][:-1], "-db" if workers else COMMANDS[name][-1], "-f", str(file)],
            stdin=subprocess.DEVNULL, stdout=self.stderr, stderr=self.stderr, env=environ,
        )  # fmt: skip
        end = time.monotonic() + 15
        while not listened(self.port):
            if self.process.poll() is not None or time.monotonic() > end:
                self.close()
                raise RuntimeError(f"{name} did not start: {(directory / f'{name}.err').read_text()}")
            time.sleep(0.01)

    def lines(self, wait_s: float, enough: int = 1 << 30) -> list[str]:
        """Log lines that come within ``wait_s`` of each other, no more than ``enough``, without what differs from run to run."""
        found: list[str] = []
        self.log.settimeout(wait_s)
        with contextlib.suppress(TimeoutError, BlockingIOError):
            while len(found) < enough:
                text = self.log.recv(65536).decode("latin-1").rstrip("\n")
                text = text.split("]: ", 1)[-1]
                if not re.match(r"(127\.0\.0\.1|unix):\d+ ", text):
                    continue  # words about servers and processes
                found.append(normal(text))
        return found

    def __enter__(self) -> Side:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def run(self, client: Script, server: Script, log_lines: int, settle: bool = False) -> Seen:
        """One exchange; ``settle`` waits for the server's scripts to end, too."""
        self.origin.begin(server)
        end = time.monotonic() + 1.0
        while held(self.port, self.origin.port) and time.monotonic() < end:  # earlier connections would be counted in log lines
            time.sleep(0.005)
        if self.between is not None:
            self.between()
        self.lines(0.0)
        began = time.monotonic()
        with socket.create_connection(("127.0.0.1", self.port), timeout=8) as sock:
            got = client(sock)
        lines: list[str] = []
        end = time.monotonic() + 3
        while len(lines) < log_lines and time.monotonic() < end:
            over = not sockets(ALIVE, local=self.port)
            more = self.lines(0.1, log_lines - len(lines))
            lines += more
            if over and not more:
                break  # nobody is connected any more, so nothing is left to be written
        lines += self.lines(0.01)  # one too many would show here
        while settle and time.monotonic() < end and not all(spy.over for spy in self.origin.seen):
            time.sleep(0.001)
        took_s = time.monotonic() - began
        return Seen(fields(bytes(got or b"")), [fields(bytes(spy.got)) for spy in self.origin.seen], lines, took_s)  # type: ignore[call-overload]

    def close(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(5)
        self.origin.close()
        self.log.close()
        self.stderr.close()


def normal(line: str) -> str:
    """A log line without port, date and the digits of times (``-1`` stays, so do zeros of steps never taken)."""
    line = re.sub(r"^(\S+?):\d+ \[[^]]+\]", r"\1:P [D]", line)

    def times(match: re.Match[str]) -> str:
        return "/".join(part if part.startswith("-1") else ("+T" if part.startswith("+") else "T") for part in match[1].split("/")) + " "

    line = re.sub(r"(?<= )((?:[-+]?\d+/){2,4}[-+]?\d+) (?=[-+]?\d)", times, line, count=1)
    # Bytes: 2.6 counts what its internal form of a message weighs; here it is bytes on the wire. Nothing or something is compared.
    return re.sub(r"(?<=T|1) (\d{3}|-1|0) [1-9]\d*(?= )", r" \1 B", line, count=1)


def fields(data: bytes) -> bytes:
    """Bytes with the names of fields in lower case and pages of errors reduced to their heading."""

    def lower(match: re.Match[bytes]) -> bytes:
        return match[1].lower() + b":"

    data = re.sub(rb"(?m)^([A-Za-z-]+):(?= )", lower, data)
    if b"transfer-encoding: chunked" in data:
        data = joined(data)
    data = re.sub(rb"(?m)^(date|content-length): (.*)\r\n(?=(?:.*\r\n)*?\r\n<html)", b"", data)
    return re.sub(rb"(</h1>\n).*?\n(</body></html>)", rb"\1\2", data, flags=re.S)


def joined(data: bytes) -> bytes:
    """A chunked message with all its chunks made one: where they are cut is nobody's business."""
    head, _, body = data.partition(b"\r\n\r\n")
    payload = b""
    while match := re.match(rb"([0-9a-fA-F]+)\r\n", body):
        size = int(match[1], 16)
        payload += body[match.end() : match.end() + size]
        body = body[match.end() + size + 2 * (size > 0) :]
        if not size:
            break
    return head + b"\r\n\r\n[" + payload + b"]" + body.lower()


class Duet:
    """Both balancers with one configuration; leaving the ``with`` ends them."""

    def __init__(self, directory: Path, text: str) -> None:
        self.pool = ThreadPoolExecutor(2)
        self.reference = Side(directory, text, "haproxy")
        try:
            self.ours = Side(directory, text)
        except BaseException:
            self.reference.close()
            raise

    def __enter__(self) -> Duet:
        return self

    def __exit__(self, *exc: object) -> None:
        self.reference.close()
        self.ours.close()
        self.pool.shutdown()

    def run(self, client: Script, server: Server, log_lines: int = 1, settle: bool = False) -> tuple[Seen, Seen]:
        """(what the reference came to, what we came to): one exchange with each, at the same time. A tuple is the answers of a server
        in turn (:func:`in_turn`), a partial makes a script for each exchange."""

        def one(side: Side) -> Seen:
            script = in_turn(*server) if isinstance(server, tuple) else server() if isinstance(server, partial) else server
            return side.run(client, script, log_lines, settle)

        reference, ours = self.pool.map(one, (self.reference, self.ours))
        return reference, ours


def in_turn(*answers: bytes, until: bytes = b"\r\n\r\n") -> Script:
    """A server that reads ``until`` and has another answer for each connection: empty closes without one, "hang" never answers."""
    left = list(answers)

    def script(sock: socket.socket) -> None:
        raw = left.pop(0) if left else b""
        read_until(sock, until)
        if raw == b"hang":
            while sock.recv(65536):
                pass
        elif raw:
            sock.sendall(raw)
            sock.recv(65536)

    return script
