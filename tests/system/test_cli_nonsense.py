"""Whatever is said to the runtime CLI: no word of it is our own fault, and the service goes on."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from forkproxy.registry import COMMANDS, gather
from tests.ports import free_ports
from tests.system.conftest import DEFAULTS, Proxy, get
from tests.system.test_maps import ask

pytestmark = pytest.mark.system

FILE = """
global
  nbthread 2
  stats socket {dir}/s level admin
  set-var proc.x int(1)
{defaults}
defaults later
  mode http
  timeout connect 1s
  timeout client 1s
  timeout server 1s
ring r
  size 20000
frontend f from later
  bind 127.0.0.1:{port} name door
  log ring@r format raw local0
  http-request track-sc0 src table t
  acl listed path -u 7 /x
  acl mapped path,map({dir}/map) -m found
  http-request deny if listed
  http-request return content-type text/plain string hello if !mapped
  default_backend b
backend b
  balance roundrobin
  option httpchk
  cookie C insert dynamic
  dynamic-cookie-key k
  server s 127.0.0.1:1 check inter 1h weight 5 agent-check agent-port 1 agent-inter 1h
  server u 127.0.0.1:1 track s backup maxconn 3
backend h
  balance uri
  server s 127.0.0.1:1
backend t
  stick-table type ip size 100 expire 1h store gpc0,gpt0,http_req_rate(10s),server_id,conn_cur
"""

#: What commands are made of, and what they are not.
WORDS = """
b/s b/u h/s b/new b/nope nope/s b h t f nope #1 #2 #3/#1 be/ / /s b/ #9/#9 7 #7 0 -1 1 3 100% -5% 1000% 256 4294967296
99999999999999999999 0x10 x on off auto tasks memory all status up down stopping ready drain maint state weight addr agent health
agent-addr agent-port agent-send check-addr check-port fqdn ssl port 127.0.0.1 127.0.0.1:80 ::1 [::1]:80 :80 unix@/x
nosuch.invalid proc.x proc.y sess.x int(5) str(a) nope() %[var(proc.x)] expr fmt key data.gpc0 data.nope data.server_id
data.http_req_rate eq gt lt ptr 10.0.0.1 10.0.0.0/8 @1 @99 @x {dir}/map /x val conn global sessions connections cli typed json
desc float up no-maint domain proxy r -n -0 -wn from later mode http tcp backend srv-removable be-removable 5ms 1s 1h help older
susp server frontend show-uri help check disabled id cookie track source backup send-proxy-v2 slowstart maxconn minconn inter
resolvers byaddr match GET http://127.0.0.1:1/ http://nope/ https://x n i p timed << ; \\ \\; \\ é \x7f "" '' * @ ! ? global-key
""".split()  # noqa: SIM905  (a list of strings would be four times as long)
#: Not here: what ends the session or the service, waits for ever, hides what follows, or passes descriptors.
NOT = {
    "quit", "reload", "hard-reload", "user", "operator", "_getsocks", "prompt", "shutdown frontend", "set anon on", "disable frontend",
    "set timeout", "wait",
}  # fmt: skip


def test_nonsense(start: Callable[..., Proxy], tmp_path: Path) -> None:
    gather("forkproxy.master.commands")
    names = sorted(name for name, command in COMMANDS.items() if name not in NOT and "worker" in command.where)
    seed = int(os.environ.get("FORKPROXY_SEED", "1"))
    chance = random.Random(seed)
    (port,) = free_ports(1)
    (tmp_path / "map").write_text("/a b\n")
    proxy = start(FILE.format(dir=tmp_path, port=port, defaults=DEFAULTS)).ready()
    for _ in range(int(os.environ.get("FORKPROXY_NONSENSE", "12"))):
        lines = []
        for _ in range(40):
            words = [chance.choice(WORDS) for _ in range(chance.randrange(6))]
            if words and words[-1].endswith("<<"):
                words.append("x")
            lines.append(" ".join([chance.choice(names), *words]).format(dir=tmp_path).replace("-w", "-"))
        said = ask(tmp_path / "s", "prompt i\nexperimental-mode on; expert-mode on\n" + "\n".join(lines) + "\necho the end\nquit")
        assert said.endswith("the end\n\n"), "all was answered"
        assert "internal error" not in said and "Traceback" not in proxy.stderr, (seed, proxy.stderr[-3000:], lines)
        assert get(port)[0] in (200, 403, 503)
    assert len(proxy.workers) == 2
    assert "cannot be sent" not in proxy.stderr and "shows no sign of life" not in proxy.stderr
