"""Harness of the system tests: real forkproxy processes, signals, sockets and clients.

Whatever a test starts is ended by its own pid, and at the end of each test nothing of it may be left. Tests wait for events (systemd
notifications, process ends, lines on stderr) or for a condition with a deadline, never for time to pass.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.ports import free_ports

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 15.0

DEFAULTS = """
defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s
"""


def eventually(check: Callable[[], Any], what: str = "", deadline_s: float = DEADLINE_S) -> Any:
    """The first true value of ``check()``; fails after the deadline."""
    end = time.monotonic() + deadline_s
    while True:
        value = check()
        if value:
            return value
        if time.monotonic() > end:
            pytest.fail(f"never happened: {what or check}")
        time.sleep(0.005)


def get(port: int, path: str = "/", timeout_s: float = 5.0) -> tuple[int, bytes]:
    """One request on a connection of its own: (status, body)."""
    with socket.create_connection(("127.0.0.1", port), timeout_s) as sock:
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n".encode())
        data = b""
        while chunk := sock.recv(65536):
            data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    if not head:
        raise ConnectionResetError("no answer")
    return int(head.split(b" ", 2)[1]), body


def listens(path: Path) -> bool:
    """Whether somebody listens at a socket in the file system: its file is there a moment earlier."""
    with socket.socket(socket.AF_UNIX) as sock:
        return sock.connect_ex(str(path)) == 0


def refused(port: int) -> bool:
    """Whether nobody listens there."""
    with socket.socket() as sock:
        sock.settimeout(2)
        return sock.connect_ex(("127.0.0.1", port)) != 0


def listening(pid: int, port: int) -> int:
    """How many sockets of the process listen on the port."""
    wanted = f"0100007F:{port:04X}"
    with open(f"/proc/{pid}/net/tcp") as file:
        inodes = {line.split()[9] for line in file if line.split()[1] == wanted and line.split()[3] == "0A"}
    found = 0
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            target = os.readlink(f"/proc/{pid}/fd/{name}")
            found += target.startswith("socket:[") and target[8:-1] in inodes
    return found


class Proxy:
    """One forkproxy: ``master`` its process, ``events`` what it told systemd."""

    def __init__(
        self,
        directory: Path,
        config: str,
        *args: str,
        env: dict[str, str] | None = None,
        name: str = "f.cfg",
        program: Path = ROOT / "bin" / "forkproxy",
        **popen: Any,
    ) -> None:
        self.config = directory / name
        self.config.write_text(config)
        path = directory / f"notify{time.monotonic_ns()}"
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.bind(str(path))
        self.events: list[str] = []
        self.stderr_path = directory / f"stderr{time.monotonic_ns()}"
        self._stderr = open(self.stderr_path, "wb")  # noqa: SIM115
        environ = {**os.environ, "NOTIFY_SOCKET": str(path), "PYTHONPATH": str(ROOT), **(env or {})}
        command = [sys.executable, str(program), *(args or ("-W",)), "-f", str(self.config)]
        given: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": self._stderr, "stderr": self._stderr, "env": environ} | popen
        self.process: subprocess.Popen[bytes] = subprocess.Popen(command, **given)
        self.pid = self.process.pid

    # -- events

    def event(self, word: str, deadline_s: float = DEADLINE_S) -> str:
        """Wait for a notification that contains ``word``; earlier ones are passed over."""
        end = time.monotonic() + deadline_s
        while True:
            self._notify.settimeout(max(0.001, end - time.monotonic()))
            try:
                message = self._notify.recv(4096).decode()
            except TimeoutError:
                pytest.fail(f"no {word}; had {self.events}; said:\n{self.stderr}")
            self.events.append(message)
            if word in message:
                return message

    def ready(self) -> Proxy:
        """Wait until it serves."""
        self.event("READY=1")
        return self

    @property
    def stderr(self) -> str:
        return self.stderr_path.read_text()

    def says(self, text: str, deadline_s: float = DEADLINE_S) -> None:
        """Wait until stderr holds ``text``."""
        end = time.monotonic() + deadline_s
        while text not in self.stderr:
            if time.monotonic() > end:
                pytest.fail(f"did not say {text!r}, but:\n{self.stderr}")
            time.sleep(0.005)

    # -- processes

    @property
    def workers(self) -> list[psutil.Process]:
        """Living children, oldest first; numbers of processes begin anew some day, so that these do not tell."""
        try:
            children = psutil.Process(self.pid).children()
        except psutil.NoSuchProcess:
            return []
        return sorted([c for c in children if _living(c)], key=lambda child: child.create_time())

    def signal(self, signum: int) -> None:
        os.kill(self.pid, signum)

    def wait(self, deadline_s: float = DEADLINE_S) -> int:
        """Its exit status."""
        return self.process.wait(deadline_s)

    def reload(self, text: str | None = None) -> None:
        """Write a new file, send SIGUSR2 and wait until the reload is over, whichever way."""
        if text is not None:
            self.config.write_text(text)
        self.signal(signal.SIGUSR2)
        self.event("RELOADING=1")
        self.event("READY=1")

    def end(self) -> None:
        """End whatever is left of it."""
        mine = []
        with contextlib.suppress(psutil.NoSuchProcess):
            mine = [psutil.Process(self.pid), *psutil.Process(self.pid).children(recursive=True)]
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(8)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(5)
        for process in mine:
            if _living(process):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        self._notify.close()
        self._stderr.close()


def _living(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class Load:
    """Clients in threads that ask again and again, on kept connections or on new ones, until :meth:`stop`.

    ``done`` counts whole answers, ``failures`` what went wrong. A connection that the proxy closes after an answer with
    ``Connection: close`` is opened anew; any other end is a failure.
    """

    def __init__(self, port: int, clients: int = 8, *, keep: bool = True, path: str = "/") -> None:
        self.done = 0
        self.failures: list[str] = []
        self._stop = threading.Event()
        self._port, self._keep, self._path = port, keep, path
        self._threads = [threading.Thread(target=self._client, daemon=True) for _ in range(clients)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(DEADLINE_S)

    def more(self, count: int = 50) -> None:
        """Wait until so many more requests were answered (or failed)."""
        goal = self.done + len(self.failures) + count
        eventually(lambda: self.done + len(self.failures) >= goal, f"{count} more answers")

    def _client(self) -> None:
        sock: socket.socket | None = None
        while not self._stop.is_set():
            try:
                if sock is None:
                    sock = socket.create_connection(("127.0.0.1", self._port), 10)
                close = self._ask(sock)
                self.done += 1
                if close:
                    sock.close()
                    sock = None
            except Exception as exc:
                self.failures.append(repr(exc))
                if sock is not None:
                    sock.close()
                sock = None
        if sock is not None:
            sock.close()

    def _ask(self, sock: socket.socket) -> bool:
        last = b"" if self._keep else b"Connection: close\r\n"
        sock.sendall(b"GET %s HTTP/1.1\r\nHost: t\r\n%s\r\n" % (self._path.encode(), last))
        data = b""
        while b"\r\n\r\n" not in data:
            chunk = sock.recv(65536)
            if not chunk:
                raise ConnectionResetError(f"closed after {len(data)} bytes of an answer")
            data += chunk
        head, _, body = data.partition(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        if b" 200 " not in lines[0] + b" ":
            raise ValueError(lines[0])
        length = next(int(line[15:]) for line in lines if line.startswith(b"content-length:"))
        while len(body) < length:
            chunk = sock.recv(65536)
            if not chunk:
                raise ConnectionResetError("closed within a body")
            body += chunk
        return b"connection: close" in lines


def gone(processes: Iterable[psutil.Process]) -> bool:
    """Whether they have all ended (whoever reaps them may take its time)."""
    return not any(_living(process) for process in processes)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Proxy]]:
    """Starts forkproxy: ``start(config, *args)``; ended with the test, which fails when a process is left over."""
    started: list[Proxy] = []

    def go(config: str, *args: str, **kwargs: Any) -> Proxy:
        proxy = Proxy(tmp_path, config, *args, **kwargs)
        started.append(proxy)
        return proxy

    yield go
    for proxy in started:
        proxy.end()
    eventually(lambda: not leftovers(tmp_path), "all processes of the test gone")


@pytest.fixture
def serve(start: Callable[..., Proxy]) -> Callable[..., Proxy]:
    """As ``start``, and waits until it serves."""
    return lambda config, *args: start(config, *args).ready()


@pytest.fixture
def ports() -> list[int]:
    """Three ports of the test's own."""
    return free_ports(3)


def leftovers(directory: Path) -> list[int]:
    """Processes that were started with a file of this test and still run."""
    found = []
    for process in psutil.process_iter():
        try:
            if str(directory) in process.environ().get("NOTIFY_SOCKET", "") and _living(process):
                found.append(process.pid)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


@pytest.fixture
def load() -> Iterator[Callable[..., Load]]:
    """Starts :class:`Load`; stopped with the test."""
    running: list[Load] = []

    def go(*args: Any, **kwargs: Any) -> Load:
        running.append(Load(*args, **kwargs))
        return running[-1]

    yield go
    for one in running:
        one.stop()


def hello(port: int, *, workers: int = 2, text: str = "hello", more: str = "") -> str:
    """A file with one frontend that answers by itself."""
    return f"""
global
  nbthread {workers}
  hard-stop-after 5s
{DEFAULTS}
frontend f
  bind 127.0.0.1:{port}
  http-request return status 200 content-type text/plain string "{text}"
{more}
"""
