"""Processes of a benchmark: started pinned, measured as trees, ended by their own pid."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

PROXY_CORE, LOAD_CORE = 0, 1
_TICK_US = 1_000_000 / os.sysconf("SC_CLK_TCK")

NGINX = """\
daemon off;
master_process off;
pid {dir}/nginx.pid;
error_log {dir}/nginx.err crit;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {dir}; proxy_temp_path {dir}; fastcgi_temp_path {dir}; uwsgi_temp_path {dir}; scgi_temp_path {dir};
    keepalive_requests 1000000000;
    keepalive_timeout 120;
    sendfile on;
    tcp_nopush on;
    open_file_cache max=10;
    default_type text/html;
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        root {dir}/www;
        location / {{ return 200 "{body}"; }}
        location = /10k {{ }}
        location = /1m {{ }}
    }}
}}
"""


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def wait_for_port(port: int, process: subprocess.Popen[bytes], seconds: float = 10.0) -> None:
    """Wait until somebody listens; raises RuntimeError when the process ends or nothing happens."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with status {process.returncode}")
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise RuntimeError(f"{process.args!r} does not listen on port {port}")


def start(command: list[str], core: int, log: Path) -> subprocess.Popen[bytes]:
    """Start a command pinned to a core, its output in a file."""
    with log.open("ab") as out:
        return subprocess.Popen(["taskset", "-c", str(core), *command], stdin=subprocess.DEVNULL, stdout=out, stderr=out)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process that was started here, its descendants too should they outlive it."""
    family = tree(process.pid)
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)
    for pid, born in family.items():
        if pid != process.pid and _born(pid) == born:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the state on ([0]); empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _born(pid: int) -> str:
    fields = _stat(pid)
    return fields[19] if fields and fields[0] != "Z" else ""


def tree(root: int) -> dict[int, str]:
    """A process and its descendants, with the start time that tells a pid from its successor."""
    parents = {int(p): int(f[1]) for p in os.listdir("/proc") if p.isdigit() and (f := _stat(int(p)))}
    family = [root]
    for pid in family:
        family += [child for child, parent in parents.items() if parent == pid]
    return {pid: _born(pid) for pid in family}


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process tree has used: CPU in µs (children that ended are included), memory in bytes now."""

    user_us: float
    system_us: float
    rss_bytes: int
    pss_bytes: int

    @classmethod
    def of(cls, root: int) -> Usage:
        """Measure now."""
        user = system = rss = pss = 0
        for pid in tree(root):
            fields = _stat(pid)
            if not fields:
                continue
            user += int(fields[11]) + int(fields[13])
            system += int(fields[12]) + int(fields[14])
            try:
                for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                    if line.startswith("Rss:"):
                        rss += int(line.split()[1]) * 1024
                    elif line.startswith("Pss:"):
                        pss += int(line.split()[1]) * 1024
            except OSError:
                continue
        return cls(user * _TICK_US, system * _TICK_US, rss, pss)


class Sink(threading.Thread):
    """A syslog receiver on a unix datagram socket that counts lines and throws them away."""

    def __init__(self, path: Path) -> None:
        super().__init__(daemon=True)
        self.path = path
        self.lines = 0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self._socket.bind(str(path))

    def run(self) -> None:
        # The kernel's queue for such sockets is short (net.unix.max_dgram_qlen, 10): who reads it goes first, if that is allowed.
        with contextlib.suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), -15)
        buffer, receive = bytearray(8192), self._socket.recv_into
        while receive(buffer):
            self.lines += 1

    def stop(self) -> None:
        """End the thread: an empty datagram tells it to."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.sendto(b"", str(self.path))
        self.join(10)
        self._socket.close()


def start_origin(directory: Path) -> tuple[subprocess.Popen[bytes], int]:
    """nginx with /small (any path), /10k and /1m; returns the process and its port."""
    www = directory / "www"
    www.mkdir()
    (www / "10k").write_bytes(b"0123456789abcdef" * 640)
    (www / "1m").write_bytes(b"0123456789abcdef" * 65536)
    os.chmod(directory, 0o755)
    port = free_port()
    config = directory / "nginx.conf"
    config.write_text(NGINX.format(dir=directory, port=port, body="x" * 128))
    nginx = shutil.which("nginx") or "/usr/sbin/nginx"
    process = start([nginx, "-c", str(config), "-p", str(directory)], LOAD_CORE, directory / "nginx.log")
    wait_for_port(port, process)
    return process, port
