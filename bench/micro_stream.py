"""Python time of one keep-alive HTTP exchange: a worker's runtime driven by hand over sockets that are not there.

    python -m bench.micro_stream [log] [limit] [ends] [rule | track]

``rule`` has a rule that looks at the client's address, ``track`` tracks it in a stick table instead and denies above a rate: the
difference of the two is what tracking costs. ``limit`` gives the server a ``maxconn`` that is never reached. ``ends`` lets the log ask
for the addresses of the server's connection.
The system calls are replaced by objects that answer at once (about 0.15 µs per call, included), so what is printed is ours to lose.
"""

from __future__ import annotations

import gc
import os
import sys
import time
import types
from typing import Any

from forkproxy.net.loop import READ, Loop
from forkproxy.plan import Address, Backend, Bind, Frontend, Global, Plan, Server, Timeouts
from forkproxy.proxy import client
from forkproxy.proxy.client import Client
from forkproxy.proxy.runtime import Runtime
from forkproxy.proxy.stream import ClientOrigin
from forkproxy.proxy.upstream import Upstream
from forkproxy.registry import Needs
from forkproxy.state.counters import Rows
from forkproxy.state.limits import LIMIT, Area, bells
from forkproxy.state.names import NameTable, backend_key, frontend_key, listener_key
from forkproxy.state.segment import Segment
from forkproxy.state.servers import RUNNING, SCALE, ServerTable
from forkproxy.state.stickspec import Store, TableRef, TableSpec

REQUEST = (
    b"GET /path/%d?x=1 HTTP/1.1\r\nHost: www.example.com\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:109.0) Gecko/20100101 Firefox/115.0\r\n"
    b"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\nAccept-Language: en-US,en;q=0.5\r\n"
    b"Accept-Encoding: gzip, deflate, br\r\nReferer: https://www.example.com/here\r\nCookie: session=%d; theme=dark\r\n"
    b"DNT: 1\r\nConnection: keep-alive\r\nUpgrade-Insecure-Requests: 1\r\nSec-Fetch-Dest: document\r\nSec-Fetch-Mode: navigate\r\n\r\n"
)
ANSWER = (
    b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Sat, 21 Nov 2026 11:11:27 GMT\r\nContent-Type: text/plain\r\n"
    b'Content-Length: 12\r\nConnection: keep-alive\r\nETag: "abc"\r\n\r\nhello world\n'
)


class Socket:
    """Gives what was put into ``data``, takes everything."""

    __slots__ = ("data", "sent")

    def __init__(self) -> None:
        self.data = b""
        self.sent = 0

    def fileno(self) -> int:
        return 1000

    def recv(self, _size: int) -> bytes:
        return self.data

    def send(self, data: Any) -> int:
        self.sent += 1
        return len(data)

    def getsockname(self) -> tuple[str, int]:
        return ("127.0.0.1", 80)

    def getpeername(self) -> tuple[str, int]:
        return ("127.0.0.1", 81)

    def close(self) -> None:
        pass


#: rules by the word that asks for them
RULES = {
    "rule": ("deny if { src 203.0.113.0/24 }",),
    "track": ("track-sc0 src", "deny if { sc_http_req_rate(0) gt 1000000000 }"),
}
TABLE = TableSpec(
    name="f",
    type="ipv6",
    key_bytes=16,
    size=100_000,
    expire_ms=60_000,
    stores=(Store("conn_cur"), Store("http_req_rate", 1, 10_000), Store("http_err_rate", 1, 10_000)),
)


def rules(kind: str) -> tuple[Any, dict[str, TableRef]]:
    """The steps of some rules, and the stick table that they need."""
    if not kind:
        return None, {}
    from forkproxy.rules.context import RuleContext
    from forkproxy.rules.ruleset import parse_rule
    from forkproxy.rules.words import Words
    from forkproxy.state.ledger import Ledger
    from forkproxy.state.sticktable import Table

    ref = TableRef(TABLE)
    ref.bind(Table(TABLE, 1))
    ref.table.ledger = Ledger()
    context = RuleContext(name="f", tables={"f": ref})
    return tuple(parse_rule("http-req", Words.of(text), context).step for text in RULES[kind]), {"f": ref}


def world(log: Any = None, kind: str = "") -> tuple[Runtime, Client, Upstream, Any, Any]:
    """A runtime with one frontend, one backend, one server, one client and one idle connection."""
    times = Timeouts(client_s=30.0, server_s=30.0, connect_s=5.0, http_request_s=10.0, http_keep_alive_s=10.0)
    bind = Bind(address=Address("ipv4", "127.0.0.1", 80))
    steps, tables = rules(kind)
    fe = Frontend(
        name="f",
        id=1,
        mode="http",
        timeouts=times,
        binds=(bind,),
        default_backend="b",
        forwardfor=(b"X-Forwarded-For", None, False),
        log_format=log,
        http_request=steps,
        log_needs=Needs.SERVER if "ends" in sys.argv else Needs.NONE,
    )
    be = Backend(
        name="b",
        id=2,
        mode="http",
        timeouts=times,
        servers=(Server(name="s", address=Address("ipv4", "127.0.0.1", 81), backend="b", id=1),),
    )
    plan = Plan(global_=Global(nosplice=True), frontends=(fe,), backends={"b": be}, tables=tables)
    segment, names = Segment.create(2, 16), NameTable(16)
    loop = Loop()
    rows = Rows(segment, names, loop.clock)
    area = Area(segment, bells(1))
    area.place(0, 0)
    for key in (frontend_key("f"), listener_key("f", str(bind.address))):
        area.place(names.allocate(key), 0)
    area.place(names.allocate("b/s"), names.allocate(backend_key("b")))
    if "limit" in sys.argv:
        area.set(names.row("b/s"), LIMIT, 100)
    segment.claim(0, os.getpid())
    servers = ServerTable(rows)
    servers.set("b/s", srv_op=RUNNING, weight=SCALE, uweight=1)
    state = types.SimpleNamespace(segment=segment, rows=rows, servers=servers, limits=area)
    rt = Runtime(plan, loop, segment.slot(0), state, 1)
    front, back = Socket(), Socket()
    origin = ClientOrigin(front, bind, "192.0.2.1", 40000, 4, loop.clock.wall)  # type: ignore[arg-type]
    c = Client(rt, front, rt.frontends["f"].binds[bind.id], origin)
    c.mask = READ
    c.served = 1  # its first request must not take an idle connection (http-reuse safe)
    c.armed = loop.clock.now
    srv = rt.backends["b"].servers[0]
    up = Upstream(rt, back, srv)
    up.mask = READ
    up.armed = loop.clock.now
    up.uses = 2
    srv.handy = up
    client.start(c)
    return rt, c, up, front, back


def main() -> None:
    gc.freeze()  # as workers do
    log = None
    if "log" in sys.argv:
        from forkproxy.rules.context import RuleContext
        from forkproxy.rules.logformat import HTTPLOG, compile_format

        compiled: Any = compile_format(HTTPLOG, RuleContext(kind="log"))
        log = compiled[0] if isinstance(compiled, tuple) else compiled.render
    rt, c, up, front, back = world(log, next((word for word in sys.argv if word in RULES), ""))
    if log is not None:
        from forkproxy.proxy.accesslog import AccessLog, Target
        from forkproxy.wire import syslog

        line = syslog.make("rfc3164", 16, 1024, "haproxy", 1, "host")
        front_rt = rt.frontends["f"]
        front_rt.log = AccessLog(front_rt.plan, [Target(7, 0, lambda level, wall, text: line(level, wall, text) and None)])
    back.data = ANSWER
    best = []
    for _ in range(400):  # short stretches: the best of them was not interrupted by anybody
        began = time.perf_counter()
        for i in range(100):
            front.data = REQUEST % (i, i * 7919)
            c.ready(c, READ)
            rt.outbox.send()
            up.ready(up, READ)
            rt.outbox.send()
            if not i % 16:
                rt._turn()
        best.append((time.perf_counter() - began) / 100)
    assert front.sent == back.sent == 40000, (front.sent, back.sent)
    best.sort()
    print(f"one exchange: best {best[0] * 1e6:.2f} µs, median {best[len(best) // 2] * 1e6:.2f} µs")


if __name__ == "__main__":
    main()
