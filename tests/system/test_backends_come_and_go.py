"""Backends that rules may not choose (disabled in the file, unpublished by the operator), and backends that no file knows."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.ports import free_ports
from tests.system.conftest import DEFAULTS, Proxy, eventually, get
from tests.system.test_maps import ask

pytestmark = pytest.mark.system

FILE = """
global
  nbthread 3
  stats socket {dir}/s level admin
{defaults}
defaults later
  mode http
  timeout connect 5s
  timeout client 5s
  timeout server 5s
  http-response set-header x-from %[be_name]
  option httpchk GET /health
  balance leastconn
frontend f
  bind 127.0.0.1:{port}
  force-be-switch if {{ hdr(x-admin) 1 }}
  use_backend off if {{ path /off }}
  use_backend %[path,field(3,/)] if {{ path_beg /name/ }}
  use_backend second if {{ path /off }} || {{ path_beg /name/ }}
  default_backend usual
frontend g
  bind 127.0.0.1:{other}
  default_backend usual
listen l
  bind 127.0.0.1:{own}
  http-request return content-type text/plain string own if {{ path / }}
  default_backend usual
backend off
  disabled
  http-request return content-type text/plain string off
backend second
  http-request return content-type text/plain string second
backend usual
  http-request return content-type text/plain string usual
frontend origin
  bind 127.0.0.1:{origin}
  http-request return content-type text/plain string added
"""


def test_backends_come_and_go(start: Callable[..., Proxy], tmp_path: Path) -> None:
    port, other, own, origin = free_ports(4)
    text = FILE.format(dir=tmp_path, port=port, other=other, own=own, origin=origin, defaults=DEFAULTS)
    proxy = start(text).ready()

    def say(command: str) -> str:
        return ask(tmp_path / "s", command).strip()

    def seen(path: str = "/", at: int = port) -> set[str]:
        """What the workers answer: the body, or a status."""
        return {body.decode() if status == 200 else str(status) for status, body in (get(at, path) for _ in range(9))}

    assert seen("/off") == {"second"}, "rules that lead to a disabled backend are passed over"
    assert seen("/name/off") == {"second"} and seen("/name/nobody") == {"usual"}
    with socket.create_connection(("127.0.0.1", port), 5) as sock:
        sock.sendall(b"GET /off HTTP/1.0\r\nx-admin: 1\r\n\r\n")
        assert sock.makefile("rb").read().endswith(b"off")
    assert say("unpublish backend off") == "No effect on a disabled backend."
    assert say("unpublish backend usual") == "Backend unpublished."
    assert seen() == {"503"} == seen(at=other) and seen(at=own) == {"own"}
    assert say("publish backend nope") == "No such backend."
    assert say("publish backend usual") == "Backend published."
    assert seen() == {"usual"} == seen(at=other)

    # -- one that no file knows
    assert say("add backend new from later") == "This command is restricted to experimental mode only."

    def experiment(command: str) -> str:
        return say(f"experimental-mode on; {command}")

    assert experiment("add backend usual from later") == "Proxy name 'usual' already used."
    assert experiment("add backend new from nope") == "Unknown default proxy 'nope'."
    assert experiment("add backend new from later mode tcp").startswith("Mode 'tcp' is not that of default proxy 'later'")
    assert experiment("add backend new from later mode http") == "New backend registered."
    assert seen("/name/new") == {"second"}, "unpublished"
    assert say(f"add server new/s 127.0.0.1:{origin} check; enable health new/s; enable server new/s") == "New server registered."
    eventually(lambda: "L7OK" in say("show stat new 4 -1"), "a check as of httpchk")
    say("publish backend new")
    assert seen("/name/new") == {"added"}
    victim = proxy.workers[0]
    victim.kill()
    eventually(lambda: len(proxy.workers) == 3 and victim not in proxy.workers, "another worker")
    assert seen("/name/new") == {"added"}, "a worker forked later has it"
    with socket.create_connection(("127.0.0.1", port), 5) as sock:
        sock.sendall(b"GET /name/new HTTP/1.0\r\n\r\n")
        assert b"x-from: new\r\n" in sock.makefile("rb").read()
    assert experiment("del backend usual").startswith("This proxy cannot be removed at runtime")
    assert experiment("del backend new") == "Backend must be unpublished prior to its deletion."
    assert experiment("unpublish backend new; del backend new").endswith("Backend still contains servers attached to it.")
    assert say("wait 2s be-removable new") == "Backend still contains servers attached to it."
    assert say("disable server new/s; wait 2s srv-removable new/s; del server new/s").endswith("Server deleted.")
    assert experiment("wait 2s be-removable new; del backend new") == "Done.\n\nBackend deleted."
    assert "new" not in say("show backend").split() and seen("/name/new") == {"usual"}
    assert experiment("add backend again from later").endswith("registered.")  # takes the row over
    proxy.reload()
    assert "again" not in say("show backend").split()
