"""Checks against the real thing: Redis, PostgreSQL, MariaDB, OpenSMTPD and OpenLDAP, started here on ports of their own.

All that are installed run at the same time behind one forkproxy: each is UP with what it says of itself, and DOWN once it has ended.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.ports import free_ports
from tests.system.conftest import Proxy, eventually

pytestmark = pytest.mark.system

QUIET = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
#: Servers that refuse to run as root run as this one.
NOBODY = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}


def _call(*words: str | Path, **more: object) -> None:
    subprocess.run([str(word) for word in words], check=True, timeout=60, **{**QUIET, **more})  # type: ignore[call-overload]


def _run(*words: str | Path, **more: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen([str(word) for word in words], **{**QUIET, **more})  # type: ignore[call-overload,no-any-return]


def redis(home: Path, port: int) -> subprocess.Popen[bytes]:
    return _run("redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", home)


def postgres(home: Path, port: int) -> subprocess.Popen[bytes]:
    _call("initdb", "-D", home / "data", "-A", "scram-sha-256", "-N", "--no-instructions", "--pwfile", _secret(home), **NOBODY)
    more = ["-c", "fsync=off", "-c", "listen_addresses=127.0.0.1", "-k", str(home)]
    return _run("postgres", "-D", home / "data", "-p", str(port), *more, **NOBODY)


def _secret(home: Path) -> Path:
    path = home / "secret"
    path.write_text("x\n")
    path.chmod(0o644)
    return path


def mariadb(home: Path, port: int) -> subprocess.Popen[bytes]:
    words = ["--no-defaults", f"--datadir={home}/data", "--innodb-log-file-size=4M"]
    (home / "data").mkdir()
    shutil.chown(home / "data", "nobody" if NOBODY else None, "nogroup" if NOBODY else os.getegid())
    tables = [(SQL / f"mysql_system_tables{part}.sql").read_text() for part in ("", "_data")]
    users = "CREATE USER 'checker'@'%' IDENTIFIED BY '';\nCREATE USER 'locked'@'%' IDENTIFIED BY 'secret';\n"
    script = home / "boot.sql"
    script.write_text("\n".join(("CREATE DATABASE mysql;\nUSE mysql;", *tables, "FLUSH PRIVILEGES;", users)))
    with script.open("rb") as file:
        _call("mariadbd", *words, "--bootstrap", **{**NOBODY, "stdin": file})
    words += [f"--port={port}", "--bind-address=127.0.0.1", f"--socket={home}/s", "--skip-name-resolve"]
    return _run("mariadbd", *words, **NOBODY)


def smtpd(home: Path, port: int) -> subprocess.Popen[bytes]:
    file = home / "smtpd.conf"
    file.write_text(f'listen on 127.0.0.1 port {port}\naction "none" maildir "{home}/mail"\nmatch for local action "none"\n')
    return _run("smtpd", "-d", "-f", file)


def slapd(home: Path, port: int) -> subprocess.Popen[bytes]:
    file = home / "slapd.conf"
    file.write_text(f"pidfile {home}/pid\n")  # no database: an anonymous bind needs none
    return _run("slapd", "-d", "0", "-f", file, "-h", f"ldap://127.0.0.1:{port}")


SQL = Path("/usr/share/mysql")
#: name → (programs that it needs, how to start it, whether that takes root)
PEERS: dict[str, tuple[tuple[str, ...], Callable[[Path, int], subprocess.Popen[bytes]], bool]] = {
    "redis": (("redis-server",), redis, False),
    "postgres": (("postgres", "initdb"), postgres, False),
    "mariadb": (("mariadbd",), mariadb, False),
    "smtpd": (("smtpd",), smtpd, True),
    "slapd": (("slapd",), slapd, False),
}
#: backend → (peer, lines of the backend, what the log says of its first check)
CHECKS: dict[str, tuple[str, str, str]] = {
    "redis": ("redis", "option redis-check", 'succeeded, reason: Layer7 check passed, code: 0, info: "Redis server is ok"'),
    "redis-role": (
        "redis", "option tcp-check\n  tcp-check connect\n  tcp-check send info\\ replication\\r\\n\n  tcp-check expect string role:master\n"
        "  tcp-check send QUIT\\r\\n\n  tcp-check expect string +OK", "succeeded, reason: Layer7 check passed",
    ),
    "redis-replica": (
        "redis",
        "option tcp-check\n  tcp-check connect\n  tcp-check send info\\ replication\\r\\n\n  "
        "tcp-check expect min-recv 40 string role:slave",
        "failed, reason: Layer7 invalid response, info: \"TCPCHK did not match content 'role:slave' at step 3\"",
    ),
    "postgres": (
        "postgres", "option pgsql-check user nobody", 'succeeded, reason: Layer7 check passed, code: 0, info: "PostgreSQL server is ok"',
    ),
    "mysql": ("mariadb", "option mysql-check", 'succeeded, reason: Layer7 check passed, code: 0, info: "5.5.5-'),
    "mysql-user": ("mariadb", "option mysql-check user checker", 'succeeded, reason: Layer7 check passed, code: 0, info: "5.5.5-'),
    "mysql-old": ("mariadb", "option mysql-check user checker post-80", 'succeeded, reason: Layer7 check passed, code: 0, info: "5.5.5-'),
    "mysql-locked": ("mariadb", "option mysql-check user locked", "failed, reason: Layer7 wrong status, code: 1045, info: "),
    "smtp": ("smtpd", "option smtpchk", "succeeded, reason: Layer7 check passed, code: 221, info: "),
    "smtp-ehlo": ("smtpd", "option smtpchk EHLO check.example", "succeeded, reason: Layer7 check passed, code: 221, info: "),
    "ldap": ("slapd", "option ldap-check", 'succeeded, reason: Layer7 check passed, code: 0, info: "Success"'),
    "not-redis": ("slapd", "option redis-check", "failed, reason: Layer7"),
}  # fmt: skip


def _listens(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def peers() -> Iterator[dict[str, tuple[subprocess.Popen[bytes], int]]]:
    """All that are installed, listening: name → (process, port)."""
    started: dict[str, tuple[subprocess.Popen[bytes], int]] = {}
    starting: dict[str, tuple[Future[subprocess.Popen[bytes]], int]] = {}
    with contextlib.ExitStack() as stack, ThreadPoolExecutor() as pool:
        for name, (programs, start, as_root) in PEERS.items():
            if any(shutil.which(program) is None for program in programs) or (as_root and os.geteuid() != 0):
                continue
            home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=f"peer-{name}-", ignore_cleanup_errors=True)))
            if NOBODY and not as_root:
                user = pwd.getpwnam("nobody")
                os.chown(home, user.pw_uid, user.pw_gid)
            home.chmod(0o755)
            (port,) = free_ports(1)
            starting[name] = pool.submit(start, home, port), port
        for name, (future, port) in starting.items():
            started[name] = future.result(), port
            stack.callback(_end, started[name][0])
        for process, port in started.values():
            eventually(lambda port=port, process=process: _listens(port) or process.poll() is not None, f"{port} listens", 30.0)  # type: ignore[misc]
        yield started


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(5)


@pytest.mark.timeout(120)
def test_what_servers_say_of_themselves(peers: dict[str, tuple[subprocess.Popen[bytes], int]], tmp_path: Path) -> None:
    missing = sorted(PEERS.keys() - peers.keys())
    if not peers:
        pytest.skip(f"none of {', '.join(missing)} is installed")
    text = f"""
global
  max-spread-checks 200ms
defaults
  mode tcp
  option log-health-checks
  timeout connect 2s
  timeout check 3s
  timeout client 5s
  timeout server 5s
  default-server inter 300ms fastinter 100ms fall 2
frontend f
  bind 127.0.0.1:{free_ports(1)[0]}
"""
    wanted = {name: check for name, check in CHECKS.items() if check[0] in peers}
    for name, (peer, lines, _) in wanted.items():
        text += f"backend {name}\n  log 127.0.0.1:9 local0\n  {lines}\n  server s 127.0.0.1:{peers[peer][1]} check\n"
    proxy = Proxy(tmp_path, text)
    try:
        proxy.ready()
        for name, (_, _, said) in wanted.items():
            proxy.says(f"Health check for server {name}/s {said}")
        for process, _ in peers.values():
            process.terminate()
        for name, (_, _, said) in wanted.items():
            if said.startswith("succeeded"):
                proxy.says(f"Server {name}/s is DOWN")
    finally:
        proxy.end()
    if missing:
        pytest.skip(f"without {', '.join(missing)}, not installed; the others answered")
