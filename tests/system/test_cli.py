"""The command line as scripts see it: real processes, output and exit statuses; Debian's haproxy beside it where it says the same."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.peers import rest_needs
from tests.ports import free_ports
from tests.system.conftest import DEFAULTS, ROOT, Proxy, eventually, get

pytestmark = pytest.mark.system

Start = Callable[..., Proxy]
GOOD = DEFAULTS + "frontend f\n  bind 127.0.0.1:18080\n"
WARNED = "listen l\n  mode http\n  bind 127.0.0.1:18080\n  server s 127.0.0.1:1\n"
NOTED = "global\n  thread-groups 1\n" + GOOD
WRONG = GOOD + "  defualt_backend x\n"


def run(*args: str, cwd: Path | None = None, program: list[str] | None = None, **env: str) -> tuple[int, str, str]:
    """(status, stdout, stderr with every pid written P) of one command."""
    command = program or [sys.executable, str(ROOT / "bin" / "forkproxy")]
    process = subprocess.Popen(
        [*command, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd, env={**os.environ, **env}
    )
    out, err = process.communicate(timeout=30)
    assert "Traceback" not in err
    return process.returncode, out, err.replace(f"({process.pid})", "(P)")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    for name, text in (("good", GOOD), ("warned", WARNED), ("noted", NOTED), ("wrong", WRONG), ("global", "global\n  maxconn 10\n")):
        (tmp_path / f"{name}.cfg").write_text(text)
    return tmp_path


VALID, FOUND = "Configuration file is valid\n", "Warnings were found.\n"
NOBODY = "Configuration file has no error but will not start (no listener) => exit(2).\n"


@pytest.mark.parametrize(
    ("args", "status", "out"),
    [
        (["-c", "-f", "good.cfg"], 0, ""),
        (["-c", "-V", "-f", "good.cfg"], 0, VALID),
        (["-V", "-q", "-c", "-f", "good.cfg"], 0, VALID),
        (["-c", "-fgood.cfg", "-V"], 0, VALID),
        (["-c", "-V", "--", "good.cfg", "global.cfg"], 0, VALID),
        (["-c", "-V", "-f", "global.cfg", "--", "good.cfg"], 0, VALID),
        (["-c", "-f", "warned.cfg"], 0, ""),
        (["-c", "-V", "-f", "warned.cfg"], 0, FOUND + VALID),
        (["-c", "-dW", "-f", "warned.cfg"], 1, ""),
        (["-c", "-V", "-dW", "-f", "noted.cfg"], 0, VALID),
        (["-c", "-dW", "-dD", "-f", "noted.cfg"], 0, ""),
        (["-c", "-f", "wrong.cfg"], 1, ""),
        (["-c", "-f", "global.cfg"], 2, NOBODY),
        (["-c", "-q", "-f", "global.cfg"], 2, ""),
        (["-c", "-f", "/dev/null"], 2, NOBODY),
        (["-f", "global.cfg"], 1, ""),
        (["-c", "-f", "missing.cfg"], 1, ""),
        (["-C", "missing", "-c", "-f", "good.cfg"], 1, ""),
        (["-c"], 1, ""),
        (["-f"], 1, ""),
        (["good.cfg"], 1, ""),
        (["-cc", "1"], 0, ""),
        (["-cc", "!1"], 1, ""),
        (["-cc", "1 &&"], 2, ""),
        (["-cc"], 1, ""),
        (["-vq"], 0, "3.4.0\n"),
        (["-vqb"], 0, "3.4\n"),
    ],
)
def test_statuses_and_output(files: Path, args: list[str], status: int, out: str) -> None:
    got = run(*args, cwd=files)
    assert got[:2] == (status, out)
    if not {"-vq", "-vqb", "-fgood.cfg"} & set(args):  # which 2.6 does not know
        rest_needs("haproxy")
        assert run(*args, cwd=files, program=["haproxy"])[0] == status


def test_quiet_means_not_a_word(files: Path) -> None:
    assert run("-c", "-q", "-f", "wrong.cfg", cwd=files) == (1, "", "")
    assert run("-q", "-f", "wrong.cfg", cwd=files) == (1, "", "")
    assert run("-c", "-q", "-f", "missing.cfg", cwd=files) == (1, "", "")
    assert run("-c", "-q", "-dW", "-f", "warned.cfg", cwd=files) == (1, "", "")
    (files / "quiet.cfg").write_text("global\n  quiet\n" + WARNED)
    assert run("-c", "-f", "quiet.cfg", cwd=files) == (0, "", "")
    assert "missing timeouts" in run("-c", "-V", "-f", "quiet.cfg", cwd=files)[2]
    rest_needs("haproxy")
    assert run("-c", "-q", "-f", "wrong.cfg", cwd=files, program=["haproxy"]) == (1, "", "")
    assert run("-c", "-f", "quiet.cfg", cwd=files, program=["haproxy"])[::2] == (0, "")


def test_an_error_shows_its_line_and_a_mark(files: Path) -> None:
    assert run("-c", "-f", "wrong.cfg", cwd=files)[2] == (
        "[NOTICE]   (P) : haproxy version is 3.4.0\n"
        "[ALERT]    (P) : config : parsing [wrong.cfg:9] : unknown keyword 'defualt_backend' in 'frontend' section; "
        "did you mean 'default_backend' maybe ?\n"
        "  defualt_backend x\n"
        "  ^\n"
        "[ALERT]    (P) : config : Error(s) found in configuration file : wrong.cfg\n"
        "[ALERT]    (P) : config : Fatal errors found in configuration.\n"
    )


def test_all_errors_come_in_one_run_from_all_files_and_stages(files: Path) -> None:
    (files / "a.cfg").write_text("global\n  maxcon 5\n  nbthread x\nfrontend\n")
    (files / "b.cfg").write_text(GOOD + "  default_backend nowhere\n  http-request deny if nobody\nfrontend f\n  bind :18081 sls\n")
    status, _out, err = run("-c", "-f", "a.cfg", "-f", "b.cfg", cwd=files)
    assert status == 1
    found = [line.partition("parsing [")[2].partition("]")[0] for line in err.splitlines() if "parsing [" in line]
    assert found == ["a.cfg:2", "a.cfg:3", "a.cfg:4", "b.cfg:11", "b.cfg:12", "b.cfg:10", "b.cfg:9"]
    assert [line for line in err.splitlines() if "Error(s)" in line] == [
        f"[ALERT]    (P) : config : Error(s) found in configuration file : {name}" for name in ("a.cfg", "b.cfg")
    ]


def test_errors_that_only_the_whole_shows_name_the_file_too(files: Path) -> None:
    (files / "b.cfg").write_text(GOOD + "  use_backend nowhere if TRUE\n")
    err = run("-c", "-f", "b.cfg", cwd=files)[2]
    assert "Error(s) found in configuration file : b.cfg\n" in err and err.endswith("Fatal errors found in configuration.\n")


def test_a_directory_gives_its_cfg_files_in_order(files: Path) -> None:
    place = files / "d"
    (place / "sub.cfg").mkdir(parents=True)
    (place / "b.cfg").write_text("frontend f\n  bind 127.0.0.1:18080\n")
    (place / "B.cfg").write_text("defaults\n  mode http\n  timeout client 1s\n")
    (place / "a.txt").write_text("nonsense\n")
    (place / ".a.cfg").write_text("nonsense\n")
    status, out, err = run("-c", "-dC", "-f", "d", cwd=files)
    assert (status, err) == (0, "")
    assert out == "defaults\n\tmode http\n\ttimeout client 1s\n\nfrontend f\n\tbind 127.0.0.1:18080\n"
    status, _, err = run("-c", "-f", "d/sub.cfg", cwd=files)
    assert status == 1 and "No configuration file (*.cfg) in d/sub.cfg" in err


def test_files_that_are_none(files: Path) -> None:
    """Each gives a clear message and status 1: nothing hangs, nothing ends in a traceback."""
    (files / "binary.cfg").write_bytes(Path(sys.executable).resolve().read_bytes()[:5000])
    (files / "utf16.cfg").write_bytes("global\n".encode("utf-16"))
    (files / "nul.cfg").write_bytes(b"global\n\0\n")
    (files / "cut.cfg").write_text("global\n maxconn 1")
    (files / "huge.cfg").write_text("global\n " + "x" * 2_000_000 + "\n")
    (files / "latin.cfg").write_bytes(b"global\n m\xe4xconn 10\n")
    (files / "loop.cfg").symlink_to("loop.cfg")
    expected = {
        "binary": "binary.cfg", "utf16": "Stray NUL character", "nul": "[nul.cfg:2] : Stray NUL character",
        "cut": "Missing LF on last line", "loop": "Cannot open configuration file",
        "huge": "[huge.cfg:2] : unknown keyword", "latin": "[latin.cfg:2] : unknown keyword",
    }  # fmt: skip
    for name, text in expected.items():
        status, out, err = run("-c", "-f", f"{name}.cfg", cwd=files)
        assert (status, out) == (1, ""), name
        assert text in err, (name, err[:500])
        assert len(err) < 20_000, name
    if os.geteuid() != 0:
        (files / "good.cfg").chmod(0)
        assert "Permission denied" in run("-c", "-f", "good.cfg", cwd=files)[2]


def test_keywords_are_dumped_class_by_class(files: Path) -> None:
    everything = run("-dKall", "-q", "-c", "-f", "good.cfg", cwd=files)
    assert everything[::2] == (0, "")
    classes = [line.split(":")[0] for line in run("-dKhelp")[1].splitlines()[2:]]
    assert classes == ["acl", "cfg", "cli", "cnv", "flt", "smp", "svc"]
    assert "".join(run(f"-dK{name}")[1] for name in classes) == everything[1]
    assert run("-dKall", "-q", "-c", "-f", "/dev/null")[0] == 2  # no listener, which whoever dumps ignores


def test_options_without_a_meaning_are_accepted(files: Path) -> None:
    switches = "M M50,no-merge I e k p v G T A c Z F S R r V"
    args = [f"-d{switch}" for switch in switches.split(" ")]
    assert run(*args, "-4", "-x", "/dev/null", "-sf", "-c", "-f", "good.cfg", cwd=files) == (0, "", "")


def info(path: Path) -> dict[str, str]:
    import socket

    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(path))
        sock.sendall(b"show info\n")
        data = b""
        while chunk := sock.recv(65536):
            data += chunk
    return dict(line.split(": ", 1) for line in data.decode().splitlines() if ": " in line)


def test_the_command_line_beats_the_file(start: Start, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    config = (
        f"global\n  stats socket {tmp_path}/cli\nglobal\n  maxconn 500\n  nbthread 1\n  pidfile {tmp_path}/no\n{DEFAULTS}"
        f"frontend f\n  bind 127.0.0.1:{port}\n  http-request return status 200\n"
    )
    proxy = start(config, "-W", "-n", "70", "-N", "7", "-p", str(tmp_path / "pid"), "-L", "peer").ready()
    assert get(port)[0] == 200
    assert info(tmp_path / "cli")["Maxconn"] == "70"
    assert (tmp_path / "pid").read_text().split()[0] == str(proxy.pid) and not (tmp_path / "no").exists()


def test_only_a_stats_socket_starts(start: Start, tmp_path: Path) -> None:
    start(f"global\n  nbthread 1\n  stats socket {tmp_path}/cli\n").ready()
    assert info(tmp_path / "cli")["Name"]


def test_a_descriptor_that_is_none(files: Path) -> None:
    for number, reason in (("99999999999", "Bad file descriptor"), ("77", "Bad file descriptor"), ("0", "not a socket")):
        (files / "fd.cfg").write_text(f"{DEFAULTS}frontend f\n  bind fd@{number}\n")
        status, _, err = run("-db", "-f", "fd.cfg", cwd=files)
        assert status == 1 and reason in err


def test_sockets_of_systemd(start: Start, tmp_path: Path) -> None:
    """Socket activation: descriptor 3 is the unit's socket, named in the file or by the environment."""
    import socket

    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        port = sock.getsockname()[1]
        script = tmp_path / "activate.py"
        script.write_text(
            "import os, sys\n"
            f"os.dup2({sock.fileno()}, 3)\nos.set_inheritable(3, True)\n"
            "os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()))\n"
            f"os.execv(sys.executable, [sys.executable, {str(ROOT / 'bin' / 'forkproxy')!r}, *sys.argv[1:]])\n"
        )
        config = f"global\n  nbthread 2\n{DEFAULTS}\nfrontend f\n  bind fd@3\n  http-request return status 204\n"
        proxy = start(config, "-Ws", program=script, pass_fds=(sock.fileno(),)).ready()
        assert get(port)[0] == 204
    proxy.end()
    eventually(lambda: not proxy.workers, "the end of the workers")
