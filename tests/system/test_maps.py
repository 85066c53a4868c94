"""Maps and ACLs of a running service: commands word for word beside haproxy, and every worker has what was changed anywhere."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.peers import needs
from tests.ports import free_ports
from tests.system.conftest import DEFAULTS, Proxy, eventually, get, listens

pytestmark = pytest.mark.system


FILE = """
global
  {more}
  stats socket {dir}/{name}.sock level admin
{defaults}
frontend fe
  bind 127.0.0.1:{port}
  acl net src -f {dir}/nets
  acl uid path -u 42 /x
  acl both path -M -f {dir}/one
  http-request deny if uid
  http-request set-map({dir}/one) %[path] %[url_param(v)] if {{ url_param(v) -m found }}
  http-request set-var(proc.said) url_param(p) if {{ url_param(p) -m found }}
  http-request return content-type text/plain lf-string "<%[var(proc.said)]>" if {{ path /said }}
  http-request return content-type text/plain lf-string "%[path,map({dir}/one,none)] %[path,map_beg({dir}/two,none)] %[path,map_str_int({dir}/num,0)]"
"""  # noqa: E501

#: commands; what follows a tilde is the payload. Where 3.4's manual or ours says more than 2.6, it is left out.
COMMANDS = """show map D/one;show map #77;show acl D/two;del acl D/num 5
show acl #42;show map nosuch;add map D/one /z zz;add map D/one /z;add map nosuch a b;show map D/one
get map D/num /nn;get map D/two /aab;get acl D/nets 10.1.1.1;get acl D/nets foo;set map D/one /b neu;set map D/one /nn neu
show map D/one;add map D/num /b xx;del map D/one /b;del map D/one /nn;del acl D/one /a;show map D/one;prepare map D/one
add map @1 D/one /v1 val;show map @1 D/one;show map D/one;commit map @5 D/one;commit map @1 D/one;show map D/one;clear map D/one
show map D/one;add acl D/nets 11.0.0.0/8;add acl D/nets notanip;add acl #42 /y;show acl #42;del acl #42 #0x1234;del acl #42 #zz
add acl D/one /zz;clear acl nosuch;prepare acl nosuch;add map;add map D/one;add map @9 D/one a b
add map D/one <<~k1 v1 v1b~k2 v2~;show map D/one;show acl D/nets;get map;set map D/one k1;del map D/one;del map #zz a
prepare acl D/one;show acl @1 D/nets;clear map @7 D/one;show map D/nets;commit map D/one;commit acl @1 D/nets;del acl D/nets 127.0.0.1
get acl D/nets 127.0.0.1;get acl D/nets 11.1.1.1"""


def ask(path: Path, command: str) -> str:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(5)
        sock.connect(str(path))
        sock.sendall(command.encode() + b"\n")
        answer = b""
        while data := sock.recv(65536):
            answer += data
    return answer.decode()


def write(directory: Path, name: str, port: int, more: str = "") -> str:
    lists = {"one": "/a one\n/b two\n# x\n/b three\n", "two": "/a pa\n/aa paa\n", "num": "/a 5\n", "nets": "10.0.0.0/8\n127.0.0.1\n"}
    for file, text in lists.items():
        (directory / file).write_text(text)
    return FILE.format(dir=directory, name=name, port=port, more=more, defaults=DEFAULTS)


@needs("haproxy")
def test_commands_as_haproxy(start: Callable[..., Proxy], tmp_path: Path) -> None:
    ours, theirs = free_ports(2)
    (tmp_path / "ha.cfg").write_text(write(tmp_path, "ha", theirs))
    start(write(tmp_path, "fp", ours)).ready()
    process = subprocess.Popen(["haproxy", "-db", "-f", str(tmp_path / "ha.cfg")], stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: listens(tmp_path / "ha.sock"), "haproxy's socket")
        for command in COMMANDS.replace("\n", ";").split(";"):
            line = command.replace("D/", f"{tmp_path}/").replace("~", "\n")
            said = [re.sub("0x[0-9a-f]{6,}", "REF", ask(tmp_path / f"{name}.sock", line)) for name in ("ha", "fp")]
            assert said[0] == said[1], command
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(5)


def test_every_worker_has_it(start: Callable[..., Proxy], tmp_path: Path) -> None:
    (port,) = free_ports(1)
    proxy = start(write(tmp_path, "fp", port, "nbthread 3")).ready()

    def answers(path: str) -> set[str]:
        return {get(port, path)[1].decode() for _ in range(12)}

    assert ask(tmp_path / "fp.sock", f"add map {tmp_path}/one /k told") == "\n"
    assert answers("/k") == {"told none 0"}, "answered when all have it"
    assert get(port, "/k?v=by-rule")[1] == b"by-rule none 0"
    eventually(lambda: answers("/k") == {"by-rule none 0"}, "every worker has what one worker's rule said")
    assert "by-rule" in ask(tmp_path / "fp.sock", f"show map {tmp_path}/one")
    assert ask(tmp_path / "fp.sock", "add acl #42 /k") == "\n"
    assert answers("/k") != {"by-rule none 0"}
    lines = "\n".join(f"/n{i} v{i}" for i in range(4000))
    assert ask(tmp_path / "fp.sock", f"add map {tmp_path}/one <<\n{lines}\n") == "\n"
    assert answers("/n3999") == {"v3999 none 0"}
    victim = proxy.workers[0]
    victim.kill()
    eventually(lambda: len(proxy.workers) == 3 and victim not in proxy.workers, "another worker")
    assert answers("/n3999") == {"v3999 none 0"}, "a worker forked later has it"


def test_every_worker_has_process_wide_variables(start: Callable[..., Proxy], tmp_path: Path) -> None:
    """Those that the operator sets, those that a rule of one worker sets, those of a worker that came later; a reload begins anew."""
    (port,) = free_ports(1)
    proxy = start(write(tmp_path, "fp", port, "nbthread 3\n  set-var proc.said str(file)")).ready()

    def answers() -> set[str]:
        return {get(port, "/said")[1].decode() for _ in range(12)}

    def operator(command: str) -> str:
        return ask(tmp_path / "fp.sock", f"experimental-mode on; {command}").strip()

    assert answers() == {"<file>"}
    assert operator("set var proc.said var(proc.said),concat(-told)") == ""
    assert answers() == {"<file-told>"}, "answered when all have it"
    assert get(port, "/said?p=by-rule")[1] == b"<by-rule>"
    eventually(lambda: answers() == {"<by-rule>"}, "every worker has what one worker's rule said")
    assert operator("get var proc.said") == "proc.said: type=str value=<by-rule>"
    victim = proxy.workers[0]
    victim.kill()
    eventually(lambda: len(proxy.workers) == 3 and victim not in proxy.workers, "another worker")
    assert answers() == {"<by-rule>"}, "a worker forked later has it"
    proxy.reload()
    assert answers() == {"<file>"}
