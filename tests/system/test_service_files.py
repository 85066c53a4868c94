"""What ``etc/`` holds for systemd, syslog and log rotation: the programs that read these files take them, and they do what they are for."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.peers import needs
from tests.ports import free_ports
from tests.system.conftest import ROOT, Proxy, eventually, get, hello

pytestmark = pytest.mark.system

ETC = ROOT / "etc"


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=60, check=False)


@needs("systemd-analyze")
def test_units_are_valid_and_restrict_the_service(tmp_path: Path) -> None:
    for name in ("forkproxy.service", "forkproxy.socket"):
        text = (ETC / "systemd" / name).read_text()
        (tmp_path / name).write_text(text.replace("/opt/forkproxy/bin/forkproxy", str(ROOT / "bin" / "forkproxy")))
    done = run("systemd-analyze", "verify", "--man=no", tmp_path / "forkproxy.service", tmp_path / "forkproxy.socket")
    about_ours = [line for line in done.stderr.splitlines() if "forkproxy" in line]
    assert (done.returncode, about_ours) == (0, [])
    done = run("systemd-analyze", "security", "--offline=true", "--threshold=40", tmp_path / "forkproxy.service")
    if "Unknown option" in done.stderr or "unrecognized option" in done.stderr:
        pytest.skip("a systemd without offline security analysis")
    assert done.returncode == 0, done.stdout


@needs("systemd-sysusers", "systemd-tmpfiles")
def test_user_and_directories_are_made(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "passwd").write_text("root:x:0:0::/root:/bin/sh\n")
    (tmp_path / "etc" / "group").write_text("root:x:0:\n")
    done = run("systemd-sysusers", f"--root={tmp_path}", ETC / "sysusers" / "forkproxy.conf")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^forkproxy:x:\d+:\d+:[^:]+:/var/lib/forkproxy:", (tmp_path / "etc" / "passwd").read_text(), re.MULTILINE)
    assert re.search(r"^forkproxy:x:\d+:$", (tmp_path / "etc" / "group").read_text(), re.MULTILINE)
    done = run("systemd-tmpfiles", "--create", f"--root={tmp_path}", ETC / "tmpfiles" / "forkproxy.conf")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "forkproxy").is_dir() and (tmp_path / "var" / "lib" / "forkproxy" / "dev").is_dir()


class Syslog:
    """rsyslogd with our snippet, its paths below ``directory``; ``log`` is the file that it writes."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.jail = directory / "jail"
        #: where workers find it, inside and outside of their root
        self.socket = directory / "log.sock"
        self.log = directory / "forkproxy.log"
        self.inner = self.jail / self.socket.relative_to("/")
        snippet = (ETC / "rsyslog" / "49-forkproxy.conf").read_text()
        assert snippet.count("/var/lib/forkproxy/dev/log") == 1 and snippet.count("/var/log/forkproxy.log") == 1
        snippet = snippet.replace("/var/lib/forkproxy/dev/log", str(self.inner)).replace("/var/log/forkproxy.log", str(self.log))
        self.config = directory / "rsyslog.conf"
        self.config.write_text(
            f'module(load="imuxsock" SysSock.Name="{self.socket}" SysSock.RateLimit.Interval="0")\n{snippet}\n'
            f'action(type="omfile" file="{directory}/other.log")\n'
        )
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.inner.unlink(missing_ok=True)
        self.socket.unlink(missing_ok=True)
        pidfile = self.directory / "rsyslog.pid"
        pidfile.unlink(missing_ok=True)
        self.process = subprocess.Popen(["rsyslogd", "-n", "-f", str(self.config), "-i", str(pidfile)], stderr=subprocess.DEVNULL)
        eventually(lambda: self.socket.exists() and self.inner.exists(), "rsyslogd listens")

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(20)
            self.process = None

    def has(self, text: str) -> None:
        eventually(lambda: self.log.exists() and text in self.log.read_text(), f"{text} in the log")


@pytest.fixture
def syslog() -> Iterator[Syslog]:
    with tempfile.TemporaryDirectory(prefix="fp", dir="/tmp") as name:  # its path stands twice in a socket's, which has 107 bytes
        server = Syslog(Path(name))
        yield server
        server.stop()


@needs("rsyslogd", "logrotate")
def test_logs_through_rsyslog_and_logrotate(start: Callable[..., Proxy], syslog: Syslog, tmp_path: Path) -> None:
    """Lines of workers inside their own root reach the file, also after rsyslog was started anew and after the file was rotated."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    done = run("rsyslogd", "-N1", "-f", syslog.config)
    assert done.returncode == 0, done.stderr
    syslog.directory.chmod(0o755)
    syslog.start()
    (port,) = free_ports(1)
    more = f"  user nobody\n  group nogroup\n  chroot {syslog.jail}\n  log {syslog.socket} local0\n  log-tag forkproxy\n"
    config = hello(port, workers=1, more="  log global\n  option httplog\n")
    start(config.replace("\nglobal\n", f"\nglobal\n{more}")).ready()

    def ask(path: str) -> None:
        assert get(port, path)[0] == 200
        syslog.has(f'"GET {path} HTTP/1.1"')

    ask("/first")
    syslog.stop()
    syslog.start()

    def again() -> bool:  # the worker tries the socket again at most once a second, and lines until then are dropped
        assert get(port, "/again")[0] == 200
        return '"GET /again HTTP/1.1"' in syslog.log.read_text()

    eventually(again, "lines after the restart")
    assert not (syslog.directory / "other.log").exists() or "GET /" not in (syslog.directory / "other.log").read_text()

    assert syslog.process is not None
    rotation = (ETC / "logrotate" / "forkproxy").read_text().replace("/var/log/forkproxy.log", str(syslog.log))
    rotation, count = re.subn(r"(?s)postrotate.*endscript", f"postrotate\n kill -HUP {syslog.process.pid}\nendscript", rotation)
    assert count == 1
    (tmp_path / "logrotate.conf").write_text(rotation.replace("{", "{\n su root root", 1))
    done = run("logrotate", "-f", "-s", tmp_path / "state", tmp_path / "logrotate.conf")
    assert done.returncode == 0, done.stderr
    eventually(lambda: get(port, "/rotated")[0] == 200 and syslog.log.exists() and "/rotated" in syslog.log.read_text(), "a new file")
    assert "/first" in (syslog.directory / "forkproxy.log.1").read_text() and "/first" not in syslog.log.read_text()
    # the file as it is is understood, too
    done = run("logrotate", "-d", ETC / "logrotate" / "forkproxy")
    assert done.returncode == 0 and "error:" not in done.stderr, done.stderr


#: what a request to a port of an example gets while none of its servers is there; None: the connection is closed
ANSWERS: dict[str, dict[int, int | None]] = {
    "edge-http.cfg": {80: 503, 8404: 404}, "maintenance.cfg": {8080: 503}, "migration.cfg": {8080: 503}, "tcp.cfg": {5432: None, 8404: 404},
    "quickstart.cfg": {8080: 200, 8081: 200, 8404: 404}, "forkproxy.cfg": {8080: 200, 8404: 404},
}  # fmt: skip


@pytest.mark.parametrize("path", sorted(ETC.rglob("*.cfg")), ids=lambda p: p.name)
def test_every_example_runs(start: Callable[..., Proxy], tmp_path: Path, path: Path) -> None:
    """With ports and paths of the test's own, and its servers on loopback, where nobody is."""
    text = path.read_text()
    listening = re.findall(r"^ *(?:bind|stats-endpoint) \S*?:(\d+)\b", text, re.MULTILINE)
    moved = {int(port): free for port, free in zip(listening, free_ports(len(listening)), strict=True)}
    for port, free in moved.items():
        text = re.sub(rf"(bind|stats-endpoint) \S*:{port}\b\"?", rf"\1 127.0.0.1:{free}", text)
        text = text.replace(f"127.0.0.1:{port}", f"127.0.0.1:{free}")
    text = text.replace("192.0.2.", "127.0.2.").replace("/run/forkproxy/", f"{tmp_path}/").replace("/dev/log", f"{tmp_path}/log")
    text = re.sub(r"maxconn \d{5}\b", "maxconn 2000", text)  # how many descriptors a process may have differs from machine to machine
    start(text.replace("timeout connect", "retries 0\n    timeout connect"), "-W", "-dW").ready()  # without the second before each retry
    for port, status in ANSWERS[path.name].items():
        if status is None:
            with pytest.raises(ConnectionError):
                get(moved[port])
        else:
            assert get(moved[port], "/404" if status == 404 else "/")[0] == status
