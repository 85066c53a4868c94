"""Processes of a benchmark: started pinned, measured as trees, ended by their own pid."""

from __future__ import annotations

import contextlib
import os
import resource
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
events {{ worker_connections {connections}; }}
http {{
    access_log off;
    client_body_temp_path {dir}; proxy_temp_path {dir}; fastcgi_temp_path {dir}; uwsgi_temp_path {dir}; scgi_temp_path {dir};
    keepalive_requests 1000000000;
    keepalive_timeout 7200;
    client_header_timeout 7200;
    sendfile on;
    tcp_nopush on;
    open_file_cache max=10;
    default_type text/html;
    upstream inner {{ server unix:{dir}/inner; keepalive 8; }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        root {dir}/www;
        location / {{ return 200 "{body}"; }}
        location = /status {{ stub_status; }}
        location = /10k {{ }}
        location = /slow {{ alias {dir}/www/10k; gzip on; gzip_comp_level 9; gzip_min_length 1; gzip_types *; }}
        location = /1m {{ }}
        location = /100m {{ }}
        location = /upload {{
            client_max_body_size 4m;
            client_body_buffer_size 2m;
            proxy_pass http://inner;
            proxy_http_version 1.1;
            proxy_pass_request_body off;
            proxy_set_header Connection "";
            proxy_set_header Content-Length "";
            proxy_set_header X-Length $content_length;
        }}
        location = /echo {{
            set $front "$request_method $request_uri host=$host xff=$http_x_forwarded_for";
            return 200 "$front proto=$http_x_forwarded_proto cookie=$http_cookie.";
        }}
    }}
    server {{
        listen unix:{dir}/inner;
        location / {{ return 200 "took $http_x_length"; }}
    }}
}}
"""
#: What the origin answers where nothing else is said.
BODY = b"x" * 128
#: A sixteenth KiB of every file.
PATTERN = b"0123456789abcdef"


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


def start(command: list[str], cores: int | str, log: Path, variables: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start a command pinned to a core (or a list of them, as taskset reads it), its output in a file."""
    environment = {**os.environ, **(variables or {})}
    with log.open("ab") as out:
        return subprocess.Popen(["taskset", "-c", str(cores), *command], stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment)


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


def sleeps(pid: int) -> int:
    """How often a process went to sleep by itself (all of its threads): as often somebody had to wake it."""
    status = Path(f"/proc/{pid}/task").glob("*/status")
    lines = (line for file in status for line in file.read_text().splitlines() if line.startswith("voluntary_ctxt_switches:"))
    return sum(int(line.split()[1]) for line in lines)


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
    """A syslog receiver on a unix datagram socket that counts lines and throws them away, but for those that ``kept`` takes while it
    is a list."""

    def __init__(self, path: Path) -> None:
        super().__init__(daemon=True)
        self.path = path
        self.lines = 0
        self.kept: list[bytes] | None = None
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self._socket.bind(str(path))

    def run(self) -> None:
        # The kernel's queue for such sockets is short (net.unix.max_dgram_qlen, 10): who reads it goes first, if that is allowed.
        with contextlib.suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), -15)
        buffer, receive = bytearray(8192), self._socket.recv_into
        while size := receive(buffer):
            self.lines += 1
            if self.kept is not None:
                self.kept.append(bytes(buffer[:size]))

    def stop(self) -> None:
        """End the thread: an empty datagram tells it to."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.sendto(b"", str(self.path))
        self.join(10)
        self._socket.close()


def start_origin(directory: Path, connections: int) -> tuple[subprocess.Popen[bytes], int]:
    """nginx with /small (any path), /10k, /1m, /100m, /upload, /echo and /slow (costs more than a proxy); returns the process and its port.
    With few of ``connections`` left it would close those that proxies keep idle."""
    www = directory / "www"
    www.mkdir()
    for name, kib in (("10k", 10), ("1m", 1024), ("100m", 102400)):
        with (www / name).open("wb") as out:
            for _ in range(max(1, kib // 1024)):
                out.write(PATTERN * 64 * min(kib, 1024))
    os.chmod(directory, 0o755)
    port = free_port()
    config = directory / "nginx.conf"
    config.write_text(NGINX.format(dir=directory, port=port, body=BODY.decode(), connections=connections))
    nginx = shutil.which("nginx") or "/usr/sbin/nginx"
    process = start([nginx, "-c", str(config), "-p", str(directory)], LOAD_CORE, directory / "nginx.log")
    wait_for_port(port, process)
    return process, port


def more_descriptors(wanted: int = 60000) -> int:
    """Raise the limit of open files for this process and what it starts, as far as that is allowed; returns what there is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for most in (max(hard, wanted), hard):
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(most, wanted)), most))
            break
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
